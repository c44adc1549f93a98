"""The path of a request through the middlewares, linked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    import aiohttp
    from aiohttp import ClientHandlerType, ClientMiddlewareType

    from platform_http.call import AttemptRequest


class Path:
    """One middleware that stands for several.

    aiohttp links its middlewares anew for each request, and makes two coroutines for each of them.

    Args:
        middlewares: Those of one client, outermost first; at least one.
    """

    def __init__(self, middlewares: Sequence[ClientMiddlewareType]) -> None:
        self.middlewares = tuple(middlewares)
        first, *others = self.middlewares
        # Python takes longer to call an object than to call its method.
        self._first: ClientMiddlewareType = first.__call__  # type: ignore[operator] # mypy: not callable
        self._inner: ClientHandlerType = _send
        for middleware in reversed(others):
            self._inner = _link(middleware.__call__, self._inner)  # type: ignore[operator] # as above

    def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Send *request* down the path, and to *handler* at its end."""
        request.handler = handler  # type: ignore[attr-defined] # made by our request class
        return self._first(request, self._inner)


def _link(middleware: ClientMiddlewareType, inner: ClientHandlerType) -> ClientHandlerType:
    def handler(request: aiohttp.ClientRequest) -> Awaitable[aiohttp.ClientResponse]:
        return middleware(request, inner)

    return handler


def _send(request: aiohttp.ClientRequest) -> Awaitable[aiohttp.ClientResponse]:
    ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
    assert ours.handler is not None
    return ours.handler(request)

"""The path of a request through the middlewares, linked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    import aiohttp
    from aiohttp import ClientHandlerType, ClientMiddlewareType

    from platform_http.call import AttemptRequest
    from platform_http.middlewares.circuit_breaker import CircuitBreakerGate


class Path:
    """One middleware that stands for several.

    aiohttp links its middlewares anew for each request, and makes two coroutines for each of them.

    Args:
        middlewares: Those of one client, outermost first; at least one.
        gate: The circuit breakers, where nothing but the retry policy stands before them: what an
            open circuit refuses then need not begin. ``None`` leaves it to the attempts.
    """

    def __init__(
        self, middlewares: Sequence[ClientMiddlewareType], gate: CircuitBreakerGate | None = None
    ) -> None:
        self.middlewares = tuple(middlewares)
        self._gate = gate
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
        if self._gate is not None and self._gate.refusing:
            _ask(self._gate, request)
        request.handler = handler  # type: ignore[attr-defined] # made by our request class
        return self._first(request, self._inner)


def _ask(gate: CircuitBreakerGate, request: aiohttp.ClientRequest) -> None:
    """Raise what *gate* refuses *request* with, before any coroutine is made for it."""
    ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
    origin = ours.origin_of(request.url)
    # The retry policy has work to do with a body first.
    if origin not in gate.refusing or request.body:
        return
    assert ours.call is not None
    refusal = gate.refusal(ours.call, origin)
    if refusal is not None:
        try:
            raise refusal
        finally:
            # A traceback keeps this frame; the frame must not keep the error.
            del refusal


def _link(middleware: ClientMiddlewareType, inner: ClientHandlerType) -> ClientHandlerType:
    def handler(request: aiohttp.ClientRequest) -> Awaitable[aiohttp.ClientResponse]:
        return middleware(request, inner)

    return handler


def _send(request: aiohttp.ClientRequest) -> Awaitable[aiohttp.ClientResponse]:
    ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
    assert ours.handler is not None
    return ours.handler(request)

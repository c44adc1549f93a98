"""Authentication: puts fresh credentials on every attempt, and answers a 401 with newer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import (
    AuthenticationError,
    DeadlineExceededError,
    PoolTimeoutError,
    RequestRejectedError,
)
from platform_http.middlewares.resend import announce, is_consumed, make_way

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest, Call, Client, Credentials

# Nobody waits for what follows a 401 that is given up.
DRAIN_SECONDS: Final = 0.1


class Audience:
    """Tells which requests of a client may carry its credentials.

    Those to the client's own origin are, as long as no redirect led elsewhere, and unless they
    bring an ``Authorization`` of their own.

    Args:
        own: The origin of BASE_URL; ``None`` takes the first origin of each call.
    """

    def __init__(self, own: Origin | None) -> None:
        self._own: frozenset[Origin] | None = None
        if own is not None:
            upgrade = "wss" if own.scheme == "https" else "ws"
            self._own = frozenset({own, own._replace(scheme=upgrade)})

    def includes(self, call: Call, request: aiohttp.ClientRequest) -> bool:
        """Tell whether *request* may carry the credentials."""
        if call.strayed or (self._own is not None and Origin.of(request.url) not in self._own):
            return False
        is_marked = cast("AttemptRequest", request).credentials is not None
        return is_marked or "Authorization" not in request.headers


class AuthMiddleware:
    """Authenticates requests with what a credential provider has.

    It stands outside of permits and of the attempt timeout, so that waiting for a token holds up
    nobody else and is not held against the server; what the wait fails with is no failure of the
    server either. Inside of retry and hedging, so that each attempt is authenticated afresh.

    A 401 is told to the provider. If that has other credentials now, the request is sent once more
    per call, whatever its method: a 401 says that nothing was done.
    """

    def __init__(self, client: Client, credentials: Credentials, own: Origin | None) -> None:
        self._client = client
        self._credentials = credentials
        self._audience = Audience(own)

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt with credentials."""
        call = CURRENT_CALL.get()
        assert call is not None
        if not self._audience.includes(call, request):
            return await handler(request)
        headers = await self._obtain(call, request)
        response = await _send(request, headers, handler)
        if response.status != 401:
            return response
        self._credentials.reject(headers)
        if call.reauthenticated or call.resends + 1 >= call.max_attempts or is_consumed(request):
            return response
        call.reauthenticated = True
        newer = self._credentials.ready()
        if newer == headers:
            return response
        # Before the wait: it must hold neither the connection nor the permit of the 401.
        is_whole = await make_way(request, response, DRAIN_SECONDS)
        if newer is None:
            try:
                newer = await self._wait(call, request)
            except (AuthenticationError, DeadlineExceededError):
                if not is_whole:
                    raise
                # The caller has an answer already, and whoever could not help has said so.
                return response
            if newer == headers:
                return response
        return await self._resend(call, request, response, newer, handler)

    async def _obtain(self, call: Call, request: aiohttp.ClientRequest) -> Mapping[str, str]:
        headers = self._credentials.ready()
        return await self._wait(call, request) if headers is None else headers

    async def _wait(self, call: Call, request: aiohttp.ClientRequest) -> Mapping[str, str]:
        async with call.within_deadline():
            return await self._credentials.obtain(request)

    async def _resend(
        self,
        call: Call,
        request: aiohttp.ClientRequest,
        response: aiohttp.ClientResponse,
        headers: Mapping[str, str],
        handler: ClientHandlerType,
    ) -> aiohttp.ClientResponse:
        announce(call, request, "401", 0.0)
        try:
            return await _send(request, headers, handler)
        except RequestRejectedError as error:
            if isinstance(error, PoolTimeoutError):
                raise
            return response


async def _send(
    request: aiohttp.ClientRequest, headers: Mapping[str, str], handler: ClientHandlerType
) -> aiohttp.ClientResponse:
    ours = cast("AttemptRequest", request)
    mine = ours.credentials or ()
    for name in mine:
        request.headers.pop(name, None)
    ours.credentials = {
        name: value for name, value in headers.items() if name not in request.headers
    }
    request.headers.update(ours.credentials)
    return await handler(request)

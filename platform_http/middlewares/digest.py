"""HTTP Digest: aiohttp's own middleware, with our attempts in the place of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import aiohttp

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import AuthenticationError, PoolTimeoutError, RequestRejectedError
from platform_http.middlewares.auth import DRAIN_SECONDS, Audience
from platform_http.middlewares.resend import is_consumed, make_way
from platform_http.policies.registry import LruRegistry

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest


class DigestMiddleware:
    """Answers the challenge of a server with a digest of user name and password.

    The unauthorised request and its answer are two attempts: each passes every inner policy. They
    belong together, so the second one does not count against RETRY__MAX_ATTEMPTS. Once a server
    has sent its challenge, later requests answer it at once.

    Args:
        username: Without a colon.
        password: Its password.
        own: The origin of BASE_URL; ``None`` takes the first origin of each call.

    Source: RFC 7616.
    """

    def __init__(self, username: str, password: str, own: Origin | None) -> None:
        self._audience = Audience(own)
        # aiohttp's middleware is bound to the first origin that it sees.
        self._challenges: LruRegistry[Origin, aiohttp.DigestAuthMiddleware] = LruRegistry(
            lambda _: aiohttp.DigestAuthMiddleware(username, password), evictable=lambda _: True
        )

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt, and answer a challenge."""
        call = CURRENT_CALL.get()
        assert call is not None
        if not self._audience.includes(call, request):
            return await handler(request)
        cast("AttemptRequest", request).credentials = {}
        origin = Origin.of(request.url)
        challenge = self._challenges.get(origin)
        try:
            return await challenge(request, _Sender(handler))
        except aiohttp.ClientError as error:
            if type(error) is not aiohttp.ClientError:
                raise
            # What aiohttp says of a challenge quotes the server.
            raise AuthenticationError(
                f"the digest challenge of {origin} cannot be answered (client {call.client.name!r})"
            ) from None


class _Sender:
    """Sends the request, and once more: aiohttp neither frees a response nor rewinds a body."""

    def __init__(self, handler: ClientHandlerType) -> None:
        self._handler = handler
        self._refused: aiohttp.ClientResponse | None = None

    async def __call__(self, request: aiohttp.ClientRequest) -> aiohttp.ClientResponse:
        if self._refused is None:
            self._refused = await self._handler(request)
            return self._refused
        if is_consumed(request):
            # Without its body it would be another request.
            return self._refused
        await make_way(request, self._refused, DRAIN_SECONDS)
        try:
            return await self._handler(request)
        except RequestRejectedError as error:
            if isinstance(error, PoolTimeoutError):
                raise
            return self._refused

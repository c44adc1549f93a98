"""Adaptive throttle: rejects locally what the upstream would reject anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import ThrottledError
from platform_http.outcomes import of_exception
from platform_http.policies.outcome import Health

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import Client
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.throttle import AdaptiveThrottle


class ThrottleMiddleware:
    """Rejects a share of the calls to an origin that grows with the share it does not accept.

    Not accepted are 429 and 503 and failures of the server. What the caller cancels or another
    policy of ours refuses says nothing of the server, and does not count.
    """

    def __init__(self, client: Client, throttles: LruRegistry[Origin, AdaptiveThrottle]) -> None:
        self._client = client
        self._throttles = throttles

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the call unless the throttle rejects it."""
        origin = Origin.of(request.url)
        throttle = self._throttles.get(origin)
        if not throttle.admit():
            call = CURRENT_CALL.get()
            assert call is not None
            self._client.observer.rejected(call, origin, ThrottledError.error_type)
            raise ThrottledError(
                f"{origin} rejects most requests of client {self._client.name!r}; "
                "this one is rejected here",
                attempts=call.sent,
            )
        try:
            response = await handler(request)
        except BaseException as error:
            if of_exception(error).health is Health.FAILED:
                throttle.refused()
            raise
        if response.status in (429, 503):
            throttle.refused()
        else:
            throttle.accepted()
        return response

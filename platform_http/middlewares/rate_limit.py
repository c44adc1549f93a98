"""Rate limit: a client's own quota, of this process or shared by all replicas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import RateLimitedError

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest, Call, Client
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.token_bucket import TokenBucket


# Shorter is the time it takes to ask.
_NOTICEABLE = 0.001


class Quota(Protocol):
    """Where tokens come from."""

    async def take(self, origin: Origin, max_wait: float) -> float | None:
        """Return the seconds to wait before sending, or ``None`` when that exceeds *max_wait*."""

    def retry_after(self, origin: Origin) -> float:
        """Seconds until a token is due."""

    def refund(self, origin: Origin) -> None:
        """Give back a token that was not used, where that is possible."""


class LocalQuota:
    """A token bucket per origin, in this process."""

    def __init__(self, buckets: LruRegistry[Origin, TokenBucket]) -> None:
        self._buckets = buckets

    async def take(self, origin: Origin, max_wait: float) -> float | None:
        """Reserve a token."""
        return self._buckets.get(origin).take(max_wait)

    def retry_after(self, origin: Origin) -> float:
        """Seconds until a token is due."""
        return self._buckets.get(origin).retry_after

    def refund(self, origin: Origin) -> None:
        """Give a reserved token back."""
        self._buckets.get(origin).refund()


class RateLimitMiddleware:
    """Sends no more than the quota allows; a short wait is waited, a longer one refused."""

    def __init__(self, client: Client, quota: Quota) -> None:
        self._client = client
        self._quota = quota
        self._max_wait = client.settings.rate_limit.max_wait

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt when there is a token for it."""
        call = CURRENT_CALL.get()
        assert call is not None
        origin = Origin.of(request.url)
        clock = self._client.loop.time
        started = clock()
        max_wait = min(self._max_wait, call.deadline - started)
        wait = await self._quota.take(origin, max_wait)
        if wait is None:
            raise self._refused(call, origin)
        cast("AttemptRequest", request).attempt = None
        try:
            if wait > 0:
                await asyncio.sleep(wait)
            waited = clock() - started
            if waited > _NOTICEABLE:
                self._client.observer.rate_limit_waited(waited)
            return await handler(request)
        except BaseException:
            if cast("AttemptRequest", request).attempt is None:
                # An inner layer refused, or the wait ended otherwise: nothing was sent.
                self._quota.refund(origin)
            raise

    def _refused(self, call: Call, origin: Origin) -> RateLimitedError:
        self._client.observer.rejected(call, origin, RateLimitedError.error_type)
        retry_after = self._quota.retry_after(origin)
        settings = self._client.settings.rate_limit
        return RateLimitedError(
            f"client {self._client.name!r} may send {settings.rate:g} requests per "
            f"{settings.per:g} s to {origin}; the next one is due in {retry_after:.1f} s",
            retry_after=retry_after,
            attempts=call.sent,
        )

"""One quota for all replicas, kept in Redis by the ``limits`` library."""

from __future__ import annotations

import asyncio
import math
import time
from fractions import Fraction
from typing import TYPE_CHECKING

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import MovingWindowRateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from platform_http.call import Client, Origin
    from platform_http.middlewares.rate_limit import LocalQuota

# A store that does not answer in this time is away; the call must not wait for it.
_STORE_SECONDS = 0.25

# While it is away it is asked this often, by one call.
_RETRY_SECONDS = 1.0


class SharedQuota:
    """A sliding window in Redis: no burst beyond the rate, and nothing is given back.

    While the store is away each replica sends at the fallback rate: that the store is down is no
    reason for an outage of ours.

    Args:
        client: Whose calls these are; its settings name store and rate.
        fallback: Tokens while the store is away.
        clock: Seconds that never go backwards.
    """

    def __init__(
        self, client: Client, fallback: LocalQuota, clock: Callable[[], float] = time.monotonic
    ) -> None:
        settings = client.settings.rate_limit
        assert settings.rate is not None
        self._client = client
        self._fallback = fallback
        self._clock = clock
        self._item = _window(settings.rate, settings.per)
        self._storage = RedisStorage(
            f"async+{settings.store.get_secret_value()}",
            implementation="redispy",
            socket_timeout=_STORE_SECONDS,
            socket_connect_timeout=_STORE_SECONDS,
        )
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._away_until = 0.0
        self._retry_after = 0.0

    async def take(self, origin: Origin, max_wait: float) -> float | None:
        """Wait for a place in the window, at most *max_wait* seconds."""
        until = self._clock() + max_wait
        while True:
            if self._clock() < self._away_until:
                return await self._fallback.take(origin, max(0.0, until - self._clock()))
            try:
                async with asyncio.timeout(_STORE_SECONDS):
                    wait = await self._ask(origin)
            except Exception:  # noqa: BLE001 - however a store fails, it is away
                self._away_until = self._clock() + _RETRY_SECONDS
                self._client.observer.rate_limit_store_failed()
                continue
            if wait is None:
                return 0.0
            self._retry_after = wait
            if self._clock() + wait > until:
                return None
            await asyncio.sleep(wait)

    async def _ask(self, origin: Origin) -> float | None:
        """Take a place, or return the seconds until one is free."""
        key = (self._client.name, str(origin))
        if await self._limiter.hit(self._item, *key):
            return None
        stats = await self._limiter.get_window_stats(self._item, *key)
        return max(0.001, stats.reset_time - time.time())

    def retry_after(self, origin: Origin) -> float:
        """Seconds until a place is free, as the last refusal found it."""
        if self._clock() < self._away_until:
            return self._fallback.retry_after(origin)
        return self._retry_after

    def refund(self, origin: Origin) -> None:
        """Do nothing: a sliding window takes nothing back."""

    async def aclose(self) -> None:
        """Close the connections to the store."""
        bridge = self._storage.bridge
        assert isinstance(bridge, RedispyBridge)
        await bridge.storage.aclose()


def _window(rate: float, per: float) -> RateLimitItemPerSecond:
    """Return *rate* requests per *per* seconds in whole numbers, which is all Redis counts in.

    The period grows where it has to: 2.5 per second is 5 per 2 seconds, never more in any period.
    """
    requests = Fraction(rate).limit_denominator(1000)
    seconds = Fraction(per).limit_denominator(1000)
    factor = math.lcm(requests.denominator, seconds.denominator)
    return RateLimitItemPerSecond(int(requests * factor), int(seconds * factor))

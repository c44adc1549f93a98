"""The path of a call: which policies a client has, and in which order they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_http.middlewares.attempt import AttemptMiddleware
from platform_http.middlewares.circuit_breaker import CircuitBreakerGate
from platform_http.middlewares.concurrency import ConcurrencyGate
from platform_http.middlewares.path import Path
from platform_http.middlewares.propagation import DeadlinePropagation
from platform_http.middlewares.retry import RetryMiddleware
from platform_http.policies.registry import LruRegistry
from platform_http.telemetry.propagation import Propagation
from platform_http.wiring import PolicyMaker, Registries

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    import aiohttp

    from platform_http.call import Client, Origin
    from platform_http.middlewares.circuits import Circuits
    from platform_http.middlewares.rate_limit import Quota
    from platform_http.middlewares.shared_quota import SharedQuota
    from platform_http.settings import ClientSettings


class Pipeline:
    """What the calls of one client pass; only enabled policies are in it.

    Args:
        client: Whose calls these are.
        clock: Seconds that never go backwards, for the policies.
        rng: Source of jitter for the policies.
        circuits: Where its circuits can be steered.
        authentication: What authenticates its requests, if anything does.
        base_origin: Of its ``BASE_URL``, if it has one.

    Attributes:
        registries: Its policies by origin.
        shared_quota: What it shares with other processes and has to be closed, if anything.
        path: The middleware that all of it is.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        circuits: Circuits,
        authentication: aiohttp.ClientMiddlewareType | None,
        base_origin: Origin | None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._make = PolicyMaker(client.settings, clock, rng, client.observer)
        self.registries = Registries()
        self.shared_quota: SharedQuota | None = None
        self.path = self._build(circuits, authentication, base_origin)

    def _build(
        self,
        circuits: Circuits,
        authentication: aiohttp.ClientMiddlewareType | None,
        base_origin: Origin | None,
    ) -> Path:
        client, make, registries = self._client, self._make, self.registries
        settings = client.settings
        budgets = LruRegistry(make.budget, evictable=lambda budget: budget.full)
        if settings.retry.enabled or settings.hedging.enabled:
            registries.budgets = budgets
        path: list[aiohttp.ClientMiddlewareType] = []
        # What is off by default is loaded by whoever switches it on: importing all of it would cost
        # every service an eighth of what importing the package costs.
        if settings.throttle.enabled:
            from platform_http.middlewares.throttle import ThrottleMiddleware  # noqa: PLC0415 - see above

            throttles = LruRegistry(make.throttle, evictable=lambda throttle: throttle.idle)
            path.append(ThrottleMiddleware(client, throttles))
        if settings.retry.enabled:
            client.budgets = budgets
            path.append(RetryMiddleware(client, make.retry(), budgets))
        if settings.hedging.enabled:
            from platform_http.middlewares.hedging import HedgingMiddleware  # noqa: PLC0415 - see above

            hedges = LruRegistry(make.hedge, evictable=_always)
            path.append(HedgingMiddleware(client, hedges, budgets))
        if authentication is not None:
            path.append(authentication)
        if settings.rate_limit.rate is not None:
            from platform_http.middlewares.rate_limit import RateLimitMiddleware  # noqa: PLC0415 - see above

            path.append(RateLimitMiddleware(client, self._quota()))
        # The last two are no middlewares: the attempt asks them, in this order.
        breaker: CircuitBreakerGate | None = None
        concurrency: ConcurrencyGate | None = None
        if settings.circuit_breaker.mode != "off":
            breakers = LruRegistry(make.breaker, evictable=lambda breaker: breaker.idle_closed)
            registries.breakers = breakers
            circuits.add(client.name, breakers)
            breaker = CircuitBreakerGate(client, breakers)
        if settings.concurrency.limit:
            limits = LruRegistry(make.concurrency, evictable=lambda limit: limit.idle)
            registries.limits = limits
            concurrency = ConcurrencyGate(client, limits)
        # What nothing but the retry policy stands before, it may be asked before.
        early = breaker if all(isinstance(each, RetryMiddleware) for each in path) else None
        propagation = _deadline_propagation(settings, base_origin)
        path.append(AttemptMiddleware(client, breaker, concurrency, propagation))
        return Path(path, early)

    def _quota(self) -> Quota:
        from platform_http.middlewares.rate_limit import LocalQuota  # noqa: PLC0415 - off by default

        client, make = self._client, self._make
        if client.settings.rate_limit.store.get_secret_value().startswith("memory:"):
            buckets = LruRegistry(make.bucket, evictable=lambda bucket: bucket.full)
            self.registries.buckets = buckets
            return LocalQuota(buckets)
        # Redis and its client are loaded by whoever shares a quota.
        from platform_http.middlewares.shared_quota import SharedQuota  # noqa: PLC0415 - see above

        fallback = LruRegistry(make.fallback_bucket, evictable=lambda bucket: bucket.full)
        self.shared_quota = SharedQuota(client, LocalQuota(fallback), self._clock)
        return self.shared_quota


def _deadline_propagation(
    settings: ClientSettings, base_origin: Origin | None
) -> DeadlinePropagation | None:
    if not settings.propagation.enabled:
        return None
    # The headers go where baggage may go: to the client's own origin and to those listed by name.
    propagation = Propagation(settings.telemetry.propagate_to, base_origin)
    if not propagation.names_origins:
        return None
    return DeadlinePropagation(
        settings.propagation, lambda origin: propagation.rights(origin).baggage
    )


def _always(_: object) -> bool:
    """Let the oldest go: whoever forgets its statistics only becomes more careful again."""
    return True

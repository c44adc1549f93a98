"""Makes the policy objects of one client from its settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from platform_http.policies.circuit_breaker import CircuitBreaker, State
from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.policies.retry import RetryPolicy
from platform_http.policies.retry_budget import RetryBudget

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from platform_http.call import Observer, Origin
    from platform_http.policies.hedging import HedgePolicy
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.throttle import AdaptiveThrottle
    from platform_http.policies.token_bucket import TokenBucket
    from platform_http.settings import ClientSettings

# A probe that runs into the attempt timeout reports that failure before its lease ends.
_LEASE_MARGIN = 1.25


class Registries:
    """The policies of one client by origin, for whoever looks at them; ``None`` is off."""

    __slots__ = ("breakers", "buckets", "budgets", "limits")

    def __init__(self) -> None:
        self.budgets: LruRegistry[Origin, RetryBudget] | None = None
        self.breakers: LruRegistry[Origin, CircuitBreaker] | None = None
        self.limits: LruRegistry[Origin, ConcurrencyLimit] | None = None
        self.buckets: LruRegistry[Origin, TokenBucket] | None = None


class PolicyMaker:
    """Makes what a client has once, and what it has per origin.

    Args:
        settings: Of the client.
        clock: Seconds that never go backwards.
        rng: Source of jitter.
        observer: Told of new budgets and limits and of circuits that change; ``None`` where nobody
            asks.
    """

    def __init__(
        self,
        settings: ClientSettings,
        clock: Callable[[], float],
        rng: random.Random,
        observer: Observer | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._observer = observer

    def retry(self) -> RetryPolicy:
        """Return the retry policy."""
        retry = self._settings.retry
        return RetryPolicy(
            methods=retry.methods,
            backoff_initial=retry.backoff_initial,
            backoff_max=retry.backoff_max,
            backoff_throttled=retry.backoff_throttled,
            respect_retry_after=retry.respect_retry_after,
            retry_after_max=retry.retry_after_max,
            rng=self._rng,
        )

    def budget(self, origin: Origin) -> RetryBudget:
        """Return a full retry budget."""
        budget = self._settings.retry.budget
        if self._observer is not None:
            self._observer.budget_changed(origin, budget.capacity)
        return RetryBudget(
            capacity=budget.capacity,
            cost=budget.cost,
            cost_timeout=budget.cost_timeout,
            refund=budget.refund,
            trickle=budget.trickle,
            clock=self._clock,
        )

    def throttle(self, _: Origin) -> AdaptiveThrottle:
        """Return a throttle that has seen nothing yet."""
        from platform_http.policies.throttle import AdaptiveThrottle  # noqa: PLC0415 - off by default

        throttle = self._settings.throttle
        return AdaptiveThrottle(
            k=throttle.k, window=throttle.window, clock=self._clock, rng=self._rng
        )

    def hedge(self, _: Origin) -> HedgePolicy:
        """Return a hedge policy that has seen nothing yet."""
        from platform_http.policies.hedging import HedgePolicy  # noqa: PLC0415 - off by default

        hedging, timeout = self._settings.hedging, self._settings.timeout
        room = math.inf if timeout.attempt == math.inf else timeout.total - timeout.attempt
        return HedgePolicy(
            delay=None if hedging.delay == "p95" else hedging.delay,
            max_ratio=hedging.max_ratio,
            delay_cap=room,
            clock=self._clock,
        )

    def concurrency(self, origin: Origin) -> ConcurrencyLimit:
        """Return a concurrency limit that nobody has entered."""
        concurrency = self._settings.concurrency
        limit = ConcurrencyLimit(limit=concurrency.limit, queue=concurrency.queue)
        if self._observer is not None:
            self._observer.concurrency_watched(origin, limit)
        return limit

    def bucket(self, _: Origin) -> TokenBucket:
        """Return a full token bucket at the configured rate."""
        limit = self._settings.rate_limit
        assert limit.rate is not None
        return self._bucket(limit.rate, limit.burst or limit.rate)

    def fallback_bucket(self, _: Origin) -> TokenBucket:
        """Return a bucket at the rate that holds while a shared store is away, without a burst.

        A burst would come on top of the quota at the moment the store goes away.
        """
        rate = self._settings.rate_limit.fallback_rate
        assert rate is not None
        return self._bucket(rate, 1.0)

    def _bucket(self, rate: float, burst: float) -> TokenBucket:
        from platform_http.policies.token_bucket import TokenBucket  # noqa: PLC0415 - off by default

        # Less than one token at once would never send anything.
        per = self._settings.rate_limit.per
        return TokenBucket(rate=rate, per=per, burst=max(1.0, burst), clock=self._clock)

    def breaker(self, origin: Origin) -> CircuitBreaker:
        """Return the circuit breaker of *origin* in the state that its mode asks for."""
        settings = self._settings.circuit_breaker
        observer = self._observer

        def report(previous: State, current: State) -> None:
            if observer is not None:
                observer.circuit_changed(
                    origin,
                    previous.value,
                    current.value,
                    enforced=settings.mode != "observe",
                )

        breaker = CircuitBreaker(
            failure_ratio=settings.failure_ratio,
            minimum_calls=settings.minimum_calls,
            window=settings.window,
            open_duration=settings.open_duration,
            open_duration_max=settings.open_duration_max,
            half_open_successes=settings.half_open_successes,
            slow_call_duration=settings.slow_call_duration,
            slow_call_ratio=settings.slow_call_ratio,
            observe=settings.mode == "observe",
            probe_lease=self._probe_lease(),
            clock=self._clock,
            rng=self._rng,
            on_transition=report,
        )
        if settings.mode == "force_open":
            breaker.force_open()
        return breaker

    def _probe_lease(self) -> float:
        timeout = self._settings.timeout.attempt
        if timeout == math.inf:
            # A probe that hangs must not refuse everybody for as long as it hangs.
            timeout = self._settings.circuit_breaker.open_duration_max
        return timeout * _LEASE_MARGIN

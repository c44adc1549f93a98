"""What one decision of each policy costs, in microseconds, and as a ratio to an empty call.

Each figure is the best of several rounds: what the machine does besides only ever adds.
"""

from __future__ import annotations

import random
import time
import timeit
from collections.abc import Callable

from benchmarks.report import promise, table
from platform_http.call import Origin
from platform_http.policies.circuit_breaker import CircuitBreaker, Refusal
from platform_http.policies.concurrency import ConcurrencyLimit, Slot
from platform_http.policies.hedging import HedgePolicy
from platform_http.policies.outcome import Health, of_status
from platform_http.policies.registry import LruRegistry
from platform_http.policies.retry import RetryPolicy
from platform_http.policies.retry_budget import RetryBudget
from platform_http.policies.throttle import AdaptiveThrottle
from platform_http.policies.token_bucket import TokenBucket

ROUNDS, CALLS = 7, 20_000
CLOCK = time.monotonic
RNG = random.Random(1)


def _breaker(**options: float) -> Callable[[], None]:
    breaker = CircuitBreaker(
        failure_ratio=0.5,
        minimum_calls=20,
        window=30,
        open_duration=5,
        open_duration_max=60,
        half_open_successes=3,
        probe_lease=5,
        clock=CLOCK,
        rng=RNG,
        **options,
    )

    def decide() -> None:
        permit = breaker.admit()
        assert not isinstance(permit, Refusal)
        permit.begin()
        permit.record(Health.OK)

    return decide


def _retry() -> Callable[[], None]:
    policy = RetryPolicy(
        methods={"GET"},
        backoff_initial=0.05,
        backoff_max=5,
        backoff_throttled=1,
        respect_retry_after=True,
        retry_after_max=30,
        rng=RNG,
    )

    def decide() -> None:
        policy.decide(
            of_status(503, (429, 502, 503, 504)),
            method="GET",
            resends=0,
            max_attempts=3,
            idempotent=None,
            sent=True,
            replayable=True,
            retry_after=None,
            remaining=10,
            once_spent=False,
        )

    return decide


def _budget() -> Callable[[], None]:
    budget = RetryBudget(capacity=1e9, cost=10, cost_timeout=20, refund=1, trickle=1, clock=CLOCK)

    def decide() -> None:
        cost = budget.spend(timeout=False)
        assert cost is not None
        budget.succeeded(cost)

    return decide


def _concurrency() -> Callable[[], None]:
    limit = ConcurrencyLimit(limit=20, queue=1000)

    def decide() -> None:
        slot = limit.enter(lambda: None)
        assert isinstance(slot, Slot)
        slot.release()

    return decide


def _bucket() -> Callable[[], None]:
    bucket = TokenBucket(rate=1e9, per=1, burst=1e9, clock=CLOCK)
    return lambda: bucket.take(0) and None


def _throttle() -> Callable[[], None]:
    throttle = AdaptiveThrottle(k=2, window=120, clock=CLOCK, rng=RNG)

    def decide() -> None:
        throttle.admit()
        throttle.accepted()

    return decide


def _hedge() -> Callable[[], None]:
    hedge = HedgePolicy(delay=None, max_ratio=0.05, delay_cap=5, clock=CLOCK)

    def decide() -> None:
        hedge.call_started()
        hedge.delay()
        hedge.record(0.05)

    return decide


def _registry() -> Callable[[], None]:
    registry = LruRegistry(lambda origin: origin, evictable=lambda _: True)
    origin = Origin("https", "api.test", 443)
    return lambda: registry.get(origin) and None


DECISIONS: dict[str, Callable[[], Callable[[], None]]] = {
    "circuit breaker: admit + record": _breaker,
    "circuit breaker with slow calls": lambda: _breaker(slow_call_duration=1, slow_call_ratio=0.5),
    "retry: classify + decide": _retry,
    "retry budget: spend + refund": _budget,
    "concurrency: enter + release": _concurrency,
    "token bucket: take": _bucket,
    "throttle: admit + accepted": _throttle,
    "hedging: start + delay + record": _hedge,
    "registry: look-up": _registry,
}


def _microseconds(decide: Callable[[], None]) -> float:
    return min(timeit.repeat(decide, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    empty = _microseconds(lambda: None)
    costs = {name: _microseconds(make()) for name, make in DECISIONS.items()}
    rows = [(name, f"{cost:.2f}", f"{cost / empty:.0f}") for name, cost in costs.items()]
    table(("decision", "µs", "ratio to an empty call"), rows)
    promise("the dearest decision of a policy", max(costs.values()), 5, "µs")


if __name__ == "__main__":
    main()

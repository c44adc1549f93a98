"""Story 20: a million hosts and paths cost no more than a thousand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from random import Random

import pytest

from platform_http.call import Origin
from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.policies.registry import BOUND, LruRegistry
from platform_http.settings import HttpSettings
from platform_http.telemetry import session_series
from platform_http.testing import FakeClock
from platform_http.wiring import PolicyMaker
from tests.telemetry.stand_ins import Scene

FEW = 1024
POLICIES = ["budget", "throttle", "hedge", "concurrency", "bucket", "breaker"]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene(traces=False)
    yield scene
    scene.close()


@pytest.fixture
def make(scene: Scene) -> PolicyMaker:
    settings = HttpSettings(rate_limit={"rate": 10}).client()
    return PolicyMaker(settings, FakeClock(), Random(1), scene.telemetry)


def _origin(number: int) -> Origin:
    return Origin("http", f"h{number}.example.com", 80)


def test_story_20_a_million_hosts_keep_no_more_policies_than_the_bound(make: PolicyMaker) -> None:
    limits = LruRegistry(make.concurrency, evictable=lambda limit: limit.idle)
    sizes: list[int] = []
    for number in range(1_000_000):
        limits.get(_origin(number))
        if number % 100_000 == 99_999:
            sizes.append(len(limits))
    assert set(sizes) == {BOUND}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("forgettable", [True, False])
def test_story_20_memory_stays_where_it_is_when_hosts_go_on(
    make: PolicyMaker, policy: str, forgettable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_series, "_MAX_ORIGINS", FEW)
    create: Callable[[Origin], object] = getattr(make, policy)
    registry = LruRegistry(create, evictable=lambda _: forgettable, bound=FEW)

    def ask(hosts: range) -> int:
        for number in hosts:
            registry.get(_origin(number))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = ask(range(3_000))
        late = ask(range(3_000, 9_000))
    finally:
        tracemalloc.stop()
    assert len(registry) == (FEW if forgettable else 2 * FEW)
    assert late < 1.1 * early


def test_story_20_metric_series_do_not_grow_with_hosts_paths_and_operations(scene: Scene) -> None:
    def tell(numbers: range) -> int:
        for number in numbers:
            call = scene.call(operation=f"o{number}", url_template=f"/t{number}")
            attempt, _ = scene.attempt(call, f"http://h{number}.example.com/p{number}")
            scene.answer(attempt, status=503)
            scene.telemetry.resent(attempt, "503", 0.1)
            scene.telemetry.rejected(call, attempt.origin, "circuit_open")
            scene.telemetry.circuit_changed(attempt.origin, "closed", "open")
            scene.telemetry.budget_changed(attempt.origin, 1.0)
            limit = ConcurrencyLimit(limit=1, queue=0)
            scene.telemetry.concurrency_watched(attempt.origin, limit)
            limit.take()
            scene.telemetry.connections(attempt.origin).active.value += 1
            scene.telemetry.connection_closed(attempt.origin, duration=1.0)
            scene.answer(attempt, status=503)
            call.close("error", "503", scene.now)
        return sum(len(family.samples) for family in scene.registry.collect())

    assert tell(range(1_000)) == tell(range(1_000, 5_000))

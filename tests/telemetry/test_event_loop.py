from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry

from platform_http.telemetry import event_loop
from platform_http.telemetry.metrics import Metrics


def samples(registry):
    return {
        sample.name: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("platform_http_event_loop_lag_seconds_")
    }


class SteppedLoop(asyncio.SelectorEventLoop):
    """Its clock is ours, and a step runs what became due, however late."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.call_soon(self.stop)
        self.run_forever()


def test_a_timer_that_runs_late_is_sampled_by_how_much():
    loop, registry = SteppedLoop(), CollectorRegistry()
    handle = event_loop.start(loop, Metrics.of(registry))
    loop.step(0.5)
    assert samples(registry)["platform_http_event_loop_lag_seconds_sum"] == 0
    loop.step(2.5)
    found = samples(registry)
    assert found["platform_http_event_loop_lag_seconds_count"] == 2
    assert found["platform_http_event_loop_lag_seconds_sum"] == 2.0
    handle.stop()
    loop.step(10)
    assert samples(registry)["platform_http_event_loop_lag_seconds_count"] == 2
    loop.close()


def test_a_loop_is_sampled_once_per_registry_until_its_last_holder_stops():
    loop, registry = SteppedLoop(), CollectorRegistry()
    first = event_loop.start(loop, Metrics.of(registry))
    second = event_loop.start(loop, Metrics.of(registry))
    other_registry = CollectorRegistry()
    other = event_loop.start(loop, Metrics.of(other_registry))
    loop.step(0.5)
    first.stop()
    first.stop()
    loop.step(0.5)
    assert samples(registry)["platform_http_event_loop_lag_seconds_count"] == 2
    assert samples(other_registry)["platform_http_event_loop_lag_seconds_count"] == 2
    second.stop()
    other.stop()
    loop.step(0.5)
    assert samples(registry)["platform_http_event_loop_lag_seconds_count"] == 2
    assert not [key for key in event_loop._MONITORS if key[0] == id(loop)]
    again = event_loop.start(loop, Metrics.of(registry))
    loop.step(0.5)
    assert samples(registry)["platform_http_event_loop_lag_seconds_count"] == 3
    again.stop()
    loop.close()


async def test_a_stalled_loop_shows_and_no_task_is_needed(monkeypatch):
    monkeypatch.setattr(event_loop, "_INTERVAL", 0.01)
    registry = CollectorRegistry()
    handle = event_loop.start(asyncio.get_running_loop(), Metrics.of(registry))
    assert len(asyncio.all_tasks()) == 1
    time.sleep(0.1)  # noqa: ASYNC251 - a blocked loop is what is measured
    # The first turn notices that the timer is due, the second comes after it ran.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    handle.stop()
    assert samples(registry)["platform_http_event_loop_lag_seconds_sum"] > 0.05

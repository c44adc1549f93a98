"""The short ways to prometheus_client's values end where its own verbs end."""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.values import MultiProcessValue, MutexValue

from platform_http.telemetry.children import Distribution, Level, Pair, adder


def readings(registry: CollectorRegistry) -> list[tuple[str, str, float]]:
    return [
        (sample.name.removeprefix("their_").removeprefix("our_"), str(sample.labels), sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


@given(amounts=st.lists(st.floats(0, 20) | st.sampled_from([0.005, 0.25, 10.0])))
def test_a_distribution_observes_as_a_histogram_does(amounts: list[float]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("their_seconds", "x", registry=theirs)
    distribution = Distribution(Histogram("our_seconds", "x", registry=ours))
    for amount in amounts:
        histogram.observe(amount)
        distribution.observe(amount)
    assert readings(ours) == readings(theirs)


def test_an_exemplar_goes_along() -> None:
    registry = CollectorRegistry()
    Distribution(Histogram("a_seconds", "x", registry=registry)).observe(0.02, {"trace_id": "1"})
    (family,) = registry.collect()
    exemplars = [sample.exemplar for sample in family.samples if sample.exemplar]
    assert [(each.labels, each.value) for each in exemplars] == [({"trace_id": "1"}, 0.02)]


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def gauges(request, tmp_path, monkeypatch):
    if request.param:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        monkeypatch.setattr("prometheus_client.values.ValueClass", MultiProcessValue())
    return Gauge("a", "x", registry=None), Gauge("b", "x", registry=None)


def test_gauges_and_counters_move(gauges) -> None:
    first, second = gauges
    pair = Pair(first, second)
    pair.add(3, 0)
    pair.add(-1, 1)
    assert (first._value.get(), second._value.get()) == (2, 1)
    Level(first).set(7)
    assert first._value.get() == 7
    adder(second)(-1)
    assert second._value.get() == 0


class Foreign:
    """A value of another kind, which nobody has told us of."""

    def __init__(self, *_: object, **__: object) -> None:
        self._amount = 0.0

    def inc(self, amount):
        self._amount += amount

    def set(self, amount, timestamp=None):
        self._amount = amount

    def get(self):
        return self._amount


def test_values_of_another_kind_are_left_to_the_verbs_of_their_child(monkeypatch) -> None:
    monkeypatch.setattr("prometheus_client.values.ValueClass", Foreign)
    first, second = Gauge("a", "x", registry=None), Gauge("b", "x", registry=None)
    Level(first).set(2)
    Pair(first, second).add(1, 4)
    histogram = Histogram("c_seconds", "x", registry=None)
    Distribution(histogram).observe(0.3)
    adder(second)(1)
    assert (first._value.get(), second._value.get()) == (3, 5)
    assert histogram._sum.get() == 0.3


def test_threads_lose_nothing() -> None:
    pair = Pair(first := Gauge("a", "x", registry=None), second := Gauge("b", "x", registry=None))
    histogram = Histogram("c_seconds", "x", registry=None)

    def move() -> None:
        # Each has one of its own, as two sessions of a client have.
        distribution = Distribution(histogram)
        for _ in range(2000):
            pair.add(1, -1)
            distribution.observe(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=move) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert (first._value.get(), second._value.get()) == (8000, -8000)
    assert histogram._sum.get() == 8000


def test_a_distribution_writes_what_processes_share(gauges) -> None:
    histogram = Histogram("c_seconds", "x", registry=None)
    Distribution(histogram).observe(0.3)
    assert histogram._sum.get() == pytest.approx(0.3)
    assert sum(bucket.get() for bucket in histogram._buckets) == 1


def test_values_have_the_names_that_are_moved() -> None:
    histogram = Histogram("d_seconds", "x", registry=None)
    assert isinstance(histogram._sum, MutexValue)
    assert len(histogram._upper_bounds) == len(histogram._buckets)
    assert isinstance(Counter("e", "x", registry=None)._value, MutexValue)
    assert {"_value", "_lock"} <= vars(histogram._sum).keys()

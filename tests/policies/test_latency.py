import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.latency import BUCKETS, MINIMUM_SAMPLES, MovingQuantile
from platform_http.testing import FakeClock


def moving(q=0.95, window=10.0):
    clock = FakeClock(0.0)
    return MovingQuantile(q, window=window, clock=clock), clock


def nearest_rank(latencies, q):
    return sorted(latencies)[math.ceil(q * len(latencies)) - 1]


def record(quantile, *latencies, times=1):
    for _ in range(times):
        for latency in latencies:
            quantile.record(latency)


def test_there_is_no_value_before_a_hundred_samples():
    quantile, _ = moving()
    assert quantile.value() is None
    record(quantile, 1.0, times=99)
    assert quantile.value() is None
    record(quantile, 1.0)
    assert quantile.value() == pytest.approx(1.0, rel=0.05)


def test_it_is_the_95th_percentile_unless_told_otherwise():
    quantile = MovingQuantile(window=10.0, clock=FakeClock())
    record(quantile, *[0.1] * 95, *[1.0] * 5)
    assert quantile.value() == pytest.approx(0.1, rel=0.05)
    record(quantile, 1.0)
    assert quantile.value() == pytest.approx(1.0, rel=0.05)


def test_it_moves_up_and_down_again_with_the_samples():
    quantile, _ = moving(q=0.5)
    record(quantile, 0.01, times=100)
    assert quantile.value() == pytest.approx(0.01, rel=0.05)
    record(quantile, 10.0, times=101)
    assert quantile.value() == pytest.approx(10.0, rel=0.05)
    record(quantile, 0.5, times=10)
    assert quantile.value() == pytest.approx(0.5, rel=0.05)
    record(quantile, 0.01, times=11)
    assert quantile.value() == pytest.approx(0.01, rel=0.05)


def test_samples_are_forgotten_after_the_window_and_not_before_four_fifths_of_it():
    quantile, clock = moving()
    clock.advance(1.999)
    record(quantile, 1.0, times=100)
    clock.advance(8.0)
    assert quantile.value() is not None
    clock.advance(0.001)
    assert quantile.value() is None


def test_each_slice_is_forgotten_at_its_own_time():
    quantile, clock = moving(q=1.0)
    for latency in (16.0, 8.0, 4.0, 2.0, 1.0):
        record(quantile, latency, times=100)
        clock.advance(2.0)
    for latency in (8.0, 4.0, 2.0, 1.0):
        assert quantile.value() == pytest.approx(latency, rel=0.05)
        clock.advance(2.0)
    assert quantile.value() is None


def test_a_jump_of_many_windows_forgets_everything_and_recording_goes_on():
    quantile, clock = moving()
    record(quantile, 1.0, times=200)
    clock.advance(1e7)
    assert quantile.value() is None
    record(quantile, 0.1, times=100)
    assert quantile.value() == pytest.approx(0.1, rel=0.05)
    clock.advance(7.9)
    assert quantile.value() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("latency", "at_least", "at_most"),
    [(0.0, 0.0, 1.1e-4), (1e-9, 0.0, 1.1e-4), (1e-4, 0.95e-4, 1.05e-4), (1e4, 900.0, 1100.0)],
)
def test_latencies_out_of_range_count_as_the_nearest_one_within(latency, at_least, at_most):
    quantile, _ = moving()
    record(quantile, latency, times=100)
    assert at_least <= quantile.value() <= at_most


def test_an_infinite_latency_is_a_very_long_one():
    quantile, _ = moving()
    record(quantile, math.inf, times=100)
    assert 900.0 <= quantile.value() < math.inf


def test_the_range_reaches_from_a_tenth_of_a_millisecond_to_a_thousand_seconds():
    for latency in (1.01e-4, 1e3):
        quantile, _ = moving()
        record(quantile, latency, times=100)
        assert quantile.value() == pytest.approx(latency, rel=0.05)


def test_it_follows_a_smooth_distribution():
    rng = Random(5)
    latencies = [rng.lognormvariate(-3.0, 1.0) for _ in range(5000)]
    quantile, _ = moving()
    record(quantile, *latencies)
    assert quantile.value() == pytest.approx(nearest_rank(latencies, 0.95), rel=0.05)


def test_memory_does_not_grow_with_the_samples():
    quantile, clock = moving()
    rng = Random(1)
    for _ in range(20_000):
        quantile.record(rng.lognormvariate(0.0, 6.0))
        clock.advance(0.01)
    assert len(quantile._counts) == BUCKETS
    assert sum(map(len, quantile._slices)) <= 5 * BUCKETS
    assert sum(quantile._counts) == quantile._samples <= 1000


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 30), st.floats(1e-4, 1e3), st.integers(1, 60), st.booleans()),
        max_size=40,
    ),
    q=st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]),
)
def test_the_value_is_that_of_a_list_of_all_samples(steps, q):
    quantile, clock = moving(q, window=5.0)
    samples = []
    for quarters, latency, times, is_asked in steps:
        clock.advance(quarters / 4)
        record(quantile, latency, times=times)
        samples += [(clock.now // 1.0, latency)] * times
        if is_asked:
            kept = [value for part, value in samples if clock.now // 1.0 - part < 5]
            if len(kept) < MINIMUM_SAMPLES:
                assert quantile.value() is None
            else:
                assert quantile.value() == pytest.approx(nearest_rank(kept, q), rel=0.05)

import math
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from platform_http.policies.hedging import CREDIT_CALLS, WINDOW, HedgePolicy
from platform_http.policies.latency import MINIMUM_SAMPLES, SLICES
from platform_http.testing import FakeClock


def policy(**overrides):
    numbers = {"delay": None, "max_ratio": 0.05, "delay_cap": 10.0, "clock": FakeClock()}
    return HedgePolicy(**(numbers | overrides))


def record(hedging, latency, times):
    for _ in range(times):
        hedging.record(latency)


def start_calls(hedging, times):
    for _ in range(times):
        hedging.call_started()


def hedges(hedging, calls):
    """Return how many of *calls* calls that all ask are hedged."""
    admitted = 0
    for _ in range(calls):
        hedging.call_started()
        admitted += hedging.admit()
    return admitted


def test_nothing_is_hedged_before_a_hundred_latencies_are_known():
    hedging = policy()
    record(hedging, 0.2, times=99)
    assert hedging.delay() is None
    record(hedging, 0.2, times=1)
    assert hedging.delay() == pytest.approx(0.2, rel=0.05)


def test_the_delay_is_the_p95_of_late():
    clock = FakeClock()
    hedging = policy(clock=clock)
    record(hedging, 0.1, times=950)
    record(hedging, 2.0, times=50)
    assert hedging.delay() == pytest.approx(0.1, rel=0.05)
    record(hedging, 2.0, times=5)
    assert hedging.delay() == pytest.approx(2.0, rel=0.05)
    clock.advance(WINDOW)
    assert hedging.delay() is None


def test_the_p95_is_clipped_to_what_leaves_room_for_an_attempt():
    hedging = policy(delay_cap=1.5)
    record(hedging, 4.0, times=100)
    assert hedging.delay() == 1.5


@pytest.mark.parametrize("cap", [0.0, -1.0])
def test_without_room_for_an_attempt_nothing_is_hedged_at_the_p95(cap):
    hedging = policy(delay_cap=cap)
    record(hedging, 0.1, times=100)
    assert hedging.delay() is None


def test_without_a_cap_the_p95_is_taken_as_it_is():
    hedging = policy(delay_cap=math.inf)
    record(hedging, 4.0, times=100)
    assert hedging.delay() == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("cap", [0.0, 0.1, math.inf])
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_fixed_delay_needs_no_latencies_and_is_not_clipped(delay, cap):
    hedging = policy(delay=delay, delay_cap=cap)
    assert hedging.delay() == delay
    record(hedging, 7.0, times=200)
    assert hedging.delay() == delay


def test_the_first_hedge_comes_when_enough_calls_have_paid_for_it():
    hedging = policy()
    start_calls(hedging, 19)
    assert not hedging.admit()
    start_calls(hedging, 1)
    assert hedging.admit()
    assert not hedging.admit()


def test_a_refused_hedge_costs_nothing():
    hedging = policy()
    start_calls(hedging, 19)
    for _ in range(10):
        assert not hedging.admit()
    start_calls(hedging, 1)
    assert hedging.admit()


def test_two_hedges_are_as_many_calls_apart_as_one_costs():
    hedging = policy()
    start_calls(hedging, 1000)
    asked = []
    for call in range(100):
        hedging.call_started()
        if hedging.admit():
            asked.append(call)
    assert asked == [0, 20, 40, 60, 80]


def test_a_long_quiet_time_saves_up_no_burst():
    hedging = policy()
    start_calls(hedging, 100_000)
    assert [hedging.admit() for _ in range(10)] == [True] + [False] * 9


def test_a_small_ratio_saves_up_one_hedge_all_the_same():
    hedging = policy(max_ratio=0.001)
    start_calls(hedging, 999)
    assert not hedging.admit()
    start_calls(hedging, 1)
    assert hedging.admit()


def test_calls_that_start_together_may_all_be_hedged_when_the_ratio_says_so():
    hedging = policy(max_ratio=1.0)
    start_calls(hedging, CREDIT_CALLS)
    assert all(hedging.admit() for _ in range(CREDIT_CALLS))
    assert not hedging.admit()


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.1, 0.3, 1 / 3, 0.7, 1.0])
def test_of_many_calls_that_all_ask_exactly_the_share_is_hedged(ratio):
    assert hedges(policy(max_ratio=ratio), calls=30_000) == pytest.approx(30_000 * ratio, abs=1)


def test_when_latency_jumps_tenfold_hedges_stay_within_five_per_cent():
    """Failure story 22, with ten calls a second, for ten minutes before and ten minutes after."""
    clock = FakeClock()
    rng = Random(22)
    hedging = policy(clock=clock)
    sent = {1.0: 0, 10.0: 0}
    for factor in sent:
        for _ in range(6000):
            clock.advance(0.1)
            hedging.call_started()
            latency = factor * rng.lognormvariate(-3.0, 0.4)
            delay = hedging.delay()
            if delay is not None and latency > delay and hedging.admit():
                sent[factor] += 1
            hedging.record(latency)
    assert 100 < sent[1.0] <= 300
    assert 100 < sent[10.0] <= 300
    # By then the p95 has followed.
    assert hedging.delay() == pytest.approx(10.0 * math.exp(-3.0 + 1.645 * 0.4), rel=0.15)


class HedgeMachine(RuleBasedStateMachine):
    """The hedger against a list of all calls and hedges and a list of all latencies."""

    @initialize(
        ratio=st.sampled_from([0.01, 0.05, 0.25, 0.4, 1.0]),
        delay=st.sampled_from([None, None, 0.0, 0.5]),
        cap=st.sampled_from([0.0, 0.3, 100.0]),
    )
    def start(self, ratio, delay, cap):
        self.clock = FakeClock(0.0)
        self.ratio, self.fixed, self.cap = ratio, delay, cap
        self.hedging = HedgePolicy(delay=delay, max_ratio=ratio, delay_cap=cap, clock=self.clock)
        self.calls = 0
        self.hedged_at = []  # for each hedge, how many calls had started
        self.credit = 0.0
        self.latencies = []

    @rule(times=st.sampled_from([1, 1, 5, 19, 20, 100]))
    def calls_start(self, times):
        start_calls(self.hedging, times)
        self.calls += times
        self.credit = min(self.credit + times * self.ratio, max(1.0, 20 * self.ratio))

    @rule(times=st.sampled_from([1, 1, 3, 30]))
    def hedges_are_asked_for(self, times):
        for _ in range(times):
            is_admitted = self.hedging.admit()
            assert is_admitted is (self.credit > 0.999999)
            if is_admitted:
                self.credit -= 1.0
                self.hedged_at.append(self.calls)

    @rule(latency=st.floats(1e-3, 100.0), times=st.sampled_from([1, 40, 99, 100]))
    def calls_succeed(self, latency, times):
        record(self.hedging, latency, times)
        self.latencies += [(self.part(), latency)] * times

    @rule(parts=st.sampled_from([0.25, 0.5, 1.0, 2.0, 5.0, 60.0]))
    def time_passes(self, parts):
        self.clock.advance(parts * WINDOW / SLICES)

    def part(self):
        return self.clock.now // (WINDOW / SLICES)

    @invariant()
    def hedges_stay_within_their_share_of_any_calls_in_a_row(self):
        slack = max(1.0, CREDIT_CALLS * self.ratio) + 1e-6
        for position, first in enumerate(self.hedged_at):
            in_a_row = len(self.hedged_at) - position
            assert in_a_row <= (self.calls - first) * self.ratio + slack
        assert len(self.hedged_at) <= self.calls * self.ratio + 1e-6

    @invariant()
    def the_delay_agrees(self):
        kept = sorted(latency for part, latency in self.latencies if self.part() - part < SLICES)
        if self.fixed is not None:
            assert self.hedging.delay() == self.fixed
        elif len(kept) < MINIMUM_SAMPLES or self.cap == 0.0:
            assert self.hedging.delay() is None
        else:
            p95 = kept[math.ceil(0.95 * len(kept)) - 1]
            delay = self.hedging.delay()
            assert delay == self.cap or delay == pytest.approx(p95, rel=0.05)
            assert delay <= self.cap
            if p95 > 1.06 * self.cap:
                assert delay == self.cap


TestHedger = HedgeMachine.TestCase
TestHedger.settings = settings(deadline=None, max_examples=100, stateful_step_count=30)

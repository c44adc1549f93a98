import copy
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.sliding_window import BUCKETS
from platform_http.policies.throttle import AdaptiveThrottle
from platform_http.testing import FakeClock


class Dice(Random):
    """A random source that says what it is told to, and counts its draws."""

    def __init__(self):
        super().__init__()
        self.says = 0.999
        self.draws = 0

    def random(self):
        self.draws += 1
        return self.says


class Throttled:
    """A throttle on a fake clock with loaded dice; it admits unless a test says otherwise."""

    def __init__(self, **overrides):
        self.clock = FakeClock()
        self.dice = Dice()
        numbers = {"k": 2.0, "window": 120.0, "clock": self.clock, "rng": self.dice}
        self.throttle = AdaptiveThrottle(**(numbers | overrides))

    def requests(self, times, *, accepted):
        for number in range(times):
            assert self.throttle.admit()
            if number < accepted:
                self.throttle.accepted()
            else:
                self.throttle.refused()

    def admits(self, draw):
        """Whether the next request would be admitted at this draw, asking a copy."""
        copied = copy.deepcopy(self)
        copied.dice.says = draw
        return copied.throttle.admit()


@pytest.fixture
def throttled():
    return Throttled()


def test_a_new_throttle_admits_without_a_draw(throttled):
    throttled.dice.says = 0.0
    assert throttled.throttle.admit()
    assert throttled.dice.draws == 0


def test_a_server_that_accepts_everything_is_never_throttled(throttled):
    throttled.dice.says = 0.0
    for _ in range(1000):
        assert throttled.throttle.admit()
        throttled.throttle.accepted()
    assert throttled.dice.draws == 0


def test_nothing_is_rejected_while_one_in_k_is_accepted(throttled):
    throttled.requests(100, accepted=100)
    throttled.requests(100, accepted=0)
    throttled.dice.says = 0.0
    assert throttled.throttle.admit()
    assert throttled.dice.draws == 0
    throttled.throttle.refused()
    assert not throttled.throttle.admit()


@pytest.mark.parametrize(
    ("k", "requests", "accepted", "chance"),
    [(2.0, 99, 30, 0.39), (1.5, 99, 30, 0.54), (1.0, 99, 30, 0.69), (2.0, 1, 0, 0.5)],
)
def test_the_chance_of_a_rejection_is_that_of_the_book(k, requests, accepted, chance):
    throttled = Throttled(k=k)
    throttled.requests(requests, accepted=accepted)
    assert throttled.admits(chance + 1e-9)
    assert not throttled.admits(chance - 1e-9)


def test_a_draw_of_exactly_the_chance_admits(throttled):
    throttled.requests(1, accepted=0)
    assert throttled.admits(0.5)


def test_local_rejections_count_as_requests(throttled):
    throttled.requests(99, accepted=40)
    throttled.dice.says = 0.0
    for _ in range(100):
        assert not throttled.throttle.admit()
    chance = (199 - 80) / 200
    assert throttled.admits(chance)
    assert not throttled.admits(chance - 1e-9)


@pytest.mark.parametrize(("overrides", "cap"), [({}, 0.9), ({"cap": 0.5}, 0.5)])
def test_a_share_is_always_sent_however_long_nothing_is_accepted(overrides, cap):
    throttled = Throttled(**overrides)
    throttled.requests(10_000, accepted=0)
    assert throttled.admits(cap)
    assert not throttled.admits(cap - 1e-9)


def test_each_request_that_may_be_rejected_takes_exactly_one_draw(throttled):
    throttled.requests(10, accepted=0)
    assert throttled.dice.draws == 9


def test_what_was_refused_is_forgotten_after_the_window_and_not_before(throttled):
    throttled.requests(99, accepted=0)
    throttled.clock.advance(119.9)
    throttled.dice.says = 0.89
    assert not throttled.throttle.admit()
    throttled.clock.advance(0.1)
    # Only the rejection of just before is left: 1 / 2.
    throttled.dice.says = 0.51
    assert throttled.throttle.admit()
    throttled.clock.advance(1e12)
    throttled.dice.says = 0.0
    assert throttled.throttle.admit()


def test_a_request_counts_for_at_least_nine_tenths_of_the_window(throttled):
    throttled.clock.advance(11.9)
    throttled.throttle.refused()
    throttled.clock.advance(108.0)
    assert not throttled.throttle.idle
    throttled.clock.advance(0.2)
    assert throttled.throttle.idle


def test_each_tenth_of_the_window_is_forgotten_at_its_own_time(throttled):
    for _ in range(10):
        throttled.throttle.refused()
        throttled.clock.advance(12.0)
    for remembered in range(9, 0, -1):
        chance = min(0.9, remembered / (remembered + 1))
        assert throttled.admits(chance)
        assert not throttled.admits(chance - 1e-9)
        throttled.clock.advance(12.0)
    assert throttled.throttle.idle


def test_what_was_accepted_is_forgotten_after_the_window(throttled):
    throttled.requests(100, accepted=100)
    throttled.clock.advance(60.0)
    throttled.requests(100, accepted=0)
    throttled.dice.says = 0.0
    assert throttled.throttle.admit()
    throttled.clock.advance(60.0)
    assert not throttled.throttle.admit()


def test_it_is_idle_when_it_remembers_nothing(throttled):
    assert throttled.throttle.idle
    throttled.throttle.refused()
    assert not throttled.throttle.idle
    throttled.clock.advance(119.0)
    throttled.throttle.accepted()
    throttled.clock.advance(1.0)
    assert not throttled.throttle.idle
    throttled.clock.advance(120.0)
    assert throttled.throttle.idle


def test_a_server_that_takes_a_quarter_is_sent_about_twice_what_it_takes():
    """The rule's purpose: 100 calls per second, of which the server accepts 25."""
    clock = FakeClock(0.0)
    throttle = AdaptiveThrottle(k=2.0, window=120.0, clock=clock, rng=Random(1))
    sent = 0
    for second in range(600):
        room = 25
        for _ in range(100):
            if throttle.admit():
                sent += second >= 300
                if room:
                    room -= 1
                    throttle.accepted()
                else:
                    throttle.refused()
        clock.advance(1.0)
    assert sent / 300 == pytest.approx(50, rel=0.05)


def test_a_server_that_recovers_gets_the_whole_demand_again_in_two_windows():
    clock = FakeClock(0.0)
    throttle = AdaptiveThrottle(k=2.0, window=120.0, clock=clock, rng=Random(1))
    sent = []
    for second in range(800):
        admitted = [throttle.admit() for _ in range(100)].count(True)
        sent.append(admitted)
        for _ in range(admitted):
            (throttle.accepted if second >= 300 else throttle.refused)()
        clock.advance(1.0)
    assert sum(sent[200:300]) / 100 == pytest.approx(10, rel=0.2)
    assert min(sent[540:]) == 100


def test_first_requests_at_one_instant_are_all_sent(throttled):
    throttled.dice.says = 0.0
    assert all(throttled.throttle.admit() for _ in range(50))
    assert throttled.dice.draws == 0


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 12) | st.sampled_from([36, 500]), st.booleans()), max_size=30
    ),
    k=st.sampled_from([1.0, 1.5, 2.0]),
)
def test_the_chance_is_that_of_a_list_of_all_requests(steps, k):
    throttled = Throttled(k=k, window=float(BUCKETS), cap=0.75)
    began = throttled.clock.now
    requests, accepts = [], []
    for quarters, is_accepted in steps:
        throttled.clock.advance(quarters / 4)
        bucket = (throttled.clock.now - began) // 1.0
        known = sum(bucket - at < BUCKETS for at in requests)
        good = sum(bucket - at < BUCKETS for at in accepts)
        assert throttled.throttle.idle is (known == good == 0)
        chance = min(0.75, (known - k * good) / (known + 1))
        assert throttled.admits(chance)
        assert throttled.admits(chance - 1e-9) is (chance <= 0)
        assert throttled.throttle.admit()
        requests.append(bucket)
        if is_accepted:
            throttled.throttle.accepted()
            accepts.append(bucket)
        else:
            throttled.throttle.refused()

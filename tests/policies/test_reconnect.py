from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.policies.reconnect import Again, GiveUp, ReconnectPolicy
from platform_http.testing import FakeClock


class LargestDraw(Random):
    def random(self):
        return 1.0


def make(rng=None, **changes):
    clock = FakeClock()
    options = {
        "initial": 0.5,
        "maximum": 4.0,
        "limit": 5,
        "window": 100.0,
        "stable": 30.0,
        "retry_after_max": 60.0,
    } | changes
    return ReconnectPolicy(**options, clock=clock, rng=rng or LargestDraw()), clock


def test_the_bound_of_the_waits_doubles_up_to_the_maximum():
    policy, _ = make()
    assert [policy.decide() for _ in range(5)] == [
        Again(0.5),
        Again(1),
        Again(2),
        Again(4),
        Again(4),
    ]


def test_waits_spread_over_the_whole_range():
    policy, _ = make(rng=Random(3), limit=1000, initial=4.0)
    delays = [policy.decide().delay for _ in range(1000)]
    assert min(delays) < 0.1
    assert max(delays) > 3.9


def test_a_connection_that_lasted_starts_the_waits_anew():
    policy, clock = make()
    policy.decide()
    policy.decide()
    policy.connected()
    clock.advance(30)
    assert policy.decide() == Again(0.5)


def test_a_connection_that_is_dropped_at_once_does_not():
    policy, clock = make()
    policy.decide()
    policy.decide()
    policy.connected()
    clock.advance(29)
    assert policy.decide() == Again(2)


def test_a_failure_long_after_a_connection_is_not_taken_for_one_that_lasted():
    policy, clock = make()
    policy.connected()
    policy.decide()
    clock.advance(40)
    assert policy.decide() == Again(1)


def test_the_budget_is_a_count_in_a_window():
    policy, clock = make()
    for _ in range(5):
        assert isinstance(policy.decide(), Again)
        clock.advance(10)
    assert policy.decide() == GiveUp("budget")
    clock.advance(49)
    assert policy.decide() == GiveUp("budget")
    clock.advance(1)
    assert isinstance(policy.decide(), Again)
    assert policy.decide() == GiveUp("budget")


def test_a_limit_of_nothing_never_connects_again():
    policy, _ = make(limit=0)
    assert policy.decide() == GiveUp("budget")


def test_what_the_server_asks_for_comes_before_the_backoff_and_is_never_shortened():
    policy, _ = make()
    assert policy.decide(asked=7) == Again(7.5)
    assert policy.decide(asked=60) == Again(61)
    assert policy.decide(asked=0) == Again(2)


def test_a_server_that_asks_for_too_long_is_not_waited_for_and_costs_nothing():
    policy, _ = make(limit=1)
    assert policy.decide(asked=60.1) == GiveUp("retry_after_max")
    assert isinstance(policy.decide(), Again)


def test_a_refusal_of_our_own_is_waited_for_at_least():
    policy, _ = make()
    assert policy.decide(refused=30) == Again(30)
    assert policy.decide(refused=0.5) == Again(1)


def test_a_wait_beyond_the_deadline_is_not_begun_and_costs_nothing():
    policy, _ = make(limit=1)
    assert policy.decide(remaining=0.5) == GiveUp("deadline")
    assert policy.decide(remaining=0.6) == Again(0.5)


@given(steps=st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=80), seed=st.integers())
def test_no_window_ever_holds_more_connects_than_the_limit(steps, seed):
    policy, clock = make(rng=Random(seed))
    made = []
    for seconds, connects in steps:
        clock.advance(seconds)
        decision = policy.decide()
        if isinstance(decision, Again):
            assert 0 <= decision.delay <= 4
            made.append(clock.now)
        if connects:
            policy.connected()
    for instant in made:
        assert sum(instant - 100 < other <= instant for other in made) <= 5


@pytest.mark.parametrize("tries", [1, 2000])
def test_many_tries_do_not_overflow(tries):
    policy, clock = make()
    for _ in range(tries):
        clock.advance(100)
        assert policy.decide().delay <= 4

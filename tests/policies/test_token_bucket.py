import math

import pytest

from platform_http.policies.token_bucket import TokenBucket
from platform_http.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def bucket(clock, **overrides):
    """Four tokens a second, three at once."""
    return TokenBucket(clock=clock, **({"rate": 4.0, "per": 1.0, "burst": 3.0} | overrides))


def take_all(tokens):
    """Take what can be had without a wait, and return how much that was."""
    taken = 0
    while tokens.take(0.0) is not None:
        taken += 1
    return taken


def test_a_new_bucket_is_full_and_hands_out_its_burst_at_once(clock):
    tokens = bucket(clock)
    assert tokens.full
    assert [tokens.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, None]
    assert not tokens.full


def test_tokens_come_back_at_the_rate(clock):
    tokens = bucket(clock)
    take_all(tokens)
    clock.advance(0.25)
    assert take_all(tokens) == 1
    clock.advance(0.125)
    assert take_all(tokens) == 0
    clock.advance(0.375)
    assert take_all(tokens) == 2


@pytest.mark.parametrize(("rate", "per"), [(4.0, 1.0), (1.0, 0.25), (240.0, 60.0)])
def test_the_rate_counts_per_period(clock, rate, per):
    tokens = bucket(clock, rate=rate, per=per)
    take_all(tokens)
    assert tokens.take(math.inf) == 0.25


def test_an_idle_bucket_holds_no_more_than_its_burst(clock):
    tokens = bucket(clock)
    clock.advance(1e9)
    assert take_all(tokens) == 3
    clock.advance(0.5)
    assert not tokens.full
    clock.advance(1e9)
    assert tokens.full
    assert take_all(tokens) == 3


def test_those_who_wait_are_served_in_the_order_in_which_they_asked(clock):
    tokens = bucket(clock)
    take_all(tokens)
    assert [tokens.take(math.inf) for _ in range(4)] == [0.25, 0.5, 0.75, 1.0]
    clock.advance(0.125)
    assert tokens.take(math.inf) == 1.125


def test_a_newcomer_does_not_overtake_those_who_wait(clock):
    tokens = bucket(clock)
    take_all(tokens)
    tokens.take(math.inf)
    clock.advance(0.25)
    assert tokens.take(0.0) is None
    assert tokens.take(0.25) == 0.25


def test_the_longest_wait_is_still_waited_and_a_longer_one_reserves_nothing(clock):
    tokens = bucket(clock)
    take_all(tokens)
    assert tokens.take(0.2499) is None
    assert tokens.take(0.25) == 0.25
    assert tokens.take(0.4999) is None
    assert tokens.take(0.5) == 0.5


def test_nobody_waits_a_negative_time_even_for_a_token_that_is_there(clock):
    tokens = bucket(clock)
    assert tokens.take(-0.001) is None
    assert tokens.full


def test_it_says_when_the_next_token_is_due_and_reserves_none(clock):
    tokens = bucket(clock)
    assert tokens.retry_after == 0.0
    take_all(tokens)
    assert tokens.retry_after == 0.25
    tokens.take(math.inf)
    assert tokens.retry_after == 0.5
    clock.advance(0.375)
    assert tokens.retry_after == 0.125
    clock.advance(10.0)
    assert tokens.retry_after == 0.0


@pytest.mark.parametrize("rate", [3.0, 7.0, 10.0, 0.3, 1e4])
@pytest.mark.parametrize("now", [1234.5678, 1.7e9], ids=["uptime", "epoch"])
def test_who_comes_back_when_told_to_is_served(rate, now):
    clock = FakeClock(now)
    tokens = bucket(clock, rate=rate, burst=1.0)
    assert tokens.take(0.0) == 0.0
    for _ in range(1000):
        assert tokens.take(0.0) is None
        clock.advance(tokens.retry_after)
        assert tokens.take(0.0) == 0.0


def test_rounding_makes_no_tokens_however_often_it_is_forgiven():
    clock = FakeClock(0.0)
    tokens = bucket(clock, rate=1.0, burst=1.0)
    tokens.take(0.0)
    for taken in range(1, 1001):
        # Half of the forgiven part too early, each time.
        clock.now = taken - 0.5e-6
        assert tokens.take(0.0) == 0.0
    clock.now = 1001 - 1e-5
    assert tokens.take(0.0) is None


def test_a_refunded_token_can_be_taken_again(clock):
    tokens = bucket(clock)
    take_all(tokens)
    tokens.refund()
    assert tokens.retry_after == 0.0
    assert take_all(tokens) == 1


def test_a_refused_call_costs_no_token_if_it_is_given_back(clock):
    tokens = bucket(clock)
    for _ in range(1000):
        assert tokens.take(0.0) == 0.0
        tokens.refund()
    assert tokens.full


def test_who_gives_up_waiting_makes_room_for_the_next_one(clock):
    tokens = bucket(clock)
    take_all(tokens)
    assert tokens.take(1.0) == 0.25
    assert tokens.take(1.0) == 0.5
    tokens.refund()
    assert tokens.take(1.0) == 0.5


def test_a_refund_never_fills_it_beyond_its_burst(clock):
    tokens = bucket(clock)
    tokens.take(0.0)
    clock.advance(1.0)
    tokens.refund()
    assert tokens.full
    assert take_all(tokens) == 3


def test_a_refund_after_a_long_pause_brings_no_more_than_the_burst(clock):
    tokens = bucket(clock)
    take_all(tokens)
    clock.advance(1e9)
    tokens.refund()
    assert take_all(tokens) == 3


@pytest.mark.parametrize("burst", [0.25, 0.5, 1.0])
def test_a_burst_of_less_than_one_counts_as_one(clock, burst):
    """One request every two seconds has a rate, and so a default burst, of one half."""
    tokens = bucket(clock, rate=0.5, burst=burst)
    assert take_all(tokens) == 1
    assert tokens.retry_after == 2.0
    clock.advance(2.0)
    assert take_all(tokens) == 1


def test_a_fraction_of_a_burst_shortens_the_first_wait(clock):
    tokens = bucket(clock, burst=1.5)
    assert tokens.take(0.0) == 0.0
    assert tokens.take(math.inf) == 0.125

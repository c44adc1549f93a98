import pytest

from platform_http.policies.retry_budget import RetryBudget
from platform_http.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


def budget(clock, **overrides):
    numbers = {"capacity": 100, "cost": 10, "cost_timeout": 20, "refund": 1, "trickle": 1}
    return RetryBudget(clock=clock, **(numbers | overrides))


def spend_all(tokens, *, timeout=False):
    """Spend while the tokens last, and return how often that was."""
    times = 0
    while tokens.spend(timeout=timeout) is not None:
        times += 1
    return times


def test_a_new_budget_is_full(clock):
    tokens = budget(clock)
    assert tokens.full
    assert tokens.tokens == 100


def test_a_resend_costs_more_after_a_timeout(clock):
    tokens = budget(clock)
    assert tokens.spend(timeout=False) == 10
    assert tokens.tokens == 90
    assert tokens.spend(timeout=True) == 20
    assert tokens.tokens == 70
    assert not tokens.full


def test_the_last_tokens_can_be_spent(clock):
    tokens = budget(clock, capacity=10)
    assert tokens.spend(timeout=False) == 10
    assert tokens.tokens == 0


def test_a_budget_is_touched_from_a_resend_until_somebody_notes_that_it_has_recovered(clock):
    tokens = budget(clock)
    assert tokens.untouched
    tokens.spend(timeout=False)
    assert not tokens.untouched
    clock.advance(9)
    assert not tokens.recovered()
    clock.advance(1)
    # Who only looks, to forget it or to show it, has told nobody.
    assert tokens.full
    assert not tokens.untouched
    assert tokens.recovered()
    assert tokens.untouched


def test_what_cannot_be_paid_takes_nothing(clock):
    tokens = budget(clock, capacity=15)
    assert tokens.spend(timeout=True) is None
    assert tokens.tokens == 15
    assert tokens.spend(timeout=False) == 10
    assert tokens.spend(timeout=False) is None
    assert tokens.tokens == 5


def test_a_success_without_a_resend_earns_the_refund(clock):
    tokens = budget(clock, trickle=0)
    spend_all(tokens)
    tokens.succeeded(0.0)
    assert tokens.tokens == 1


@pytest.mark.parametrize("timeout", [False, True])
def test_a_success_after_resends_gives_back_the_last_cost_only(clock, timeout):
    tokens = budget(clock)
    tokens.spend(timeout=False)
    cost = tokens.spend(timeout=timeout)
    tokens.succeeded(cost)
    assert tokens.tokens == 90


def test_successes_never_fill_it_beyond_its_capacity(clock):
    tokens = budget(clock)
    tokens.succeeded(0.0)
    tokens.succeeded(20.0)
    assert tokens.tokens == 100


def test_the_trickle_comes_back_with_the_time_that_passed(clock):
    tokens = budget(clock, trickle=2)
    spend_all(tokens)
    clock.advance(2.5)
    assert tokens.tokens == 5
    assert tokens.spend(timeout=False) is None
    clock.advance(2.5)
    assert tokens.spend(timeout=False) == 10


def test_the_trickle_never_fills_it_beyond_its_capacity(clock):
    tokens = budget(clock)
    tokens.spend(timeout=False)
    clock.advance(9.5)
    assert not tokens.full
    clock.advance(1e9)
    assert tokens.full
    assert tokens.tokens == 100
    assert spend_all(tokens) == 10


def test_time_at_full_capacity_is_not_saved_for_later(clock):
    tokens = budget(clock)
    clock.advance(1e6)
    assert spend_all(tokens) == 10


def test_a_success_does_not_bring_the_trickle_of_the_time_at_full_capacity(clock):
    tokens = budget(clock)
    clock.advance(1e6)
    tokens.succeeded(0.0)
    assert spend_all(tokens) == 10


def test_without_a_trickle_an_empty_budget_waits_for_successes(clock):
    tokens = budget(clock, trickle=0)
    spend_all(tokens)
    clock.advance(1e9)
    assert tokens.spend(timeout=False) is None
    for _ in range(10):
        tokens.succeeded(0.0)
    assert tokens.spend(timeout=False) == 10


@pytest.mark.parametrize(("timeout", "burst", "afterwards"), [(False, 10, 100), (True, 5, 50)])
def test_a_total_outage_gets_a_burst_and_then_the_trickle(clock, timeout, burst, afterwards):
    tokens = budget(clock)
    assert spend_all(tokens, timeout=timeout) == burst
    resends = 0
    for _ in range(1000):
        clock.advance(1.0)
        resends += spend_all(tokens, timeout=timeout)
    assert resends == afterwards


def test_ten_seconds_of_failing_calls_are_resent_eleven_times_however_many_they_are(clock):
    tokens = budget(clock)
    resends = spend_all(tokens)
    for _ in range(10 * 128):
        clock.advance(1 / 128)
        resends += spend_all(tokens)
    assert resends == 11


def test_resends_that_help_are_free(clock):
    tokens = budget(clock, trickle=0)
    for _ in range(1000):
        tokens.succeeded(tokens.spend(timeout=False))
    assert tokens.full


def test_resends_that_do_not_help_are_paid_for_by_ten_successes_each(clock):
    tokens = budget(clock, trickle=0)
    spend_all(tokens)
    resends = 0
    for _ in range(1000):
        tokens.succeeded(0.0)
        resends += spend_all(tokens)
    assert resends == 100


def test_a_free_resend_is_granted_by_an_empty_budget_and_is_not_a_refusal(clock):
    tokens = budget(clock, cost=0, trickle=0)
    assert spend_all(tokens, timeout=True) == 5
    assert tokens.tokens == 0
    assert tokens.spend(timeout=False) == 0.0
    tokens.succeeded(0.0)
    assert tokens.tokens == 1


def test_a_cost_above_the_capacity_is_never_paid(clock):
    tokens = budget(clock, capacity=5)
    clock.advance(1e6)
    assert tokens.spend(timeout=False) is None
    assert tokens.full

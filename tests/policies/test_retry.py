import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies import retry_after
from platform_http.policies.outcome import Health, Kind, Outcome, of_status
from platform_http.policies.retry import Resend, RetryPolicy, Stop

LISTED = frozenset({429, 502, 503, 504})
UNAVAILABLE = of_status(503, LISTED)
THROTTLED = of_status(429, LISTED)
RESET = Outcome(Kind.TRANSIENT, Health.FAILED, "connection_error")
NO_SUCH_NAME = Outcome(Kind.TRANSIENT, Health.FAILED, "name_resolution_error", once=True)
BAD_CERTIFICATE = Outcome(Kind.PERMANENT, Health.FAILED, "secure_connection_error")


def policy(
    *,
    seed=1,
    rng=None,
    respect_retry_after=True,
    retry_after_max=30.0,
    backoff_max=5.0,
):
    return RetryPolicy(
        methods=["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"],
        backoff_initial=0.05,
        backoff_max=backoff_max,
        backoff_throttled=1.0,
        respect_retry_after=respect_retry_after,
        retry_after_max=retry_after_max,
        rng=rng or Random(seed),
    )


def decide(outcome, *, by=None, **circumstances):
    """Decide about a GET that may have been processed, unless *circumstances* differ."""
    usual = {
        "method": "GET",
        "resends": 0,
        "max_attempts": 3,
        "idempotent": None,
        "sent": True,
        "replayable": True,
        "retry_after": None,
        "remaining": math.inf,
        "once_spent": False,
    }
    return (by or policy()).decide(outcome, **(usual | circumstances))


def test_a_success_leaves_nothing_to_decide():
    assert decide(of_status(200, LISTED)) is None


def test_a_cancel_by_the_caller_leaves_nothing_to_decide():
    assert decide(Outcome(Kind.NEUTRAL, Health.NEUTRAL)) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, THROTTLED, RESET])
def test_an_idempotent_method_is_resent_although_it_may_have_been_processed(method, outcome):
    decision = decide(outcome, method=method)
    assert isinstance(decision, Resend)
    assert decision.reason == outcome.reason


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "PROPFIND"])
@pytest.mark.parametrize("outcome", [UNAVAILABLE, THROTTLED, RESET])
def test_any_other_method_is_not_resent_once_it_may_have_been_processed(method, outcome):
    assert decide(outcome, method=method) == Stop("not_idempotent")


@pytest.mark.parametrize("outcome", [UNAVAILABLE, THROTTLED])
def test_a_post_is_not_resent_because_the_server_names_a_time(outcome):
    assert decide(outcome, method="POST", retry_after=1.0) == Stop("not_idempotent")


def test_a_post_that_was_not_sent_is_resent():
    assert isinstance(decide(RESET, method="POST", sent=False), Resend)


def test_a_post_that_is_declared_idempotent_is_resent():
    assert isinstance(decide(RESET, method="POST", idempotent=True), Resend)


def test_a_get_that_is_declared_not_idempotent_is_not_resent():
    assert decide(RESET, idempotent=False) == Stop("not_idempotent")


def test_a_body_that_cannot_be_produced_again_is_not_resent():
    assert decide(RESET, method="PUT", replayable=False) == Stop("body_consumed")


def test_a_body_that_cannot_be_produced_again_is_resent_if_it_was_never_sent():
    assert isinstance(decide(RESET, method="PUT", replayable=False, sent=False), Resend)


@pytest.mark.parametrize("outcome", [BAD_CERTIFICATE, of_status(500, LISTED), of_status(429, [])])
def test_what_would_fail_in_the_same_way_is_not_resent_even_if_it_was_not_sent(outcome):
    assert decide(outcome, sent=False) == Stop("not_retryable")


@pytest.mark.parametrize("max_attempts", [1, 2, 3, 5])
def test_a_call_makes_as_many_attempts_as_it_may_and_then_is_exhausted(max_attempts):
    by = policy()
    resends = 0
    while isinstance(
        decision := decide(RESET, by=by, resends=resends, max_attempts=max_attempts), Resend
    ):
        resends += 1
    assert resends + 1 == max_attempts
    assert decision == Stop("exhausted")


def test_an_outcome_worth_one_resend_is_resent_once_per_call():
    assert isinstance(decide(NO_SUCH_NAME, sent=False), Resend)
    assert decide(NO_SUCH_NAME, sent=False, resends=1, once_spent=True) == Stop("exhausted")


def test_a_spent_single_resend_does_not_stop_other_outcomes():
    assert isinstance(decide(RESET, resends=1, once_spent=True), Resend)


def test_the_reason_that_lasts_longest_is_the_one_reported():
    """Remove the reasons one by one: each uncovers the next of the documented order."""
    circumstances = {
        "method": "POST",
        "replayable": False,
        "resends": 2,
        "retry_after": 31.0,
        "remaining": 0.0,
    }
    seen = [decide(BAD_CERTIFICATE, **circumstances)]
    for cure in (
        {},
        {"method": "PUT"},
        {"replayable": True},
        {"resends": 1},
        {"retry_after": 30.0},
        {"remaining": 60.0},
    ):
        circumstances |= cure
        seen.append(decide(UNAVAILABLE, **circumstances))
    *stops, last = seen
    assert [stop.reason for stop in stops] == [
        "not_retryable",
        "not_idempotent",
        "body_consumed",
        "exhausted",
        "retry_after_max",
        "deadline",
    ]
    assert isinstance(last, Resend)


def test_retry_after_60_under_a_deadline_of_10_stops_at_once():
    by = policy(retry_after_max=120.0)
    assert decide(UNAVAILABLE, by=by, retry_after=60.0, remaining=10.0) == Stop("deadline")


def test_a_retry_after_beyond_the_maximum_is_not_waited_for():
    assert decide(UNAVAILABLE, retry_after=30.1) == Stop("retry_after_max")


def test_the_maximum_is_compared_with_what_the_server_asked_and_not_with_the_jittered_wait():
    waits = [decide(UNAVAILABLE, by=policy(seed=seed), retry_after=30.0).delay for seed in range(9)]
    assert max(waits) > 30.0


def test_retry_after_is_stretched_by_up_to_half_and_never_shortened():
    rng = Random(5)
    waits = [decide(THROTTLED, by=policy(rng=rng), retry_after=10.0).delay for _ in range(500)]
    assert 10.0 <= min(waits) < 10.2
    assert 14.8 < max(waits) <= 15.0


def test_retry_after_replaces_the_backoff_even_when_it_is_shorter():
    assert decide(THROTTLED, retry_after=0.0) == Resend(0.0, "429")


def test_an_ignored_retry_after_neither_delays_nor_stops():
    by = policy(respect_retry_after=False)
    decision = decide(UNAVAILABLE, by=by, retry_after=3600.0)
    assert isinstance(decision, Resend)
    assert decision.delay <= 0.05


@pytest.mark.parametrize("remaining", [0.0, -1.0])
def test_nothing_is_resent_after_the_deadline_even_without_a_wait(remaining):
    assert decide(UNAVAILABLE, retry_after=0.0, remaining=remaining) == Stop("deadline")


def test_a_wait_that_ends_exactly_at_the_deadline_does_not_fit():
    wait = decide(RESET, by=policy(seed=4)).delay
    assert decide(RESET, by=policy(seed=4), remaining=wait) == Stop("deadline")
    fits = decide(RESET, by=policy(seed=4), remaining=math.nextafter(wait, math.inf))
    assert fits == Resend(wait, "connection_error")


class LargestDraw(Random):
    def random(self):
        return 1.0


@pytest.mark.parametrize(("outcome", "first"), [(UNAVAILABLE, 0.05), (THROTTLED, 1.0)])
def test_backoff_doubles_from_a_base_that_is_larger_after_throttling(outcome, first):
    by = policy(rng=LargestDraw(), backoff_max=3.0)
    waits = [decide(outcome, by=by, resends=n, max_attempts=99).delay for n in range(4)]
    assert waits == pytest.approx([min(first * 2**n, 3.0) for n in range(4)])


def test_only_a_decision_that_gets_as_far_as_the_wait_draws_and_then_once():
    rng, twin = Random(11), Random(11)
    by = policy(rng=rng)
    decide(of_status(200, LISTED), by=by)
    decide(BAD_CERTIFICATE, by=by)
    decide(RESET, by=by, method="POST")
    decide(RESET, by=by, replayable=False)
    decide(RESET, by=by, resends=2)
    decide(UNAVAILABLE, by=by, retry_after=31.0)
    assert rng.getstate() == twin.getstate()
    decide(RESET, by=by)
    decide(UNAVAILABLE, by=by, retry_after=3.0)
    decide(RESET, by=by, remaining=0.0)
    for _ in range(3):
        twin.random()
    assert rng.getstate() == twin.getstate()


@settings(deadline=None)
@given(value=st.text() | st.from_regex(r"[0-9]{1,12}", fullmatch=True), seed=st.integers())
def test_a_hostile_retry_after_never_makes_a_call_wait_beyond_its_limits(value, seed):
    asked = retry_after.parse(value, now=1.7e9)
    decision = decide(THROTTLED, by=policy(seed=seed), retry_after=asked, remaining=40.0)
    if isinstance(decision, Resend):
        assert 0.0 <= decision.delay <= 45.0
        assert decision.delay < 40.0
    else:
        assert decision in {Stop("retry_after_max"), Stop("deadline")}


@settings(deadline=None, max_examples=300)
@given(
    outcome=st.builds(
        Outcome,
        st.sampled_from(Kind),
        st.sampled_from(Health),
        st.just("word"),
        st.booleans(),
    ),
    method=st.sampled_from(["GET", "PUT", "POST", "PATCH"]),
    resends=st.integers(0, 5),
    max_attempts=st.integers(1, 5),
    idempotent=st.none() | st.booleans(),
    sent=st.booleans(),
    replayable=st.booleans(),
    asked=st.none() | st.floats(0, 1e8),
    remaining=st.floats(-1, 100) | st.just(math.inf),
    once_spent=st.booleans(),
    seed=st.integers(),
)
def test_a_resend_is_always_safe_within_the_cap_and_inside_the_deadline(
    outcome,
    method,
    resends,
    max_attempts,
    idempotent,
    sent,
    replayable,
    asked,
    remaining,
    once_spent,
    seed,
):
    circumstances = {
        "method": method,
        "resends": resends,
        "max_attempts": max_attempts,
        "idempotent": idempotent,
        "sent": sent,
        "replayable": replayable,
        "retry_after": asked,
        "remaining": remaining,
        "once_spent": once_spent,
    }
    decision = decide(outcome, by=policy(seed=seed), **circumstances)
    assert decision == decide(outcome, by=policy(seed=seed), **circumstances)
    assert (decision is None) == (outcome.kind in {Kind.SUCCESS, Kind.NEUTRAL})
    if isinstance(decision, Resend):
        assert outcome.kind in {Kind.TRANSIENT, Kind.THROTTLED}
        assert resends + 1 < max_attempts
        assert 0.0 <= decision.delay < remaining
        assert asked is None or asked <= decision.delay <= asked * 1.5
        assert not sent or (
            replayable and (idempotent or (idempotent is None and method in {"GET", "PUT"}))
        )
        assert not (outcome.once and once_spent)

"""A call takes the same way through the policies as in a session."""

from __future__ import annotations

import pytest

from platform_http.errors import ConfigurationError
from platform_http.simulation import Report, Scenario
from tests.simulation.scenes import Calls, play, scene, steady, trouble

ALONE = {"CIRCUIT_BREAKER__MODE": "off", "RETRY__ENABLED": False}
"""Neither breaker nor retries, so that what is tested decides."""


def test_a_call_that_succeeds_is_one_request():
    report = play(scene())
    assert (report.calls, report.successes, report.sent) == (1, 1, {"api": 1})
    assert report.p50 == pytest.approx(0.1)


def test_a_503_is_resent_until_the_attempts_are_exhausted():
    report = play(scene(trouble("status")), RETRY__MAX_ATTEMPTS=4)
    assert report.sent == {"api": 4}
    assert report.resends == 3
    assert report.errors == {"503": 1}


def test_without_retries_there_is_one_attempt():
    assert play(scene(trouble("status")), RETRY__ENABLED=False).sent == {"api": 1}


def test_a_call_that_is_helped_by_a_resend_succeeds():
    report = play(scene(trouble("status", duration=1.0005)))
    assert (report.successes, report.resends) == (1, 1)


def test_a_post_is_resent_after_a_refusal_and_not_after_a_reset():
    refused = play(scene(trouble("refuse"), method="POST"))
    assert refused.sent == {"api": 3}
    assert refused.errors == {"connection_error": 1}
    reset = play(scene(trouble("crash", start=1.05), method="POST"))
    assert reset.sent == {"api": 1}
    assert reset.errors == {"response_ended": 1}


def test_an_attempt_ends_at_its_timeout_and_the_call_at_its_deadline():
    hung = scene(trouble("capacity", factor=0, duration=20))
    report = play(hung, TIMEOUT__TOTAL=5, TIMEOUT__ATTEMPT=2, RETRY__BACKOFF_MAX=0.01)
    assert report.sent == {"api": 3}
    assert report.errors == {"deadline_exceeded": 1}
    patient = play(hung, TIMEOUT__TOTAL="none", TIMEOUT__ATTEMPT="none")
    assert patient.successes == 1
    assert patient.p50 == pytest.approx(19.1)


def test_the_upstream_works_on_a_request_that_nobody_waits_for():
    # One worker, and each request takes longer than its client waits.
    report = play(
        scene(workers=1, calls=3, service_time={"distribution": "constant", "mean": 2}),
        **ALONE,
        TIMEOUT__ATTEMPT=3,
    )
    # The second one starts at 2 s and would have ended at 4 s, the third at 6 s.
    assert report.successes == 1
    assert report.errors == {"attempt_timeout": 2}


def test_a_retry_after_beyond_the_deadline_is_not_waited_for():
    report = play(scene(trouble("status", retry_after=20)))
    assert report.sent == {"api": 1}
    assert report.errors == {"503": 1}


def test_a_retry_after_is_waited_for():
    report = play(scene(trouble("status", retry_after=2, duration=1.5)))
    assert report.successes == 1
    assert report.p50 is not None
    assert 2.1 <= report.p50 <= 3.2


def test_an_empty_budget_ends_the_resends_of_its_process_alone():
    down = scene(trouble("status"), calls=100, clients=2)
    report = play(down, CIRCUIT_BREAKER__MODE="off", RETRY__BUDGET__TRICKLE=0)
    assert report.resends == 20


def test_a_resend_after_a_timeout_costs_more():
    hung = scene(trouble("capacity", factor=0), calls=100)
    settings = {
        "CIRCUIT_BREAKER__MODE": "off",
        "RETRY__BUDGET__TRICKLE": 0,
        "CONCURRENCY__LIMIT": 0,
    }
    assert play(hung, **settings, TIMEOUT__ATTEMPT=1).resends == 5


def test_successes_earn_what_is_spent_in_the_next_outage():
    story = steady(10, trouble("status", start=5, duration=5), trouble("status", start=18))
    settings = {"CIRCUIT_BREAKER__MODE": "off", "RETRY__BUDGET__TRICKLE": 0}
    # Ten were saved up, and eight seconds of success pay for about eight more.
    assert 16 <= play(story, **settings).resends <= 20
    assert play(story, **settings, RETRY__BUDGET__REFUND=0).resends == 10


def test_a_resend_that_helps_is_free():
    instants = [float(second) for second in range(1, 26)]
    # Each call fails once and succeeds after that.
    blips = [trouble("status", start=instant, duration=0.0005) for instant in instants]
    settings = {"CIRCUIT_BREAKER__MODE": "off", "RETRY__BUDGET__TRICKLE": 0}
    calls = Calls(scene(*blips), *instants, **settings, RETRY__BUDGET__REFUND=0)
    assert [succeeded for _, succeeded in calls.ended] == [True] * 25


def test_a_call_ends_at_its_deadline_also_within_an_attempt():
    hung = scene(trouble("capacity", factor=0))
    settings = {"TIMEOUT__TOTAL": 3, "TIMEOUT__ATTEMPT": 2, "RETRY__BACKOFF_MAX": 0.01}
    assert Calls(hung, 1, **settings).ended == [(4, False)]


def test_a_call_whose_resend_is_refused_fails_with_what_it_was_told_before():
    # They all fail at once. The circuit is open by the time of their resends.
    report = play(scene(trouble("status"), calls=40), CONCURRENCY__LIMIT=0)
    assert report.errors == {"503": 40}
    # What was refused was not resent.
    assert report.resends == report.sent["api"] - 40


def test_an_open_circuit_refuses_and_a_probe_closes_it():
    story = steady(20, trouble("status", duration=10))
    report = play(story, RETRY__ENABLED=False, CIRCUIT_BREAKER__OPEN_DURATION_MAX=5)
    assert report.errors["circuit_open"] > 100
    # 20 calls that trip it and a probe every five seconds, the last one soon after the end.
    assert report.errors["503"] in {21, 22}
    assert sum(second.successes for second in report.seconds[13:]) > 300


@pytest.mark.parametrize(
    ("mode", "errors"),
    [
        ("off", {"503"}),
        ("observe", {"503"}),
        ("enforce", {"503", "circuit_open"}),
        ("force_open", {"circuit_open"}),
    ],
)
def test_the_mode_of_the_breaker_counts(mode, errors):
    story = steady(20, trouble("status"))
    assert set(play(story, RETRY__ENABLED=False, CIRCUIT_BREAKER__MODE=mode).errors) == errors


def test_slow_calls_open_the_circuit():
    story = steady(20, trouble("slow_down", factor=20))
    assert play(story, CONCURRENCY__LIMIT=0).errors == {}
    slow = play(
        story,
        CONCURRENCY__LIMIT=0,
        CIRCUIT_BREAKER__SLOW_CALL_DURATION=1,
        CIRCUIT_BREAKER__SLOW_CALL_RATIO=0.5,
    )
    assert slow.errors["circuit_open"] > 100


def test_calls_beyond_the_concurrency_limit_wait_their_turn():
    report = play(scene(calls=30), **ALONE, CONCURRENCY__LIMIT=10)
    assert report.successes == 30
    # Three rounds of 100 ms.
    assert report.p99 == pytest.approx(0.3)
    assert report.p50 == pytest.approx(0.2)


def test_each_process_has_a_concurrency_limit_of_its_own():
    report = play(scene(calls=30, clients=3), **ALONE, CONCURRENCY__LIMIT=10)
    assert report.p99 == pytest.approx(0.1)


def test_a_full_queue_and_a_wait_that_is_too_long_are_refused():
    settings = {**ALONE, "CONCURRENCY__LIMIT": 1}
    full = play(scene(calls=10), **settings, CONCURRENCY__QUEUE=3)
    assert (full.successes, full.errors) == (4, {"concurrency_limited": 6})
    late = play(scene(calls=10), **settings, CONCURRENCY__QUEUE_TIMEOUT=0.45)
    assert (late.successes, late.errors) == (5, {"concurrency_limited": 5})


def test_a_deadline_that_passes_in_the_queue_is_told_from_its_timeout():
    slow = scene(calls=2, service_time={"distribution": "constant", "mean": 1.5})
    report = play(
        slow, **ALONE, CONCURRENCY__LIMIT=1, TIMEOUT__TOTAL=1, CONCURRENCY__QUEUE_TIMEOUT=1
    )
    assert report.errors == {"deadline_exceeded": 2}
    assert report.sent == {"api": 1}


def test_a_place_in_the_queue_is_given_up_with_the_wait():
    slow = scene(service_time={"distribution": "constant", "mean": 1})
    settings = {**ALONE, "CONCURRENCY__LIMIT": 1, "CONCURRENCY__QUEUE_TIMEOUT": 0.5}
    calls = Calls(slow, 1, 1.1, 3, **settings)
    assert calls.ended == [(1.6, False), (2, True), (4, True)]


def test_a_wait_in_the_queue_ends_at_the_deadline():
    slow = scene(
        trouble("status", duration=1.0005), service_time={"distribution": "constant", "mean": 4}
    )
    settings = {"CONCURRENCY__LIMIT": 1, "TIMEOUT__TOTAL": 3, "TIMEOUT__ATTEMPT": 3}
    # The first call fails and waits behind the second one until its own time is over.
    calls = Calls(
        slow, 1, 1.001, **settings, CONCURRENCY__QUEUE_TIMEOUT=3, RETRY__BACKOFF_INITIAL=0.1
    )
    assert calls.ended[0] == (4, False)


def test_a_limit_that_only_counts_lets_everything_pass():
    report = play(
        scene(calls=10),
        **ALONE,
        CONCURRENCY__LIMIT=1,
        CONCURRENCY__QUEUE=2,
        CONCURRENCY__ENFORCE=False,
    )
    assert report.successes == 10
    assert report.p99 == pytest.approx(0.1)


def test_a_limit_that_only_counts_counts_right():
    settings = {**ALONE, "CONCURRENCY__LIMIT": 1, "CONCURRENCY__ENFORCE": False}
    calls = Calls(scene(), 1, 1, 1, **settings)
    (process,) = calls.fleet._processes
    assert process.limit is not None
    assert process.limit.idle


def test_a_limit_that_only_counts_needs_no_queue():
    settings = {**ALONE, "CONCURRENCY__LIMIT": 1, "CONCURRENCY__QUEUE": 0}
    assert play(scene(calls=10), **settings).successes == 1
    assert play(scene(calls=10), **settings, CONCURRENCY__ENFORCE=False).successes == 10


def test_a_queue_without_a_timeout_is_waited_in_to_the_end():
    report = play(
        scene(calls=20, service_time={"distribution": "constant", "mean": 1}),
        **ALONE,
        CONCURRENCY__LIMIT=1,
        CONCURRENCY__QUEUE_TIMEOUT="none",
        TIMEOUT__TOTAL="none",
    )
    assert report.successes == 20
    assert report.p99 == pytest.approx(20)


def test_a_turn_that_comes_at_the_deadline_sends_nothing():
    report = play(
        scene(calls=2),
        **ALONE,
        RATE_LIMIT__RATE=1,
        RATE_LIMIT__MAX_WAIT=5,
        TIMEOUT__TOTAL=1,
    )
    assert report.sent == {"api": 1}
    assert report.errors == {"deadline_exceeded": 1}


def test_a_rate_limit_refuses_what_would_wait_too_long():
    settings = {**ALONE, "RATE_LIMIT__RATE": 10, "RATE_LIMIT__BURST": 5}
    none = play(scene(calls=10), **settings)
    assert (none.successes, none.errors) == (5, {"rate_limited": 5})
    short = play(scene(calls=10), **settings, RATE_LIMIT__MAX_WAIT=0.25)
    assert (short.successes, short.errors) == (7, {"rate_limited": 3})
    assert short.p99 == pytest.approx(0.3)


def test_a_wait_for_a_token_beyond_the_deadline_is_not_begun():
    settings = {**ALONE, "RATE_LIMIT__RATE": 0.2, "RATE_LIMIT__BURST": 1, "RATE_LIMIT__MAX_WAIT": 8}
    calls = Calls(scene(), 1, 1, **settings, TIMEOUT__TOTAL=2)
    assert calls.ended == [(1, False), (1.1, True)]


def test_a_token_that_was_not_used_is_given_back():
    # The queue refuses the second half after it has taken its tokens.
    settings = {**ALONE, "RATE_LIMIT__RATE": 0.001, "RATE_LIMIT__BURST": 10}
    story = scene(calls=20)
    report = play(story, **settings, CONCURRENCY__LIMIT=5, CONCURRENCY__QUEUE=0)
    assert report.successes == 5
    assert report.errors == {"concurrency_limited": 15}


def test_a_shared_quota_is_not_simulated():
    with pytest.raises(ConfigurationError, match="RATE_LIMIT__STORE"):
        play(
            scene(),
            RATE_LIMIT__RATE=10,
            RATE_LIMIT__STORE="redis://127.0.0.1/0",
            RATE_LIMIT__FALLBACK_RATE=1,
        )


def test_the_throttle_rejects_what_the_upstream_would_reject():
    story = steady(50, trouble("status"))
    report = play(story, **ALONE, THROTTLE__ENABLED=True)
    assert report.errors["throttled"] > 2 * report.errors["503"]


def test_the_throttle_rejects_nothing_while_most_is_accepted():
    story = steady(50, trouble("status", replicas=1), replicas=4)
    assert set(play(story, **ALONE, THROTTLE__ENABLED=True).errors) == {"503"}


def test_the_throttle_takes_failures_of_other_kinds_for_accepted():
    story = steady(50, trouble("status", status=500))
    assert set(play(story, **ALONE, THROTTLE__ENABLED=True).errors) == {"500"}
    opened = play(story, THROTTLE__ENABLED=True, RETRY__ENABLED=False)
    assert "throttled" not in opened.errors


def test_the_throttle_takes_lost_requests_for_rejected():
    story = steady(50, trouble("refuse"))
    assert play(story, **ALONE, THROTTLE__ENABLED=True).errors["throttled"] > 500


HEDGED = {
    "HEDGING__ENABLED": True,
    "HEDGING__DELAY": 0.2,
    "HEDGING__MAX_RATIO": 1,
    "CIRCUIT_BREAKER__MODE": "off",
}


def test_a_hedge_that_succeeds_first_ends_the_call():
    # The replica that hangs gets half of the requests.
    half = scene(trouble("slow_down", factor=30, replicas=1), replicas=2, calls=10, clients=10)
    alone = play(half, CIRCUIT_BREAKER__MODE="off")
    hedged = play(half, **HEDGED)
    assert alone.p99 == pytest.approx(3)
    assert hedged.hedges > 0
    assert hedged.p50 is not None
    assert hedged.p50 <= 0.3 + 1e-9
    # A hedge is a request too.
    assert hedged.sent["api"] == 10 + hedged.hedges


def test_a_fast_failure_of_the_hedge_does_not_win():
    slow = {"distribution": "constant", "mean": 1}
    story = scene(trouble("status", start=1.1), service_time=slow)
    report = play(story, **HEDGED)
    assert report.hedges == 1
    assert report.successes == 1
    assert report.p50 == pytest.approx(1)


def test_when_both_fail_the_first_one_speaks_for_the_call():
    story = scene(
        trouble("capacity", factor=0, duration=20), trouble("status", start=1.1, duration=20)
    )
    report = play(story, **HEDGED, RETRY__MAX_ATTEMPTS=2, TIMEOUT__ATTEMPT=1)
    assert report.hedges == 1
    assert report.errors == {"attempt_timeout": 1}
    # Also where the hedge is the last to fail, and of something else.
    crash = scene(trouble("capacity", factor=0), trouble("crash", start=2.1))
    late = play(crash, **HEDGED, RETRY__MAX_ATTEMPTS=2, TIMEOUT__ATTEMPT=1)
    assert late.hedges == 1
    assert late.errors == {"attempt_timeout": 1}


def test_an_unsafe_method_is_not_hedged():
    slow = {"distribution": "constant", "mean": 1}
    assert play(scene(method="PUT", service_time=slow), **HEDGED).hedges == 0


def test_a_hedge_is_paid_for_and_counts_as_an_attempt():
    slow = {"distribution": "constant", "mean": 1}
    story = scene(service_time=slow)
    assert play(story, **HEDGED).hedges == 1
    assert play(story, **HEDGED, RETRY__BUDGET__CAPACITY=9).hedges == 0
    assert play(story, **HEDGED, RETRY__MAX_ATTEMPTS=1).hedges == 0


def test_a_hedge_waits_for_the_95th_percentile():
    slow_later = steady(10, trouble("slow_down", factor=10, start=20))
    settings = {"CIRCUIT_BREAKER__MODE": "off", "HEDGING__ENABLED": True}
    report = play(slow_later, **settings)
    # 200 calls of 0.1 s are known when it begins, and one in twenty may be hedged.
    assert 1 <= report.hedges <= 0.05 * report.calls + 1


def test_a_hedge_that_still_waits_gives_its_token_back():
    slow = scene(service_time={"distribution": "constant", "mean": 1})
    settings = {**HEDGED, "RATE_LIMIT__RATE": 0.5, "RATE_LIMIT__BURST": 1}
    calls = Calls(slow, 0, 1.1, **settings, RATE_LIMIT__MAX_WAIT=3)
    # The token of the second call is due at 2 s. It would be due two seconds later, had the hedge
    # of the first call kept the one that it waited for.
    assert calls.ended == [(1, True), (3, True)]
    assert calls.fleet.upstream.received == 2


def _chain(*disturbances: dict[str, object], **settings: object) -> Report:
    disturbances = disturbances or (trouble("capacity", factor=0, duration=20),)
    names = {"name": "c", "workers": 1000, "service_time": {"distribution": "constant", "mean": 1}}
    story = scene()
    return play(
        Scenario.model_validate(
            {
                **story.model_dump(),
                "upstream": [{**story.upstream[0].model_dump(), "calls": "c"}, names],
                "disturbance": disturbances,
            }
        ),
        **settings,
    )


def test_an_upstream_calls_the_next_one_and_fails_with_it():
    report = _chain(RETRY__MAX_ATTEMPTS=1, TIMEOUT__ATTEMPT=2, PROPAGATION__ENABLED=False)
    assert report.sent == {"api": 1, "c": 1}
    assert report.errors == {"attempt_timeout": 1}


def test_an_upstream_answers_503_when_the_one_behind_it_fails():
    report = _chain(trouble("status", status=500), RETRY__ENABLED=False)
    assert report.sent == {"api": 1, "c": 1}
    assert report.errors == {"503": 1}


def test_a_crash_of_the_one_in_the_middle_is_the_end_of_what_it_was_about_to_answer():
    crash = trouble("crash", start=1.5, duration=20, upstream="api")
    report = _chain(crash, RETRY__ENABLED=False)
    assert report.sent == {"api": 1, "c": 1}
    assert report.errors == {"response_ended": 1}


def test_those_in_the_middle_hedge_as_well():
    report = _chain(trouble("slow_down", factor=1), **HEDGED)
    # The call waits for more than a second, so there is a hedge at each step.
    assert report.hedges == 1
    assert report.sent == {"api": 2, "c": 4}


def test_a_call_never_outlives_the_caller_that_told_its_deadline():
    settings = {
        "TIMEOUT__TOTAL": 3,
        "TIMEOUT__ATTEMPT": 1,
        "RETRY__BACKOFF_MAX": 0.01,
        "RETRY__BUDGET__COST_TIMEOUT": 0,
    }
    # The caller tries three times. Each time its upstream tries as often as its own time allows.
    assert _chain(**settings, PROPAGATION__ENABLED=False).sent == {"api": 3, "c": 9}
    told = _chain(**settings).sent
    assert told["api"] == 3
    assert told["c"] < 9

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.policies.outcome import Health, Kind, Outcome, of_status

LISTED = frozenset({429, 502, 503, 504})


@pytest.mark.parametrize("status", [101, 200, 204, 302, 304, 400, 401, 404, 428, 430, 499])
def test_an_answer_below_500_that_is_not_listed_is_a_success(status):
    assert of_status(status, LISTED) == Outcome(Kind.SUCCESS, Health.OK, "")


def test_429_is_throttled_and_says_nothing_about_the_servers_health():
    assert of_status(429, LISTED) == Outcome(Kind.THROTTLED, Health.NEUTRAL, "429")


def test_429_that_is_not_listed_is_permanent_and_still_neutral_for_the_breaker():
    assert of_status(429, {503}) == Outcome(Kind.PERMANENT, Health.NEUTRAL, "429")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_listed_5xx_is_transient_and_a_failure_of_the_server(status):
    assert of_status(status, LISTED) == Outcome(Kind.TRANSIENT, Health.FAILED, str(status))


@pytest.mark.parametrize("status", [500, 501, 505, 599, 600, 999])
def test_a_status_from_500_up_that_is_not_listed_is_permanent_and_a_failure(status):
    assert of_status(status, LISTED) == Outcome(Kind.PERMANENT, Health.FAILED, str(status))


def test_a_listed_4xx_is_transient_and_no_failure_of_the_server():
    assert of_status(425, [425]) == Outcome(Kind.TRANSIENT, Health.OK, "425")


def test_no_status_is_worth_only_one_resend():
    assert not any(of_status(status, LISTED).once for status in range(100, 1000))


@settings(deadline=None)
@given(status=st.integers(100, 999), listed=st.frozensets(st.integers(100, 999)))
def test_the_verdict_depends_on_whether_the_status_is_listed_and_on_nothing_before(status, listed):
    verdict = of_status(status, listed)
    assert verdict == of_status(status, sorted(listed))
    assert (verdict.health is Health.FAILED) == (status >= 500)
    assert (verdict.kind in {Kind.TRANSIENT, Kind.THROTTLED}) == (status in listed)
    assert (verdict.reason == "") == (verdict.kind is Kind.SUCCESS)

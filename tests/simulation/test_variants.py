from __future__ import annotations

import math

import pytest

from platform_http.errors import ConfigurationError
from platform_http.simulation.variants import PROFILES, assignment, resolve, variant


def test_settings_go_by_the_names_of_the_environment():
    settings = resolve(
        {"RETRY__MAX_ATTEMPTS": "5", "platform_http_timeout__total": "none", "TIMEOUT__ATTEMPT": 2}
    )
    assert settings.retry.max_attempts == 5
    assert settings.timeout.total == math.inf
    assert settings.timeout.attempt == 2


def test_sections_in_sections_are_reached():
    assert resolve({"RETRY__BUDGET__COST": 3}).retry.budget.cost == 3


def test_the_environment_applies_where_nothing_is_assigned(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__MAX_ATTEMPTS", "4")
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "8")
    settings = resolve({"RETRY__MAX_ATTEMPTS": 2})
    assert settings.retry.max_attempts == 2
    assert settings.timeout.total == 8


def test_defaults_adapt_as_in_production():
    assert resolve({"TIMEOUT__TOTAL": 2}).timeout.attempt == 2


def test_everything_that_is_wrong_with_settings_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        resolve(
            {
                "RETRY__MAXATTEMPTS": 1,
                "CLIENTS__BILLING__TIMEOUT__TOTAL": 1,
                "TIMEOUT__TOTAL": 1,
                "TIMEOUT__ATTEMPT": 2,
            }
        )
    unknown, one_client, contradiction = caught.value.violations
    assert unknown.endswith("is unknown; did you mean PLATFORM_HTTP_RETRY__MAX_ATTEMPTS?")
    assert one_client.startswith("CLIENTS__BILLING__TIMEOUT__TOTAL is for one client")
    assert contradiction.startswith("timeout.attempt is longer than timeout.total")


def test_an_unknown_setting_is_refused_where_all_others_are_right():
    with pytest.raises(ConfigurationError, match="RETRY__MAXATTEMPTS is unknown"):
        resolve({"RETRY__MAXATTEMPTS": 1})


def test_naive_has_nothing_that_holds_back():
    settings = resolve(PROFILES["naive"])
    assert settings.retry.max_attempts == 4
    assert settings.retry.budget.cost == settings.retry.budget.cost_timeout == 0
    assert settings.circuit_breaker.mode == "off"
    assert settings.concurrency.limit == 0


def test_a_variant_is_a_label_with_settings():
    assert variant("more:RETRY__MAX_ATTEMPTS=5,TIMEOUT__TOTAL=20") == (
        "more",
        {"RETRY__MAX_ATTEMPTS": "5", "TIMEOUT__TOTAL": "20"},
    )


def test_a_list_in_a_variant_keeps_its_commas():
    assert variant("a:RETRY__STATUSES=502,503,RETRY__ENABLED=true").assignments == {
        "RETRY__STATUSES": "502,503",
        "RETRY__ENABLED": "true",
    }


def test_a_profile_is_a_variant_by_its_name():
    assert variant("naive").assignments is PROFILES["naive"]


@pytest.mark.parametrize("text", ["other", "label:", ":A=1", "label:A", "naive:A=1", ""])
def test_a_variant_of_another_form_is_refused(text):
    with pytest.raises(ConfigurationError):
        variant(text)


@pytest.mark.parametrize("text", ["A", "=1", ""])
def test_an_assignment_of_another_form_is_refused(text):
    with pytest.raises(ConfigurationError, match="NAME=VALUE"):
        assignment(text)


def test_an_assignment_may_be_empty_or_hold_an_equals_sign():
    assert assignment("A=") == ("A", "")
    assert assignment("A=b=c") == ("A", "b=c")

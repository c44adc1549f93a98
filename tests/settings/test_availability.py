from __future__ import annotations

import pytest

from platform_http.settings import HttpSettings
from platform_http.settings.availability import NOT_AVAILABLE_YET
from platform_http.settings.variables import sections, variables


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("RETRY__BUDGET__CAPACITY", "50"),
        ("RETRY__BUDGET__TRICKLE", "0"),
        ("CIRCUIT_BREAKER__MODE", "observe"),
        ("CIRCUIT_BREAKER__MODE", "force_open"),
        ("CONCURRENCY__LIMIT", "5"),
        ("CONCURRENCY__QUEUE", "5"),
        ("CONCURRENCY__ENFORCE", "false"),
        ("RATE_LIMIT__RATE", "5"),
        ("HEDGING__ENABLED", "true"),
        ("HEDGING__DELAY", "1"),
        ("THROTTLE__ENABLED", "true"),
        ("PROPAGATION__ATTEMPT_HEADER", "X-Envoy-Attempt-Count"),
        ("TLS__PINS", "sha256/" + "A" * 43 + "="),
        ("TLS__RELOAD_INTERVAL", "30"),
        ("AUTH__AUDIENCE", "x"),
        ("JSON__SERIALIZER", "orjson"),
        ("WEB__STATUS_PAGE", "true"),
        ("WEB__READY_WHEN_OPEN", "false"),
        ("REDIRECTS__MODE", "deny"),
        ("REDIRECTS__MAX", "3"),
        ("EGRESS__MODE", "public"),
        ("EGRESS__MODE", "allowlist"),
        ("EGRESS__DENIED_HOSTS", "a.test"),
        ("EGRESS__ENFORCE", "false"),
        ("RESPONSE__MAX_BODY", "1000"),
        ("CLIENTS__A__HEDGING__ENABLED", "true"),
    ],
)
def test_a_setting_without_a_policy_refuses(violations, variable, text):
    assert violations(**{variable: text}) == (
        f"PLATFORM_HTTP_{variable} asks for what is not available yet; remove it",
    )


def test_slow_calls_have_no_policy(violations):
    lines = violations(
        CIRCUIT_BREAKER__SLOW_CALL_DURATION="1", CIRCUIT_BREAKER__SLOW_CALL_RATIO="0.5"
    )
    assert len(lines) == 2
    assert all("not available yet" in line for line in lines)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CIRCUIT_BREAKER__MODE", "off"),
        ("CIRCUIT_BREAKER__MODE", "enforce"),
        ("CIRCUIT_BREAKER__SLOW_CALL_RATIO", "none"),
        ("CONCURRENCY__LIMIT", "0"),
        ("CONCURRENCY__LIMIT", "20"),
        ("RATE_LIMIT__RATE", "off"),
        ("RATE_LIMIT__STORE", "memory://"),
        ("HEDGING__ENABLED", "false"),
        ("PROPAGATION__ENABLED", "false"),
        ("TLS__PINS", ""),
        ("TLS__RELOAD_INTERVAL", "none"),
        ("AUTH__SCHEME", "none"),
        ("REDIRECTS__MODE", "follow"),
        ("REDIRECTS__MODE", "safe"),
        ("REDIRECTS__MAX", "10"),
        ("EGRESS__MODE", "off"),
        ("EGRESS__MODE", "internal"),
        ("RESPONSE__MAX_BODY", "none"),
        ("RETRY__BUDGET__CAPACITY", "100"),
    ],
)
def test_its_default_and_what_switches_it_off_are_accepted(load, variable, text):
    load(**{variable: text})


def test_every_line_of_the_table_is_a_setting_or_a_section():
    assert set(NOT_AVAILABLE_YET) <= {*variables(), *sections()}


def test_settings_with_a_policy_are_accepted():
    HttpSettings(
        base_url="https://api.test/",
        timeout={"total": 20},
        pool={"limit": 10, "max_connection_age": 60},
        dns={"cache_ttl": 5},
        tls={"min_version": "1.3", "trust": "certifi"},
        proxy={"url": "http://proxy.test"},
        retry={"max_attempts": 5},
        circuit_breaker={"minimum_calls": 5},
        cookies={"enabled": True},
        shutdown={"grace": 1},
        telemetry={"call_span": "always"},
    )

from __future__ import annotations

import pytest

from platform_http.settings import HttpSettings
from platform_http.settings.availability import NOT_AVAILABLE_YET
from platform_http.settings.variables import sections, variables


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TLS__PINS", "sha256/" + "A" * 43 + "="),
        ("TLS__RELOAD_INTERVAL", "30"),
        ("AUTH__AUDIENCE", "x"),
        ("JSON__SERIALIZER", "orjson"),
        ("WEB__STATUS_PAGE", "true"),
        ("WEB__STATUS_HOST", "0.0.0.0"),
        ("WEB__STATUS_PORT", "8090"),
        ("REDIRECTS__MODE", "deny"),
        ("REDIRECTS__MAX", "3"),
        ("EGRESS__MODE", "public"),
        ("EGRESS__MODE", "allowlist"),
        ("EGRESS__DENIED_HOSTS", "a.test"),
        ("EGRESS__ENFORCE", "false"),
        ("RESPONSE__MAX_BODY", "1000"),
        ("CLIENTS__A__EGRESS__MODE", "public"),
    ],
)
def test_a_setting_without_a_policy_refuses(violations, variable, text):
    assert violations(**{variable: text}) == (
        f"PLATFORM_HTTP_{variable} asks for what is not available yet; remove it",
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TLS__PINS", ""),
        ("TLS__RELOAD_INTERVAL", "none"),
        ("AUTH__SCHEME", "none"),
        ("REDIRECTS__MODE", "follow"),
        ("REDIRECTS__MODE", "safe"),
        ("REDIRECTS__MAX", "10"),
        ("EGRESS__MODE", "off"),
        ("EGRESS__MODE", "internal"),
        ("RESPONSE__MAX_BODY", "none"),
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
        retry={"max_attempts": 5, "budget": {"capacity": 50, "trickle": 0}},
        circuit_breaker={
            "mode": "observe",
            "minimum_calls": 5,
            "slow_call_duration": 1,
            "slow_call_ratio": 0.5,
        },
        concurrency={"limit": 5, "queue": 5, "enforce": False},
        rate_limit={"rate": 5, "store": "redis://cache.test", "fallback_rate": 1},
        hedging={"enabled": True, "delay": 1},
        throttle={"enabled": True},
        propagation={"attempt_header": "X-Envoy-Attempt-Count"},
        cookies={"enabled": True},
        shutdown={"grace": 1},
        web={"ready_when_open": False},
        telemetry={"call_span": "always"},
    )

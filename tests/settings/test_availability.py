from __future__ import annotations

import pytest

from platform_http.settings import HttpSettings
from platform_http.settings.availability import NOT_AVAILABLE_YET
from platform_http.settings.variables import sections, variables


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("JSON__SERIALIZER", "orjson"),
        ("WEB__STATUS_PAGE", "true"),
        ("WEB__STATUS_HOST", "0.0.0.0"),
        ("WEB__STATUS_PORT", "8090"),
        ("CLIENTS__A__WEB__STATUS_PAGE", "true"),
    ],
)
def test_a_setting_without_a_policy_refuses(violations, variable, text):
    assert violations(**{variable: text}) == (
        f"PLATFORM_HTTP_{variable} asks for what is not available yet; remove it",
    )


@pytest.mark.parametrize(
    ("variable", "text"), [("JSON__SERIALIZER", "json"), ("WEB__STATUS_PAGE", "false")]
)
def test_its_default_is_accepted(load, variable, text):
    load(**{variable: text})


def test_every_line_of_the_table_is_a_setting_or_a_section():
    assert set(NOT_AVAILABLE_YET) <= {*variables(), *sections()}


def test_settings_with_a_policy_are_accepted():
    HttpSettings(
        base_url="https://api.test/",
        timeout={"total": 20},
        pool={"limit": 10, "max_connection_age": 60},
        dns={"cache_ttl": 5},
        tls={
            "min_version": "1.3",
            "trust": "certifi",
            "pins": ["sha256/" + "A" * 43 + "="],
            "reload_interval": 30,
        },
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
        auth={"scheme": "basic", "username": "u", "password": "p"},
        cookies={"enabled": True},
        redirects={"mode": "deny", "max": 0},
        response={"max_body": 1000},
        shutdown={"grace": 1},
        web={"ready_when_open": False},
        telemetry={"call_span": "always"},
    )

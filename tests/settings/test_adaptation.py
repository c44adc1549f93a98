from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_http.errors import ConfigurationError
from platform_http.settings import ClientSettings, HttpSettings, plain_settings
from platform_http.settings.adaptation import adapt
from platform_http.settings.model import Profile
from platform_http.settings.variables import variables


def _client(**values: object) -> ClientSettings:
    return HttpSettings(**values).client()


def test_a_total_alone_is_a_valid_configuration():
    timeout = _client(timeout={"total": 2}).timeout
    assert (timeout.total, timeout.attempt, timeout.read) == (2, 2, 2)
    assert (timeout.connect, timeout.pool) == (0.5, 0.5)


def test_defaults_are_those_of_the_documentation_when_nothing_is_set():
    client, plain = _client(), Profile()
    for path, variable in variables().items():
        assert variable.of(client) == variable.of(plain) == variable.default, path


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        ({"total": 1}, {"attempt": 1, "read": 1, "connect": 0.25, "pool": 0.25}),
        ({"total": 60}, {"attempt": 4, "read": 4, "connect": 1, "pool": 1}),
        ({"total": math.inf}, {"attempt": 4, "read": 4, "connect": 1, "pool": 1}),
        ({"attempt": 2}, {"total": 10, "connect": 0.5, "pool": 0.5, "read": 4}),
        ({"attempt": 20}, {"total": 20, "connect": 1, "pool": 1, "read": 4}),
        ({"attempt": math.inf}, {"total": 10, "connect": 1, "pool": 1}),
        ({"connect": 1}, {"attempt": 4, "pool": 1, "total": 10}),
        ({"connect": 6}, {"attempt": 12, "pool": 1, "total": 12}),
        ({"connect": 3, "pool": 4}, {"attempt": 14, "total": 14}),
        ({"connect": math.inf}, {"attempt": 4, "pool": 1}),
        ({"attempt": 4, "connect": 3.5}, {"pool": 0.25}),
        ({"attempt": 4, "pool": 3.5}, {"connect": 0.25}),
        ({"total": 5, "connect": 4}, {"attempt": 5, "pool": 0.5}),
    ],
)
def test_timeouts_adapt_to_those_that_were_set(timeout, expected):
    resolved = _client(timeout=timeout).timeout
    assert {name: getattr(resolved, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "path", "expected"),
    [
        ({"timeout": {"total": 2}}, "concurrency.queue_timeout", 2),
        ({"timeout": {"total": 20}}, "concurrency.queue_timeout", 5),
        ({"timeout": {"attempt": 20}}, "circuit_breaker.window", 40),
        ({"timeout": {"attempt": 2}}, "circuit_breaker.window", 30),
        ({"timeout": {"attempt": math.inf}}, "circuit_breaker.window", 30),
        ({"pool": {"limit": 7}}, "concurrency.limit", 7),
        ({"pool": {"limit": 0}}, "concurrency.limit", 20),
        ({"pool": {"limit_per_host": 0}}, "concurrency.limit", 100),
        ({"pool": {"limit": 0, "limit_per_host": 0}}, "concurrency.limit", 0),
        ({"tls": {"ca_file": "ca.pem"}}, "tls.trust", "file"),
        ({"retry": {"backoff_initial": 7}}, "retry.backoff_max", 7),
        ({"retry": {"backoff_throttled": 8}}, "retry.backoff_max", 8),
        ({"retry": {"backoff_max": 0.5}}, "retry.backoff_throttled", 0.5),
        ({"retry": {"backoff_max": 0.01}}, "retry.backoff_initial", 0.01),
        ({"circuit_breaker": {"open_duration": 90}}, "circuit_breaker.open_duration_max", 90),
        ({"circuit_breaker": {"open_duration_max": 2}}, "circuit_breaker.open_duration", 2),
    ],
)
def test_other_defaults_adapt_to_what_was_set(values, path, expected):
    settings = HttpSettings(**values)
    assert variables()[path].of(settings.client()) == expected
    changed = expected != variables()[path].default
    assert settings.origin_of("default", path) == ("adapted default" if changed else "default")


def test_the_burst_is_the_rate():
    profile = adapt(Profile(rate_limit={"rate": 50}), {"rate_limit.rate"})
    assert profile.rate_limit.burst == 50
    profile = adapt(
        Profile(rate_limit={"rate": 50, "burst": 5}), {"rate_limit.rate", "rate_limit.burst"}
    )
    assert profile.rate_limit.burst == 5


def test_a_client_adapts_to_the_defaults_that_were_set(load):
    settings = load(TIMEOUT__TOTAL="2", CLIENTS__A__TIMEOUT__READ="1")
    timeout = settings.client("a").timeout
    assert (timeout.total, timeout.attempt, timeout.read) == (2, 2, 1)
    assert settings.origin_of("a", "timeout.attempt") == "adapted default"


DURATION = st.floats(0.001, 1000) | st.just(math.inf)


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("total", "attempt", "connect", "read", "pool"), DURATION),
    )
)
def test_any_timeouts_are_valid_together_or_their_contradiction_is_named(timeout):
    try:
        client = HttpSettings(timeout=timeout).client()
    except ConfigurationError as error:
        for line in error.violations:
            named = [name for name in timeout if f"timeout.{name}" in line]
            assert len(named) >= 2, line
        return
    resolved = client.timeout
    for name, value in timeout.items():
        assert getattr(resolved, name) == value
    taken = sum(each for each in (resolved.connect, resolved.pool) if each < math.inf)
    assert resolved.connect > 0
    assert resolved.pool > 0
    if resolved.attempt < math.inf:
        assert taken < resolved.attempt <= resolved.total
        assert client.circuit_breaker.window >= 2 * resolved.attempt
    assert client.concurrency.queue_timeout <= resolved.total


def test_the_plain_profile_is_aiohttp_with_nothing_else():
    client = plain_settings().client()
    timeout = client.timeout
    assert (timeout.total, timeout.connect) == (300, 30)
    assert (timeout.attempt, timeout.read, timeout.pool) == (math.inf, math.inf, math.inf)
    assert (client.pool.limit, client.pool.limit_per_host, client.pool.keepalive) == (100, 0, 15)
    assert client.dns.cache_ttl == 10
    assert not client.retry.enabled
    assert client.circuit_breaker.mode == "off"
    assert client.concurrency.limit == 0
    assert client.rate_limit.rate is None
    assert not client.hedging.enabled
    assert not client.throttle.enabled
    assert not client.propagation.enabled
    assert client.auth.scheme == "none"
    assert client.cookies.enabled
    assert (client.redirects.mode, client.redirects.max) == ("follow", 10)
    assert client.egress.mode == "off"
    assert client.response.max_body is None
    assert not client.telemetry.traces
    assert not client.telemetry.metrics


def test_the_plain_profile_takes_overrides():
    settings = plain_settings(timeout={"total": 5}, clients={"a": {"retry": {"enabled": True}}})
    assert settings.client("a").retry.enabled
    assert settings.client("a").timeout.total == 5
    assert not settings.client("b").retry.enabled
    assert repr(settings) == "HttpSettings(client_names=('a',))"

from __future__ import annotations

import importlib.util
import math

import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings
from platform_http.settings.model import Profile
from platform_http.settings.rules import Statement, violations


def _broken(**values: object) -> list[str]:
    """Return the violations of constructor values."""
    try:
        HttpSettings(**values)
    except ConfigurationError as error:
        return list(error.violations)
    return []


TIMEOUT_CONTRADICTIONS = [
    ({"attempt": 5, "total": 4}, "timeout.attempt is longer than timeout.total"),
    ({"attempt": 2, "connect": 2}, "timeout.connect must be less than timeout.attempt"),
    ({"attempt": 2, "pool": 3}, "timeout.pool must be less than timeout.attempt"),
    (
        {"attempt": 2, "pool": 1, "connect": 1},
        "timeout.pool + timeout.connect must be less than timeout.attempt",
    ),
    ({"total": 2, "connect": 2}, "timeout.connect must be less than timeout.total"),
    (
        {"total": 2, "pool": 1.5, "connect": 1.5, "read": 1},
        "timeout.pool + timeout.connect must be less than timeout.total",
    ),
    (
        {"total": math.inf, "attempt": 2, "pool": 3},
        "timeout.pool must be less than timeout.attempt",
    ),
]


@pytest.mark.parametrize(("timeout", "expected"), TIMEOUT_CONTRADICTIONS)
def test_timeouts_that_do_not_nest_refuse(timeout, expected):
    (line,) = _broken(timeout=timeout)
    assert line == f"{expected}; lower the first or raise the second"


@pytest.mark.parametrize(
    "timeout",
    [
        {"total": 2},
        {"attempt": 20},
        {"connect": 5},
        {"pool": 50},
        {"connect": 5, "pool": 5},
        {"read": 50},
        {"total": 2, "connect": 1.9},
        {"attempt": 2, "total": 2},
        {"attempt": 2, "connect": 1, "pool": 0.9},
        {"attempt": math.inf, "total": 2},
        {"attempt": math.inf, "connect": 5, "total": 2},
        {"total": math.inf, "attempt": 100},
        {"attempt": 2, "connect": math.inf},
        {"total": 2, "pool": math.inf, "connect": math.inf},
    ],
)
def test_timeouts_that_nest_or_are_off_are_accepted(timeout):
    assert _broken(timeout=timeout) == []


PAIRS = [
    # A contradiction, and the same values far enough apart.
    (
        {"concurrency": {"queue_timeout": 6}, "timeout": {"total": 5}},
        {"concurrency": {"queue_timeout": 5}, "timeout": {"total": 5}},
        "concurrency.queue_timeout is longer than timeout.total",
    ),
    (
        {"circuit_breaker": {"window": 7}, "timeout": {"attempt": 4}},
        {"circuit_breaker": {"window": 8}, "timeout": {"attempt": 4}},
        "circuit_breaker.window is shorter than twice timeout.attempt",
    ),
    (
        {"hedging": {"delay": 7}, "timeout": {"attempt": 4, "total": 10}},
        {"hedging": {"delay": 6}, "timeout": {"attempt": 4, "total": 10}},
        "hedging.delay + timeout.attempt is longer than timeout.total",
    ),
    (
        {"hedging": {"delay": 11}, "timeout": {"total": 10}},
        {"hedging": {"delay": 10}, "timeout": {"total": 10}},
        "hedging.delay is longer than timeout.total",
    ),
    (
        {"concurrency": {"limit": 30}, "pool": {"limit": 29}},
        {"concurrency": {"limit": 30}, "pool": {"limit": 30}},
        "concurrency.limit is larger than pool.limit",
    ),
    (
        {"concurrency": {"limit": 30}, "pool": {"limit_per_host": 29}},
        {"concurrency": {"limit": 30}, "pool": {"limit_per_host": 0}},
        "concurrency.limit is larger than pool.limit_per_host",
    ),
    (
        {"circuit_breaker": {"slow_call_duration": 1}},
        {"circuit_breaker": {"slow_call_duration": 1, "slow_call_ratio": 0.5}},
        "circuit_breaker.slow_call_duration has no effect alone; set",
    ),
    (
        {"circuit_breaker": {"slow_call_ratio": 0.5}},
        {"circuit_breaker": {"slow_call_duration": None, "slow_call_ratio": None}},
        "circuit_breaker.slow_call_ratio has no effect alone",
    ),
    (
        {"rate_limit": {"store": "redis://cache.test"}},
        {"rate_limit": {"store": "redis://cache.test", "fallback_rate": 5}},
        "rate_limit.store is shared and may be away; set PLATFORM_HTTP_RATE_LIMIT__FALLBACK_RATE",
    ),
    (
        {"retry": {"backoff_initial": 3, "backoff_max": 2}},
        {"retry": {"backoff_initial": 2, "backoff_max": 2}},
        "retry.backoff_initial is longer than retry.backoff_max",
    ),
    (
        {"retry": {"backoff_throttled": 3, "backoff_max": 2}},
        {"retry": {"backoff_max": 0.01}},
        "retry.backoff_throttled is longer than retry.backoff_max",
    ),
    (
        {"circuit_breaker": {"open_duration": 3, "open_duration_max": 2}},
        {"circuit_breaker": {"open_duration": 100}},
        "circuit_breaker.open_duration is longer than circuit_breaker.open_duration_max",
    ),
    (
        {"tls": {"verify": False}},
        {"tls": {"verify": False, "allow_insecure": True}},
        "tls.verify switches certificate checks off",
    ),
    (
        {"tls": {"verify": False, "allow_insecure": False}},
        {"tls": {"allow_insecure": True}},
        "tls.verify switches certificate checks off; turn them on, or set tls.allow_insecure",
    ),
    (
        {"tls": {"trust": "file"}},
        {"tls": {"trust": "file", "ca_file": "ca.pem"}},
        "tls.trust is file without a file; set PLATFORM_HTTP_TLS__CA_FILE",
    ),
    (
        {"tls": {"trust": "certifi", "ca_file": "ca.pem"}},
        {"tls": {"ca_file": "ca.pem"}},
        "tls.ca_file has no effect unless tls.trust is file",
    ),
    (
        {"tls": {"key_file": "key.pem"}},
        {"tls": {"key_file": "key.pem", "cert_file": "cert.pem"}},
        "tls.key_file has no effect without a certificate",
    ),
    (
        {"tls": {"key_password": "x"}},
        {"tls": {"key_password": "x", "cert_file": "both.pem"}},
        "tls.key_password has no effect without a certificate",
    ),
    (
        {"proxy": {"username": "u"}},
        {"proxy": {"username": "u", "url": "http://proxy.test"}},
        "proxy.username has no effect without a proxy",
    ),
    (
        {"proxy": {"password": "p"}},
        {"proxy": {"password": "p", "from_env": True}},
        "proxy.password has no effect without a proxy",
    ),
    (
        {"egress": {"mode": "public"}, "proxy": {"url": "http://proxy.test"}},
        {
            "egress": {"mode": "public", "trust_proxy": True},
            "proxy": {"url": "http://proxy.test"},
        },
        "egress.mode is public, but behind a proxy only the proxy sees addresses",
    ),
    (
        {"egress": {"mode": "public"}, "proxy": {"from_env": True}},
        {"egress": {"mode": "public"}},
        "egress.mode is public, but behind a proxy only the proxy sees addresses",
    ),
    (
        {"egress": {"mode": "allowlist"}},
        {"egress": {"mode": "allowlist", "allowed_hosts": ["api.test"]}},
        "egress.mode is allowlist without a list; set PLATFORM_HTTP_EGRESS__ALLOWED_HOSTS",
    ),
    (
        {"egress": {"mode": "allowlist", "denied_hosts": ["api.test"]}},
        {"egress": {"mode": "allowlist", "allowed_networks": ["10.0.0.0/8"]}},
        "egress.mode is allowlist without a list; set PLATFORM_HTTP_EGRESS__ALLOWED_HOSTS",
    ),
    (
        {"egress": {"allowed_hosts": ["api.test"]}},
        {"egress": {"allowed_hosts": []}},
        "egress.allowed_hosts has no effect unless PLATFORM_HTTP_EGRESS__MODE is allowlist",
    ),
    (
        {"egress": {"mode": "public", "allowed_hosts": ["api.test"]}},
        {"egress": {"mode": "public", "denied_hosts": ["api.test"], "allowed_ports": [81]}},
        "egress.allowed_hosts has no effect unless egress.mode is allowlist",
    ),
    (
        {"egress": {"mode": "off", "denied_hosts": ["api.test"]}},
        {"egress": {"denied_hosts": ["api.test"]}},
        "egress.denied_hosts has no effect while egress.mode is off; remove it or choose",
    ),
    (
        {"egress": {"mode": "off", "allowed_networks": ["10.0.0.0/8"]}},
        {"egress": {"mode": "off", "enforce": False}},
        "egress.allowed_networks has no effect while egress.mode is off",
    ),
    (
        {"auth": {"scheme": "basic", "username": "u"}},
        {"auth": {"scheme": "basic", "username": "u", "password": "p"}},
        "auth.scheme is basic; set PLATFORM_HTTP_AUTH__PASSWORD",
    ),
    (
        {"auth": {"scheme": "digest", "password": "p"}},
        {"auth": {"scheme": "digest", "username": "u", "password": "p"}},
        "auth.scheme is digest; set PLATFORM_HTTP_AUTH__USERNAME",
    ),
    (
        {"auth": {"scheme": "bearer"}},
        {"auth": {"scheme": "bearer", "token": "t"}},
        "auth.scheme is bearer; set either PLATFORM_HTTP_AUTH__TOKEN or",
    ),
    (
        {"auth": {"scheme": "bearer", "token": "t", "token_file": "f"}},
        {"auth": {"scheme": "bearer", "token_file": "f"}},
        "auth.scheme is bearer; set either auth.token or auth.token_file",
    ),
    (
        {
            "auth": {
                "scheme": "oauth2_client_credentials",
                "token_url": "https://login.test/token",
                "client_id": "c",
            }
        },
        {
            "auth": {
                "scheme": "oauth2_client_credentials",
                "token_url": "https://login.test/token",
                "client_id": "c",
                "client_secret": "s",
            }
        },
        "auth.scheme is oauth2_client_credentials; set PLATFORM_HTTP_AUTH__CLIENT_SECRET",
    ),
    (
        {"auth": {"username": "u"}},
        {"auth": {"scheme": "basic", "username": "u", "password": "p"}},
        "auth.username has no effect unless PLATFORM_HTTP_AUTH__SCHEME is basic or digest; set",
    ),
    (
        {"auth": {"scheme": "bearer", "token": "t", "audience": "a"}},
        {"auth": {"scheme": "bearer", "token": "t"}},
        "auth.audience has no effect unless auth.scheme is oauth2_client_credentials",
    ),
    (
        {
            "auth": {"scheme": "basic", "username": "u", "password": "p"},
            "clients": {"a": {"auth": {"scheme": "bearer", "token": "t", "password": "p"}}},
        },
        {
            "auth": {"scheme": "basic", "username": "u", "password": "p"},
            "clients": {"a": {"auth": {"scheme": "bearer", "token": "t"}}},
        },
        "clients.a.auth.password has no effect unless clients.a.auth.scheme is basic or digest",
    ),
    (
        {"auth": {"scheme": "basic", "username": "u:v", "password": "p"}},
        {"auth": {"scheme": "basic", "username": "u", "password": "p:q"}},
        "auth.username holds a colon",
    ),
    (
        {"auth": {"scheme": "bearer", "token": "canary\n"}},
        {"auth": {"scheme": "bearer", "token": "a-._~+/=Z9"}},
        "auth.token holds characters that no token has",
    ),
    (
        {
            "auth": {
                "scheme": "oauth2_client_credentials",
                "token_url": "https://u:canary@login.test/token",
                "client_id": "c",
                "client_secret": "s",
            }
        },
        {
            "auth": {
                "scheme": "oauth2_client_credentials",
                "token_url": "https://login.test/u:p@token",
                "client_id": "c",
                "client_secret": "s",
            }
        },
        "auth.token_url holds credentials; move them to auth.client_id and auth.client_secret",
    ),
    (
        {"headers": {"authorization": "x"}, "auth": {"scheme": "bearer", "token": "t"}},
        {"headers": {"X-Api-Key": "x"}, "auth": {"scheme": "bearer", "token": "t"}},
        "headers holds Authorization, which auth.scheme provides",
    ),
    (
        {"base_url": "https://u:canary@api.test/", "auth": {"scheme": "bearer", "token": "t"}},
        {"base_url": "https://api.test/", "auth": {"scheme": "bearer", "token": "t"}},
        "base_url holds credentials, which auth.scheme provides",
    ),
]


@pytest.mark.parametrize(("wrong", "right", "expected"), PAIRS)
def test_values_that_contradict_each_other_refuse_and_those_that_do_not_start(
    wrong, right, expected
):
    (line,) = _broken(**wrong)
    assert line.startswith(expected)
    assert _broken(**right) == []


@pytest.mark.parametrize(
    "values",
    [
        {"concurrency": {"queue_timeout": 50}},
        {"concurrency": {"queue_timeout": None}, "timeout": {"total": 2}},
        {"circuit_breaker": {"window": 1}},
        {"timeout": {"attempt": 100}},
        {"hedging": {"delay": 50}},
        {"hedging": {"delay": "p95"}, "timeout": {"total": 1}},
        {"concurrency": {"limit": 500}},
        {"concurrency": {"limit": 0}, "pool": {"limit": 1, "limit_per_host": 1}},
        {"pool": {"limit": 1}},
    ],
)
def test_what_was_not_set_contradicts_nothing(values):
    assert _broken(**values) == []


@pytest.mark.parametrize(
    ("values", "module", "expected"),
    [
        (
            {"proxy": {"url": "socks5://proxy.test"}},
            "python_socks",
            "proxy.url needs the library python_socks; install platform-http[socks]",
        ),
        (
            {"dns": {"nameservers": ["10.0.0.1"]}},
            "aiodns",
            "dns.nameservers needs the library aiodns; install platform-http[dns]",
        ),
        (
            {"rate_limit": {"store": "rediss://cache.test", "fallback_rate": 5}},
            "limits",
            "rate_limit.store needs the library limits; install platform-http[redis]",
        ),
        (
            {"rate_limit": {"store": "redis://cache.test", "fallback_rate": 5}},
            "redis",
            "rate_limit.store needs the library redis; install platform-http[redis]",
        ),
        (
            {"json": {"serializer": "orjson"}},
            "orjson",
            "json.serializer needs the library orjson; install platform-http[speedups]",
        ),
        (
            {"json": {"serializer": "msgspec"}},
            "msgspec",
            "json.serializer needs the library msgspec; install platform-http[speedups]",
        ),
    ],
)
def test_a_setting_whose_library_is_missing_refuses(values, module, expected, monkeypatch):
    assert _broken(**values) == []
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    assert _broken(**values) == [expected]


def test_a_quota_in_memory_needs_no_library(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert _broken(rate_limit={"store": "memory://"}) == []


def test_a_mode_for_one_client_leaves_the_default_lists_behind(load):
    settings = load(
        EGRESS__MODE="allowlist",
        EGRESS__ALLOWED_HOSTS="api.test",
        EGRESS__DENIED_HOSTS="no.test",
        CLIENTS__HOOKS__EGRESS__MODE="public",
        CLIENTS__TOOL__EGRESS__MODE="off",
    )
    assert settings.client("tool").egress.mode == "off"


def test_a_list_for_one_client_needs_a_mode_that_uses_it(violations):
    lines = violations(
        EGRESS__MODE="allowlist",
        EGRESS__ALLOWED_HOSTS="api.test",
        CLIENTS__HOOKS__EGRESS__MODE="public",
        CLIENTS__HOOKS__EGRESS__ALLOWED_HOSTS="hooks.test",
    )
    assert lines == (
        (
            "PLATFORM_HTTP_CLIENTS__HOOKS__EGRESS__ALLOWED_HOSTS has no effect unless "
            "PLATFORM_HTTP_CLIENTS__HOOKS__EGRESS__MODE is allowlist; set that or remove this"
        ),
    )


@pytest.mark.parametrize(("field", "value"), [("STATUS_HOST", "0.0.0.0"), ("STATUS_PORT", "9100")])
def test_an_address_of_the_status_page_needs_the_page(violations, load, field, value):
    assert violations(**{f"WEB__{field}": value}) == (
        (
            f"PLATFORM_HTTP_WEB__{field} has no effect without the page; "
            "set PLATFORM_HTTP_WEB__STATUS_PAGE to true or remove it"
        ),
    )
    load(**{f"WEB__{field}": value, "WEB__STATUS_PAGE": "true"})


@pytest.mark.parametrize("value", ["10.0.0.7", "2001:db8::1"])
def test_one_address_of_the_status_page_needs_a_port_of_its_own(violations, load, value):
    asked = {"WEB__STATUS_PAGE": "true", "WEB__STATUS_HOST": value}
    assert violations(**asked) == (
        (
            "PLATFORM_HTTP_WEB__STATUS_HOST is one address of the application's port; "
            "set PLATFORM_HTTP_WEB__STATUS_PORT, or this to 0.0.0.0 for every peer"
        ),
    )
    load(**asked, WEB__STATUS_PORT="9100")


@pytest.mark.parametrize("value", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_the_status_page_on_the_applications_port_is_for_local_or_for_all_peers(load, value):
    settings = load(WEB__STATUS_PAGE="true", WEB__STATUS_HOST=value)
    assert settings.client().web.status_host == value


@pytest.mark.parametrize("name", ["A", "DEFAULT"])
def test_there_is_one_status_page_whatever_the_client(violations, name):
    assert violations(**{f"CLIENTS__{name}__WEB__STATUS_PAGE": "true"}) == (
        (
            f"PLATFORM_HTTP_CLIENTS__{name}__WEB__STATUS_PAGE is set for one client, "
            "but the page shows them all; set PLATFORM_HTTP_WEB__STATUS_PAGE"
        ),
    )


def test_a_client_inherits_the_status_page(load):
    settings = load(
        WEB__STATUS_PAGE="true",
        WEB__STATUS_PORT="9100",
        CLIENTS__A__WEB__READY_WHEN_OPEN="false",
        CLIENTS__DEFAULT__TIMEOUT__TOTAL="5",
    )
    assert settings.client("a").web.status_page


@pytest.mark.parametrize("value", ["localhost", "example.test", "127.0.0.1:80", "*"])
def test_the_host_of_the_status_page_is_an_ip_address(violations, value):
    lines = violations(WEB__STATUS_PAGE="true", WEB__STATUS_HOST=value)
    assert lines == (
        "PLATFORM_HTTP_WEB__STATUS_HOST is not an IP address; set it to an IP address",
    )


def test_rules_hold_for_plain_defaults():
    assert list(violations(Statement(values=Profile(), labels={}))) == []


def test_what_contradicts_nothing_is_accepted_in_every_section():
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
        json={"serializer": "orjson"},
        redirects={"mode": "deny", "max": 0},
        response={"max_body": 1000},
        shutdown={"grace": 1},
        web={"ready_when_open": False, "status_page": True, "status_port": 9100},
        telemetry={"call_span": "always"},
    )

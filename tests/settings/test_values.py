from __future__ import annotations

import math
from pathlib import Path

import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import (
    ClientSettings,
    EgressSettings,
    HedgingSettings,
    HttpSettings,
    ProxySettings,
    SecretUrl,
    TimeoutSettings,
    TlsSettings,
)
from platform_http.settings.variables import variables


def _value(settings: HttpSettings, path: str) -> object:
    return variables()[path].of(settings.client())


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("TIMEOUT__TOTAL", " 2.5 ", 2.5),
        ("TIMEOUT__TOTAL", "none", math.inf),
        ("TIMEOUT__TOTAL", "None", math.inf),
        ("TIMEOUT__TOTAL", "inf", math.inf),
        ("POOL__LIMIT", "0", 0),
        ("POOL__MAX_CONNECTION_AGE", "none", None),
        ("POOL__MAX_CONNECTION_AGE", "300", 300.0),
        ("DNS__HAPPY_EYEBALLS_DELAY", "none", None),
        ("DNS__CACHE_TTL", "0", 0.0),
        ("TLS__MIN_VERSION", "1.3", "1.3"),
        ("TLS__RELOAD_INTERVAL", "0.1", 0.1),
        ("TLS__RELOAD_INTERVAL", "none", math.inf),
        ("TLS__CERT_FILE", "/run/tls.pem", Path("/run/tls.pem")),
        ("TLS__CERT_FILE", "none", None),
        ("PROXY__FROM_ENV", "TRUE", True),
        ("PROXY__FROM_ENV", " on ", True),
        ("PROXY__FROM_ENV", "0", False),
        ("PROXY__NO_PROXY", "a.test, .b.test,,10.0.0.0/8", ("a.test", ".b.test", "10.0.0.0/8")),
        ("PROXY__NO_PROXY", '["a.test", "b.test"]', ("a.test", "b.test")),
        ("PROXY__NO_PROXY", "[::1]:8080,a.test", ("[::1]:8080", "a.test")),
        ("PROXY__NO_PROXY", "", ()),
        ("PROXY__NO_PROXY", "[]", ()),
        ("RETRY__STATUSES", "503", {503}),
        ("RETRY__STATUSES", "[502, 503]", {502, 503}),
        ("RETRY__METHODS", "get,Put", {"GET", "PUT"}),
        ("RETRY__MAX_ATTEMPTS", "5", 5),
        ("CIRCUIT_BREAKER__MODE", "OFF", "off"),
        ("CIRCUIT_BREAKER__FAILURE_RATIO", "1", 1.0),
        ("TELEMETRY__PROPAGATE_TO", "*,A.test,*.b.test", ("*", "a.test", "*.b.test")),
        (
            "TELEMETRY__PROPAGATE_TO",
            "https://a.test:8443,http://[::1]:80",
            ("https://a.test:8443", "http://[::1]:80"),
        ),
        ("TELEMETRY__REDACT_QUERY", "*", ("*",)),
        ("TELEMETRY__CAPTURE_REQUEST_HEADERS", "X-A,X-B", ("X-A", "X-B")),
    ],
)
def test_text_becomes_a_value(load, variable, text, expected):
    path = variable.lower().replace("__", ".")
    assert _value(load(**{variable: text}), path) == expected


@pytest.mark.parametrize(
    ("variable", "text", "kind"),
    [
        ("TIMEOUT__TOTAL", "soon", "is not a number"),
        ("TIMEOUT__TOTAL", "nan", "is not a number"),
        ("TIMEOUT__TOTAL", "", "is empty"),
        ("TIMEOUT__TOTAL", "-1", "is a negative number"),
        ("TIMEOUT__TOTAL", "0", "is zero"),
        ("POOL__KEEPALIVE", "inf", "is not a finite number"),
        ("POOL__KEEPALIVE", "none", "is not a number"),
        ("POOL__LIMIT", "1.5", "is not a whole number"),
        ("POOL__LIMIT", "-3", "is a negative number"),
        ("POOL__LIMIT", "9" * 5000, "is not a whole number of reasonable size"),
        ("RETRY__MAX_ATTEMPTS", "6", "is too large"),
        ("RETRY__MAX_ATTEMPTS", "0", "is zero"),
        ("RETRY__STATUSES", "200", "is too small"),
        ("RETRY__STATUSES", "5O3", "is not a whole number"),
        ("RETRY__STATUSES", "[503", "is not a JSON list"),
        ("RETRY__STATUSES", '{"a": 1}', "is not a whole number"),
        ("RETRY__METHODS", "GET POST", "holds something that is not an HTTP token"),
        ("CIRCUIT_BREAKER__FAILURE_RATIO", "1.5", "is too large"),
        ("CIRCUIT_BREAKER__FAILURE_RATIO", "0", "is zero"),
        ("CIRCUIT_BREAKER__SLOW_CALL_RATIO", "-0.5", "is a negative number"),
        ("CIRCUIT_BREAKER__MODE", "on", "is none of the accepted words"),
        ("TLS__VERIFY", "maybe", "is neither true nor false"),
        ("TLS__VERIFY", "", "is empty"),
        ("TLS__MIN_VERSION", "1.1", "is none of the accepted words"),
        ("TLS__RELOAD_INTERVAL", "1e-9", "is too small"),
        ("TLS__RELOAD_INTERVAL", "0.09", "is too small"),
        ("TLS__RELOAD_INTERVAL", "0", "is zero"),
        ("TLS__PINS", "abc", "holds something that is not a SHA-256 digest in base64"),
        ("TLS__CERT_FILE", "", "is empty"),
        ("PROXY__USERNAME", "", "is empty"),
        ("PROXY__PASSWORD", "", "is empty"),
        ("DNS__NAMESERVERS", "resolver.test", "holds something that is not an IP address"),
        ("DNS__NAMESERVERS", "10.0.0.1:99999", "holds something that is not an IP address"),
        ("HEDGING__DELAY", "p99", "is none of the accepted words"),
        ("WEB__STATUS_PORT", "65536", "is too large"),
        ("EGRESS__ALLOWED_PORTS", "0", "is zero"),
        ("EGRESS__ALLOWED_NETWORKS", "10.0.0.1/8", "holds something that is not an IP network"),
        ("EGRESS__DENIED_HOSTS", "http://a.test", "holds something that is neither a host nor"),
        ("TELEMETRY__PROPAGATE_TO", "a b", "holds something that is no host, *.suffix, origin"),
        ("TELEMETRY__CAPTURE_REQUEST_HEADERS", "X A", "holds something that is not an HTTP token"),
        ("PROPAGATION__ATTEMPT_HEADER", "X A", "holds something that is not an HTTP token"),
        ("HEADERS", "X-A: 1", "is not a JSON object"),
        ("HEADERS", "[1]", "is not a JSON object"),
        ("HEADERS", '{"X-A": 1}', "is not text"),
        ("HEADERS", '{"X A": "1"}', "holds something that is not an HTTP token"),
        ("HEADERS", '{"X-A": "1", "x-a": "2"}', "names a header twice"),
        ("HEADERS", '{"Content-Length": "2"}', "names a header that frames a single message"),
        ("HEADERS", '{"X-A": "1\\r\\nX-B: 2"}', "holds a header value with control characters"),
    ],
)
def test_a_wrong_value_is_told_by_its_kind_and_the_remedy(violations, variable, text, kind):
    (line,) = violations(**{variable: text})
    assert line.startswith(f"PLATFORM_HTTP_{variable} {kind}")
    expects = variables()[variable.lower().replace("__", ".")].expects
    assert line.endswith(f"; set it to {expects}")


def test_lists_of_settings_without_a_policy_are_read_too():
    egress = EgressSettings(allowed_networks="10.0.0.0/8,2001:db8::/32", allowed_hosts="*.A.test")
    assert egress.allowed_networks == ("10.0.0.0/8", "2001:db8::/32")
    assert egress.allowed_hosts == ("*.a.test",)
    pin = "A" * 43 + "="
    assert TlsSettings(pins=f"{pin},sha256/{pin}").pins == (pin, f"sha256/{pin}")
    assert HedgingSettings(delay="P95").delay == "p95"
    assert HedgingSettings(delay="0.5").delay == 0.5


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("timeout.total", math.inf, math.inf),
        ("timeout.total", None, math.inf),
        ("pool.max_connection_age", None, None),
        ("proxy.no_proxy", ["a.test"], ("a.test",)),
        ("retry.statuses", (503,), {503}),
        ("tls.cert_file", Path("x.pem"), Path("x.pem")),
        ("proxy.url", SecretUrl("http://proxy.test"), SecretUrl("http://proxy.test")),
    ],
)
def test_the_constructor_takes_values_as_they_are(path, value, expected):
    section, _, field = path.partition(".")
    assert _value(HttpSettings(**{section: {field: value}}), path) == expected


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("timeout.total", True, "is not a number"),
        ("retry.max_attempts", False, "is not a number"),
        ("retry.statuses", {503: 1}, "is not a list"),
        ("retry.methods", 3, "is not a list"),
        ("proxy.no_proxy", 3, "is not a list"),
        ("proxy.no_proxy", [3], "is not text"),
        ("proxy.password", 3, "is not text"),
        ("tls.verify", 3.5, "is neither true nor false"),
        ("tls.verify", [], "is neither true nor false"),
        ("pool.limit", [], "is not a whole number"),
        ("pool.limit", 1.5, "is not a whole number"),
        ("proxy.url", 3, "is of the wrong type"),
    ],
)
def test_the_constructor_refuses_values_of_another_type(path, value, kind):
    section, _, field = path.partition(".")
    with pytest.raises(ConfigurationError) as caught:
        HttpSettings(**{section: {field: value}})
    (line,) = caught.value.violations
    assert line.startswith(f"{path} {kind};")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://api.test/v1/", "https://api.test/v1/"),
        ("https://api.test", "https://api.test/"),
        ("https://user:pass@api.test:8443/", "https://user:pass@api.test:8443/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http+unix://%2Frun%2Fapi.sock", "http+unix://%2Frun%2Fapi.sock/"),
        ("http+unix://%2Frun%2Fapi.sock/v1/", "http+unix://%2Frun%2Fapi.sock/v1/"),
    ],
)
def test_a_base_url_ends_in_a_slash(load, text, expected):
    base_url = load(BASE_URL=text).client().base_url
    assert base_url is not None
    assert base_url.get_secret_value() == expected


@pytest.mark.parametrize(
    ("variable", "text", "kind"),
    [
        ("BASE_URL", "https://api.test/v1", "is a URL that does not end in /"),
        ("BASE_URL", "http+unix://%2Frun%2Fapi.sock/v1", "is a URL that does not end in /"),
        ("BASE_URL", "ftp://api.test/", "is not a URL with a supported scheme"),
        ("BASE_URL", "api.test", "is not a URL with a supported scheme"),
        ("BASE_URL", "https:///v1/", "is a URL without a host"),
        ("BASE_URL", "https://[::1/", "is not a URL"),
        ("BASE_URL", "https://api.test:port/", "is a URL with an invalid port"),
        ("BASE_URL", "https://api.test:0/", "is a URL with an invalid port"),
        ("BASE_URL", "https://api.test:/", "is a URL with an invalid port"),
        ("BASE_URL", "https://api.test:99999/", "is a URL with an invalid port"),
        ("BASE_URL", "https://api.test/?a=b", "is a URL with a query or a fragment"),
        ("BASE_URL", "https://api.test/#", "is a URL with a query or a fragment"),
        ("BASE_URL", "https://api .test/", "is a URL with white space"),
        ("BASE_URL", "", "is empty"),
        ("BASE_URL", "http+unix://run/api.sock/", "is not a URL whose host is an absolute socket"),
        ("BASE_URL", "http+unix:///run/api.sock/", "is not a URL whose host is an absolute socket"),
        ("PROXY__URL", "socks4://proxy.test", "is not a URL with a supported scheme"),
        ("PROXY__URL", "socks5h://proxy.test", "is not a URL with a supported scheme"),
        ("PROXY__URL", "proxy.test:3128", "is not a URL with a supported scheme"),
        ("PROXY__URL", "http://proxy.test/pac", "is a URL with a path"),
        ("PROXY__URL", "http://:3128", "is a URL without a host"),
        ("AUTH__TOKEN_URL", "http://", "is a URL without a host"),
        ("RATE_LIMIT__STORE", "memcached://x", "is not a URL with a supported scheme"),
        ("RATE_LIMIT__STORE", "redis://[x", "is not a URL with a supported scheme"),
    ],
)
def test_a_url_that_cannot_be_used_refuses(violations, variable, text, kind):
    line = violations(**{variable: text})[0]
    assert line.startswith(f"PLATFORM_HTTP_{variable} {kind}")


@pytest.mark.parametrize("url", ["http://proxy.test:3128/", "https://u:p@proxy.test", "socks5://p"])
def test_proxies_of_every_supported_scheme_are_accepted(load, url):
    proxy = load(PROXY__URL=url).client().proxy
    assert proxy.url is not None
    assert proxy.url.get_secret_value() == url


@pytest.mark.parametrize(
    "entry", ["10.0.0.1", "10.0.0.1:5353", "::1", "[::1]", "[::1]:53", "2001:db8::1"]
)
def test_a_nameserver_is_an_address_with_or_without_a_port(load, entry):
    assert load(DNS__NAMESERVERS=entry).client().dns.nameservers == (entry,)


def test_all_violations_are_told_at_once(violations):
    lines = violations(
        TIMEOUT__TOTAL="x",
        TIMEOUT__READ="-1",
        POOL__LIMIT="1.5",
        TLS__VERIFY="false",
        TLS__TRUST="file",
        UNKNOWN__THING="1",
        EGRESS__MODE="allowlist",
        CLIENTS__A__TIMEOUT__ATTEMPT="0",
    )
    named = {line.split()[0].removeprefix("PLATFORM_HTTP_") for line in lines}
    assert named == {
        "TIMEOUT__TOTAL",
        "TIMEOUT__READ",
        "POOL__LIMIT",
        "TLS__VERIFY",
        "TLS__TRUST",
        "UNKNOWN__THING",
        "EGRESS__MODE",
        "CLIENTS__A__TIMEOUT__ATTEMPT",
    }


def test_a_wrong_value_contradicts_nothing(violations):
    (line,) = violations(TIMEOUT__TOTAL="-1", TIMEOUT__ATTEMPT="50")
    assert "TIMEOUT__TOTAL is a negative number" in line


def test_a_section_made_by_hand_refuses_in_the_same_words():
    with pytest.raises(ConfigurationError) as caught:
        TimeoutSettings(total=-1, attempt="soon", never=3)
    assert set(caught.value.violations) == {
        "TimeoutSettings.total is a negative number",
        "TimeoutSettings.attempt is not a number",
        "TimeoutSettings.never is unknown",
    }


def test_sections_and_clients_can_be_made_by_hand():
    client = ClientSettings(name="a", proxy=ProxySettings(url=SecretUrl("http://p")))
    assert client.timeout.total == 10
    assert client.json_.serializer == "json"
    assert client == ClientSettings(name="a", proxy=ProxySettings(url=SecretUrl("http://p")))


def test_every_variable_says_what_it_expects_and_means():
    for path, variable in variables().items():
        assert variable.expects, path
        assert variable.description, path
        assert variable.suffix == path.upper().replace(".", "__")


@pytest.mark.parametrize("path", list(variables()))
def test_every_default_may_be_written_out(path):
    variable = variables()[path]
    section, _, field = path.rpartition(".")
    value: object = {field: variable.default}
    for name in reversed(section.split(".") if section else []):
        value = {name: value}
    assert isinstance(value, dict)
    assert _value(HttpSettings(**value), path) == variable.default

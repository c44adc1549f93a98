from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.errors import ConfigurationError
from platform_http.transport.proxy import NoProxy


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("*", "anything.test", 80),
        ("*", "192.0.2.1", 80),
        ("example.com", "example.com", 443),
        ("example.com", "api.example.com", 443),
        ("example.com", "a.b.example.com", 443),
        (".example.com", "api.example.com", 443),
        ("*.example.com", "a.b.example.com", 443),
        ("localhost", "localhost", 80),
        ("EXAMPLE.com", "example.COM", 443),
        ("example.com.", "example.com", 443),
        ("example.com", "example.com.", 443),
        ("bücher.example", "xn--bcher-kva.example", 443),
        ("xn--bcher-kva.example", "bücher.example", 443),
        (" example.com ", "example.com", 443),
        ("example.com:8443", "example.com", 8443),
        (".example.com:8443", "api.example.com", 8443),
        ("192.0.2.7", "192.0.2.7", 80),
        ("192.0.2.7:8080", "192.0.2.7", 8080),
        ("192.0.2.0/24", "192.0.2.255", 80),
        ("192.0.2.9/24", "192.0.2.1", 80),
        ("192.0.2.0/24", "::ffff:192.0.2.1", 80),
        ("0.0.0.0/0", "203.0.113.9", 80),
        ("::1", "::1", 80),
        ("[::1]", "::1", 80),
        ("[::1]:8080", "::1", 8080),
        ("2001:db8::7", "2001:0DB8:0:0:0:0:0:7", 80),
        ("2001:db8::/32", "2001:db8:ffff::1", 80),
        ("fe80::/10", "fe80::1%eth0", 80),
        ("fe80::1%eth0", "fe80::1%eth0", 80),
        ("my_service", "my_service", 80),
    ],
)
def test_an_entry_matches(entry: str, host: str, port: int) -> None:
    assert NoProxy([entry]).matches(host, port)


@pytest.mark.parametrize(
    ("entry", "host", "port"),
    [
        ("example.com", "notexample.com", 443),
        ("example.com", "example.com.evil.test", 443),
        (".example.com", "example.com", 443),
        ("*.example.com", "example.com", 443),
        ("example.com:8443", "example.com", 443),
        ("example.com:8443", "api.example.com", 443),
        ("192.0.2.7", "192.0.2.8", 80),
        ("192.0.2.7:8080", "192.0.2.7", 80),
        ("192.0.2.7", "x.192.0.2.7", 80),
        ("192.0.2.0/24", "192.0.3.1", 80),
        ("192.0.2.0/24", "192.0.2.1.example.com", 80),
        ("127.0.0.0/8", "localhost", 80),
        ("127.0.0.1", "localhost", 80),
        ("[::1]:8080", "::1", 80),
        ("2001:db8::/32", "2001:db9::1", 80),
        ("::/0", "192.0.2.1", 80),
        ("0.0.0.0/0", "2001:db8::1", 80),
        ("0.0.0.0/0", "api.example.com", 80),
        ("example.com", "not a host", 80),
        ("", "example.com", 80),
    ],
)
def test_an_entry_does_not_match(entry: str, host: str, port: int) -> None:
    assert not NoProxy([entry]).matches(host, port)


def test_loopback_is_nothing_special() -> None:
    nothing = NoProxy([])

    assert not nothing.matches("localhost", 80)
    assert not nothing.matches("127.0.0.1", 80)


def test_one_matching_entry_is_enough() -> None:
    no_proxy = NoProxy(["10.0.0.0/8", "internal.test", "192.0.2.7"])

    assert no_proxy.matches("api.internal.test", 443)
    assert no_proxy.matches("192.0.2.7", 443)
    assert not no_proxy.matches("example.com", 443)


@pytest.mark.parametrize(
    "entry",
    [
        "10.*",
        "*example.com",
        "foo*.example.com",
        "**",
        ".",
        "*.",
        "http://example.com",
        "example.com/path",
        "user@example.com",
        "example com",
        "a,b",
        "10.0.0.0/33",
        "10.0.0.0/8:80",
        "fe80::/200",
        "[::1",
        "[::1]80",
        "[::1]:",
        "[example.com]:80",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:https",
        "example.com:٨٠",
        ":80",
    ],
)
def test_an_entry_that_means_nothing_is_refused_by_its_place_and_not_repeated(entry: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        NoProxy(["example.com", entry], variable="NO_PROXY")

    (violation,) = caught.value.violations
    assert violation.startswith("NO_PROXY: entry 2 is neither")
    assert entry == ":80" or entry in {".", "*.", "**"} or entry not in violation


def test_all_entries_that_mean_nothing_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        NoProxy(["10.*", "example.com", "a b"])

    assert [line.split(" is ")[0] for line in caught.value.violations] == [
        "PROXY__NO_PROXY: entry 1",
        "PROXY__NO_PROXY: entry 3",
    ]


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_network_matches_exactly_its_own_addresses(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    length = min(length, address.max_prefixlen)
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    no_proxy = NoProxy([str(network)])

    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
    assert no_proxy.matches(str(address), 80) is not bool(mapped)
    if length:
        outside = type(address)(int(address) ^ (1 << (address.max_prefixlen - length)))
        assert not no_proxy.matches(str(outside), 80)


@given(st.text(max_size=40), st.integers(0, 65535))
def test_any_host_may_be_asked_about(host: str, port: int) -> None:
    assert not NoProxy(["example.com:1", "192.0.2.1"]).matches(f"{host}\x00", port)


@given(st.text(max_size=40))
def test_any_entry_is_either_taken_or_refused(entry: str) -> None:
    try:
        NoProxy([entry])
    except ConfigurationError:
        return

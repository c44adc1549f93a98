"""Addresses: their spellings, what they carry, and their kinds; over whole ranges."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from platform_http.policies.addresses import (
    has_zone,
    never_meant,
    not_public,
    parse,
    with_embedded,
)
from tests.policies.address_ranges import (
    NEVER_MEANT,
    NEVER_MEANT_KINDS,
    NOT_PUBLIC_V4,
    NOT_PUBLIC_V6,
    addresses_in,
    isatap,
    spellings,
)

_EXCEPTIONS_V4 = [IPv4Network(text) for text in NOT_PUBLIC_V4]
_EXCEPTIONS_V6 = [IPv6Network(text) for text in NOT_PUBLIC_V6]
KINDS = {*NEVER_MEANT_KINDS, "loopback", "private", "reserved"}


@given(st.sampled_from([*NOT_PUBLIC_V4, *NOT_PUBLIC_V6]).flatmap(addresses_in))
def test_every_address_of_the_listed_ranges_is_not_public(address):
    assert not_public(address) in KINDS


@pytest.mark.parametrize("network", [*NOT_PUBLIC_V4, *NOT_PUBLIC_V6])
def test_both_ends_of_a_listed_range_are_not_public(network):
    first, last = ip_network(network)[0], ip_network(network)[-1]
    assert not_public(first) is not None
    assert not_public(last) is not None


@pytest.mark.parametrize("network", NOT_PUBLIC_V4)
@pytest.mark.parametrize("side", [-1, 1])
def test_the_neighbours_of_a_listed_range_are_public_unless_listed_themselves(network, side):
    edge = int(ip_network(network)[0 if side < 0 else -1]) + side
    if 0 <= edge < 2**32:
        neighbour = IPv4Address(edge)
        listed = any(neighbour in exception for exception in _EXCEPTIONS_V4)
        assert (not_public(neighbour) is not None) == listed


@given(st.ip_addresses(v=4))
def test_every_other_ipv4_address_is_public(address):
    assume(not any(address in exception for exception in _EXCEPTIONS_V4))
    assert not_public(address) is None


@given(addresses_in("2000::/3"))
def test_every_other_address_of_global_unicast_is_public(address):
    assume(not any(address in exception for exception in _EXCEPTIONS_V6))
    assume(not isatap(address))
    assert not_public(address) is None


@given(st.integers(0, 2**64 - 1), st.sampled_from([0x00005EFE, 0x02005EFE]), st.ip_addresses(v=4))
def test_every_isatap_interface_id_is_not_public(prefix, marker, inner):
    assert not_public(IPv6Address(prefix << 64 | marker << 32 | int(inner))) is not None


@given(st.sampled_from(NEVER_MEANT).flatmap(addresses_in))
def test_what_no_service_is_meant_at_is_not_public_either(address):
    assert never_meant(address) in NEVER_MEANT_KINDS
    assert not_public(address) == never_meant(address)


@pytest.mark.parametrize(
    "text",
    [
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "192.0.0.192",
        "100.100.100.200",
    ],
)
def test_the_metadata_services_of_clouds_are_called_that(text):
    assert never_meant(ip_address(text)) == "metadata"


@pytest.mark.parametrize("text", ["64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::7f00:1", "64:ff9b:1::"])
def test_the_local_prefix_of_nat64_carries_nobody_knows_what(text):
    assert never_meant(ip_address(text)) == not_public(ip_address(text)) == "embedded"


@given(st.ip_addresses())
def test_all_other_addresses_may_be_meant(address):
    assume(not any(address in ip_network(network) for network in NEVER_MEANT))
    assert never_meant(address) is None


@given(st.ip_addresses(v=4).flatmap(lambda a: st.tuples(st.just(a), spellings(a))))
def test_an_ipv4_address_is_read_in_every_spelling(case):
    address, text = case
    assert parse(text) == address


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_read_in_every_spelling(address):
    for text in (str(address), str(address).upper(), address.exploded):
        assert parse(text) == address


@given(
    st.lists(
        st.one_of(
            st.text("0123456789abcdefxX", min_size=1, max_size=5),
            st.sampled_from(["0", "00", "255", "256", "0377", "0400", "0xff", "0x100", "09"]),
            st.integers(0, 2**33).map(str),
            st.integers(0, 2**33).map(hex),
        ),
        min_size=1,
        max_size=5,
    ).map(".".join)
)
@example("4294967295")
@example("4294967296")
@example("1.16777215")
@example("1.16777216")
@example("1.2.65535")
@example("1.2.65536")
@example("1.2.3.4.5")
def test_whatever_the_system_takes_for_an_ipv4_address_is_read_as_the_same(text):
    try:
        packed = socket.inet_aton(text)
    except OSError:
        # WHATWG's parser takes a bare 0x for zero; nothing else is added.
        assert parse(text) is None or "0x" in text.lower()
    else:
        assert parse(text) == IPv4Address(packed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1..2",
        "1.2.3.4.",
        "-1",
        "+1",
        "1 ",
        "1_0",
        "\u0661",
        "\u2460",
        "1e3",
        "0b1",
        "::g",
        "1:2",
    ],
)
def test_what_is_no_address_is_a_name(text):
    assert parse(text) is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_found_in_whatever_carries_it(inner):
    number = int(inner)
    carriers = [
        f"::ffff:{inner}",
        f"::{inner}",
        f"::ffff:0:{inner}",
        f"64:ff9b::{inner}",
        f"64:ff9b:1::{inner}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
        f"2001:0:1234:5678:8000:63bf:{~number >> 16 & 0xFFFF:x}:{~number & 0xFFFF:x}",
        f"2001:4860::5efe:{inner}",
        f"2001:4860::200:5efe:{inner}",
    ]
    for carrier in carriers:
        address = ip_address(carrier)
        assert address in with_embedded(address)
        assert inner in with_embedded(address)


def test_an_address_that_carries_nothing_is_alone():
    assert with_embedded(ip_address("127.0.0.1")) == (ip_address("127.0.0.1"),)
    assert with_embedded(ip_address("2600::1")) == (ip_address("2600::1"),)


def test_a_zone_is_told_from_none():
    assert has_zone(ip_address("fe80::1%eth0"))
    assert not has_zone(ip_address("fe80::1"))
    assert not has_zone(ip_address("127.0.0.1"))

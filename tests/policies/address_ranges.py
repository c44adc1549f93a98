"""The ranges of the egress contract, and strategies for addresses in them and their spellings."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import strategies as st

NOT_PUBLIC_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",
]
NOT_PUBLIC_V6 = [
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "2620:4f:8000::/48",
    # All that is outside of 2000::/3.
    "::/3",
    "4000::/2",
    "8000::/1",
]
NEVER_MEANT = [
    "169.254.0.0/16",
    "fe80::/10",
    "fd00:ec2::/32",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "64:ff9b:1::/48",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "0.0.0.0",
    "::",
    "224.0.0.0/4",
    "ff00::/8",
]
NEVER_MEANT_KINDS = {"metadata", "link_local", "unspecified", "multicast", "embedded"}


def isatap(address: IPv6Address) -> bool:
    return f"{int(address) >> 32 & 0xFFFFFFFF:08x}" in {"00005efe", "02005efe"}


def addresses_in(text: str) -> st.SearchStrategy:
    network = ip_network(text)
    first, last = int(network[0]), int(network[-1])
    kind = type(network[0])
    return st.integers(first, last).map(kind)


def spellings(address: IPv4Address) -> st.SearchStrategy[str]:
    """All that ``inet_aton`` reads as *address*."""
    return st.integers(1, 4).flatmap(lambda count: _with_parts(int(address), count))


def _with_parts(number: int, count: int) -> st.SearchStrategy[str]:
    octets = [number >> (24 - 8 * place) & 0xFF for place in range(count - 1)]
    rest = number & (256 ** (5 - count) - 1)
    return st.tuples(*map(_number, [*octets, rest])).map(".".join)


def _number(number: int) -> st.SearchStrategy[str]:
    zeros = st.integers(0, 3).map(lambda count: "0" * count)
    return st.one_of(
        st.just(str(number)),
        zeros.map(lambda some: f"0{some}{number:o}"),
        st.builds(
            lambda prefix, some, upper: prefix + some + (f"{number:X}" if upper else f"{number:x}"),
            st.sampled_from(["0x", "0X"]),
            zeros,
            st.booleans(),
        ),
    )

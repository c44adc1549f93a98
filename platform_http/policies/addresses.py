"""IP addresses: how they are spelled, which others they carry, and what kind they are of.

``ipaddress.is_global`` is not used: it is true for NAT64, 6to4, ``::127.0.0.1``, multicast and the
metadata services of some clouds, and what it says changes between Python versions.
"""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Hexadecimal with 0x, octal with a leading zero, else decimal: RFC 6943, section 3.1.1.
_NUMBER = re.compile(r"0x[0-9a-f]*|0[0-7]*|[1-9][0-9]*", re.ASCII | re.IGNORECASE)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


# The first that holds an address names its kind.
_NEVER_MEANT: tuple[tuple[str, tuple[Network, ...]], ...] = (
    (
        "metadata",
        _networks(
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "100.100.100.200",  # Alibaba
            "fd00:ec2::/32",  # Amazon: instances at ::254, credentials of EKS pods at ::23
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
            "fd00:42::42",  # Scaleway
            "fd00:a9fe:a9fe::1",  # Linode
        ),
    ),
    ("link_local", _networks("169.254.0.0/16", "fe80::/10")),
    ("unspecified", _networks("0.0.0.0/32", "::/128")),
    ("multicast", _networks("224.0.0.0/4", "ff00::/8")),
    # Where in it the IPv4 address stands is up to whoever runs the gateway (RFC 8215, RFC 6052).
    ("embedded", _networks("64:ff9b:1::/48")),
)
_NOT_PUBLIC: tuple[tuple[str, tuple[Network, ...]], ...] = (
    *_NEVER_MEANT,
    ("loopback", _networks("127.0.0.0/8", "::1")),
    (
        "private",
        _networks(
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fec0::/10",
        ),
    ),
    ("embedded", _networks("2002::/16", "::ffff:0:0/96", "64:ff9b::/96")),
    (
        "reserved",
        _networks(
            "0.0.0.0/8",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
            "2001::/23",
            "2001:db8::/32",
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    ),
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# Networks whose addresses carry an IPv4 address, how far it is from the right end, and with what
# its bits are inverted: mapped, compatible, translated, NAT64 (twice), 6to4, Teredo.
_CARRIERS = tuple(
    (IPv6Network(network), shift, inversion)
    for network, shift, inversion in (
        ("::ffff:0:0/96", 0, 0),
        ("::/96", 0, 0),
        ("::ffff:0:0:0/96", 0, 0),
        ("64:ff9b::/96", 0, 0),
        ("64:ff9b:1::/48", 0, 0),
        ("2002::/16", 80, 0),
        ("2001::/32", 0, 0xFFFFFFFF),
    )
)
# The universal and the group bit of an interface identifier make no difference.
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFCFFFFFF


def parse(host: str) -> Address | None:
    """Return the address that *host* spells, or ``None`` if it is a name.

    Besides the canonical spellings these are the ones that ``inet_aton`` and with it
    ``getaddrinfo`` take for an IPv4 address: ``127.1``, ``2130706433``, ``0x7f.1``, ``0177.0.0.1``.

    Args:
        host: Without brackets and without a trailing dot, at most 253 characters.
    """
    if ":" in host:
        try:
            return IPv6Address(host)
        except AddressValueError:
            return None
    parts = host.split(".")
    numbers = [_number(part) for part in parts if _NUMBER.fullmatch(part)]
    if not len(numbers) == len(parts) <= 4:
        return None
    # The last number fills what the others leave of the 32 bits.
    *octets, rest = numbers
    if max(octets, default=0) > 255 or rest >= 256 ** (4 - len(octets)):
        return None
    for position, octet in enumerate(octets):
        rest += octet << (24 - 8 * position)
    return IPv4Address(rest)


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def with_embedded(address: Address) -> tuple[Address, ...]:
    """Return *address* and the IPv4 addresses to which a gateway or a host may translate it."""
    if isinstance(address, IPv4Address):
        return (address,)
    number = int(address)
    found: list[Address] = [address]
    for network, shift, inversion in _CARRIERS:
        if address in network:
            found.append(IPv4Address((number >> shift & 0xFFFFFFFF) ^ inversion))
    if _is_isatap(address):
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return tuple(found)


def _is_isatap(address: IPv6Address) -> bool:
    return int(address) >> 32 & _ISATAP_MASK == _ISATAP


def has_zone(address: Address) -> bool:
    """Tell whether *address* names an interface of this host, as in ``fe80::1%eth0``."""
    return isinstance(address, IPv6Address) and address.scope_id is not None


def never_meant(address: Address) -> str | None:
    """Return the kind of an *address* that no service is meant to be reached at.

    Returns:
        ``metadata``, ``link_local``, ``unspecified``, ``multicast``, or ``embedded`` where nobody
        can tell which address is carried; ``None`` for any other. An address that carries one of
        these is judged as what it carries is: see :func:`with_embedded`.
    """
    return _kind(address, _NEVER_MEANT)


def not_public(address: Address) -> str | None:
    """Return the kind of an *address* that is not public, or ``None`` if it is.

    Returns:
        One of the kinds of :func:`never_meant`, or ``loopback``, ``private``, ``embedded`` or
        ``reserved``. Of IPv6 only 2000::/3 is public, less what is set aside in it.

    Source: the special-purpose registries of IANA (RFC 6890), RFC 5214 for ISATAP.
    """
    kind = _kind(address, _NOT_PUBLIC)
    if kind is not None or isinstance(address, IPv4Address):
        return kind
    if address not in _GLOBAL_UNICAST:
        return "reserved"
    return "embedded" if _is_isatap(address) else None


def _kind(address: Address, kinds: tuple[tuple[str, tuple[Network, ...]], ...]) -> str | None:
    for kind, networks in kinds:
        if any(address in network for network in networks):
            return kind
    return None

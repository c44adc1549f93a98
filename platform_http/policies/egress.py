"""Egress: which destinations may be reached, judged by URL and again by address.

One of the two is not enough. A name may resolve to anything, to something else the next time, and
an address may be written where a name is expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, NamedTuple

from platform_http.policies.addresses import (
    has_zone,
    never_meant,
    not_public,
    parse,
    with_embedded,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from platform_http.policies.addresses import Address, Network

Mode = Literal["internal", "public", "allowlist"]

PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
"""What ``public`` reaches unless ports are listed."""

_SCHEMES = frozenset({"http", "https", "ws", "wss"})

# RFC 1035 without its length octets, and no name is longer.
_MAX_HOST = 253
# RFC 952 and RFC 1123, section 2.1: letters, digits and hyphens. A dot may end the name.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_STRICT_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII | re.IGNORECASE)
# Inside a company names have underscores too. Nothing else: a proxy would decode what it gets.
_NAME = re.compile(r"[a-z0-9_.-]+", re.ASCII | re.IGNORECASE)
# What a URL parser of browsers takes for an IPv4 address or refuses.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII | re.IGNORECASE)

_ADDRESS_KINDS = {
    "metadata": "a metadata service of a cloud",
    "link_local": "link-local",
    "unspecified": "unspecified",
    "multicast": "multicast",
    "loopback": "loopback",
    "private": "private",
    "embedded": "IPv4 inside IPv6",
    "reserved": "reserved",
    "zone_id": "one with a zone id",
}


class Refusal(NamedTuple):
    """Why a destination may not be reached.

    Args:
        reason: One of a fixed set of words.
        rule: Which rule refuses and what to change, for people; never a part of the URL.
    """

    reason: str
    rule: str


_SCHEME = Refusal("scheme", "its scheme is none of http, https, ws and wss")
_HOST_SYNTAX = Refusal("host_syntax", "its host is neither a well-formed name nor an address")
_NO_PORT = Refusal("port", "its port is 0; name another one")
_PORT = Refusal(
    "port", "its port is not on EGRESS__ALLOWED_PORTS; add it there if the service is meant"
)
_PUBLIC_PORT = Refusal(
    "port",
    "its port is none of 80, 443, 8080 and 8443; list the ports that are meant in "
    "EGRESS__ALLOWED_PORTS",
)
_HOST_DENIED = Refusal("host_denied", "its host is on EGRESS__DENIED_HOSTS, which always wins")
_HOST_NOT_ALLOWED = Refusal(
    "host_not_allowed",
    "its host is not on EGRESS__ALLOWED_HOSTS; add it there if the service is meant",
)
INVALID_ANSWER = Refusal("invalid_answer", "its name resolves to what is no address of it")
USERINFO = Refusal(
    "userinfo", "its URL holds credentials, which EGRESS__MODE=public refuses; use a header or AUTH"
)
CONTROL_CHARACTER = Refusal("control_character", "its URL holds control characters")
UNTRUSTED_PROXY = Refusal(
    "proxy",
    "EGRESS__MODE is public, but only its proxy would see the address; set EGRESS__TRUST_PROXY to "
    "true if every proxy checks them",
)


class HostList:
    """A list of hosts: exact names, ``*.suffix`` for every name below it, and addresses.

    Args:
        entries: In lower case and as they are sent (IDNA), without trailing dots.
    """

    __slots__ = ("_addresses", "_names", "_suffixes")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        names, addresses, suffixes = set(), set(), []
        for entry in entries:
            if entry.startswith("*."):
                suffixes.append(entry[1:])
            elif (address := parse(entry)) is not None:
                addresses.add(address)
            else:
                names.add(entry)
        self._names = frozenset(names)
        self._addresses = frozenset(addresses)
        self._suffixes = tuple(suffixes)

    def has_name(self, name: str) -> bool:
        """Tell whether *name*, in lower case and without trailing dots, is on the list."""
        return name in self._names or name.endswith(self._suffixes)

    def has_address(self, address: Address) -> bool:
        """Tell whether *address* is on the list."""
        return address in self._addresses


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Which destinations one client may reach.

    - ``internal``: every address but link-local ones, metadata services, the unspecified address
      and multicast.
    - ``public``: public addresses only, and URLs without credentials and control characters whose
      host is a well-formed name.
    - ``allowlist``: hosts on the list, and literal addresses in the listed networks; the addresses
      of hosts as in ``internal``.

    Args:
        mode: As above.
        allowed_hosts: For ``allowlist``.
        denied_hosts: Never reached, whatever else says so. An address is denied as an answer too.
        allowed_ports: Empty is :data:`PUBLIC_PORTS` in ``public`` and any port elsewhere.
        allowed_networks: Exempt from the mode's rule about addresses.
    """

    mode: Mode
    allowed_hosts: HostList = field(default_factory=HostList)
    denied_hosts: HostList = field(default_factory=HostList)
    allowed_ports: Collection[int] = frozenset()
    allowed_networks: tuple[Network, ...] = ()

    def judge_destination(self, scheme: str, host: str, port: int) -> Refusal | None:
        """Judge what a URL says, without asking any name server.

        Args:
            scheme: In lower case, ``""`` if there is none.
            host: A name or an address in any spelling, without brackets.
            port: 0 if there is none.

        Returns:
            ``None`` if it may be reached as far as its URL tells.
        """
        if scheme not in _SCHEMES:
            return _SCHEME
        name = host.rstrip(".").lower()
        address = parse(name) if 0 < len(name) <= _MAX_HOST else None
        if address is not None:
            refusal = self._judge_literal(address)
        elif self._is_name(host, name):
            refusal = self._judge_name(name)
        else:
            refusal = _HOST_SYNTAX
        return refusal or self._judge_port(port)

    def judge_address(self, text: str) -> Refusal | None:
        """Judge an address that a name resolves to or a socket is about to be connected to.

        Args:
            text: An address in its canonical spelling; anything else is refused.
        """
        try:
            address = ip_address(text)
        except ValueError:
            return INVALID_ANSWER
        return self._judge_address(address)

    def _is_name(self, host: str, name: str) -> bool:
        if not 0 < len(name) <= _MAX_HOST:
            return False
        if self.mode == "public":
            return _STRICT_NAME.fullmatch(host) is not None and not _ENDS_IN_NUMBER.fullmatch(name)
        return _NAME.fullmatch(host) is not None

    def _judge_name(self, name: str) -> Refusal | None:
        if self.denied_hosts.has_name(name):
            return _HOST_DENIED
        if self.mode == "allowlist" and not self.allowed_hosts.has_name(name):
            return _HOST_NOT_ALLOWED
        return None

    def _judge_literal(self, address: Address) -> Refusal | None:
        refusal = self._judge_address(address)
        if refusal is not None or self.mode != "allowlist":
            return refusal
        if self._is_exempt(address) or self.allowed_hosts.has_address(address):
            return None
        return _HOST_NOT_ALLOWED

    def _judge_port(self, port: int) -> Refusal | None:
        if port == 0:
            return _NO_PORT
        if self.allowed_ports:
            return None if port in self.allowed_ports else _PORT
        return _PUBLIC_PORT if self.mode == "public" and port not in PUBLIC_PORTS else None

    def _judge_address(self, address: Address) -> Refusal | None:
        found = with_embedded(address)
        if any(map(self.denied_hosts.has_address, found)):
            return _HOST_DENIED
        if self._is_exempt(address):
            return None
        if has_zone(address):
            return self._of_kind("zone_id")
        if self.mode == "public":
            kind = not_public(address)
        else:
            kinds = (never_meant(each) for each in found if not self._is_exempt(each))
            kind = next(filter(None, kinds), None)
        return None if kind is None else self._of_kind(kind)

    def _is_exempt(self, address: Address) -> bool:
        return any(address in network for network in self.allowed_networks)

    def _of_kind(self, kind: str) -> Refusal:
        return Refusal(
            kind,
            f"its address is {_ADDRESS_KINDS[kind]}, which EGRESS__MODE={self.mode} refuses; list "
            "its network in EGRESS__ALLOWED_NETWORKS if the service is meant",
        )

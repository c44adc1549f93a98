"""Who may read the status page."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, hdrs

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from aiohttp import web

# Whoever sends one of them passes on what another asked for.
_PROXIED: Final = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"}
)
_PROXIED_PREFIXES: Final = ("x-forwarded-", "x-envoy-")


def refusal(request: web.BaseRequest, *, local_only: bool) -> str | None:
    """Return why *request* is not answered, or ``None`` if it is.

    A browser that is tricked into asking for another site's name at this address (DNS rebinding)
    sends that name in ``Host``, so only addresses and ``localhost`` are answered, and what the
    script of another site asks for has an ``Origin``, which a look at the page has not. No header
    makes a peer local; some show that it speaks for another, and so does HTTP/1.0, which proxies
    speak that are told nothing else.

    Args:
        request: For the page or its JSON.
        local_only: Whether only peers on the same machine may read it.
    """
    if not _is_address(request.headers.getall(hdrs.HOST, ())):
        return "ask for the status page by address or as localhost, not by another name"
    if hdrs.ORIGIN in request.headers:
        return "the status page does not answer scripts; open it, or ask without Origin"
    if not local_only:
        return None
    if request.version < HttpVersion11 or any(map(_is_of_proxies, request.headers)):
        return "the status page does not answer through a proxy; see WEB__STATUS_PORT"
    peer = request.transport and request.transport.get_extra_info("peername")
    # A Unix socket has no address to tell, and the other end of it is usually a proxy.
    if not (isinstance(peer, tuple) and _is_loopback(peer[0])):
        return "the status page answers local peers only; see WEB__STATUS_HOST"
    return None


def is_loopback(host: str) -> bool:
    """Tell whether the IP address *host* is of the machine itself."""
    address = _address(host)
    return address is not None and address.is_loopback


def _is_of_proxies(header: str) -> bool:
    name = header.lower()
    return name in _PROXIED or name.startswith(_PROXIED_PREFIXES)


def _is_loopback(host: object) -> bool:
    return isinstance(host, str) and is_loopback(host)


def _is_address(hosts: list[str] | tuple[str, ...]) -> bool:
    if len(hosts) != 1:
        return False
    host = hosts[0].strip()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        return bool(bracket) and _is_port(port.removeprefix(":")) and _address(name) is not None
    name, _, port = host.partition(":")
    return _is_port(port) and (name.lower() == "localhost" or _address(name) is not None)


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal())


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # What a socket for both families says of an IPv4 peer.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

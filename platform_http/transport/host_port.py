"""The notation ``host:port``, in which lists of hosts are written."""

from __future__ import annotations


def split_port(text: str) -> tuple[str, int | None]:
    """Split ``host:port``, ``[v6]:port``, ``[v6]`` or a bare host; a bare IPv6 address is a host.

    Args:
        text: What was written; the host is not looked at any further.

    Returns:
        The host without brackets, and the port from 1 to 65535 or ``None``.

    Raises:
        ValueError: If the port is not one, or the brackets hold no IPv6 address.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError("unbalanced brackets")
        return (host, _port(rest[1:])) if rest else (host, None)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    return text, None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ValueError("not a port")
    return int(text)

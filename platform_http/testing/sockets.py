"""The sockets of test servers: listeners on loopback, and connections that end with a RST."""

from __future__ import annotations

import contextlib
import socket
import struct

# An interval of zero makes close() drop what is unsent and answer with a RST.
_LINGER_ZERO = struct.pack("ii", 1, 0)


def listen(host: str, port: int) -> socket.socket:
    """Return a non-blocking listener.

    Args:
        host: An IPv4 or IPv6 address.
        port: 0 takes a free one.

    Raises:
        OSError: If the address is taken or not ours.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def end_with_reset(sock: socket.socket) -> None:
    """Let the coming close of *sock* send a RST. Nothing if it is closed already."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)

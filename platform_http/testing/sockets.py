"""The sockets of test servers: listeners on loopback, and connections that end with a RST."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# An interval of zero makes close() drop what is unsent and answer with a RST.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Listener:
    """Accepts connections on an address and hands each on, from when it is opened to its close.

    Args:
        host: An IPv4 or IPv6 address.
        port: 0 takes a free one.
        path: Bind a Unix socket here instead.

    Attributes:
        port: The bound port, once it is open; 0 for a Unix socket.
        accepted: Number of connections accepted so far.
    """

    def __init__(self, host: str, port: int, path: str | None = None) -> None:
        self.port = port
        self.accepted = 0
        self._host = host
        self._path = path
        self._socket: socket.socket | None = None

    def open(self, serve: Callable[[socket.socket], None]) -> None:
        """Accept from now on, on the running loop.

        Args:
            serve: Gets each connection, which does not block, and closes it in the end.

        Raises:
            OSError: If the address is taken or not ours.
        """
        if self._path is None:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = _bound(family, (self._host, self.port))
            self.port = listener.getsockname()[1]
        else:
            listener = _bound(socket.AF_UNIX, self._path)
            self.port = 0
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, listener, serve)

    def close(self) -> None:
        """Refuse connects from now on. Nothing if it is closed already."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        # A callback, not a task that awaits sock_accept(): cancelling that may lose a socket.
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.accepted += 1
        sock.setblocking(False)
        serve(sock)


def _bound(family: socket.AddressFamily, address: tuple[str, int] | str) -> socket.socket:
    listener = socket.socket(family)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
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

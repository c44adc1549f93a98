"""A TLS server that says why it refuses, as OpenSSL does and asyncio's servers often do not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from yarl import URL


@dataclass
class TlsServer:
    """Shakes hands, or speaks first and in clear without a *context*; sends no response."""

    listener: socket.socket
    context: ssl.SSLContext | None
    connections: int = 0

    @property
    def url(self) -> URL:
        return URL.build(scheme="https", host="localhost", port=self.listener.getsockname()[1])

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                with sock:
                    sock.settimeout(1)
                    self._greet(sock)

    def _greet(self, sock: socket.socket) -> None:
        if self.context is None:
            sock.sendall(b"220 this is no TLS\r\n")
            self._hang_up(sock)
            return
        secured = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        with contextlib.suppress(OSError):
            # It sends its alert before it raises.
            secured.do_handshake()
        with socket.socket(fileno=secured.detach()) as bare:
            bare.settimeout(1)
            self._hang_up(bare)

    def _hang_up(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # A close with bytes unread would be a RST, and could overtake the alert.
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass


@contextlib.contextmanager
def tls_server(context: ssl.SSLContext | None) -> Iterator[TlsServer]:
    """Run a :class:`TlsServer` in a thread of its own."""
    server = TlsServer(socket.create_server(("127.0.0.1", 0)), context)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        # Closing alone would not wake accept().
        with contextlib.suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.listener.close()

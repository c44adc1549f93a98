"""A port at which connects neither succeed nor fail."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Yield a port of *host* that drops every SYN, as a dead machine behind a firewall does.

    Linux drops a SYN when the accept queue is full, so a listener with the shortest queue is
    filled once and never accepts.

    Args:
        host: An address of this machine.
        port: The port to bind; 0 takes a free one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, port))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(address)
        yield address[1]

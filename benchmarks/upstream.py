"""A server in a process of its own whose answers go by the path.

``/invoices/42`` is a small JSON, ``/stream/<bytes>`` a body of so many bytes, ``/failing`` a 503,
``/held/<n>`` is answered when *n* of them wait, ``/waiting`` is how many do, ``/replica`` is served
by one of ten replicas, of which one is slow, and ``/requests`` is how many ``/replica`` had since
it was last asked. It answers at every address of 127.0.0.0/8, so that one server is as many origins
as a benchmark asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import subprocess
import sys
from collections.abc import Iterator

BODY = b'{"id": 42, "amount": "19.99", "currency": "EUR"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

REPLICAS = 10
FAST = (0.002, 0.006)
SLOW = (0.18, 0.22)
"""Seconds that a replica takes, and that the slow one takes, at random between the two."""


def origins(url: str, count: int) -> list[str]:
    """Return *url* at so many addresses, at most 16 million."""
    port = url.rsplit(":", 1)[1]
    return [
        f"http://127.{number >> 16}.{number >> 8 & 255}.{number & 255}:{port}"
        for number in range(1, count + 1)
    ]


def allow_descriptors() -> None:
    """Let this process have as many connections as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class _State:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.held: list[asyncio.Transport] = []
        self.requests = 0
        self.bodies: dict[int, bytes] = {}


class _ByPath(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not transport.get_extra_info("peername")[0].startswith("127."):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        # The clients send small GETs without pipelining: one read is one request.
        _, kind, *rest = data.split(b" ", 2)[1].split(b"/")
        state = self._state
        if kind == b"invoices":
            self._transport.write(ANSWER)
        elif kind == b"stream":
            size = int(rest[0])
            body = state.bodies.setdefault(size, _plain(b"x" * size))
            self._transport.write(body)
        elif kind == b"failing":
            self._transport.write(FAILURE)
        elif kind == b"held":
            state.held.append(self._transport)
            if len(state.held) >= int(rest[0]):
                waiting, state.held = state.held, []
                for transport in waiting:
                    transport.write(ANSWER)
        elif kind == b"replica":
            state.requests += 1
            slow = state.rng.randrange(REPLICAS) == 0
            seconds = state.rng.uniform(*(SLOW if slow else FAST))
            self._loop.call_later(seconds, self._answer)
        else:
            count = len(state.held) if kind == b"waiting" else state.requests
            self._transport.write(_plain(b"%d" % count))
            state.requests = 0

    def _answer(self) -> None:
        # A client that hedged or gave up has closed it meanwhile.
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def _serve(seed: int) -> None:
    allow_descriptors()
    state = _State(seed)
    server = await asyncio.get_running_loop().create_server(
        lambda: _ByPath(state), "0.0.0.0", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def running(seed: int = 1) -> Iterator[str]:
    """Yield the URL of a server, without a path, that ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.upstream", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))

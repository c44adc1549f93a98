"""Many calls to a server of which every tenth answer is a fault, and what is left afterwards.

Client and server share one process and one loop. It prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import gzip
import json
import logging
import os
import random
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.evidence import value
from platform_http import HttpSettings, SessionFactory

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\n\r\n" + b"x" * 48
_CUT = gzip.compress(b"y" * 1000)[:-9]

# What a faulty answer consists of, and what becomes of the connection then.
_FAULTS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "keep"),
    (b"", "reset"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "close"),
    (b"HTTP/1.1 2OO what\r\n\r\n", "keep"),
    (b"", "close"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "keep"),
    (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nno", "keep"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(_CUT), _CUT),
        "keep",
    ),
    (_OK, "poison"),
    (b"HTTP/1.1 200 OK\r\nX: y\r\nX-", "reset"),
)

_LINGER_ZERO = struct.pack("ii", 1, 0)

SETTINGS = {
    "timeout": {"total": 20, "attempt": 8},
    "retry": {"backoff_initial": 0.001, "backoff_max": 0.004, "backoff_throttled": 0.001},
    "concurrency": {"queue_timeout": 20},
}


@dataclasses.dataclass
class Upstream:
    """How the server behaves, and what it saw.

    Args:
        faults: Whether every tenth answer is one.
        delay: Seconds until half of an answer, at most; the other half takes as long again.
        silent: Whether it never answers.
    """

    faults: bool = True
    delay: float = 0.0
    silent: bool = False
    requests: int = 0
    connections: int = 0


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.connections += 1

    def data_received(self, data: bytes) -> None:
        upstream = self._upstream
        upstream.requests += 1
        if upstream.silent:
            return
        if upstream.faults and upstream.requests % 10 == 0:
            self._answer(*_FAULTS[upstream.requests // 10 % len(_FAULTS)])
        elif upstream.delay:
            pause = random.uniform(0, upstream.delay)
            self._loop.call_later(pause, self._transport.write, _OK[:80])
            self._loop.call_later(2 * pause, self._transport.write, _OK[80:])
        else:
            self._transport.write(_OK)

    def _answer(self, data: bytes, then: str) -> None:
        self._transport.write(data)
        if then == "close":
            self._transport.close()
        elif then == "reset":
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self._transport.abort()
        elif then == "poison":
            self._loop.call_soon(self._transport.write, b"HTTP/1.1 500 Unsolicited\r\n\r\n")


@contextlib.asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[str]:
    """Yield the URL of a server that behaves like *upstream*."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(upstream), "127.0.0.1", 0, backlog=1024)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/invoices/42"


def resident() -> float:
    """Return the resident memory of this process, MB, after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def descriptors() -> int:
    """Return the number of open file descriptors."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked


def series(registry: CollectorRegistry) -> int:
    """Return the number of lines of the metrics page that are samples."""
    return sum(not line.startswith(b"#") for line in generate_latest(registry).splitlines())


def left_in(connector: aiohttp.BaseConnector) -> int:
    """Return how many connections are acquired, and callers waiting for one."""
    waiting = sum(map(len, connector._waiters.values()))  # noqa: SLF001 - no public view of it
    return len(connector._acquired) + waiting  # noqa: SLF001 - as above


async def call(session: aiohttp.ClientSession, url: str) -> str:
    """Make one call and say how it ended."""
    try:
        async with session.get(url) as response:
            body = await response.read()
            # Bytes that belong to another answer would show here.
            return str(response.status) if _OK.endswith(b"\r\n\r\n" + body) else "wrong body"
    except Exception as error:  # noqa: BLE001 - every end is counted
        return type(error).__name__


async def many(count: int, concurrency: int, one: Callable[[], Awaitable[str]]) -> Counter[str]:
    """Run *one* so many times, so many of them at a time, and count how they ended."""
    ended: Counter[str] = Counter()
    left = count

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            ended[await one()] += 1

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return ended


async def cancelled(session: aiohttp.ClientSession, url: str, rng: random.Random) -> str:
    """Start a call and cancel it at a random stage of it."""
    task = asyncio.get_running_loop().create_task(call(session, url))
    if rng.random() < 0.5:
        for _ in range(rng.randint(0, 12)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.uniform(0, 0.03))
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"


async def settled(connector: aiohttp.BaseConnector, tasks: int) -> tuple[int, int]:
    """Return what is left in *connector* and how many more than *tasks* run, after a moment."""
    for _ in range(100):
        left = left_in(connector), len(asyncio.all_tasks()) - tasks
        if left == (0, 0):
            break
        await asyncio.sleep(0.02)
    return left


async def load(calls: int, cancels: int, concurrency: int, seed: int) -> dict[str, object]:
    """Make *calls* calls and *cancels* cancelled ones; return what was seen.

    A fifth of the calls, 2000 at most, are the warm-up.
    """
    rng = random.Random(seed)
    upstream = Upstream()
    registry = CollectorRegistry()
    before = descriptors()
    async with serving(upstream) as url:
        factory = SessionFactory(HttpSettings(**SETTINGS), registry=registry, rng=rng)
        async with factory:
            session = factory.session()
            assert session.connector is not None
            tasks = len(asyncio.all_tasks())
            await many(min(2000, calls // 5), concurrency, lambda: call(session, url))
            memory, lines = resident(), series(registry)
            began, cpu = time.perf_counter(), time.process_time()
            ended = await many(calls, concurrency, lambda: call(session, url))
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            left, more_tasks = await settled(session.connector, tasks)
            growth, more_lines = resident() - memory, series(registry) - lines
            upstream.delay = 0.01
            stopped = await many(cancels, concurrency, lambda: cancelled(session, url, rng))
            left_after, tasks_after = await settled(session.connector, tasks)
            in_use = value(registry, "platform_http_concurrency_in_use")
            active = value(registry, "http_client_active_requests")
            probes = sum(
                circuit.in_flight
                for circuits in factory.circuits.snapshot().values()
                for circuit in circuits.values()
            )
    await asyncio.sleep(0.1)
    return {
        "calls": calls,
        "ended": dict(ended),
        "requests": upstream.requests,
        "connections": upstream.connections,
        "seconds": round(seconds, 2),
        "cpu": round(cpu, 2),
        "left": left,
        "tasks": more_tasks,
        "rss_growth_mb": round(growth, 2),
        "series": lines,
        "series_growth": more_lines,
        "cancels": dict(stopped),
        "left_after_cancels": left_after,
        "tasks_after_cancels": tasks_after,
        "rss_growth_after_cancels_mb": round(resident() - memory, 2),
        "permits": in_use + active + probes,
        "descriptors": descriptors() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--cancels", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.getLogger("platform_http").setLevel(logging.CRITICAL)
    report = load(arguments.calls, arguments.cancels, arguments.concurrency, arguments.seed)
    print(json.dumps(asyncio.run(report)))


if __name__ == "__main__":
    main()

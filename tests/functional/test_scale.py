"""Ten thousand calls at once through one client."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from tests.functional.conftest import Observed

CALLS = 10_000
LIMIT = 20
SETTINGS = {
    "concurrency": {"limit": LIMIT, "queue": CALLS, "queue_timeout": "none"},
    "timeout": dict.fromkeys(("total", "attempt", "connect", "read", "pool"), "none"),
    "telemetry": {"traces": False},
}


class _Upstream(asyncio.Protocol):
    """Answers every request with the same few bytes, or none of them; notes their order."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def __init__(self, order: list[int], full: asyncio.Event | None) -> None:
        self._order = order
        self._full = full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._order.append(int(data[data.index(b"/") + 1 : data.index(b" HTTP")]))
        if self._full is None:
            self._transport.write(self.ANSWER)
        elif len(self._order) % LIMIT == 0:
            self._full.set()


@asynccontextmanager
async def _upstream(order: list[int], full: asyncio.Event | None = None) -> AsyncIterator[URL]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Upstream(order, full), "127.0.0.1", 0)
    async with server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def _call(session: aiohttp.ClientSession, url: URL) -> int:
    async with session.get(url) as response:
        await response.read()
        return response.status


def _start(session: aiohttp.ClientSession, url: URL, count: int) -> list[asyncio.Task[int]]:
    return [
        asyncio.create_task(_call(session, url.with_path(f"/{number}"))) for number in range(count)
    ]


async def test_ten_thousand_calls_are_served_in_order_and_give_every_permit_back(
    observed: Observed,
) -> None:
    order: list[int] = []
    async with _upstream(order) as url, observed.session(**SETTINGS) as session:
        async with asyncio.timeout(40):
            statuses = await asyncio.gather(*_start(session, url, CALLS))
        assert observed.value("platform_http_concurrency_in_use") == 0
        assert not session.connector._acquired
        assert await _call(session, url.with_path("/0")) == 200
    assert statuses == [200] * CALLS
    assert sorted(order[:CALLS]) == list(range(CALLS))
    # Those in flight together may overtake each other, and nobody else.
    assert max(abs(place - number) for place, number in enumerate(order[:CALLS])) < 2 * LIMIT
    assert observed.value("platform_http_concurrency_wait_seconds_count") == CALLS - LIMIT
    observed.assert_quiet()


async def test_memory_is_linear_in_the_calls_that_wait(observed: Observed) -> None:
    order: list[int] = []
    full = asyncio.Event()
    peaks: list[int] = []
    async with _upstream(order, full) as url, observed.session(**SETTINGS) as session:
        for count in (100, 2_500, 5_000, 10_000):
            gc.collect()
            tracemalloc.start()
            calls = _start(session, url, count)
            await full.wait()
            peaks.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert all(call.cancelled() for call in calls)
            assert observed.value("platform_http_concurrency_in_use") == 0
            full.clear()
    assert len(order) == 4 * LIMIT
    _, quarter, half, whole = peaks
    assert 1.7 < half / quarter < 2.3
    assert 1.7 < whole / half < 2.3
    # A task, its frames, a request and a place in the queue.
    assert whole / CALLS < 20_000

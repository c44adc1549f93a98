"""The rate limit, in memory and shared through a real redis-server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from platform_http.call import CallOptions
from platform_http.errors import CircuitOpenError, DeadlineExceededError, RateLimitedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang, respond
from tests.functional.conftest import Observed
from tests.servers import free_port, program


def rate(rate: float, **options: object) -> dict[str, object]:
    return {"rate_limit": {"rate": rate, **options}, "retry": {"enabled": False}}


async def _call(session: aiohttp.ClientSession, url) -> int:
    async with session.get(url) as response:
        return response.status


async def test_the_burst_passes_and_the_rest_is_refused(observed: Observed) -> None:
    async with FaultServer() as server, observed.session(**rate(5, per=60)) as session:
        for _ in range(5):
            assert await _call(session, server.url) == 200
        with pytest.raises(RateLimitedError, match="5 requests per 60 s") as caught:
            await _call(session, server.url)
    assert len(server.requests) == 5
    assert 0 < caught.value.retry_after <= 12
    assert observed.value("platform_http_rejections_total", reason="rate_limited") == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1


async def test_a_short_wait_is_waited(observed: Observed) -> None:
    settings = rate(20, burst=1, max_wait=1)
    async with FaultServer() as server, observed.session(**settings) as session:
        before = time.monotonic()
        await asyncio.gather(*(_call(session, server.url) for _ in range(5)))
        assert time.monotonic() - before >= 0.19
    assert len(server.requests) == 5
    assert observed.value("platform_http_rate_limit_wait_seconds_count") == 4


async def test_a_token_is_given_back_when_an_inner_policy_refuses(observed: Observed) -> None:
    settings = rate(3, per=60) | {"circuit_breaker": {"minimum_calls": 1}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        assert await _call(session, server.url) == 503
        for _ in range(10):
            with pytest.raises(CircuitOpenError):
                await _call(session, server.url)


async def test_a_token_is_given_back_when_the_caller_stops_waiting(observed: Observed) -> None:
    settings = rate(1, per=0.3, max_wait=5) | {"timeout": {"total": 8, "attempt": 4}}
    async with FaultServer() as server, observed.session(**settings) as session:
        await _call(session, server.url)
        waiting = [asyncio.create_task(_call(session, server.url)) for _ in range(10)]
        await asyncio.sleep(0.01)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        before = time.monotonic()
        await _call(session, server.url)
        assert time.monotonic() - before < 1


async def test_a_token_is_given_back_when_the_deadline_ends_the_wait_for_a_place(
    observed: Observed,
) -> None:
    settings = rate(2, per=3600) | {"concurrency": {"limit": 1}}
    async with FaultServer([hang(), respond()]) as server, observed.session(**settings) as session:
        first = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: server.requests)
        with pytest.raises(DeadlineExceededError):
            await session.get(server.url, trace_request_ctx=CallOptions(timeout=0.05))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await _call(session, server.url) == 200


@contextlib.asynccontextmanager
async def redis_server(port: int, directory) -> AsyncIterator[asyncio.subprocess.Process]:
    """A redis-server without persistence, killed at the end."""
    process = await asyncio.create_subprocess_exec(
        program("redis-server"),
        *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
        *("--dir", str(directory)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()
                    break
                await asyncio.sleep(0.02)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_replicas_share_one_quota(tmp_path) -> None:
    port = free_port()
    settings = rate(10, per=30, store=f"redis://127.0.0.1:{port}/0", fallback_rate=1)
    one, two = Observed(), Observed()
    async with (
        redis_server(port, tmp_path),
        FaultServer() as server,
        one.session(**settings) as first,
        two.session(**settings) as second,
    ):
        results = await asyncio.gather(
            *(_call(session, server.url) for session in (first, second) for _ in range(10)),
            return_exceptions=True,
        )
    assert results.count(200) == 10
    assert sum(isinstance(result, RateLimitedError) for result in results) == 10


async def test_no_call_fails_while_the_store_is_away_and_the_quota_holds(tmp_path) -> None:
    port = free_port()
    quota, fallback, replicas = 20, 10, 2
    settings = rate(
        quota, per=1, store=f"redis://127.0.0.1:{port}/0", fallback_rate=fallback, max_wait=4
    ) | {"timeout": {"total": 20, "attempt": 4}}
    observers = [Observed() for _ in range(replicas)]
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(FaultServer())
        sessions = [
            await stack.enter_async_context(observer.session(**settings)) for observer in observers
        ]

        async def steady(session: aiohttp.ClientSession, seconds: float) -> list[int]:
            until = time.monotonic() + seconds
            statuses = []
            while time.monotonic() < until:
                statuses.append(await _call(session, server.url))
            return statuses

        runs = asyncio.gather(*(steady(session, 4.5) for session in sessions))
        async with redis_server(port, tmp_path):
            await asyncio.sleep(1.5)
        await asyncio.sleep(1)
        async with redis_server(port, tmp_path):
            statuses = [status for run in await runs for status in run]
    assert set(statuses) == {200}
    errors = sum(o.value("platform_http_rate_limit_store_errors_total") for o in observers)
    assert errors >= 1
    times = sorted(request.time for request in server.requests)
    # Arrivals are a few milliseconds off the instants at which they were admitted.
    worst = max(sum(start <= t < start + 0.98 for t in times) for start in times)
    assert worst <= quota + replicas * fallback

"""Requests with ``middlewares=()``: no policy sees them, but the deadline holds all the same."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.errors import (
    DeadlineExceededError,
    EgressDeniedError,
    FactoryClosedError,
    ResponseTooLargeError,
)
from platform_http.testing import FaultServer
from platform_http.testing.actions import close, delay, hang, partial_body, respond
from tests.functional.conftest import Observed

BRIEF = {"timeout": {"total": 0.2}}


async def test_a_server_that_says_nothing_costs_the_deadline(observed: Observed) -> None:
    async with FaultServer([hang()]) as server, observed.session(**BRIEF) as session:
        async with asyncio.timeout(1):
            with pytest.raises(DeadlineExceededError):
                await session.get(server.url, middlewares=())
    assert observed.value("platform_http_calls_total", error_type="deadline_exceeded") == 1
    observed.assert_quiet()


@pytest.mark.parametrize("buffered", [True, False])
async def test_a_body_that_stalls_costs_the_deadline(observed: Observed, buffered: bool) -> None:
    stalled = partial_body(b"x", content_length=100, then="hang")
    async with FaultServer([stalled]) as server, observed.session(**BRIEF) as session:
        response = await session.get(server.url, middlewares=())
        async with asyncio.timeout(1):
            with pytest.raises(DeadlineExceededError):
                if buffered:
                    await response.read()
                else:
                    async for _ in response.content.iter_any():
                        pass
        response.close()
    observed.assert_quiet()


async def test_a_connect_that_hangs_costs_the_deadline(observed: Observed, black_hole: int) -> None:
    settings = {"timeout": {"total": 0.2, "attempt": "none", "connect": "none", "read": "none"}}
    async with observed.session(**settings) as session:
        async with asyncio.timeout(1):
            with pytest.raises(DeadlineExceededError):
                await session.get(f"http://127.0.0.1:{black_hole}/", middlewares=())


async def test_a_bypass_is_counted_and_never_resent(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server, observed.session() as session:
        async with session.get(server.url, middlewares=()) as response:
            assert response.status == 503
    assert len(server.requests) == 1
    assert observed.value("platform_http_policy_bypass_total") == 1
    assert observed.value("platform_http_calls_total", outcome="error", error_type="503") == 1


async def test_a_closing_factory_refuses_a_bypass_too(observed: Observed) -> None:
    async with FaultServer([delay(0.05, respond())]) as server:
        async with observed.factory() as factory:
            session = factory.session()
            running = asyncio.create_task(session.get(server.url))
            await server.wait_until(lambda: server.requests)
            closing = asyncio.create_task(factory.aclose())
            await asyncio.sleep(0.01)
            with pytest.raises(FactoryClosedError):
                await session.get(server.url, middlewares=())
            (await running).release()
            await closing
    assert len(server.requests) == 1


async def test_the_pool_counts_a_bypass(observed: Observed) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "timeout": {"total": 5, "attempt": 4, "pool": 0.05},
    }
    stalled = partial_body(b"x", content_length=100, then="hang")
    async with FaultServer([stalled]) as server, observed.session(**settings) as session:
        response = await session.get(server.url, middlewares=())
        with pytest.raises(aiohttp.ClientError):
            await session.get(server.url, middlewares=())
        response.close()
    assert len(server.requests) == 1


async def test_the_callers_own_timeout_stays_its_own_without_middlewares(
    observed: Observed,
) -> None:
    async with FaultServer([hang()]) as server, observed.session() as session:
        with pytest.raises(TimeoutError) as caught:
            await session.get(server.url, middlewares=(), timeout=aiohttp.ClientTimeout(total=0.1))
    assert not isinstance(caught.value, DeadlineExceededError)


async def test_a_bypass_that_fails_is_counted_too(observed: Observed) -> None:
    async with FaultServer([close()]) as server, observed.session() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(server.url, middlewares=())
    assert observed.value("platform_http_policy_bypass_total") == 1


async def test_what_is_refused_before_it_is_sent_bypasses_nothing(observed: Observed) -> None:
    async with observed.session() as session:
        with pytest.raises(EgressDeniedError):
            await session.get("http://169.254.169.254/", middlewares=())
    assert observed.value("platform_http_policy_bypass_total") == 0


async def test_a_body_that_is_too_large_is_one_without_middlewares_too(observed: Observed) -> None:
    answer = respond(body=bytes(3_000_000))
    async with FaultServer([answer]) as server:
        async with observed.session(response={"max_body": 1_000_000}) as session:
            async with session.get(server.url, middlewares=()) as response:
                with pytest.raises(ResponseTooLargeError):
                    await response.read()

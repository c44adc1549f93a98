"""The pool: what is kept, what is thrown away, and what is counted."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, raw, respond, response_bytes, sequence
from tests.functional.conftest import Observed


async def _get(session: aiohttp.ClientSession, url) -> bytes:
    async with session.get(url) as response:
        return await response.read()


async def test_a_connection_is_reused(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        for _ in range(3):
            await _get(session, server.url)
        assert server.connections == 1
        assert observed.value("http_client_open_connections", http_connection_state="idle") == 1
        assert observed.value("http_client_open_connections", http_connection_state="active") == 0
    reused = [span.attributes["platform_http.connection.reused"] for span in observed.attempts]
    assert reused == [False, True, True]
    await asyncio.sleep(0)
    assert observed.value("http_client_open_connections") == 0
    assert observed.value("http_client_connection_duration_seconds_count") == 1


async def test_unsolicited_bytes_never_become_the_answer_to_the_next_request(
    observed: Observed,
) -> None:
    poisoned = sequence(
        respond(200, body=b"first"),
        delay(0.02, raw(response_bytes(200, body=b"poison"))),
    )
    async with FaultServer([poisoned, respond(200, body=b"second")]) as server:
        async with observed.session() as session:
            assert await _get(session, server.url) == b"first"
            await asyncio.sleep(0.05)
            assert await _get(session, server.url) == b"second"
    assert server.connections == 2
    observed.assert_quiet()


async def test_a_connection_that_is_too_old_is_not_reused(observed: Observed) -> None:
    async with FaultServer() as server:
        async with observed.session(pool={"max_connection_age": 0.1}) as session:
            await _get(session, server.url)
            await _get(session, server.url)
            assert server.connections == 1
            await asyncio.sleep(0.15)
            await _get(session, server.url)
            assert server.connections == 2


async def test_a_new_connection_is_never_judged_by_its_age(observed: Observed) -> None:
    async with FaultServer() as server:
        async with observed.session(pool={"max_connection_age": 0.000001}) as session:
            for _ in range(3):
                await _get(session, server.url)
    assert server.connections == 3


async def test_without_keep_alive_a_connection_ends_with_its_response(observed: Observed) -> None:
    async with FaultServer() as server, observed.session(pool={"keepalive": 0}) as session:
        await _get(session, server.url)
        await server.wait_until(lambda: server.open_connections == 0)
        await _get(session, server.url)
    assert server.connections == 2


async def test_the_pool_limit_holds(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"x" * 10_000)]) as server:
        settings = {
            "pool": {"limit": 3, "limit_per_host": 3},
            "timeout": {"total": 20, "attempt": 15, "pool": 10},
        }
        async with observed.session(**settings) as session:
            await asyncio.gather(*(_get(session, server.url) for _ in range(60)))
            assert server.connections <= 3
    assert len(server.requests) == 60
    assert observed.value("platform_http_pool_limit") == 3
    assert observed.value("platform_http_pool_limit_per_host") == 3


async def test_cancelled_waiters_take_no_slot_with_them(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"x" * 1000)]) as server:
        settings = {
            "pool": {"limit": 2, "limit_per_host": 2},
            "timeout": {"total": 20, "attempt": 15, "pool": 10},
        }
        async with observed.session(**settings) as session:
            calls = [asyncio.create_task(_get(session, server.url)) for _ in range(100)]
            await asyncio.sleep(0)
            for call in calls[::3]:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            cancelled = sum(isinstance(result, asyncio.CancelledError) for result in results)
            assert cancelled == len(calls[::3])
            assert sum(isinstance(result, bytes) for result in results) == 100 - cancelled
            assert not session.connector._acquired
            assert not session.connector._waiters


async def test_a_waiter_that_is_cancelled_as_it_wakes_hands_its_slot_on(
    observed: Observed,
) -> None:
    async with FaultServer([delay(0.05, respond()), respond()]) as server:
        settings = {
            "pool": {"limit": 1, "limit_per_host": 1, "keepalive": 0},
            "timeout": {"total": 5, "attempt": 4, "pool": 1},
            "retry": {"enabled": False},
        }
        async with observed.session(**settings) as session:
            first = asyncio.create_task(_get(session, server.url))
            await server.wait_until(lambda: server.requests)
            second = asyncio.create_task(_get(session, server.url))
            third = asyncio.create_task(_get(session, server.url))
            await asyncio.sleep(0.01)
            wake = session.connector._release_waiter

            def wake_and_cancel() -> None:
                wake()
                second.cancel()

            session.connector._release_waiter = wake_and_cancel
            assert await first == b""
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await third == b""


async def test_a_dropped_connection_is_counted_out(observed: Observed) -> None:
    async with FaultServer([respond(200, then="close")]) as server:
        async with observed.session() as session:
            await _get(session, server.url)
            await server.wait_until(lambda: server.open_connections == 0)
            await asyncio.sleep(0.02)
            assert observed.value("http_client_open_connections") == 0


async def test_the_peer_of_a_short_response_is_on_its_span(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        await _get(session, server.url)
    attributes = observed.attempts[0].attributes
    assert attributes["network.peer.address"] == "127.0.0.1"
    assert attributes["network.peer.port"] == server.port


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_phases_of_a_new_connection_are_measured(observed: Observed, host: str) -> None:
    async with FaultServer() as server, observed.session() as session:
        await _get(session, server.url.with_host(host))
    attributes = observed.attempts[0].attributes
    assert attributes["platform_http.phase.connect_ms"] > 0
    assert attributes["platform_http.phase.ttfb_ms"] > 0
    assert ("platform_http.phase.dns_ms" in attributes) == (host == "localhost")
    assert observed.value("platform_http_connect_duration_seconds_count") == 1
    assert observed.value("dns_lookup_duration_seconds_count") == (1 if host == "localhost" else 0)
    assert observed.value("platform_http_time_to_first_byte_seconds_count") == 1

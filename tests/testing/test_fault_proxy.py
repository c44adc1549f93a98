"""The proxy that spoils connections, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from platform_http.testing import FaultProxy, FaultServer
from platform_http.testing.actions import hang, respond
from platform_http.testing.toxics import (
    Bandwidth,
    Latency,
    Limit,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
)

BIG = b"0123456789" * 50_000


@contextlib.asynccontextmanager
async def proxied(*script) -> AsyncIterator[tuple[FaultServer, FaultProxy]]:
    async with (
        FaultServer(script or [respond(body=b"hello")]) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
    ):
        yield server, proxy


async def get(proxy: FaultProxy, session: aiohttp.ClientSession) -> bytes:
    async with session.get(proxy.url) as response:
        return await response.read()


async def taken(proxy: FaultProxy, session: aiohttp.ClientSession) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await get(proxy, session)
    return loop.time() - started


async def until(condition) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - a proxy tells nobody of its connections
            await asyncio.sleep(0.005)


async def test_without_a_toxic_everything_passes_both_ways_and_is_counted() -> None:
    async with proxied(respond(body=BIG)) as (server, proxy), aiohttp.ClientSession() as session:
        async with session.post(proxy.url, data=BIG) as response:
            assert await response.read() == BIG
        assert server.requests[0].body == BIG
        assert proxy.passed["downstream"] > len(BIG)
        assert proxy.passed["upstream"] > len(BIG)
        assert (proxy.connections, proxy.open_connections) == (1, 1)


async def test_latency_comes_and_goes_while_a_connection_lives() -> None:
    async with proxied() as (_, proxy), aiohttp.ClientSession() as session:
        await get(proxy, session)
        slow = proxy.add(Latency(0.1))
        assert await taken(proxy, session) >= 0.1
        proxy.remove(slow)
        assert await taken(proxy, session) < 0.1
        assert proxy.connections == 1


async def test_a_toxic_acts_in_its_direction_only() -> None:
    async with proxied() as (server, proxy), aiohttp.ClientSession() as session:
        proxy.add(Timeout(), "upstream")
        request = asyncio.create_task(get(proxy, session))
        await until(lambda: proxy.open_connections)
        await asyncio.sleep(0.05)
        assert server.requests == []
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request


async def test_bandwidth_makes_a_body_take_its_time() -> None:
    async with proxied(respond(body=b"x" * 2000)) as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Bandwidth(20_000))
        assert await taken(proxy, session) >= 0.1


async def test_whoever_sends_more_than_the_way_takes_has_to_wait() -> None:
    async with proxied(respond(body=BIG * 100)) as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Bandwidth(1000))
        async with session.get(proxy.url):
            await asyncio.sleep(0.1)
            link = next(iter(proxy._links.values()))
            assert not link.task.done()
            assert proxy.passed["downstream"] < 1000


async def test_a_slicer_changes_no_byte() -> None:
    async with proxied(respond(body=BIG[:5000])) as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Slicer(7, variation=3))
        assert await get(proxy, session) == BIG[:5000]


async def test_a_limit_cuts_a_body() -> None:
    async with proxied(respond(body=BIG)) as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Limit(1000))
        with pytest.raises(aiohttp.ClientPayloadError):
            await get(proxy, session)
        assert proxy.passed["downstream"] == 1000


async def test_a_timeout_closes_after_its_time_without_a_byte() -> None:
    async with proxied() as (server, proxy), aiohttp.ClientSession() as session:
        proxy.add(Timeout(0.05))
        with pytest.raises(aiohttp.ServerDisconnectedError):
            async with session.post(proxy.url):
                pass
        assert len(server.requests) == 1
        assert proxy.passed["downstream"] == 0


async def test_a_reset_is_a_rst() -> None:
    async with proxied() as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Reset())
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            async with session.post(proxy.url):
                pass


async def test_connections_can_be_reset_at_once_while_new_ones_are_taken() -> None:
    async with proxied() as (_, proxy), aiohttp.ClientSession() as session:
        await get(proxy, session)
        proxy.reset_connections()
        await until(lambda: proxy.open_connections == 0)
        assert await get(proxy, session) == b"hello"
        assert proxy.connections == 2


async def test_an_end_passes_as_a_fin_and_later_where_it_is_slow() -> None:
    async with proxied(respond(then="close")) as (_, proxy):
        proxy.add(SlowClose(0.1))
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await reader.read() == b""
        assert loop.time() - started >= 0.09
        writer.close()
        await writer.wait_closed()


async def test_toxics_are_cleared_at_once() -> None:
    async with proxied() as (_, proxy), aiohttp.ClientSession() as session:
        proxy.add(Timeout())
        handle = proxy.add(Timeout(), "upstream")
        assert repr(handle) == "<Timeout(seconds=None) upstream>"
        proxy.clear()
        assert await get(proxy, session) == b"hello"
        with pytest.raises(ValueError, match="not in list"):
            proxy.remove(handle)


async def test_a_server_that_is_gone_is_a_reset_connection() -> None:
    async with proxied() as (server, proxy), aiohttp.ClientSession() as session:
        await server.stop()
        with pytest.raises(aiohttp.ClientOSError):
            async with session.post(proxy.url):
                pass


async def test_it_is_ended_under_running_requests() -> None:
    async with proxied(hang()) as (server, proxy), aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.post(proxy.url))
        await server.wait_until(lambda: server.requests)
        await proxy.stop()
        with pytest.raises(aiohttp.ClientOSError):
            await request
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_it_is_ended_right_after_an_accept() -> None:
    async with proxied() as (_, proxy):
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.sleep(0)
        await proxy.stop()
        writer.close()


async def test_a_toxic_that_fails_fails_the_test() -> None:
    class Broken:
        def stage(self, rng):
            raise ZeroDivisionError("broken toxic")

    with pytest.raises(ZeroDivisionError, match="broken toxic"):
        async with proxied() as (_, proxy), aiohttp.ClientSession() as session:
            proxy.add(Broken())
            with pytest.raises(aiohttp.ClientError):
                await session.post(proxy.url)

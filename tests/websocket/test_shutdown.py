"""What becomes of WebSockets when their factory is closed."""

from __future__ import annotations

import asyncio

import pytest

from platform_http import FactoryClosedError
from platform_http.errors import WebSocketClosedError
from platform_http.websocket import Reconnect, connect
from tests.functional.conftest import Observed
from tests.websocket.peer import TEXT, Peer, echo, serving, silent, until


async def test_they_say_1001_after_what_waits_and_iterating_ends(observed: Observed) -> None:
    received: list[object] = []

    async def note(peer: Peer) -> None:
        received.append(await peer.read())
        received.append(await peer.agree())

    async with serving(note) as server, observed.factory() as factory:
        session = factory.session()
        again = Reconnect(initial=0.001, maximum=0.002)
        async with connect(session, server.url, reconnect=again) as ws:
            await ws.send_text("last words")
            await factory.aclose()
            assert ws.closed
            assert ws.close_code == 1001
            assert [message async for message in ws] == []
            with pytest.raises(WebSocketClosedError):
                await ws.send_text("too late")
    assert received == [(TEXT, b"last words"), 1001]
    assert server.accepted == 1
    assert observed.value("platform_http_websocket_connections") == 0


async def test_one_whose_peer_does_not_answer_is_dropped_within_the_grace(
    observed: Observed,
) -> None:
    async with serving(silent) as server, observed.factory() as factory:
        async with connect(factory.session(), server.url, close_timeout=60) as ws:
            async with asyncio.timeout(3):
                await factory.aclose(grace=0)
            assert ws.close_code == 1006


async def test_one_that_is_being_closed_is_given_no_longer_than_the_others(
    observed: Observed,
) -> None:
    async with serving(silent) as server, observed.factory() as factory:
        async with connect(factory.session(), server.url, close_timeout=60) as ws:
            leaving = asyncio.create_task(ws.close())
            await asyncio.sleep(0)
            async with asyncio.timeout(3):
                await factory.aclose(grace=0)
                await leaving
            assert ws.close_code == 1006


async def test_they_last_as_long_as_calls_that_are_in_flight(observed: Observed) -> None:
    go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    http = await asyncio.start_server(slow, "127.0.0.1", 0)
    try:
        async with serving(echo) as server, observed.factory() as factory:
            session = factory.session()
            async with connect(session, server.url) as ws:
                port = http.sockets[0].getsockname()[1]
                call = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/"))
                await asyncio.sleep(0.02)
                closing = asyncio.create_task(factory.aclose())
                await asyncio.sleep(0.02)
                await ws.send_text("still here")
                assert (await ws.receive(timeout=2)).data == "still here"
                go.set()
                (await call).release()
                await closing
                assert ws.close_code == 1001
    finally:
        http.close()
        await http.wait_closed()


async def test_one_that_waits_to_connect_again_gives_up(observed: Observed) -> None:
    async def drop(peer: Peer) -> None:
        peer.reset()

    async with serving(drop) as server, observed.factory() as factory:
        again = Reconnect(initial=1000, maximum=1000)
        async with connect(factory.session(), server.url, reconnect=again) as ws:
            await until(lambda: not ws.connected)
            async with asyncio.timeout(2):
                await factory.aclose()
            assert ws.closed


async def test_a_factory_that_is_closed_connects_none(observed: Observed) -> None:
    async with serving(echo) as server, observed.factory() as factory:
        session = factory.session()
        await factory.aclose()
        with pytest.raises((FactoryClosedError, RuntimeError)):
            async with connect(session, server.url, reconnect=Reconnect()):
                pass
    assert server.accepted == 0


async def test_what_was_closed_is_forgotten(observed: Observed) -> None:
    async with serving(echo) as server, observed.factory() as factory:
        async with connect(factory.session(), server.url):
            (client,) = factory._clients.values()
            assert len(client.long_lived) == 1
        assert not client.long_lived

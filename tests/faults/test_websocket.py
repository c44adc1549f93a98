"""What a peer does to a WebSocket after its 101."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import aiohttp
import pytest
from aiohttp import WSMsgType

from platform_http.testing.actions import Action, Exchange, delay, raw, reset, respond, sequence
from tests.faults import canaries
from tests.faults.scene import Result, Scene, scene

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def upgraded(*after: Action) -> Action:
    """Accept the upgrade (RFC 6455), then do what is said."""

    async def accept(exchange: Exchange) -> None:
        key = exchange.request.headers["Sec-WebSocket-Key"].encode()
        digest = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
        await exchange.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
        )

    return sequence(accept, *after)


async def _silence(exchange: Exchange) -> None:
    await exchange.hang()


def _text(size: int) -> bytes:
    return b"\x81\x7e" + size.to_bytes(2, "big") + bytes(size)


async def _received(made: Scene, action: Action, **options: object) -> list[aiohttp.WSMessage]:
    """Open a socket, read until it ends, and return what came."""
    messages: list[aiohttp.WSMessage] = []
    async with made.server(action) as server:

        async def talk() -> Result:
            url = canaries.planted(server.url).with_scheme("ws")
            async with made.session.ws_connect(url, headers=canaries.HEADERS, **options) as socket:
                while True:
                    messages.append(await socket.receive())
                    if messages[-1].type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                        return Result(101)

        result = await made.measured(talk, deadline=2)
        assert result.error is None, repr(result.error)
        made.expect(attempts=1, requests=1)
        await server.wait_until(lambda: server.open_connections == 0)
        await made.assert_clean_again(server)
    return messages


async def test_a_reset() -> None:
    async with scene() as made:
        messages = await _received(made, upgraded(delay(0.02, reset())))
        assert messages[-1].type in (WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_a_silent_peer_is_found_by_the_heartbeat() -> None:
    async with scene() as made:
        messages = await _received(made, upgraded(_silence), heartbeat=0.1)
        assert messages[-1].type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert made.results[0].elapsed < 1


async def test_a_bad_opcode() -> None:
    async with scene() as made:
        messages = await _received(made, upgraded(raw(b"\x8b\x00"), _silence))
        assert messages[-1].type is WSMsgType.ERROR
        assert messages[-1].data.code == aiohttp.WSCloseCode.PROTOCOL_ERROR


async def test_an_oversized_message() -> None:
    async with scene() as made:
        action = upgraded(raw(_text(100)), raw(_text(2000)), _silence)
        messages = await _received(made, action, max_msg_size=1000)
        assert [message.type for message in messages] == [WSMsgType.TEXT, WSMsgType.ERROR]
        assert messages[-1].data.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_an_upgrade_that_is_refused() -> None:
    async with scene() as made:
        async with made.server(respond(403)) as server:

            async def talk() -> Result:
                url = canaries.planted(server.url).with_scheme("ws")
                async with made.session.ws_connect(url, headers=canaries.HEADERS):
                    return Result(101)

            result = await made.measured(talk)
            made.expect(attempts=1, requests=1)
            assert isinstance(result.error, aiohttp.WSServerHandshakeError)
            await made.assert_clean_again(server, reuses=True)


async def test_a_caller_that_is_cancelled_while_it_waits_for_a_message() -> None:
    async with scene() as made:
        async with made.server(upgraded(_silence)) as server:

            async def talk() -> Result:
                url = canaries.planted(server.url).with_scheme("ws")
                async with made.session.ws_connect(
                    url, timeout=aiohttp.ClientWSTimeout(ws_close=0.1)
                ) as socket:
                    await socket.receive()
                    return Result(101)

            call = asyncio.create_task(made.measured(talk))
            await server.wait_until(lambda: server.requests)
            await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            made.expect(attempts=1, requests=1)
            await made.assert_clean_again(server)

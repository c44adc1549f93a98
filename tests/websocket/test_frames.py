"""What a peer may send that is right, as Autobahn's test suite sends it; each message arrives."""

from __future__ import annotations

import asyncio
import struct

import aiohttp
import pytest

from platform_http.errors import WebSocketClosedError
from platform_http.websocket import connect
from tests.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    closing,
    echo,
    frame,
    serving,
)

RIGHT = {
    "an empty text": ([frame(TEXT)], [""]),
    "an empty binary message": ([frame(BINARY)], [b""]),
    "three empty fragments": (
        [frame(TEXT, fin=False), frame(CONTINUATION, fin=False), frame(CONTINUATION)],
        [""],
    ),
    "a character over two fragments": (
        [frame(TEXT, "µ".encode()[:1], fin=False), frame(CONTINUATION, "µ".encode()[1:])],
        ["µ"],
    ),
    "a pong nobody asked for": ([frame(PONG, b"unasked"), frame(TEXT, b"next")], ["next"]),
    "a ping between fragments": (
        [frame(TEXT, b"a", fin=False), frame(PING, b"between"), frame(CONTINUATION, b"b")],
        ["ab"],
    ),
    "a message of exactly the limit": ([frame(BINARY, bytes(1000))], [bytes(1000)]),
    "fragments of exactly the limit together": (
        [frame(BINARY, bytes(600), fin=False), frame(CONTINUATION, bytes(400))],
        [bytes(1000)],
    ),
    "characters of four bytes": ([frame(TEXT, "🦀".encode() * 3)], ["🦀🦀🦀"]),
}


@pytest.mark.parametrize("byte_by_byte", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", RIGHT)
async def test_a_message_arrives_whole(name: str, byte_by_byte: bool) -> None:
    pieces, expected = RIGHT[name]

    async def script(peer: Peer) -> None:
        data = b"".join(pieces)
        if byte_by_byte and len(data) < 100:
            for number in range(len(data)):
                await peer.send(data[number : number + 1])
                await asyncio.sleep(0)
        else:
            await peer.send(data)
        await peer.send(closing(1000))
        await peer.until_gone()

    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url, max_message=1000) as ws:
                assert [message.data async for message in ws] == expected
        assert ws.close_code == 1000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 300_000])
async def test_every_form_of_a_length_comes_back(size: int) -> None:
    async with serving(echo) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url) as ws:
            await ws.send_bytes(b"\xfe" * size)
            assert (await ws.receive(timeout=5)).data == b"\xfe" * size


async def test_ten_pings_at_once_are_answered_in_their_order_the_last_one_among_them() -> None:
    answers: list[bytes] = []

    async def ask(peer: Peer) -> None:
        await peer.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))
        while not answers or answers[-1] != b"9":
            opcode, payload = await peer.read()
            assert opcode == PONG
            answers.append(payload)
        await peer.send(closing(1000))
        await peer.until_gone()

    async with serving(ask) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url) as ws:
                assert [message async for message in ws] == []
    assert answers == sorted(answers)


async def test_what_follows_a_close_frame_is_ignored() -> None:
    answers: list[tuple[int, bytes]] = []

    async def go_on(peer: Peer) -> None:
        await peer.send(
            frame(TEXT, b"before")
            + closing(1000)
            + frame(TEXT, b"after")
            + frame(PING)
            + closing(1011)
        )
        answers.append(await peer.read())
        with pytest.raises(asyncio.IncompleteReadError):
            await peer.read()

    async with serving(go_on) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url) as ws:
                assert [message.data async for message in ws] == ["before"]
                with pytest.raises(WebSocketClosedError):
                    await ws.receive()
    assert ws.close_code == 1000
    assert answers == [(CLOSE, struct.pack("!H", 1000))]


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1010, 1011, 1014, 3000, 3999, 4000, 4999])
async def test_a_code_that_a_peer_may_send_is_answered_with_itself(code: int) -> None:
    answers: list[tuple[int, bytes]] = []

    async def leave(peer: Peer) -> None:
        await peer.send(closing(code, b"because"))
        answers.append(await peer.read())

    async with serving(leave) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url) as ws:
                if code == 1000:
                    assert [message async for message in ws] == []
                else:
                    with pytest.raises(WebSocketClosedError):
                        await ws.receive()
    assert ws.close_code == code
    assert ws.close_reason == "because"
    assert answers == [(CLOSE, struct.pack("!H", code))]

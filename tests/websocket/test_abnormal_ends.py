"""What a peer may do to a connection: each end is bounded, named, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from platform_http.errors import WebSocketClosedError
from platform_http.websocket import Reconnect, connect
from tests.websocket.peer import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    closing,
    frame,
    serving,
    silent,
    until,
)

_CANARY = b"geheim"


def sending(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Send *pieces*, then listen until the client is gone."""

    async def script(peer: Peer) -> None:
        for piece in pieces:
            await peer.send(piece)
        await peer.until_gone()

    return script


def then_reset(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        for piece in pieces:
            await peer.send(piece)
        await asyncio.sleep(0.01)
        peer.reset()

    return script


def then_end(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        for piece in pieces:
            await peer.send(piece)

    return script


async def half_close(peer: Peer) -> None:
    peer.writer.write_eof()
    await peer.until_gone()


VIOLATIONS = {
    "a bad opcode": (1002, sending(frame(0xB))),
    "a bad data opcode": (1002, sending(frame(0x3, _CANARY))),
    "a reserved bit": (1002, sending(frame(TEXT, _CANARY, rsv=0x20))),
    "a compressed frame that was not agreed on": (1002, sending(frame(TEXT, _CANARY, rsv=0x40))),
    "a fragmented ping": (1002, sending(frame(PING, fin=False))),
    "a ping of 126 bytes": (1002, sending(frame(PING, bytes(126)))),
    "a continuation of nothing": (1002, sending(frame(CONTINUATION, _CANARY))),
    "a message inside of another": (
        1002,
        sending(frame(TEXT, _CANARY, fin=False), frame(TEXT, _CANARY)),
    ),
    "invalid UTF-8": (1007, sending(frame(TEXT, b"geheim\xff\xfe"))),
    "invalid UTF-8 over two frames": (
        1007,
        sending(frame(TEXT, b"\xce", fin=False), frame(CONTINUATION, b"\x41")),
    ),
    "a message that is too big": (1009, sending(frame(BINARY, bytes(2000)))),
    "fragments that are too big together": (
        1009,
        sending(frame(BINARY, bytes(600), fin=False), frame(CONTINUATION, bytes(600))),
    ),
    "a frame that only announces too much": (
        1009,
        sending(b"\x82\x7f" + struct.pack("!Q", 1 << 40)),
    ),
    "a frame of more than there are bytes": (
        1009,
        sending(b"\x82\x7f" + struct.pack("!Q", (1 << 63) - 1)),
    ),
    "a close with half a code": (1002, sending(frame(CLOSE, b"\x03"))),
    "the last data opcode": (1002, sending(frame(0x7))),
    "the last control opcode": (1002, sending(frame(0xF))),
    "a reserved bit in a ping": (1002, sending(frame(PING, rsv=0x20))),
    "a reserved bit in a close": (1002, sending(frame(CLOSE, struct.pack("!H", 1000), rsv=0x10))),
    "a fragmented close": (1002, sending(frame(CLOSE, struct.pack("!H", 1000), fin=False))),
    "a first fragment inside of another message": (
        1002,
        sending(frame(TEXT, _CANARY, fin=False), frame(BINARY, _CANARY, fin=False)),
    ),
    "a continuation after a whole message": (
        1002,
        sending(frame(PING) + frame(CONTINUATION, _CANARY, fin=False)),
    ),
    "a length of which the first bit is set": (
        1009,
        sending(b"\x82\x7f" + struct.pack("!Q", 1 << 63)),
    ),
    "a message that is a byte too big": (1009, sending(frame(BINARY, bytes(1001)))),
    "a close with invalid UTF-8": (1007, sending(closing(1000, b"\xff"))),
    "a close with a reason of 124 bytes": (1002, sending(closing(1000, bytes(124)))),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_violation_ends_with_its_code_and_is_not_repeated(name: str) -> None:
    code, script = VIOLATIONS[name]
    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(2):
            async with connect(
                session, server.url, max_message=1000, reconnect=Reconnect(initial=0.001)
            ) as ws:
                with pytest.raises(WebSocketClosedError) as caught:
                    async for _ in ws:
                        pass
        assert caught.value.code == ws.close_code == code
        assert "geheim" not in str(caught.value)
        assert server.accepted == 1


@pytest.mark.parametrize(
    "code",
    [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535],
)
async def test_a_code_that_no_peer_may_send_is_answered_with_1002(code: int) -> None:
    answers: list[tuple[int, bytes]] = []

    async def leave(peer: Peer) -> None:
        await peer.send(closing(code))
        answers.append(await peer.read())

    again = Reconnect(initial=0.001)
    async with serving(leave) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(2):
            async with connect(session, server.url, reconnect=again) as ws:
                with pytest.raises(WebSocketClosedError) as caught:
                    await ws.receive()
        assert server.accepted == 1
    assert caught.value.code == ws.close_code == 1002
    assert answers == [(CLOSE, struct.pack("!H", 1002))]


LOSSES = {
    "a reset": then_reset(),
    "a reset in the middle of a frame": then_reset(frame(TEXT, bytes(500))[:50]),
    "an end in the middle of a frame": then_end(frame(TEXT, bytes(500))[:50]),
    "an end between the fragments of a message": then_end(frame(TEXT, b"a", fin=False)),
    "an end without a close frame": then_end(),
    "a half close": half_close,
    "silence": silent,
    "silence after pings": sending(*[frame(PING, b"x")] * 3),
}


@pytest.mark.parametrize("name", LOSSES)
async def test_a_loss_ends_with_1006(name: str) -> None:
    async with serving(LOSSES[name]) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(2):
            async with connect(session, server.url, heartbeat=0.05, pong_timeout=0.05) as ws:
                with pytest.raises(WebSocketClosedError) as caught:
                    await ws.receive()
        assert caught.value.code == ws.close_code == 1006


@pytest.mark.parametrize("end", [then_reset, then_end, sending], ids=["reset", "end", "violation"])
async def test_what_came_before_the_end_is_received(end: Callable[..., object]) -> None:
    pieces = [frame(TEXT, str(number).encode()) for number in range(50)]
    last = [frame(0xB)] if end is sending else []
    received = []

    async def script(peer: Peer) -> None:
        await peer.send(b"".join((*pieces, *last)))
        # So that a reset does not overtake what was sent.
        await asyncio.sleep(0.05)
        if end is then_reset:
            peer.reset()

    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, receive_queue=4) as ws:
            await asyncio.sleep(0.1)
            with pytest.raises(WebSocketClosedError):
                async for message in ws:
                    received += [message.data]
    assert received == [str(number) for number in range(50)]


async def test_a_close_without_a_code_is_a_normal_end() -> None:
    answers: list[tuple[int, bytes]] = []

    async def leave(peer: Peer) -> None:
        await peer.send(frame(CLOSE))
        answers.append(await peer.read())

    async with serving(leave) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(2):
            async with connect(session, server.url, reconnect=Reconnect(initial=0.001)) as ws:
                assert [message async for message in ws] == []
        assert ws.close_code == 1005
        assert server.accepted == 1
    assert answers == [(CLOSE, b"")]


async def test_a_reason_of_123_bytes_arrives_whole_and_only_as_an_attribute() -> None:
    reason = b"geheim" + b"x" * 117
    async with (
        serving(sending(closing(1008, reason))) as server,
        aiohttp.ClientSession() as session,
    ):
        async with connect(session, server.url) as ws:
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.receive()
    assert caught.value.reason == ws.close_reason == reason.decode()
    assert "geheim" not in f"{caught.value} {caught.value!r}"


async def test_a_flood_of_pings_is_answered_without_piling_up() -> None:
    answered = 0

    async def flood(peer: Peer) -> None:
        nonlocal answered
        for _ in range(2_000):
            peer.writer.write(frame(PING, bytes(125)))
        await peer.writer.drain()
        await peer.send(frame(TEXT, b"done"))
        while (await peer.read())[0] != CLOSE:
            answered += 1

    async with serving(flood) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(10):
            async with connect(session, server.url, close_timeout=0.2) as ws:
                assert (await ws.receive()).data == "done"
    assert 1 <= answered <= 2_000


async def test_a_flood_of_pings_keeps_no_message_and_no_end_from_going_out() -> None:
    received: list[int] = []

    async def flood(peer: Peer) -> None:
        async def ping() -> None:
            while CLOSE not in received:
                await peer.send(frame(PING, b"x") * 50)
                await asyncio.sleep(0)

        pinging = asyncio.create_task(ping())
        while CLOSE not in received:
            received.append((await peer.read())[0])
        await pinging

    async with serving(flood) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(10):
            async with connect(session, server.url, close_timeout=2) as ws:
                await until(lambda: received)
                for number in range(5):
                    await ws.send_text(str(number))
    assert [opcode for opcode in received if opcode != PONG] == [TEXT] * 5 + [CLOSE]


async def test_a_violation_of_a_peer_that_does_not_read_leaves_no_socket_behind() -> None:
    violate = asyncio.Event()

    async def script(peer: Peer) -> None:
        await violate.wait()
        await peer.send(frame(0xB))
        await silent(peer)

    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url, heartbeat=None) as ws:
                transport = ws._link._transport
                socket = transport.get_extra_info("socket")
                # Little enough that nothing waits for the peer but the transport.
                while not transport.get_write_buffer_size():
                    await ws.send_bytes(bytes(16 * 1024))
                    await asyncio.sleep(0)
                violate.set()
                with pytest.raises(WebSocketClosedError, match="1002"):
                    await ws.receive()
                await until(lambda: socket.fileno() == -1)


async def test_a_flood_of_pings_from_a_peer_that_does_not_read_stays_bounded() -> None:
    async def flood(peer: Peer) -> None:
        while True:
            await peer.send(frame(PING, bytes(125)) * 100)

    async with serving(flood) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url, close_timeout=0.1) as ws:
                await asyncio.sleep(0.3)
                transport = ws._link._socket._response.connection.transport
                assert transport.get_write_buffer_size() < 1024 * 1024


@pytest.mark.parametrize(
    "payload", [b"\xff" * 100, b"\x00" * 10, b"\x07" * 20], ids=["ones", "zeros", "sevens"]
)
async def test_compressed_garbage_is_a_violation(payload: bytes) -> None:
    script = sending(frame(TEXT, payload, rsv=0x40))
    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, compress=15) as ws:
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.receive(timeout=2)
    assert caught.value.code == 1007


async def test_a_message_that_is_being_compressed_at_the_end_leaves_no_error_behind() -> None:
    reported: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    # The only thread that compresses has to wait.
    loop.set_default_executor(ThreadPoolExecutor(1))
    go_on = threading.Event()
    loop.run_in_executor(None, go_on.wait, 5)
    async with serving(silent) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            with pytest.raises(LookupError):
                async with connect(session, server.url, compress=15) as ws:
                    writer = ws._link._socket._writer
                    await ws.send_bytes(bytes(1024 * 1024))
                    await until(lambda: writer._background_tasks)
                    ws._link.drop()
                    loop.call_later(0.05, go_on.set)
                    raise LookupError
            await until(lambda: not writer._background_tasks)
    gc.collect()
    assert reported == []


async def test_a_compressed_bomb_ends_with_1009() -> None:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(50_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    script = sending(frame(BINARY, bomb.removesuffix(b"\x00\x00\xff\xff"), rsv=0x40))
    async with serving(script) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, compress=15) as ws:
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.receive(timeout=5)
    assert caught.value.code == 1009


async def test_a_peer_that_leaves_while_a_send_is_under_way() -> None:
    async def leave(peer: Peer) -> None:
        await peer.send(closing(1001))
        await silent(peer)

    async with serving(leave) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url, close_timeout=0.1, heartbeat=None) as ws:
                with pytest.raises(WebSocketClosedError) as caught:
                    while True:
                        await ws.send_bytes(bytes(4 * 1024 * 1024))
        assert caught.value.code == 1001


@pytest.mark.parametrize("size", [1, 4 * 1024 * 1024], ids=["small", "large"])
async def test_a_lost_connection_is_noticed_by_whoever_only_sends(size: int) -> None:
    async def flood_and_reset(peer: Peer) -> None:
        for _ in range(50):
            await peer.send(frame(TEXT, b"unread"))
        await asyncio.sleep(0.02)
        peer.reset()

    async with serving(flood_and_reset) as server, aiohttp.ClientSession() as session:
        async with asyncio.timeout(5):
            async with connect(session, server.url, receive_queue=1) as ws:
                with pytest.raises(WebSocketClosedError):
                    while True:
                        await ws.send_bytes(bytes(size))
                        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", aiohttp.WSServerHandshakeError),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            aiohttp.WSServerHandshakeError,
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            aiohttp.WSServerHandshakeError,
        ),
        (b"", aiohttp.ClientError),
        (b"\x00\x01\x02 garbage\r\n\r\n", aiohttp.ClientError),
    ],
    ids=["200", "no key", "other protocol", "nothing", "garbage"],
)
async def test_a_handshake_that_is_none_is_a_client_error(
    response: bytes, error: type[Exception]
) -> None:
    async with serving(response) as server, aiohttp.ClientSession() as session:
        with pytest.raises(error) as caught:
            async with connect(session, server.url):
                pass
        assert "geheim" not in f"{caught.value} {caught.value!r}"

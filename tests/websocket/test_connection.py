"""What an application can do with a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import aiohttp
import pytest

from platform_http import CallOptions, deadline
from platform_http.errors import DeadlineExceededError, WebSocketClosedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang
from platform_http.websocket import connect
from tests.functional.conftest import Observed
from tests.websocket.peer import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    closing,
    echo,
    frame,
    json_frame,
    serving,
    silent,
    until,
)


@contextlib.asynccontextmanager
async def a_server_that_says_nothing() -> AsyncIterator[str]:
    async with FaultServer([hang()]) as server:
        yield str(server.url.with_scheme("ws"))


async def test_what_is_sent_comes_back_in_order_of_every_kind() -> None:
    async with serving(echo) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, protocols=["chat"]) as ws:
            assert ws.protocol == "chat"
            await ws.send_text("grüße")
            await ws.send_bytes(bytearray(b"\x00\xff"))
            await ws.send_json({"a": 1})
            received = [await ws.receive() for _ in range(3)]
            assert [message.data for message in received[:2]] == ["grüße", b"\x00\xff"]
            assert received[2].json() == {"a": 1}
            assert ws.connected
            assert ws.close_code is None
            assert repr(ws) == "<WebSocket connected>"
        assert ws.closed
        assert ws.close_code == 1000
        assert not ws.connected


async def test_iterating_ends_when_the_peer_is_done() -> None:
    async def three(peer: Peer) -> None:
        for number in range(3):
            await peer.send(json_frame(number))
        await peer.send(closing(1000, b"that was all"))
        assert await peer.read() == (CLOSE, struct.pack("!H", 1000))

    async with serving(three) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url) as ws:
            assert [message.json() async for message in ws] == [0, 1, 2]
            assert ws.close_code == 1000
            assert ws.close_reason == "that was all"
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.send_text("too late")
            assert caught.value.code == 1000
            with pytest.raises(WebSocketClosedError):
                await ws.receive()


async def test_many_messages_both_ways_at_once_neither_wait_for_each_other_for_ever() -> None:
    # Both would stand still if the one task did not read while a send waits for the peer.
    size, count = 256 * 1024, 128
    async with serving(echo) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, receive_queue=1, send_queue=1) as ws:

            async def send() -> None:
                for number in range(count):
                    await ws.send_bytes(struct.pack("!I", number) * (size // 4))

            sending = asyncio.create_task(send())
            # Until both have filled all that lies between them.
            await asyncio.sleep(0.3)
            async with asyncio.timeout(20):
                for number in range(count):
                    message = await ws.receive()
                    assert message.data == struct.pack("!I", number) * (size // 4)
            await sending


async def test_leaving_the_block_sends_what_waits_before_it_says_1000() -> None:
    received: list[tuple[int, bytes]] = []

    async def collect(peer: Peer) -> None:
        while not received or received[-1][0] != CLOSE:
            received.append(await peer.read())
        await peer.send(frame(CLOSE, received[-1][1]))

    async with serving(collect) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url) as ws:
            for number in range(5):
                await ws.send_text(str(number))
            await ws.close(3001, "enough")
    assert [payload for _, payload in received] == [
        b"0", b"1", b"2", b"3", b"4", struct.pack("!H", 3001) + b"enough",
    ]  # fmt: skip
    assert ws.close_code == 3001
    assert ws.queued == 0


async def test_leaving_the_block_by_an_exception_says_1001_and_drops_what_waits() -> None:
    codes: list[int] = []

    async def note(peer: Peer) -> None:
        codes.append(await peer.agree())

    async with serving(note) as server, aiohttp.ClientSession() as session:
        with pytest.raises(LookupError):
            async with connect(session, server.url) as ws:
                raise LookupError
    assert codes == [1001]
    assert ws.close_code == 1001


async def test_a_cancelled_block_gives_everything_back() -> None:
    async with serving(echo) as server, aiohttp.ClientSession() as session:
        inside = asyncio.Event()

        async def use() -> None:
            async with connect(session, server.url) as ws:
                inside.set()
                await ws.receive()

        using = asyncio.create_task(use())
        await inside.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using


async def test_a_block_that_is_cancelled_again_does_not_wait_for_the_peer() -> None:
    async with serving(silent) as server, aiohttp.ClientSession() as session:
        inside = asyncio.Event()

        async def use() -> None:
            async with connect(session, server.url, close_timeout=60):
                inside.set()
                await asyncio.sleep(60)

        using = asyncio.create_task(use())
        await inside.wait()
        using.cancel()
        await asyncio.sleep(0.01)
        assert not using.done()
        using.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await using


async def test_a_cancelled_handshake_gives_everything_back() -> None:
    async with a_server_that_says_nothing() as url, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async with connect(session, url):
                    pass


async def test_a_receive_that_is_given_up_loses_no_message() -> None:
    go = asyncio.Event()

    async def one(peer: Peer) -> None:
        await go.wait()
        await peer.send(frame(TEXT, b"kept"))
        await peer.agree()

    async with serving(one) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url) as ws:
            with pytest.raises(TimeoutError, match=r"had no message for 0\.01 s"):
                await ws.receive(timeout=0.01)
            waiting = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            go.set()
            assert (await ws.receive(timeout=2)).data == "kept"


class TestTheSendQueue:
    async def test_makes_senders_wait_while_the_peer_does_not_read(self) -> None:
        async with serving(silent) as server, aiohttp.ClientSession() as session:
            async with connect(
                session, server.url, send_queue=2, close_timeout=0.05, heartbeat=None
            ) as ws:
                with pytest.raises(TimeoutError, match="2 messages had no room for"):
                    while True:
                        await ws.send_bytes(bytes(1024 * 1024), timeout=0.05)
                socket = ws._link._socket.get_extra_info("socket")
            # What the peer does not take does not keep the connection open.
            await until(lambda: socket.fileno() == -1)
        assert ws.close_code == 1006
        assert ws.queued <= 2

    async def test_lets_those_go_who_wait_when_it_ends(self) -> None:
        async with serving(silent) as server, aiohttp.ClientSession() as session:
            async with connect(
                session, server.url, send_queue=1, close_timeout=0.05, heartbeat=None
            ) as ws:
                waiting = [
                    asyncio.create_task(ws.send_bytes(bytes(4 * 1024 * 1024))) for _ in range(6)
                ]
                await asyncio.sleep(0.05)
                await ws.close()
                results = await asyncio.gather(*waiting, return_exceptions=True)
                assert any(isinstance(result, WebSocketClosedError) for result in results)
                assert all(
                    result is None or isinstance(result, WebSocketClosedError) for result in results
                )

    @pytest.mark.parametrize("turns", [0, 1, 5, 20])
    async def test_takes_nothing_at_its_end_that_does_not_go_out(self, turns: int) -> None:
        received: list[bytes] = []
        taken: list[bytes] = []

        async def collect(peer: Peer) -> None:
            while (read := await peer.read())[0] != CLOSE:
                received.append(read[1])
            await peer.send(frame(CLOSE, read[1]))

        async with serving(collect) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, send_queue=1) as ws:

                async def send(number: int) -> None:
                    await ws.send_text(str(number))
                    taken.append(str(number).encode())

                senders = [asyncio.create_task(send(number)) for number in range(40)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                await ws.close()
                await asyncio.gather(*senders, return_exceptions=True)
        assert received == taken


class TestBackpressure:
    async def test_reads_no_more_than_what_the_application_has_room_for(self) -> None:
        sent = 0

        async def flood(peer: Peer) -> None:
            nonlocal sent
            while True:
                await peer.send(frame(BINARY, bytes(64 * 1024)))
                sent += 1

        async with serving(flood) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, receive_queue=2, close_timeout=0.05) as ws:
                before = -1
                while before != sent:
                    before = sent
                    await asyncio.sleep(0.05)
                # What is under way is in aiohttp's queue and in the buffers of two sockets.
                assert sent < 400
                for _ in range(sent):
                    await ws.receive(timeout=2)
                await ws.receive(timeout=2)

    async def test_an_application_that_is_busy_is_not_taken_for_a_silent_peer(self) -> None:
        async def flood(peer: Peer) -> None:
            for _ in range(64):
                await peer.send(frame(BINARY, bytes(64 * 1024)))
            await echo(peer)

        async with serving(flood) as server, aiohttp.ClientSession() as session:
            async with connect(
                session, server.url, receive_queue=1, heartbeat=0.02, pong_timeout=0.02
            ) as ws:
                await asyncio.sleep(0.15)
                for _ in range(64):
                    assert len((await ws.receive(timeout=2)).data) == 64 * 1024
                assert ws.connected


class TestTheHeartbeat:
    async def test_keeps_a_connection_whose_peer_answers(self) -> None:
        pings = 0

        async def answer(peer: Peer) -> None:
            nonlocal pings
            while True:
                opcode, payload = await peer.read()
                if opcode == PING:
                    pings += 1
                    await peer.send(frame(PONG, payload))
                if opcode == CLOSE:
                    return await peer.send(frame(CLOSE, payload))

        async with serving(answer) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, heartbeat=0.02, pong_timeout=0.5) as ws:
                await until(lambda: pings >= 3)
                assert ws.connected

    async def test_takes_a_message_that_is_long_on_its_way_for_no_silence(self) -> None:
        async def slow(peer: Peer) -> None:
            for byte in frame(TEXT, b"x" * 28):
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.02)
            await peer.until_gone()

        async with serving(slow) as server, aiohttp.ClientSession() as session:
            async with connect(
                session, server.url, heartbeat=0.05, pong_timeout=0.25, close_timeout=0.05
            ) as ws:
                assert (await ws.receive(timeout=5)).data == "x" * 28

    async def test_finds_a_peer_that_is_gone(self) -> None:
        async with serving(silent) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, heartbeat=0.02, pong_timeout=0.02) as ws:
                with pytest.raises(WebSocketClosedError, match="1006"):
                    async for _ in ws:
                        pass
                assert ws.close_code == 1006

    async def test_answers_the_peers_pings(self) -> None:
        async def ask(peer: Peer) -> None:
            await peer.send(frame(PING, b"there?"))
            assert await peer.read() == (PONG, b"there?")
            await peer.send(frame(TEXT, b"fine"))
            await peer.agree()

        async with serving(ask) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url) as ws:
                assert (await ws.receive(timeout=2)).data == "fine"


class TestAnEnd:
    async def test_is_bounded_where_the_peer_does_not_answer(self) -> None:
        async with serving(silent) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(2):
                async with connect(session, server.url, close_timeout=0.05) as ws:
                    pass
        assert ws.close_code == 1006

    async def test_is_bounded_where_the_peer_goes_on_talking(self) -> None:
        async def talk(peer: Peer) -> None:
            while True:
                await peer.send(frame(TEXT, b"and another thing"))
                await asyncio.sleep(0.005)

        async with serving(talk) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(2):
                async with connect(session, server.url, close_timeout=0.1):
                    pass

    async def test_can_be_asked_for_by_many_at_once_and_again(self) -> None:
        async with serving(echo) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url) as ws:
                await asyncio.gather(*(ws.close(3000 + number) for number in range(3)))
                await ws.close()
                assert ws.close_code == 3000
                assert [message async for message in ws] == []

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1012, 1015, 2999, 5000])
    async def test_refuses_codes_that_may_not_be_sent(self, code: int) -> None:
        async with serving(echo) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url) as ws:
                with pytest.raises(ValueError, match="may not be sent"):
                    await ws.close(code)
                with pytest.raises(ValueError, match="124 bytes"):
                    await ws.close(reason="ü" * 62)
                assert ws.connected


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"heartbeat": 0}, "heartbeat"),
        ({"pong_timeout": -1}, "pong_timeout"),
        ({"close_timeout": float("nan")}, "close_timeout"),
        ({"close_timeout": float("inf")}, "finite"),
        ({"send_queue": 0}, "send_queue"),
        ({"receive_queue": 0}, "receive_queue"),
        ({"max_message": 0}, "max_message"),
        ({"compress": 8}, "compress"),
    ],
)
async def test_a_number_out_of_its_range_is_named(options: dict[str, float], names: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match=names):
            async with connect(session, "ws://127.0.0.1:1/", **options):
                pass


async def test_compressed_messages_come_through() -> None:
    async def answer(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = aiohttp.web.Application()
    app.router.add_get("/", answer)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as session:
            url = f"ws://127.0.0.1:{site.port}/"
            async with connect(session, url, compress=15) as ws:
                for size in (10, 100_000):
                    await ws.send_text("x" * size)
                    assert (await ws.receive(timeout=5)).data == "x" * size
    finally:
        await runner.cleanup()


async def test_a_surrounding_deadline_bounds_the_handshake_and_nothing_else(
    observed: Observed,
) -> None:
    async with serving(echo) as server, observed.session() as session:
        with deadline(0.1):
            async with connect(session, server.url) as ws:
                await asyncio.sleep(0.15)
                await ws.send_text("still here")
                assert (await ws.receive(timeout=2)).data == "still here"
        with deadline(0):
            with pytest.raises(DeadlineExceededError):
                async with connect(session, server.url):
                    pass


async def test_options_bound_the_handshake_of_a_session_that_no_factory_made() -> None:
    async with a_server_that_says_nothing() as url, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            async with connect(session, url, options=CallOptions(timeout=0.05)):
                pass


async def test_the_handshake_is_a_call_with_the_options_of_the_websocket(
    observed: Observed,
) -> None:
    options = CallOptions(operation="feed.watch", url_template="/feed")
    async with serving(echo) as server, observed.session() as session:
        async with connect(session, server.url, options=options):
            pass
        assert observed.value("platform_http_calls_total", operation="feed.watch") == 1
        assert [span.name for span in observed.attempts] == ["GET /feed"]


@pytest.mark.parametrize("which", ["owner", "receiving"])
async def test_a_loop_that_ends_under_it_gives_everything_back(
    observed: Observed, which: str
) -> None:
    async with serving(silent) as server, observed.session() as session:
        async with connect(session, server.url) as ws:
            receiving = asyncio.create_task(ws.receive())
            await asyncio.sleep(0)
            (ws._owner if which == "owner" else ws._link._receiving).cancel()
            with pytest.raises(WebSocketClosedError):
                await receiving
            assert ws.closed
        assert observed.value("platform_http_websocket_connections") == 0
        observed.assert_quiet()


async def test_json_is_written_by_the_serializer_of_the_session() -> None:
    async with (
        serving(echo) as server,
        aiohttp.ClientSession(json_serialize=lambda value: f"<{value}>") as session,
    ):
        async with connect(session, server.url) as ws:
            await ws.send_json(1)
            await ws.send_json(1, dumps=str)
            assert [(await ws.receive()).data for _ in range(2)] == ["<1>", "1"]

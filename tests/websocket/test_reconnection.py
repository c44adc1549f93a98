"""When and how a lost connection is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import aiohttp
import pytest

from platform_http import CircuitOpenError, EgressDeniedError, deadline
from platform_http.errors import AuthenticationError, RateLimitedError, WebSocketClosedError
from platform_http.websocket import RECONNECT_CODES, Reconnect, WebSocket, connect
from platform_http.websocket.reconnection import verdict
from tests.functional.conftest import Observed
from tests.websocket.peer import CLOSE, TEXT, Peer, closing, echo, frame, serving, silent, until

FAST = {"initial": 0.001, "maximum": 0.002}


def failing(status: str, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: 0\r\n\r\n".encode()


def leaving(code: int) -> object:
    async def script(peer: Peer) -> None:
        await peer.send(closing(code))
        await peer.until_gone()

    return script


async def drop(peer: Peer) -> None:
    peer.reset()


async def collect_all(peer: Peer) -> None:
    await peer.agree()


async def greet(peer: Peer) -> None:
    await peer.send(frame(TEXT, b"hello"))
    await echo(peer)


class TestACode:
    @pytest.mark.parametrize("code", sorted(RECONNECT_CODES - {1006}))
    async def test_of_a_peer_that_will_be_back_connects_again(self, code: int) -> None:
        async with serving(leaving(code), greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"
                assert ws.reconnects == 1
        assert server.accepted == 2

    async def test_of_a_lost_connection_connects_again(self) -> None:
        async with serving(drop, drop, greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"
                assert ws.reconnects == 2

    @pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4999])
    async def test_that_would_come_again_does_not(self, code: int) -> None:
        async with serving(leaving(code), greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                with pytest.raises(WebSocketClosedError) as caught:
                    await ws.receive(timeout=2)
        assert caught.value.code == code
        assert server.accepted == 1

    async def test_of_a_peer_that_is_done_does_not(self) -> None:
        async with serving(leaving(1000), greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                assert [message async for message in ws] == []
        assert server.accepted == 1

    async def test_can_be_chosen(self) -> None:
        async with serving(leaving(4000), greet) as server, aiohttp.ClientSession() as session:
            again = Reconnect(**FAST, codes=frozenset({4000}))
            async with connect(session, server.url, reconnect=again) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"

    async def test_is_the_end_where_nobody_asked_to_connect_again(self) -> None:
        async with serving(leaving(1001), greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url) as ws:
                assert [message async for message in ws] == []
        assert server.accepted == 1


class TestAHandshake:
    @pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X", "429 X"])
    async def test_that_may_pass_is_repeated(self, status: str) -> None:
        async with serving(failing(status), greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"
                assert ws.reconnects == 0

    @pytest.mark.parametrize("status", ["400 X", "401 X", "403 X", "404 X", "410 X", "200 X"])
    async def test_that_would_fail_again_is_not(self, status: str) -> None:
        async with serving(failing(status), greet) as server, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with connect(session, server.url, reconnect=Reconnect(**FAST)):
                    pass
        assert server.accepted == 1

    async def test_is_made_once_where_nobody_asked_to_connect_again(self) -> None:
        async with serving(failing("503 X")) as server, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with connect(session, server.url):
                    pass
        assert server.accepted == 1

    async def test_is_repeated_until_the_budget_is_spent(self) -> None:
        async with serving(failing("503 X")) as server, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connect(session, server.url, reconnect=Reconnect(**FAST, limit=3)):
                    pass
        assert server.accepted == 4
        assert caught.value.__notes__ == ["4 handshakes failed; stopped: budget"]

    async def test_waits_as_long_as_the_server_asks(self) -> None:
        refused = failing("503 X", "Retry-After: 0\r\n")
        too_long = failing("503 X", "Retry-After: 61\r\n")
        async with serving(refused, too_long) as server, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connect(session, server.url, reconnect=Reconnect(**FAST)):
                    pass
        assert server.accepted == 2
        assert caught.value.__notes__ == ["2 handshakes failed; stopped: retry_after_max"]

    async def test_that_is_repeated_keeps_to_the_deadline(self, observed: Observed) -> None:
        async with serving(failing("503 X")) as server, observed.session() as session:
            with pytest.raises((aiohttp.WSServerHandshakeError, TimeoutError)):
                with deadline(0.1):
                    async with connect(
                        session, server.url, reconnect=Reconnect(initial=60, maximum=60)
                    ):
                        pass

    async def test_after_a_deadline_has_passed_is_bounded_by_its_own(
        self, observed: Observed
    ) -> None:
        async def later(peer: Peer) -> None:
            await asyncio.sleep(0.1)
            peer.reset()

        async with serving(later, greet) as server, observed.session() as session:
            with deadline(0.05):
                async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                    assert (await ws.receive(timeout=2)).data == "hello"

    async def test_that_fails_for_good_later_ends_the_websocket(self) -> None:
        async with (
            serving(leaving(1001), failing("403 X")) as server,
            aiohttp.ClientSession() as session,
        ):
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                with pytest.raises(WebSocketClosedError, match="1001") as caught:
                    async for _ in ws:
                        pass
        assert isinstance(caught.value.__cause__, aiohttp.WSServerHandshakeError)
        assert "geheim" not in f"{caught.value.__cause__} {caught.value.__cause__!r}"

    @pytest.mark.parametrize(
        ("error", "passes", "refused"),
        [
            (CircuitOpenError("", retry_after=7), True, 7),
            (RateLimitedError("", retry_after=3), True, 3),
            (EgressDeniedError("", reason="link_local"), False, 0),
            (AuthenticationError(""), False, 0),
            (TimeoutError(), True, 0),
            (aiohttp.ServerDisconnectedError(), True, 0),
            (aiohttp.InvalidURL("x"), False, 0),
            (TypeError(), False, 0),
        ],
    )
    def test_is_judged_by_its_error(self, error: Exception, passes: bool, refused: float) -> None:
        assert verdict(error)[::2] == (passes, refused)


async def test_a_server_that_drops_at_once_for_ever_is_given_up() -> None:
    async with serving(drop) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, reconnect=Reconnect(**FAST, limit=4)) as ws:
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.receive(timeout=5)
    assert server.accepted == 5
    assert caught.value.__notes__ == ["connected 4 times anew; stopped: budget"]


async def test_an_end_that_was_not_made_good_is_no_normal_end() -> None:
    async with serving(leaving(1001)) as server, aiohttp.ClientSession() as session:
        async with connect(session, server.url, reconnect=Reconnect(limit=0)) as ws:
            with pytest.raises(WebSocketClosedError, match="1001"):
                async for _ in ws:
                    pass


class TestAHook:
    async def test_sends_before_the_messages_that_wait(self) -> None:
        order: list[bytes] = []
        refuse = asyncio.Event()

        async def lose(peer: Peer) -> None:
            await peer.read()
            peer.reset()

        async def collect(peer: Peer) -> None:
            while len(order) < 5:
                order.append((await peer.read())[1])
            await peer.agree()

        async def subscribe(ws: WebSocket) -> None:
            await ws.send_text("subscribe 1")
            await refuse.wait()
            await ws.send_text("subscribe 2")

        again = Reconnect(**FAST, on_reconnect=subscribe)
        async with serving(lose, collect) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again, send_queue=3) as ws:
                await ws.send_text("in flight")
                await until(lambda: not ws.connected)
                for number in range(3):
                    await ws.send_text(f"waits {number}")
                await until(lambda: order)
                assert order == [b"subscribe 1"]
                refuse.set()
                await until(lambda: len(order) == 5)
        assert order == [b"subscribe 1", b"subscribe 2", b"waits 0", b"waits 1", b"waits 2"]

    async def test_is_not_run_for_the_first_connection(self) -> None:
        async def never(ws: WebSocket) -> None:
            raise AssertionError

        again = Reconnect(**FAST, on_reconnect=never)
        async with serving(greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"

    async def test_that_fails_ends_the_websocket_with_its_error(self) -> None:
        codes: list[int] = []

        async def note(peer: Peer) -> None:
            codes.append(await peer.agree())

        async def fail(ws: WebSocket) -> None:
            raise LookupError("no such topic")

        again = Reconnect(**FAST, on_reconnect=fail)
        async with serving(drop, note) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                with pytest.raises(LookupError, match="no such topic"):
                    async for _ in ws:
                        pass
        assert codes == [1001]

    async def test_that_raises_a_timeout_of_its_own_fails(self) -> None:
        async def fail(ws: WebSocket) -> None:
            raise TimeoutError("mine")

        again = Reconnect(**FAST, on_reconnect=fail)
        async with serving(drop, echo) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                with pytest.raises(TimeoutError, match="mine"):
                    await ws.receive(timeout=5)

    @pytest.mark.parametrize("in_a_task", [False, True])
    async def test_that_closes_is_not_waited_for(self, in_a_task: bool) -> None:
        codes: list[int] = []

        async def note(peer: Peer) -> None:
            codes.append(await peer.agree())

        async def stop(ws: WebSocket) -> None:
            closing_it = ws.close(3000)
            await (asyncio.create_task(closing_it) if in_a_task else closing_it)

        again = Reconnect(**FAST, on_reconnect=stop)
        async with serving(drop, note) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(2):
                async with connect(session, server.url, reconnect=again, close_timeout=60) as ws:
                    assert [message async for message in ws] == []
        assert codes == [ws.close_code] == [3000]

    async def test_that_was_cancelled_from_inside_counts_as_a_loss(self) -> None:
        runs = 0

        async def subscribe(ws: WebSocket) -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                raise asyncio.CancelledError

        again = Reconnect(**FAST, on_reconnect=subscribe)
        async with serving(drop, echo, greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"
        assert runs == 2

    async def test_that_resists_its_end_does_not_disturb_the_next_one(self) -> None:
        subscribed = asyncio.Event()
        first_is_over = asyncio.Event()
        runs = 0

        async def subscribe(ws: WebSocket) -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                running.set()
                for _ in range(3):
                    with contextlib.suppress(asyncio.CancelledError):
                        await second_runs.wait()
                first_is_over.set()
            else:
                second_runs.set()
                await first_is_over.wait()
                await asyncio.sleep(0)
                await ws.send_text("subscribe")
                await subscribed.wait()

        async def lose(peer: Peer) -> None:
            await running.wait()
            peer.reset()

        async def confirm(peer: Peer) -> None:
            assert await peer.read() == (TEXT, b"subscribe")
            subscribed.set()
            await echo(peer)

        running, second_runs = asyncio.Event(), asyncio.Event()
        again = Reconnect(**FAST, on_reconnect=subscribe)
        async with serving(drop, lose, confirm) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again, close_timeout=0.05) as ws:
                async with asyncio.timeout(3):
                    await subscribed.wait()
                assert ws.reconnects == 2

    async def test_that_fails_is_why_a_sender_is_refused(self) -> None:
        async def fail(ws: WebSocket) -> None:
            raise LookupError("no such topic")

        again = Reconnect(**FAST, on_reconnect=fail)
        async with serving(drop, echo) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                await until(lambda: ws.closed)
                with pytest.raises(WebSocketClosedError) as caught:
                    await ws.send_text("too late")
        assert isinstance(caught.value.__cause__, LookupError)

    async def test_that_takes_too_long_counts_as_a_loss(self) -> None:
        runs = 0

        async def slow(ws: WebSocket) -> None:
            nonlocal runs
            runs += 1
            if runs == 1:
                await asyncio.sleep(60)

        again = Reconnect(**FAST, on_reconnect=slow, on_reconnect_timeout=0.05)
        async with serving(drop, echo, greet) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                assert (await ws.receive(timeout=2)).data == "hello"
        assert runs == 2

    async def test_whose_connection_is_lost_is_cancelled_and_run_again(self) -> None:
        runs = 0

        async def subscribe(ws: WebSocket) -> None:
            nonlocal runs
            runs += 1
            await ws.send_text("subscribe")
            if runs == 1:
                await asyncio.sleep(60)

        async def lose(peer: Peer) -> None:
            await peer.read()
            peer.reset()

        again = Reconnect(**FAST, on_reconnect=subscribe)
        async with serving(drop, lose, echo) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                assert (await ws.receive(timeout=2)).data == "subscribe"
        assert runs == 2


class TestClosing:
    async def test_while_it_waits_to_connect_again_returns_at_once(self) -> None:
        async with serving(drop, echo) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(2):
                again = Reconnect(initial=1000, maximum=1000)
                async with connect(session, server.url, reconnect=again) as ws:
                    await until(lambda: not ws.connected)
                    assert repr(ws) == "<WebSocket reconnecting>"
                    await ws.close()
                    assert [message async for message in ws] == []
        assert server.accepted == 1

    async def test_while_it_connects_again_returns_at_once(self) -> None:
        async with serving(drop, None) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(5):
                async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                    await until(lambda: server.accepted == 2)
                    assert not ws.connected
                    await ws.close()

    async def test_while_a_hook_runs_ends_it(self) -> None:
        running = asyncio.Event()

        async def hook(ws: WebSocket) -> None:
            running.set()
            await asyncio.sleep(60)

        again = Reconnect(**FAST, on_reconnect=hook)
        async with serving(drop, echo) as server, aiohttp.ClientSession() as session:
            async with asyncio.timeout(2):
                async with connect(session, server.url, reconnect=again):
                    await running.wait()

    async def test_while_a_hook_sends_is_a_normal_end(self) -> None:
        running = asyncio.Event()

        async def hook(ws: WebSocket) -> None:
            running.set()
            while True:
                await ws.send_text("subscribe")
                await asyncio.sleep(0)

        again = Reconnect(**FAST, on_reconnect=hook)
        async with serving(drop, collect_all) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=again) as ws:
                await running.wait()
                await ws.close()
                assert [message async for message in ws] == []

    async def test_says_the_code_to_the_connection_of_that_moment(self) -> None:
        codes: list[tuple[int, bytes]] = []

        async def note(peer: Peer) -> None:
            codes.append(await peer.read())
            await peer.send(frame(CLOSE, codes[0][1]))

        async with serving(drop, note) as server, aiohttp.ClientSession() as session:
            async with connect(session, server.url, reconnect=Reconnect(**FAST)) as ws:
                await until(lambda: len(server.peers) >= 2 and ws.connected)
                await ws.close(3003)
        assert codes == [(CLOSE, struct.pack("!H", 3003))]


async def test_whoever_sends_while_it_is_being_closed_hears_of_that_and_of_no_end_before() -> None:
    async with serving(drop, silent) as server, aiohttp.ClientSession() as session:
        again = Reconnect(**FAST)
        async with connect(session, server.url, reconnect=again, close_timeout=0.05) as ws:
            await until(lambda: ws.reconnects)
            closing_it = asyncio.create_task(ws.close(3001))
            await asyncio.sleep(0)
            with pytest.raises(WebSocketClosedError, match="being closed") as caught:
                await ws.send_text("too late")
            assert caught.value.code == 3001
            await closing_it


async def test_a_fault_of_its_own_reaches_whoever_uses_it() -> None:
    class Broken(frozenset[int]):
        def __contains__(self, code: object) -> bool:
            raise LookupError("a fault")

    async with serving(drop) as server, aiohttp.ClientSession() as session:
        again = Reconnect(**FAST, codes=Broken())
        async with connect(session, server.url, reconnect=again) as ws:
            with pytest.raises(WebSocketClosedError) as caught:
                await ws.receive(timeout=2)
            assert isinstance(caught.value.__cause__, LookupError)
            with pytest.raises(LookupError):
                await ws._owner


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 0},
        {"window": -1},
        {"on_reconnect_timeout": 0},
        {"limit": -1},
        {"stable": float("nan")},
        {"retry_after_max": -1},
        {"maximum": float("inf")},
        {"initial": 2, "maximum": 1},
    ],
    ids=str,
)
def test_a_number_out_of_its_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"Reconnect\."):
        Reconnect(**options)

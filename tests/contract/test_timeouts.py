import asyncio
import inspect
import io
import socket
from collections.abc import Awaitable

import aiohttp
import pytest
from aiohttp.helpers import TimerContext, TimerNoop, calculate_timeout_when, ceil_timeout

from platform_http.testing import FaultServer, black_hole
from platform_http.testing.actions import Exchange, delay, hang, partial_body, respond
from tests.contract.fixed_resolver import FixedResolver

UNREAD = respond(body=b"x" * 5_000_000)


class Witness:
    """A middleware that notes how the rest of the chain ended and what the timer said then."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.timed_out: bool | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except BaseException as error:
            self.error = error
            self.timed_out = getattr(request._timer, "_cancelled", None)
            raise


async def back_off(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    await asyncio.sleep(60)
    return await handler(request)


class SlowResolver(FixedResolver):
    async def resolve(self, *args, **kwargs):
        await asyncio.sleep(60)
        return await super().resolve(*args, **kwargs)


async def test_total_expiring_in_a_backoff_is_a_cancelled_error_inside_and_a_timeout_outside() -> (
    None
):
    witness = Witness()
    async with aiohttp.ClientSession(middlewares=[witness, back_off]) as session:
        with pytest.raises(TimeoutError):
            await session.get("http://127.0.0.1:1/", timeout=aiohttp.ClientTimeout(total=0.02))
    assert type(witness.error) is asyncio.CancelledError
    assert witness.timed_out is True


async def test_the_callers_cancel_in_a_backoff_leaves_the_timer_unexpired() -> None:
    witness = Witness()
    async with aiohttp.ClientSession(middlewares=[witness, back_off]) as session:
        task = asyncio.create_task(
            session.get("http://127.0.0.1:1/", timeout=aiohttp.ClientTimeout(total=60)).__aenter__()
        )
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert type(witness.error) is asyncio.CancelledError
    assert witness.timed_out is False


async def test_total_expiring_while_resolving_is_a_cancelled_error_inside() -> None:
    witness = Witness()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=SlowResolver("127.0.0.1")), middlewares=[witness]
    ) as session:
        with pytest.raises(TimeoutError):
            await session.get("http://name.test/", timeout=aiohttp.ClientTimeout(total=0.02))
    assert type(witness.error) is asyncio.CancelledError


async def test_total_expiring_while_connecting_is_a_cancelled_error_inside() -> None:
    witness = Witness()
    with black_hole() as port:
        async with aiohttp.ClientSession(middlewares=[witness]) as session:
            with pytest.raises(TimeoutError):
                await session.get(
                    f"http://127.0.0.1:{port}/", timeout=aiohttp.ClientTimeout(total=0.02)
                )
    assert type(witness.error) is asyncio.CancelledError


async def test_total_expiring_in_the_queue_of_the_pool_is_a_cancelled_error_inside() -> None:
    witness = Witness()
    async with (
        FaultServer([UNREAD]) as server,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1), middlewares=[witness]
        ) as session,
    ):
        first = await session.get(server.url)
        with pytest.raises(TimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.02))
        first.close()
    assert type(witness.error) is asyncio.CancelledError


async def test_total_expiring_while_awaiting_the_headers_is_a_timeout_error_inside() -> None:
    witness = Witness()
    async with (
        FaultServer([hang()]) as server,
        aiohttp.ClientSession(middlewares=[witness]) as session,
    ):
        with pytest.raises(TimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.05))
    assert isinstance(witness.error, TimeoutError)
    assert not isinstance(witness.error, aiohttp.ClientError)


async def test_total_covers_the_body(session: aiohttp.ClientSession) -> None:
    async with FaultServer([partial_body(b"abc", content_length=10, then="hang")]) as server:
        response = await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.05))
        with pytest.raises(TimeoutError):
            await response.read()


async def test_without_total_there_is_no_timer_at_all() -> None:
    timers = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        timers.append(type(request._timer))
        return await handler(request)

    async with (
        FaultServer() as server,
        aiohttp.ClientSession(
            middlewares=[watch], timeout=aiohttp.ClientTimeout(total=None)
        ) as session,
    ):
        await session.get(server.url)
        await session.get(server.url, timeout=aiohttp.ClientTimeout(total=9))
    assert timers == [TimerNoop, TimerContext]


async def test_connect_includes_the_wait_for_the_pool_and_blames_the_host() -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer([UNREAD]) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        first = await session.get(server.url)
        with pytest.raises(aiohttp.ConnectionTimeoutError, match="Connection timeout to host"):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(connect=0.02))
        assert len(server.requests) == 1
        first.close()


async def test_sock_connect_applies_to_each_address_in_turn() -> None:
    tried = []

    def factory(address: aiohttp.AddrInfoType) -> socket.socket:
        tried.append(address[4][0])
        family, kind, protocol, _, _ = address
        return socket.socket(family, kind, protocol)

    with black_hole("127.0.0.1") as port:
        connector = aiohttp.TCPConnector(
            resolver=FixedResolver("127.0.0.1", "127.0.0.1"),
            socket_factory=factory,
            happy_eyeballs_delay=None,
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(sock_connect=0.03)
        ) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get(f"http://name.test:{port}/")
    # Had it bounded all addresses together, the second would not have been tried.
    assert len(tried) == 2


async def still_pending(call: Awaitable[object]) -> bool:
    """Whether *call* outlives several of the timeouts under test."""
    try:
        async with asyncio.timeout(0.25):
            await call
    except TimeoutError as error:
        return type(error) is TimeoutError
    return False


async def never_read(exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def test_sock_read_does_not_cover_an_upload(session: aiohttp.ClientSession) -> None:
    async with FaultServer([never_read], read_body=False) as server:
        assert await still_pending(
            session.put(
                server.url,
                data=io.BytesIO(b"x" * 50_000_000),
                timeout=aiohttp.ClientTimeout(sock_read=0.03),
            )
        )


async def test_sock_read_does_not_cover_a_missing_100_continue(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([hang()], read_body=False) as server:
        assert await still_pending(
            session.put(
                server.url,
                data=b"x",
                expect100=True,
                timeout=aiohttp.ClientTimeout(sock_read=0.03),
            )
        )


async def test_sock_read_covers_the_wait_for_the_headers(session: aiohttp.ClientSession) -> None:
    async with FaultServer([hang()]) as server:
        with pytest.raises(aiohttp.SocketTimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(sock_read=0.03))


async def test_dns_is_bounded_by_connect_and_not_by_sock_connect() -> None:
    connector = aiohttp.TCPConnector(resolver=SlowResolver("127.0.0.1"))
    async with aiohttp.ClientSession(connector=connector) as session:
        assert await still_pending(
            session.get("http://name.test/", timeout=aiohttp.ClientTimeout(sock_connect=0.03))
        )
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get("http://name.test/", timeout=aiohttp.ClientTimeout(connect=0.03))


async def test_a_proxy_connect_is_bounded_by_connect_and_not_by_the_socket_timeouts() -> None:
    async with FaultServer([hang()]) as proxy, aiohttp.ClientSession(proxy=proxy.url) as session:
        assert await still_pending(
            session.get(
                "https://name.test/",
                timeout=aiohttp.ClientTimeout(sock_connect=0.03, sock_read=0.03),
            )
        )
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get("https://name.test/", timeout=aiohttp.ClientTimeout(connect=0.03))


async def test_timeouts_above_five_seconds_are_rounded_up_to_whole_loop_seconds() -> None:
    assert aiohttp.ClientTimeout().ceil_threshold == 5
    assert calculate_timeout_when(100.25, 6.5, 5) == 107
    assert calculate_timeout_when(100.25, 4.5, 5) == 104.75
    assert calculate_timeout_when(100.25, 6.5, 1e9) == 106.75
    rounded = ceil_timeout(6.5).when()
    assert rounded is not None
    assert rounded == int(rounded)


async def test_a_timeout_of_a_request_replaces_all_timeouts_of_the_session() -> None:
    seen = []

    class Watching(aiohttp.TCPConnector):
        async def connect(self, req, traces, timeout):
            seen.append(timeout)
            return await super().connect(req, traces, timeout)

    of_session = aiohttp.ClientTimeout(total=9, connect=8, sock_connect=7, sock_read=6)
    async with (
        FaultServer() as server,
        aiohttp.ClientSession(connector=Watching(), timeout=of_session) as session,
    ):
        await session.get(server.url)
        await session.get(server.url, timeout=aiohttp.ClientTimeout(connect=1))
        await session.get(server.url, timeout=3)
        await session.get(server.url, timeout=None)
    assert seen == [
        of_session,
        aiohttp.ClientTimeout(connect=1),
        aiohttp.ClientTimeout(total=3),
        aiohttp.ClientTimeout(),
    ]


@pytest.mark.closes_in_flight("it is about the pool of a closed session")
async def test_closing_a_session_cancels_those_who_wait_for_its_pool_without_a_cancel() -> None:
    async with FaultServer([UNREAD]) as server:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        first = await session.get(server.url)

        async def wait_for_the_pool() -> int:
            try:
                await session.get(server.url)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                return task.cancelling()
            return -1

        waiting = asyncio.create_task(wait_for_the_pool())
        await asyncio.sleep(0.01)
        await session.close()
        assert await waiting == 0
        first.close()


async def test_the_read_timeout_can_be_armed_at_the_headers(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([partial_body(b"abc", content_length=10, then="hang")]) as server:
        response = await session.get(server.url)
        assert response.connection is not None
        protocol = response.connection.protocol
        assert protocol is not None
        assert protocol.read_timeout is None
        protocol.read_timeout = 0.03
        protocol.start_timeout()
        with pytest.raises(aiohttp.SocketTimeoutError):
            await response.read()


async def test_bytes_re_arm_the_read_timeout(session: aiohttp.ClientSession) -> None:
    async def steady(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.03)
            await exchange.send(b"x")

    async with FaultServer([steady]) as server:
        timeout = aiohttp.ClientTimeout(sock_read=0.15)
        async with session.get(server.url, timeout=timeout) as response:
            assert await response.read() == b"x" * 8


async def test_two_tasks_in_one_timer_leave_the_wrong_one_in_its_charge() -> None:
    timer = TimerContext(asyncio.get_running_loop())
    entered = asyncio.Event()

    async def second() -> None:
        with timer:
            entered.set()
            await asyncio.sleep(60)

    with timer:
        task = asyncio.create_task(second())
        await entered.wait()
    # The first left, and what the timer forgot is the second.
    assert timer._tasks == [asyncio.current_task()]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_delayed_answer_is_no_timeout_when_none_is_set() -> None:
    async with (
        FaultServer([delay(0.05, respond())]) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session,
        session.get(server.url) as response,
    ):
        assert response.status == 200


def test_the_fields_of_a_client_timeout_are_the_known_ones() -> None:
    assert list(inspect.signature(aiohttp.ClientTimeout).parameters) == [
        "total",
        "connect",
        "sock_read",
        "sock_connect",
        "ceil_threshold",
    ]

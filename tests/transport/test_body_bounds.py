"""The bounds of a body: one entry among the timers, however many chunks come."""

from __future__ import annotations

import asyncio
import gc
import math
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.helpers import TimerNoop

from platform_http.call import Client
from platform_http.transport.body_bounds import BoundedHandler

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


class Expiring:
    """Stands in for the client's timers, at a time that only the test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pending = []
        self.added = 0

    def add(self, expiring) -> None:
        assert math.isfinite(expiring.when)
        assert expiring not in self.pending
        self.added += 1
        self.pending.append(expiring)

    def discard(self, expiring) -> None:
        if expiring in self.pending:
            self.pending.remove(expiring)

    def pass_to(self, now: float) -> None:
        while self.pending and min(each.when for each in self.pending) <= now:
            due = min(self.pending, key=lambda each: each.when)
            self.now = max(self.now, due.when)
            self.pending.remove(due)
            due.expire()
        self.now = now


class Transport(asyncio.Transport):
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False


@pytest.fixture
def timers() -> Expiring:
    return Expiring()


class Body:
    """Stands in for a response, which closes its connection when its time is up."""

    expired = 0

    def expire(self) -> None:
        self.expired += 1


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
async def connection(timers: Expiring) -> BoundedHandler:
    """A connection at the headers of its response."""
    client = SimpleNamespace(timers=timers, clock=lambda: timers.now)
    connection = BoundedHandler(asyncio.get_running_loop(), cast("Client", client))
    connection.connection_made(Transport())
    connection.set_response_params(timer=TimerNoop())
    connection.data_received(HEADERS)
    return connection


@pytest.fixture
async def protocol(connection: BoundedHandler, body: Body) -> BoundedHandler:
    """The same, with a read timeout of 4 s and no deadline."""
    connection.bound_body(body, 4.0, math.inf)
    return connection


async def test_silence_ends_in_the_read_timeout(protocol: BoundedHandler, timers: Expiring) -> None:
    timers.pass_to(103.999)
    assert protocol.exception() is None
    timers.pass_to(104.0)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)
    assert isinstance(protocol._payload.exception(), aiohttp.SocketTimeoutError)
    assert timers.pending == []


async def test_it_is_counted_from_the_last_bytes_and_ends_neither_early_nor_late(
    protocol: BoundedHandler, timers: Expiring
) -> None:
    for now in (101.0, 103.5, 106.25):
        timers.pass_to(now)
        protocol.data_received(b"x")
    timers.pass_to(110.249)
    assert protocol.exception() is None
    timers.pass_to(110.25)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_chunks_make_no_timers(protocol: BoundedHandler, timers: Expiring) -> None:
    for _ in range(100):
        timers.now += 0.01
        protocol.data_received(b"x")
    assert timers.added == 1


async def test_while_nobody_reads_the_peer_is_not_silent(
    protocol: BoundedHandler, timers: Expiring
) -> None:
    timers.pass_to(101.0)
    protocol.pause_reading()
    timers.pass_to(500.0)
    assert protocol.exception() is None
    protocol.resume_reading()
    timers.pass_to(503.999)
    assert protocol.exception() is None
    timers.pass_to(504.0)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_it_does_not_begin_while_nobody_reads(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.pause_reading()
    connection.bound_body(body, 4.0, math.inf)
    assert timers.pending == []
    connection.resume_reading()
    assert timers.pending == [connection]


@pytest.mark.parametrize("end", ["eof", "close", "abort", "lost"])
async def test_nothing_is_left_of_it_after_the_end(
    protocol: BoundedHandler, timers: Expiring, end: str
) -> None:
    if end == "eof":
        protocol.data_received(b"x" * 1000)
    elif end == "lost":
        protocol.connection_lost(None)
    else:
        getattr(protocol, end)()
    assert timers.pending == []


@pytest.mark.parametrize(("given", "expected"), [(None, 4.0), (0, 4.0), (1.0, 1.0), (9.0, 4.0)])
async def test_the_shorter_of_two_read_timeouts_holds(
    connection: BoundedHandler,
    body: Body,
    timers: Expiring,
    given: float | None,
    expected: float,
) -> None:
    connection.read_timeout = given
    connection.start_timeout()
    connection.bound_body(body, 4.0, math.inf)
    timers.pass_to(100.0 + expected - 0.001)
    assert connection.exception() is None
    timers.pass_to(100.0 + expected)
    assert isinstance(connection.exception(), aiohttp.SocketTimeoutError)


async def test_a_read_timeout_that_becomes_shorter_holds_from_the_next_bytes_on(
    protocol: BoundedHandler, timers: Expiring
) -> None:
    protocol.read_timeout = 1.0
    protocol.data_received(b"x")
    timers.pass_to(101.0)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_one_that_is_taken_away_ends_with_the_next_bytes(
    protocol: BoundedHandler, timers: Expiring
) -> None:
    protocol.read_timeout = None
    protocol.data_received(b"x")
    assert timers.pending == []


async def test_an_infinite_one_is_none(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, math.inf, math.inf)
    assert (connection.read_timeout, timers.pending) == (None, [])


async def test_a_body_is_expired_at_its_deadline_whatever_comes(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, 4.0, 110.0)
    for now in range(101, 110):
        timers.pass_to(now)
        connection.data_received(b"x")
    timers.pass_to(109.999)
    assert body.expired == 0
    timers.pass_to(110.0)
    assert body.expired == 1
    # Silence goes on being counted: it is the body that closes the connection.
    assert connection.exception() is None
    connection.close()
    timers.pass_to(200.0)
    assert (body.expired, timers.pending) == (1, [])


async def test_both_bounds_are_one_entry(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, 4.0, 110.0)
    for _ in range(100):
        timers.now += 0.01
        connection.data_received(b"x")
    connection.pause_reading()
    connection.resume_reading()
    assert (timers.pending, timers.added) == ([connection], 1)


async def test_a_deadline_before_the_silence_holds(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, 4.0, 102.0)
    timers.pass_to(102.0)
    assert (body.expired, connection.exception()) == (1, None)


async def test_the_deadline_holds_while_nobody_reads(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, 4.0, 110.0)
    connection.pause_reading()
    timers.pass_to(109.999)
    assert (body.expired, connection.exception()) == (0, None)
    timers.pass_to(110.0)
    assert (body.expired, timers.pending) == (1, [])


@pytest.mark.parametrize("end", ["silent", "lost", "close"])
async def test_the_deadline_holds_after_the_connection_has_ended(
    connection: BoundedHandler, body: Body, timers: Expiring, end: str
) -> None:
    connection.bound_body(body, 4.0, 110.0)
    if end == "silent":
        timers.pass_to(105.0)
        assert isinstance(connection.exception(), aiohttp.SocketTimeoutError)
    elif end == "lost":
        connection.connection_lost(OSError())
    else:
        connection.close()
    timers.pass_to(109.999)
    assert body.expired == 0
    timers.pass_to(110.0)
    assert (body.expired, timers.pending) == (1, [])


@pytest.mark.parametrize("late", ["silence", "deadline"])
async def test_a_loop_that_was_kept_busy_is_told_what_was_first(
    connection: BoundedHandler, body: Body, timers: Expiring, late: str
) -> None:
    connection.bound_body(body, 4.0, 103.0 if late == "silence" else 105.0)
    timers.now = 120.0
    timers.pending.remove(connection)
    connection.expire()
    silent = isinstance(connection.exception(), aiohttp.SocketTimeoutError)
    assert (body.expired, silent) == ((1, False) if late == "silence" else (0, True))


async def test_nothing_is_left_of_a_body_that_has_ended(
    connection: BoundedHandler, body: Body, timers: Expiring
) -> None:
    connection.bound_body(body, 4.0, 110.0)
    connection.data_received(b"x" * 1000)
    connection.release_body()
    assert timers.pending == []
    # Nor for the next one on the connection.
    connection.set_response_params(timer=TimerNoop())
    connection.start_timeout()
    timers.pass_to(200.0)
    assert (body.expired, timers.pending, connection.exception()) == (0, [], None)


async def test_a_body_that_its_caller_has_dropped_is_not_kept(
    connection: BoundedHandler, timers: Expiring
) -> None:
    dropped = Body()
    connection.bound_body(dropped, math.inf, 110.0)
    del dropped
    gc.collect()
    timers.pass_to(110.0)
    assert timers.pending == []


async def test_a_silence_is_noticed_after_the_deadline_of_a_dropped_body(
    connection: BoundedHandler, timers: Expiring
) -> None:
    connection.bound_body(Body(), 4.0, 102.0)
    timers.pass_to(103.999)
    assert connection.exception() is None
    timers.pass_to(104.0)
    assert isinstance(connection.exception(), aiohttp.SocketTimeoutError)


async def test_a_body_that_cannot_be_expired_leaves_the_silence_bounded(
    connection: BoundedHandler, timers: Expiring
) -> None:
    class Failing(Body):
        def expire(self) -> None:
            raise ValueError("told by the loop")

    failing = Failing()
    connection.bound_body(failing, 4.0, 102.0)
    with pytest.raises(ValueError, match="told"):
        timers.pass_to(102.0)
    assert timers.pending == [connection]

"""The read timeout of a connection: one timer, however many chunks come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.helpers import TimerNoop

from platform_http.call import Client
from platform_http.transport.connector import PlatformProtocol

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


class Expiring:
    """Stands in for the client's timers, at a time that only the test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pending = []
        self.added = 0

    def add(self, expiring) -> None:
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


@pytest.fixture
async def protocol(timers: Expiring) -> PlatformProtocol:
    """A connection at the headers of its response, with a read timeout of 4 s."""
    client = SimpleNamespace(timers=timers, clock=lambda: timers.now)
    protocol = PlatformProtocol(asyncio.get_running_loop(), cast("Client", client))
    protocol.connection_made(Transport())
    protocol.set_response_params(timer=TimerNoop())
    protocol.data_received(HEADERS)
    protocol.bound_silence(4.0)
    return protocol


async def test_silence_ends_in_the_read_timeout(
    protocol: PlatformProtocol, timers: Expiring
) -> None:
    timers.pass_to(103.999)
    assert protocol.exception() is None
    timers.pass_to(104.0)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)
    assert isinstance(protocol._payload.exception(), aiohttp.SocketTimeoutError)
    assert timers.pending == []


async def test_it_is_counted_from_the_last_bytes_and_ends_neither_early_nor_late(
    protocol: PlatformProtocol, timers: Expiring
) -> None:
    for now in (101.0, 103.5, 106.25):
        timers.pass_to(now)
        protocol.data_received(b"x")
    timers.pass_to(110.249)
    assert protocol.exception() is None
    timers.pass_to(110.25)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_chunks_make_no_timers(protocol: PlatformProtocol, timers: Expiring) -> None:
    for _ in range(100):
        timers.now += 0.01
        protocol.data_received(b"x")
    assert timers.added == 1


async def test_while_nobody_reads_the_peer_is_not_silent(
    protocol: PlatformProtocol, timers: Expiring
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


async def test_it_does_not_begin_while_nobody_reads(timers: Expiring) -> None:
    client = SimpleNamespace(timers=timers, clock=lambda: timers.now)
    protocol = PlatformProtocol(asyncio.get_running_loop(), cast("Client", client))
    protocol.connection_made(Transport())
    protocol.set_response_params(timer=TimerNoop())
    protocol.data_received(HEADERS)
    protocol.pause_reading()
    protocol.bound_silence(4.0)
    assert timers.pending == []
    protocol.resume_reading()
    assert len(timers.pending) == 1


@pytest.mark.parametrize("end", ["eof", "close", "abort", "lost"])
async def test_nothing_is_left_of_it_after_the_end(
    protocol: PlatformProtocol, timers: Expiring, end: str
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
    protocol: PlatformProtocol, timers: Expiring, given: float | None, expected: float
) -> None:
    protocol.read_timeout = given
    protocol.bound_silence(4.0)
    timers.pass_to(100.0 + expected - 0.001)
    assert protocol.exception() is None
    timers.pass_to(100.0 + expected)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_a_read_timeout_that_becomes_shorter_holds_from_the_next_bytes_on(
    protocol: PlatformProtocol, timers: Expiring
) -> None:
    protocol.read_timeout = 1.0
    protocol.data_received(b"x")
    timers.pass_to(101.0)
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_one_that_is_taken_away_ends_with_the_next_bytes(
    protocol: PlatformProtocol, timers: Expiring
) -> None:
    protocol.read_timeout = None
    protocol.data_received(b"x")
    assert timers.pending == []


async def test_an_infinite_one_is_none(timers: Expiring) -> None:
    client = SimpleNamespace(timers=timers, clock=lambda: timers.now)
    protocol = PlatformProtocol(asyncio.get_running_loop(), cast("Client", client))
    protocol.bound_silence(float("inf"))
    assert (protocol.read_timeout, timers.pending) == (None, [])

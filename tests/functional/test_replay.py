"""One-shot bodies that are read ahead so that they can be sent again."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import CallOptions
from platform_http.testing import FaultServer
from platform_http.testing.actions import reset, respond
from tests.functional.conftest import Observed


async def _pieces(*pieces: bytes, pause: float = 0.0):
    for piece in pieces:
        await asyncio.sleep(pause)
        yield piece


async def test_a_small_generator_body_is_sent_again(observed: Observed) -> None:
    async with FaultServer([respond(503), reset(), respond(200)]) as server:
        async with observed.session() as session:
            async with session.put(server.url, data=_pieces(b"one ", b"two")) as response:
                assert response.status == 200
    assert [request.body for request in server.requests] == [b"one two"] * 3
    assert server.requests[0].headers["Content-Length"] == "7"
    assert "Transfer-Encoding" not in server.requests[0].headers


async def test_an_empty_generator_body_is_an_empty_body(observed: Observed) -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session() as session, session.put(server.url, data=_pieces()):
            pass
    assert [request.body for request in server.requests] == [b"", b""]


async def test_a_body_over_64_kib_is_sent_once_and_whole(observed: Observed) -> None:
    pieces = [bytes([number]) * 40_000 for number in range(4)]
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session() as session:
            async with session.put(server.url, data=_pieces(*pieces)) as response:
                assert response.status == 503
    assert [request.body for request in server.requests] == [b"".join(pieces)]
    assert observed.value("platform_http_retry_stops_total", reason="body_consumed") == 1


async def test_a_slow_producer_is_not_waited_for(observed: Observed) -> None:
    slow = _pieces(b"a", b"b", b"c", pause=0.08)
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session() as session:
            async with session.put(server.url, data=slow) as response:
                assert response.status == 503
    assert [request.body for request in server.requests] == [b"abc"]


async def test_a_body_that_may_not_be_resent_is_not_read_ahead(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server:
        async with observed.session() as session, session.post(server.url, data=_pieces(b"x")):
            pass
    assert server.requests[0].headers["Transfer-Encoding"] == "chunked"


async def test_a_post_with_a_key_is_read_ahead(observed: Observed) -> None:
    async with FaultServer([reset(), respond(201)]) as server:
        async with observed.session() as session:
            options = CallOptions(idempotency_key="k")
            async with session.post(
                server.url, data=_pieces(b"x"), trace_request_ctx=options
            ) as response:
                assert response.status == 201
    assert [request.body for request in server.requests] == [b"x", b"x"]


async def test_the_callers_length_stays(observed: Observed) -> None:
    big = [b"x" * 50_000, b"y" * 50_000]
    async with FaultServer() as server, observed.session() as session:
        async with session.put(
            server.url, data=_pieces(*big), headers={"Content-Length": "100000"}
        ):
            pass
    assert server.requests[0].headers["Content-Length"] == "100000"
    assert len(server.requests[0].body) == 100_000


async def test_a_compressed_body_stays_chunked(observed: Observed) -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session() as session:
            async with session.put(server.url, data=_pieces(b"x" * 100), compress="gzip"):
                pass
    assert {request.headers["Transfer-Encoding"] for request in server.requests} == {"chunked"}
    first, second = [request.body for request in server.requests]
    assert len(first) == len(second) > 0


async def test_a_producer_that_fails_fails_the_call(observed: Observed) -> None:
    async def broken():
        yield b"x"
        raise RuntimeError("no more")

    async with FaultServer() as server, observed.session() as session:
        with pytest.raises((aiohttp.ClientError, RuntimeError)):
            await session.put(server.url, data=broken())
    assert len(server.requests) == 0


async def test_a_cancel_while_reading_ahead_ends_the_producer(observed: Observed) -> None:
    ended = asyncio.Event()

    async def endless():
        try:
            yield b"x"
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with FaultServer() as server, observed.session() as session:
        call = asyncio.create_task(session.put(server.url, data=endless()))
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert ended.is_set()
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 1


async def test_a_body_that_is_never_sent_leaves_no_task(
    observed: Observed, unused_tcp_port
) -> None:
    async with observed.session() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.put(
                f"http://127.0.0.1:{unused_tcp_port}/", data=_pieces(b"a", b"b", pause=0.09)
            )

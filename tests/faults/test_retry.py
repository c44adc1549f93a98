"""Requests that cannot, or must not, be sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from platform_http.errors import AttemptTimeoutError
from platform_http.testing.actions import delay, hang, reset, respond
from tests.faults import canaries
from tests.faults.scene import Family, Scene

FAMILY = Family()


async def _pieces(count: int, piece: bytes = canaries.BODY) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece
        await asyncio.sleep(0)


@FAMILY.case("one-shot body that fits into memory")
async def _(made: Scene) -> None:
    async with made.server(respond(503), respond(body=b"stored")) as server:
        result = await made.call(server.url, method="PUT", data=_pieces(3))
        made.expect(attempts=2, requests=2)
        assert result.body == b"stored"
        assert [request.body for request in server.requests] == [canaries.BODY * 3] * 2
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("one-shot body that does not")
async def _(made: Scene) -> None:
    piece = canaries.BODY * 500
    async with made.server(respond(503), respond(body=b"stored")) as server:
        result = await made.call(server.url, method="PUT", data=_pieces(10, piece))
        made.expect(attempts=1, requests=1)
        assert result.status == 503
        assert [len(request.body) for request in server.requests] == [10 * len(piece)]
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("POST that may have been processed")
async def _(made: Scene) -> None:
    async with made.server(reset(), respond(body=b"twice")) as server:
        result = await made.call(server.url, method="POST", data=canaries.BODY)
        made.expect(attempts=1, requests=1)
        assert isinstance(result.error, aiohttp.ClientOSError)
        await made.assert_clean_again(server)


@FAMILY.case("hedge with POST", hedging={"enabled": True, "delay": 0.05, "max_ratio": 1})
async def _(made: Scene) -> None:
    async with made.server(hang()) as server:
        result = await made.call(server.url, method="POST", data=canaries.BODY)
        made.expect(attempts=1, requests=1)
        assert isinstance(result.error, AttemptTimeoutError)
        assert made.observed.value("platform_http_hedges_total") == 0
        await made.assert_clean_again(server)


@FAMILY.case("hedge with GET", hedging={"enabled": True, "delay": 0.05, "max_ratio": 1})
async def _(made: Scene) -> None:
    async with made.server(delay(0.2, respond(body=b"slow")), respond(body=b"fast")) as server:
        result = await made.call(server.url)
        made.expect(attempts=2, requests=2)
        assert result.body == b"fast"
        assert made.observed.value("platform_http_hedges_total", result="won") == 1
        # The loser was cut off: its connection is no good any more, the winner's is.
        await made.assert_clean_again(server, reuses=True)
        assert server.requests[-1].connection_id == 2


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_that_meets_the_retry_policy(name: str) -> None:
    await FAMILY.run(name)

"""An upstream does on the wire what its phase says."""

from __future__ import annotations

import asyncio
import errno
import ssl
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest

from platform_http.cli.demo.script import Fault, Phase, Script
from platform_http.cli.demo.upstream import Upstream
from tests.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY = Phase(0.0, "healthy", latency=0.0)
DOWN = Phase(0.0, "down", listens=False)


def _upstream(*faults: Fault) -> Upstream:
    phase = Phase(0.0, "x", latency=0.0, faults=dict.fromkeys(faults, 1.0))
    return Upstream(Script("x", (phase,)), Random(1))


async def test_a_healthy_upstream_answers() -> None:
    async with _upstream() as upstream, aiohttp.ClientSession() as session:
        async with session.post(upstream.url, data=b"x" * 100) as response:
            assert response.status == 200
            assert len(await response.read()) == response.content_length > 0


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [(Fault.UNAVAILABLE, 503, None), (Fault.THROTTLED, 429, "1")],
)
async def test_a_fault_can_be_a_status(fault: Fault, status: int, retry_after: str | None) -> None:
    async with _upstream(fault) as upstream, aiohttp.ClientSession() as session:
        async with session.get(upstream.url) as response:
            assert response.status == status
            assert response.headers.get("Retry-After") == retry_after


async def test_a_healthy_upstream_answers_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    script = Script("x", (HEALTHY,))
    trust = ssl.create_default_context(cafile=certificates.ca_file)
    async with (
        Upstream(script, Random(1), host="localhost", tls=certificates.server("localhost")) as one,
        aiohttp.ClientSession() as session,
        session.get(one.url, ssl=trust) as response,
    ):
        assert response.status == 200
        assert response.url.scheme == "https"


async def test_a_reset_comes_before_any_answer() -> None:
    async with _upstream(Fault.RESET) as upstream, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await session.get(upstream.url)
    assert caught.value.errno == errno.ECONNRESET


async def test_a_hanging_request_ends_with_its_client() -> None:
    async with _upstream(Fault.HANG) as upstream, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):
            await session.get(upstream.url, timeout=aiohttp.ClientTimeout(total=0.1))


async def test_a_slow_body_is_whole() -> None:
    async with _upstream(Fault.SLOW_BODY) as upstream, aiohttp.ClientSession() as session:
        async with session.get(upstream.url) as response:
            pieces = [piece async for piece, _ in response.content.iter_chunks()]
    assert len(pieces) > 1
    assert sum(map(len, pieces)) == response.content_length


async def test_a_broken_body_begins_well() -> None:
    async with _upstream(Fault.BROKEN_BODY) as upstream, aiohttp.ClientSession() as session:
        async with session.get(upstream.url) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_a_dead_upstream_refuses_and_comes_back_at_the_same_address() -> None:
    async with _upstream() as upstream, aiohttp.ClientSession() as session:
        url = upstream.url
        async with session.get(url) as response:
            await response.read()
        await upstream.enter_phase(DOWN)
        for _ in range(2):
            # Neither the connection of before nor a new one serves.
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(url)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(url.host, url.port)
        await upstream.enter_phase(HEALTHY)
        assert upstream.url == url
        async with session.get(url) as response:
            assert response.status == 200


async def test_an_upstream_that_is_dead_at_the_end_leaves_nothing_behind() -> None:
    async with _upstream() as upstream:
        await upstream.enter_phase(DOWN)
        assert upstream.phase is DOWN


async def test_latency_is_spread_around_that_of_the_phase() -> None:
    phase = Phase(0.0, "slow", latency=0.1)
    upstream = Upstream(Script("x", (phase,)), Random(1))
    async with upstream, aiohttp.ClientSession() as session:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with session.get(upstream.url):
            pass
        # A lower bound that no machine is too slow for.
        assert loop.time() - began >= 0.05

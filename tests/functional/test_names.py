"""Names: how often they are asked for, and what happens when one of the answers is dead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import aiohttp
import pytest

import platform_http.testing
from platform_http.testing import FaultServer
from tests.functional.conftest import Observed

NAME = "service.test"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the system's resolver answer for :data:`NAME`; returns the questions it is asked."""

    def answer_with(*addresses: str) -> list[str]:
        loop = asyncio.get_running_loop()
        original = loop.getaddrinfo
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **options: int) -> Sequence[object]:
            if host != NAME:
                return await original(host, port, **options)
            asked.append(host)
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, (address, port)) for address in addresses]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        return asked

    return answer_with


async def _call(session: aiohttp.ClientSession, server: FaultServer) -> None:
    async with session.get(server.url.with_host(NAME)) as response:
        await response.read()


@pytest.mark.parametrize(("ttl", "questions"), [(30, 1), (0, 3), (0.0001, 3)])
async def test_a_name_is_asked_for_again_only_when_its_time_is_over(
    observed: Observed, answer, ttl: float, questions: int
) -> None:
    asked = answer("127.0.0.1")
    settings = {"dns": {"cache_ttl": ttl}, "pool": {"keepalive": 0}}
    async with FaultServer() as server, observed.session(**settings) as session:
        for _ in range(3):
            await _call(session, server)
            await asyncio.sleep(0.001)
    assert server.connections == 3
    assert len(asked) == questions
    assert observed.value("dns_lookup_duration_seconds_count") == questions


async def test_a_dead_address_costs_no_more_than_its_head_start(observed: Observed, answer) -> None:
    settings = {
        "dns": {"happy_eyeballs_delay": 0.5},
        "timeout": {"total": 20, "attempt": 10, "connect": 5},
    }
    answer("127.0.0.2", "127.0.0.1")
    with platform_http.testing.black_hole("127.0.0.2") as port:
        async with FaultServer(port=port) as server, observed.session(**settings) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            await _call(session, server)
            assert 0.5 <= loop.time() - before < 2


async def test_without_a_head_start_the_next_address_waits_for_the_connect_timeout(
    observed: Observed, answer
) -> None:
    settings = {"dns": {"happy_eyeballs_delay": "none"}, "timeout": {"connect": 0.5}}
    answer("127.0.0.2", "127.0.0.1")
    with platform_http.testing.black_hole("127.0.0.2") as port:
        async with FaultServer(port=port) as server, observed.session(**settings) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            await _call(session, server)
            assert 0.5 <= loop.time() - before < 2
    assert observed.value("platform_http_retries_total") == 0

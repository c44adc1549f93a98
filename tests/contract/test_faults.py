"""What aiohttp makes of faults, where the fault matrix leans on it or cannot change it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, raw, reset, sequence


async def test_a_rst_in_a_body_without_a_length_is_taken_for_its_end(
    session: aiohttp.ClientSession,
) -> None:
    cut = sequence(raw(b"HTTP/1.1 200 OK\r\n\r\nonly this"), delay(0.02, reset()))
    async with FaultServer([cut]) as server, session.get(server.url) as response:
        assert await response.read() == b"only this"


async def test_a_101_that_nobody_asked_for_is_handed_to_the_caller(
    session: aiohttp.ClientSession,
) -> None:
    switch = raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    async with FaultServer([switch]) as server:
        async with session.get(server.url) as response:
            assert response.status == 101
        assert not session.connector._conns


async def test_a_name_is_asked_for_on_after_its_caller_gave_up_and_others_join() -> None:
    class Silent(AbstractResolver):
        questions = 0

        async def resolve(self, host, port=0, family=0):
            self.questions += 1
            await asyncio.get_running_loop().create_future()

        async def close(self) -> None:
            pass

    silent = Silent()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=silent)) as session:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await session.get("http://service.test/")
        assert silent.questions == 1
        tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
        assert "TCPConnector._resolve_host_with_throttle" in tasks


async def test_what_a_connect_timeout_says_holds_the_query(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*arguments: object, **options: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(session.connector, "_create_connection", stuck)
    with pytest.raises(aiohttp.ConnectionTimeoutError, match="secret"):
        await session.get("http://127.0.0.1/?token=secret")

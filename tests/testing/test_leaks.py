import asyncio
import socket

import aiohttp
import pytest

from platform_http.testing import FaultServer, LeakDetector, LeakError
from platform_http.testing.actions import hang, respond

LARGE = respond(body=b"x" * 5_000_000)


def detector() -> LeakDetector:
    return LeakDetector(settle=0.05)


async def test_it_is_content_when_nothing_is_left() -> None:
    async with (
        detector(),
        FaultServer() as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        await response.read()


async def test_it_names_a_task_that_is_left() -> None:
    async def loiter() -> None:
        await asyncio.sleep(60)

    with pytest.raises(LeakError, match=r"task loiterer .*loiter") as caught:
        async with detector():
            task = asyncio.create_task(loiter(), name="loiterer")
    assert len(caught.value.leaks) == 1
    task.cancel()


async def test_a_task_that_was_there_before_is_no_leak() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    async with detector():
        pass
    task.cancel()


async def test_a_task_that_ends_within_the_settle_time_is_no_leak() -> None:
    async with LeakDetector(settle=1):
        task = asyncio.create_task(asyncio.sleep(0.05))
    assert task.done()


async def test_it_names_a_file_descriptor_that_is_left() -> None:
    with pytest.raises(LeakError, match=r"file descriptor \d+ \(socket:"):
        async with detector():
            left = socket.socket()
    left.close()


async def test_it_names_a_connection_that_is_acquired_at_the_end() -> None:
    async with FaultServer([LARGE]) as server:
        watch = await detector().__aenter__()
        session = aiohttp.ClientSession()
        response = await session.get(server.url)
        with pytest.raises(LeakError, match="1 connection acquired in an open TCPConnector"):
            await watch.__aexit__(None, None, None)
        response.close()
        await session.close()


@pytest.mark.closes_in_flight("proves that the detector notices")
async def test_it_names_a_connection_that_was_acquired_when_its_session_was_closed() -> None:
    with pytest.raises(LeakError, match="1 connection acquired in a TCPConnector that was closed"):
        async with detector(), FaultServer([LARGE]) as server, aiohttp.ClientSession() as session:
            response = await session.get(server.url)
    response.close()


@pytest.mark.closes_in_flight("proves that the detector can be told")
async def test_closing_under_running_requests_can_be_declared_intended() -> None:
    async with (
        LeakDetector(closes_in_flight=True),
        FaultServer([hang()]) as server,
        aiohttp.ClientSession() as session,
    ):
        call = asyncio.create_task(session.request("POST", server.url).__aenter__())
        await server.wait_until(lambda: server.requests)
        await session.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await call


async def test_what_only_a_reference_cycle_keeps_is_no_leak() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self
            self.ends = socket.socketpair()

        def __del__(self) -> None:
            for end in self.ends:
                end.close()

    async with LeakDetector(settle=1):
        Cycle()


async def test_the_error_of_the_block_itself_is_not_hidden() -> None:
    watch = await detector().__aenter__()
    task = asyncio.create_task(asyncio.sleep(60))
    await watch.__aexit__(KeyError, KeyError("the block's own"), None)
    task.cancel()


async def test_aiohttp_is_as_before_afterwards() -> None:
    before = (aiohttp.BaseConnector.__init__, aiohttp.BaseConnector._close)
    async with detector():
        assert (aiohttp.BaseConnector.__init__, aiohttp.BaseConnector._close) != before
    assert (aiohttp.BaseConnector.__init__, aiohttp.BaseConnector._close) == before


async def test_every_async_test_has_the_detector() -> None:
    assert aiohttp.BaseConnector.__init__.__module__ == LeakDetector.__module__

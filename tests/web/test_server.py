"""An application that is run and drained, as a process of its own and under load."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from platform_http import ConfigurationError, HttpSettings
from platform_http.web import serve, setup
from tests.web.slow_service import DOWNLOAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Process:
    """A running :mod:`tests.web.slow_service`."""

    process: asyncio.subprocess.Process
    url: URL
    output: list[str] = field(default_factory=list)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def began(self) -> None:
        """Return when the next request is in its handler."""
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), 10)).decode().strip()
        self.output.append(line)
        assert line == "began"

    async def ended(self) -> int:
        """Return the exit code; what it printed is in ``output``."""
        rest, errors = await asyncio.wait_for(self.process.communicate(), 30)
        self.output += rest.decode().split()
        assert self.process.returncode is not None
        assert "Traceback" not in errors.decode(), errors.decode()
        return self.process.returncode


@contextlib.asynccontextmanager
async def _service(*, drain_delay: float | str, grace: float = 5) -> AsyncIterator[Process]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PLATFORM_HTTP_")
    }
    # A drain that works needs no timeout to end it.
    settings = {
        "PLATFORM_HTTP_SHUTDOWN__GRACE": str(grace),
        "PLATFORM_HTTP_CLIENTS__PATIENT__SHUTDOWN__GRACE": "30",
        "PLATFORM_HTTP_TIMEOUT__TOTAL": "30",
        "PLATFORM_HTTP_TIMEOUT__ATTEMPT": "30",
        # More connect at once than the upstream's backlog takes: the kernel retries for a while.
        "PLATFORM_HTTP_TIMEOUT__CONNECT": "10",
        "PLATFORM_HTTP_POOL__LIMIT": "200",
        "PLATFORM_HTTP_POOL__LIMIT_PER_HOST": "200",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.web.slow_service",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**inherited, **settings, "DRAIN_DELAY": str(drain_delay)},
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        yield Process(process, URL(url))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@dataclass
class Balancer:
    """Sends a steady load, until the service is not ready or refuses connects.

    Args:
        url: Of the service.
        minds_readiness: Whether it stops when ``/readyz`` says so.
    """

    url: URL
    minds_readiness: bool
    answers: int = 0
    errors: list[BaseException] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, workers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self.minds_readiness:
                tasks.create_task(self._watch())
            for number in range(workers):
                tasks.create_task(self._work(keep_alive=number % 2 == 0))

    async def _work(self, *, keep_alive: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=not keep_alive)
        async with aiohttp.ClientSession(connector=connector) as client:
            while not self.over.is_set():
                try:
                    # aiohttp's hidden resend would hide a lost GET.
                    client._retry_connection = False
                    async with client.get(self.url / "work") as response:
                        assert (response.status, await response.text()) == (200, "done")
                    self.answers += 1
                except aiohttp.ClientOSError as error:
                    # Not accepted, so not lost: the kernel refuses, and resets those that it had
                    # queued when the port closed. What aiohttp drops itself ends without a reset.
                    refused = error.errno in {errno.ECONNREFUSED, errno.ECONNRESET}
                    if self.minds_readiness or not refused:
                        self.errors.append(error)
                    return
                except Exception as error:
                    self.errors.append(error)
                    return

    async def _watch(self) -> None:
        async with aiohttp.ClientSession() as client:
            while not self.over.is_set():
                async with client.get(self.url / "readyz") as response:
                    if response.status == 503:
                        assert (await response.json())["reason"] == "draining"
                        self.over.set()
                await asyncio.sleep(0.05)


async def _under_load(*, drain_delay: float, minds_readiness: bool) -> Balancer:
    async with _service(drain_delay=drain_delay) as service:
        balancer = Balancer(service.url, minds_readiness)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(balancer.run(16))
            await asyncio.sleep(1)
            service.signal()
        assert await service.ended() == 0
        began, ended = service.output.count("began"), service.output.count("ended")
    assert balancer.errors == []
    assert balancer.answers == began == ended
    assert began > 16
    return balancer


async def test_a_balancer_that_looks_at_readiness_never_sees_an_error() -> None:
    balancer = await _under_load(drain_delay=0.6, minds_readiness=True)
    assert balancer.over.is_set()


async def test_a_client_that_goes_on_loses_no_accepted_request() -> None:
    # Its last request is refused, which happens before anything is sent.
    await _under_load(drain_delay=0.2, minds_readiness=False)


async def test_an_idle_connection_has_a_last_chance_without_a_drain_delay() -> None:
    async with _service(drain_delay=0) as service, aiohttp.ClientSession() as client:
        client._retry_connection = False
        async with client.get(service.url / "healthz") as response:
            assert "Connection" not in response.headers
        service.signal()
        await _until_refused(service.url)
        # The port is closed, and this connection is the only one left.
        async with client.get(service.url / "readyz") as response:
            assert response.status == 503
            assert response.headers["Connection"] == "close"
        assert await service.ended() == 0


async def _until_refused(url: URL) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(url.host, url.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def test_a_handler_and_its_outbound_call_finish_within_the_grace() -> None:
    async with _service(drain_delay=0) as service, aiohttp.ClientSession() as client:
        call = asyncio.create_task(client.get(service.url / "work", params={"seconds": "1.5"}))
        await service.began()
        service.signal()
        async with await call as response:
            assert (response.status, await response.text()) == (200, "done")
        assert await service.ended() == 0
        assert service.output == ["began", "ended"]


async def test_an_upload_that_takes_most_of_the_grace_is_read_to_its_end() -> None:
    async def slowly():
        yield b"first"
        await signalled.wait()
        await asyncio.sleep(2.2)
        yield b"last"

    signalled = asyncio.Event()
    async with _service(drain_delay=0, grace=3) as service, aiohttp.ClientSession() as client:
        call = asyncio.create_task(client.put(service.url / "store", data=slowly()))
        await service.began()
        service.signal()
        signalled.set()
        async with await call as response:
            assert (response.status, await response.text()) == (200, "9")
        assert await service.ended() == 0
        assert service.output == ["began", "ended"]


async def test_an_answer_that_is_read_slowly_is_sent_to_its_end() -> None:
    async with _service(drain_delay=0, grace=3) as service:
        reader, writer = await asyncio.open_connection(service.url.host, service.url.port)
        writer.write(b"GET /send HTTP/1.1\r\nHost: service\r\n\r\n")
        await service.began()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        service.signal()
        await asyncio.sleep(1)
        body = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
        assert len(body) == DOWNLOAD
        assert await service.ended() == 0


async def test_idle_websockets_are_told_that_it_goes_away_and_do_not_take_the_grace() -> None:
    loop = asyncio.get_running_loop()
    async with _service(drain_delay=0.1, grace=20) as service, aiohttp.ClientSession() as client:
        async with client.ws_connect(service.url / "listen") as socket:
            await service.began()
            began = loop.time()
            service.signal()
            await socket.send_str("still there")
            assert (await socket.receive(10)).data == "still there"
            assert (await socket.receive(10)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
        assert await service.ended() == 0
        assert loop.time() - began < 8
        assert service.output == ["began", "ended"]


async def test_run_app_of_aiohttp_drains_requests_and_says_goodbye_to_websockets() -> None:
    loop = asyncio.get_running_loop()
    async with _service(drain_delay="aiohttp") as service, aiohttp.ClientSession() as client:
        async with client.ws_connect(service.url / "listen") as socket:
            await service.began()
            call = asyncio.create_task(client.get(service.url / "work", params={"seconds": "1"}))
            await service.began()
            began = loop.time()
            service.signal()
            async with await call as response:
                assert (response.status, await response.text()) == (200, "done")
            assert (await socket.receive(10)).data == aiohttp.WSCloseCode.GOING_AWAY
        assert await service.ended() == 0
        assert loop.time() - began < 8


async def test_two_hundred_requests_in_flight_are_all_answered_within_the_grace() -> None:
    loop = asyncio.get_running_loop()

    async def work() -> tuple[int, str]:
        async with client.get(service.url / "work", params={"seconds": "2"}) as response:
            return response.status, await response.text()

    connector = aiohttp.TCPConnector(limit=0)
    async with (
        _service(drain_delay=0, grace=10) as service,
        aiohttp.ClientSession(connector=connector) as client,
    ):
        client._retry_connection = False
        calls = [asyncio.create_task(work()) for _ in range(200)]
        for _ in calls:
            await service.began()
        began = loop.time()
        service.signal()
        assert await asyncio.gather(*calls) == [(200, "done")] * 200
        assert await service.ended() == 0
        assert loop.time() - began < 10
        assert service.output.count("ended") == 200


async def test_a_download_that_nobody_reads_ends_with_the_grace() -> None:
    loop = asyncio.get_running_loop()
    async with _service(drain_delay=0, grace=0.4) as service:
        _, writer = await asyncio.open_connection(service.url.host, service.url.port)
        writer.write(b"GET /send HTTP/1.1\r\nHost: service\r\n\r\n")
        await service.began()
        began = loop.time()
        service.signal()
        assert await service.ended() == 0
        assert loop.time() - began < 8
        writer.close()


async def test_what_outlives_the_grace_is_ended() -> None:
    loop = asyncio.get_running_loop()
    async with _service(drain_delay=0, grace=0.4) as service, aiohttp.ClientSession() as client:
        call = asyncio.create_task(client.get(service.url / "work", params={"seconds": "60"}))
        await service.began()
        began = loop.time()
        service.signal()
        with pytest.raises(aiohttp.ClientError):
            await call
        assert await service.ended() == 0
        # Far from the handler's minute, and from the ten seconds of the default grace.
        assert loop.time() - began < 8


async def test_calls_in_the_background_end_with_the_grace_of_the_application() -> None:
    loop = asyncio.get_running_loop()
    async with _service(drain_delay=0, grace=0.4) as service, aiohttp.ClientSession() as client:
        async with client.get(service.url / "background", params={"seconds": "60"}):
            await service.began()
        began = loop.time()
        service.signal()
        assert await service.ended() == 0
        # Their client's own grace is half a minute.
        assert loop.time() - began < 8


async def test_without_any_grace_it_ends_too() -> None:
    async with _service(drain_delay=0, grace=0) as service, aiohttp.ClientSession() as client:
        call = asyncio.create_task(client.get(service.url / "work", params={"seconds": "60"}))
        await service.began()
        service.signal()
        with pytest.raises(aiohttp.ClientError):
            await call
        assert await service.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(number) -> None:
    async with _service(drain_delay=60) as service, aiohttp.ClientSession() as client:
        service.signal(number)
        async with asyncio.timeout(10):
            while True:
                async with client.get(service.url / "readyz") as response:
                    if response.status == 503:
                        break
        service.signal(number)
        assert await service.ended() == -number


async def test_a_taken_port_is_an_error_that_leaves_nothing_open(registry) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        app = web.Application()
        setup(app, HttpSettings(), registry=registry)
        with pytest.raises(OSError, match="address already in use"):
            await serve(app, host="127.0.0.1", port=taken.getsockname()[1])


async def test_invalid_settings_are_an_error_before_anything_starts(registry, monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "never")
    app = web.Application()
    setup(app, registry=registry)
    with pytest.raises(ConfigurationError, match="TIMEOUT__TOTAL"):
        await serve(app, host="127.0.0.1", port=0)


async def test_an_application_that_was_not_set_up_is_not_served() -> None:
    with pytest.raises(RuntimeError, match=r"call platform_http\.web\.setup\(app\)"):
        await serve(web.Application(), host="127.0.0.1", port=0)


@pytest.mark.parametrize("delay", [-1, float("nan")])
async def test_a_drain_delay_is_not_negative(registry, delay) -> None:
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    with pytest.raises(ValueError, match="drain_delay"):
        await serve(app, host="127.0.0.1", port=0, drain_delay=delay)

"""What goes wrong on our own side: full pools, cancelled callers, a blocked loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_http.errors import (
    DeadlineExceededError,
    FactoryClosedError,
    PoolTimeoutError,
)
from platform_http.telemetry.spans import ClientSpans
from platform_http.testing import FaultProxy, FaultServer
from platform_http.testing.actions import chunked, delay, hang, partial_body, respond
from platform_http.testing.toxics import Timeout
from tests.certificates import Certificates
from tests.faults.scene import Family, Result, Scene, scene

FAMILY = Family()
ONE = {"pool": {"limit": 1, "limit_per_host": 1}, "concurrency": {"limit": 0}}
STALLED = partial_body(b"x", content_length=100_000, then="hang")


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is looked at tells nobody that it changed
            await asyncio.sleep(0.002)


async def _cancelled(task: asyncio.Task[Result]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@FAMILY.case("pool exhausted", **ONE, retry={"enabled": False})
async def _(made: Scene) -> None:
    async with made.server(hang()) as server:
        holder = asyncio.create_task(made.call(server.url, method="POST"))
        await server.wait_until(lambda: server.requests)
        results = await asyncio.gather(*(made.call(server.url, method="POST") for _ in range(3)))
        assert {type(result.error) for result in results} == {PoolTimeoutError}
        assert {result.error.attempts for result in results} == {0}
        await holder
        made.expect(attempts=4, requests=1)
        await made.assert_clean_again(server)


@FAMILY.case("cancelled while queued for the pool", **ONE)
async def _(made: Scene) -> None:
    async with made.server(delay(0.05, respond(body=b"slow"))) as server:
        holder = asyncio.create_task(made.call(server.url))
        await server.wait_until(lambda: server.requests)
        queued = asyncio.create_task(made.call(server.url))
        await _until(lambda: made.session.connector._waiters)
        await _cancelled(queued)
        assert (await holder).body == b"slow"
        made.expect(attempts=2, requests=1)
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("cancelled while queued for a permit", concurrency={"limit": 1})
async def _(made: Scene) -> None:
    async with made.server(delay(0.05, respond(body=b"slow"))) as server:
        holder = asyncio.create_task(made.call(server.url))
        await server.wait_until(lambda: server.requests)
        queued = asyncio.create_task(made.call(server.url))
        await asyncio.sleep(0.01)
        await _cancelled(queued)
        assert (await holder).body == b"slow"
        made.expect(attempts=1, requests=1)
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("cancelled before the headers")
async def _(made: Scene) -> None:
    async with made.server(hang()) as server:
        call = asyncio.create_task(made.call(server.url))
        await server.wait_until(lambda: server.requests)
        await _cancelled(call)
        made.expect(attempts=1, requests=1)
        await made.assert_clean_again(server)


@FAMILY.case("cancelled in the body")
async def _(made: Scene) -> None:
    async with made.server(STALLED) as server:
        call = asyncio.create_task(made.call(server.url))
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.02)
        await _cancelled(call)
        made.expect(attempts=1, requests=1)
        await made.assert_clean_again(server)
        assert made.observed.value("platform_http_calls_total", outcome="cancelled") == 1


@FAMILY.case("loop stalled for a second")
async def _(made: Scene) -> None:
    async with made.server(delay(0.01, respond(body=b"late"))) as server:
        call = asyncio.create_task(made.call(server.url, stall=1.0))
        await server.wait_until(lambda: server.requests)
        time.sleep(1)  # noqa: ASYNC251 - this is the fault
        result = await call
        # The answer was there before anybody could look: either it or a timeout is fine.
        made.expect(attempts=len(made.observed.attempts), requests=len(server.requests))
        assert result.body == b"late" or isinstance(result.error, TimeoutError)
        await made.assert_clean_again(server, reuses=result.error is None)


@FAMILY.case("response never read")
async def _(made: Scene) -> None:
    async with made.server(respond(body=bytes(5_000_000))) as server:
        await made.measured(lambda: _ignored(made, server))
        made.expect(attempts=1, requests=1)
        # Its deadline gives back what nobody else does.
        await asyncio.sleep(0.6)
        await made.assert_clean_again(server)


async def _ignored(made: Scene, server: FaultServer) -> Result:
    response = await made.session.get(server.url)
    return Result(response.status)


@FAMILY.case("response read too late")
async def _(made: Scene) -> None:
    async def dawdle(response) -> bytes:
        await asyncio.sleep(0.6)
        return await response.read()

    async with made.server(respond(body=bytes(5_000_000))) as server:
        result = await made.call(server.url, deadline=0.6, consume=dawdle)
        made.expect(attempts=1, requests=1)
        assert isinstance(result.error, DeadlineExceededError)
        await made.assert_clean_again(server)


@FAMILY.case("response left in the middle of a stream")
async def _(made: Scene) -> None:
    async def some(response) -> bytes:
        async for piece in response.content.iter_any():
            return piece
        return b""

    async with made.server(chunked([b"x" * 100] * 100, interval=0.01)) as server:
        result = await made.call(server.url, consume=some)
        made.expect(attempts=1, requests=1)
        assert result.body.startswith(b"x")
        await made.assert_clean_again(server)


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_of_our_own(name: str) -> None:
    await FAMILY.run(name)


async def test_a_caller_that_is_cancelled_within_the_tls_handshake(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with scene(tls={"trust": "file", "ca_file": certificates.ca_file}) as made:
        async with (
            made.server(ssl_context=certificates.server("localhost")) as server,
            FaultProxy("127.0.0.1", server.port) as proxy,
        ):
            proxy.add(Timeout())
            url = proxy.url.with_scheme("https").with_host("localhost")
            call = asyncio.create_task(made.call(url))
            await _until(lambda: proxy.passed["upstream"])
            await _cancelled(call)
            made.expect(attempts=1, requests=0)
            await _until(lambda: proxy.open_connections == 0)


@pytest.mark.closes_in_flight
async def test_a_factory_that_closes_while_callers_queue() -> None:
    loop = asyncio.get_running_loop()
    async with scene(**ONE) as made:
        async with made.server(hang()) as server:
            calls = [asyncio.create_task(made.call(server.url, method="POST")) for _ in range(5)]
            await server.wait_until(lambda: server.requests)
            await _until(lambda: sum(map(len, made.session.connector._waiters.values())) == 4)
            began = loop.time()
            await made.factory.aclose(grace=0.02)
            assert loop.time() - began < 0.02 + 1
            results = await asyncio.gather(*calls)
            assert {type(result.error) for result in results} == {FactoryClosedError}
            made.expect(attempts=5, requests=1)


@pytest.mark.parametrize("hook", ["call_started", "call_ended", "attempt_started", "attempt_ended"])
async def test_a_telemetry_hook_that_raises(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = getattr(ClientSpans, hook)

    def broken(self, *arguments: object) -> None:
        original(self, *arguments)
        raise ZeroDivisionError(f"a broken hook {arguments!r}")

    async with scene() as made:
        async with made.server() as server:
            with monkeypatch.context() as patch:
                patch.setattr(ClientSpans, hook, broken)
                assert (await made.call(server.url / "clean")).body == b"clean"
            made.expect(attempts=1, requests=1)
            await made.assert_clean_again(server, reuses=True)
            errors = "platform_http_telemetry_errors_total"
            assert made.observed.value(errors, hook=hook) == 1
            made.hook_errors = 1

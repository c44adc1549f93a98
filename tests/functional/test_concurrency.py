"""The concurrency limit in front of real servers."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import Origin, client_of
from platform_http.errors import ConcurrencyLimitError, DeadlineExceededError
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, hang, partial_body, respond
from tests.functional.conftest import Observed


def limited(limit: int = 1, **concurrency: object) -> dict[str, object]:
    return {
        "concurrency": {"limit": limit, **concurrency},
        "retry": {"enabled": False},
        "timeout": {"total": 5, "attempt": 4},
    }


async def _call(session: aiohttp.ClientSession, url) -> int:
    async with session.get(url) as response:
        await response.read()
        return response.status


async def test_no_more_than_the_limit_are_in_flight(observed: Observed) -> None:
    in_flight = peak = 0

    def script(request):
        async def act(exchange) -> None:
            nonlocal in_flight, peak
            in_flight += 1
            peak = max(peak, in_flight)
            await asyncio.sleep(0.01)
            in_flight -= 1
            await respond(200)(exchange)

        return act

    async with FaultServer(script) as server, observed.session(**limited(3)) as session:
        assert await asyncio.gather(*(_call(session, server.url) for _ in range(30))) == [200] * 30
    assert peak == 3
    assert observed.value("platform_http_concurrency_limit") == 3
    assert observed.value("platform_http_concurrency_in_use") == 0
    assert observed.value("platform_http_concurrency_wait_seconds_count") == 27


async def test_waiting_calls_are_served_in_order(observed: Observed) -> None:
    async with FaultServer([delay(0.005, respond())]) as server:
        async with observed.session(**limited()) as session:
            calls = []
            for number in range(20):
                calls.append(
                    asyncio.create_task(_call(session, server.url.with_path(f"/{number}")))
                )
                await asyncio.sleep(0)
            await asyncio.gather(*calls)
    assert [request.target for request in server.requests] == [f"/{n}" for n in range(20)]


async def test_a_full_queue_refuses_at_once(observed: Observed) -> None:
    async with FaultServer([hang()]) as server, observed.session(**limited(queue=1)) as session:
        running = [asyncio.create_task(_call(session, server.url)) for _ in range(2)]
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.01)
        with pytest.raises(ConcurrencyLimitError, match="CONCURRENCY__QUEUE") as caught:
            await _call(session, server.url)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert caught.value.attempts == 0
    assert observed.value("platform_http_rejections_total", reason="concurrency_limited") == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1
    assert observed.value("platform_http_concurrency_in_use") == 0


async def test_a_turn_that_does_not_come_in_time_is_our_refusal(observed: Observed) -> None:
    settings = limited(queue_timeout=0.05) | {"circuit_breaker": {"minimum_calls": 1}}
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        running = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: server.requests)
        for _ in range(3):
            with pytest.raises(ConcurrencyLimitError):
                await _call(session, server.url)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert observed.value("platform_http_circuit_transitions_total") == 0


async def test_the_deadline_bounds_the_wait_in_the_queue(observed: Observed) -> None:
    settings = limited() | {"timeout": {"total": 0.2, "attempt": 0.15}}
    async with FaultServer([partial_body(b"x", content_length=10, then="hang")]) as server:
        async with observed.session(**settings) as session:
            from platform_http.call import CallOptions

            response = await session.get(server.url, trace_request_ctx=CallOptions(timeout=3))
            with pytest.raises(DeadlineExceededError):
                await _call(session, server.url)
            response.close()
    assert len(server.requests) == 1


async def test_the_permit_is_held_until_the_body_ends(observed: Observed) -> None:
    async with FaultServer(
        [partial_body(b"x", content_length=10, then="hang"), respond()]
    ) as server:
        async with observed.session(**limited(queue_timeout=0.05)) as session:
            response = await session.get(server.url)
            with pytest.raises(ConcurrencyLimitError):
                await _call(session, server.url)
            response.close()
            assert await _call(session, server.url) == 200


async def test_a_limit_that_only_counts_never_rejects(observed: Observed) -> None:
    settings = limited(queue=0, enforce=False)
    async with FaultServer([delay(0.05, respond())]) as server:
        async with observed.session(**settings) as session:
            assert (
                await asyncio.gather(*(_call(session, server.url) for _ in range(5))) == [200] * 5
            )
    rejections = "platform_http_rejections_total"
    assert observed.value(rejections, reason="concurrency_limited_observed") == 4
    assert observed.value(rejections, reason="concurrency_limited") == 0


async def test_a_hundred_cancels_at_every_stage_leave_no_permit(observed: Observed) -> None:
    async with FaultServer([delay(0.02, respond(200, body=b"x" * 5000))]) as server:
        async with observed.session(**limited(5)) as session:
            calls = [asyncio.create_task(_call(session, server.url)) for _ in range(100)]
            for index, call in enumerate(calls):
                asyncio.get_running_loop().call_later(index * 0.003, call.cancel)
            await asyncio.gather(*calls, return_exceptions=True)
            assert observed.value("platform_http_concurrency_in_use") == 0
            assert (
                await asyncio.gather(*(_call(session, server.url) for _ in range(5))) == [200] * 5
            )
    observed.assert_quiet()


async def test_backing_off_holds_no_permit(observed: Observed) -> None:
    def script(request):
        busy = request.target == "/busy" and len(server.requests) == 1
        return respond(503, headers={"Retry-After": "1"}) if busy else respond(200)

    settings = limited(queue_timeout=0.3) | {"retry": {"enabled": True}}
    async with FaultServer(script) as server, observed.session(**settings) as session:
        backing_off = asyncio.create_task(_call(session, server.url.with_path("/busy")))
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.02)
        assert await _call(session, server.url.with_path("/other")) == 200
        assert not backing_off.done()
        assert await backing_off == 200


async def test_a_websocket_gives_its_permit_back_at_the_101(observed: Observed) -> None:
    async def hold(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    app = aiohttp.web.Application()
    app.router.add_get("/ws", hold)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/ws"
    try:
        async with observed.session(**limited(queue_timeout=0.1)) as session:
            async with session.ws_connect(url), session.ws_connect(url):
                assert observed.value("platform_http_concurrency_in_use") == 0
    finally:
        await runner.cleanup()


async def test_a_turn_that_comes_in_the_very_moment_it_is_late_is_taken(observed: Observed) -> None:
    async with FaultServer() as server, observed.session(**limited()) as session:
        client = client_of(session)
        assert client is not None
        (path,) = session._middlewares
        slot = path.middlewares[-1]._concurrency.take(Origin.of(server.url))
        assert slot is not None
        waiting = asyncio.create_task(_call(session, server.url))
        await asyncio.sleep(0.01)
        pending = [each for entries in client.timers._slices.values() for each in entries]
        (turn,) = (each for each in pending if hasattr(each, "come"))
        turn.expire()
        slot.release()
        assert await waiting == 200
    assert observed.value("platform_http_rejections_total") == 0


async def test_an_error_that_cannot_be_looked_at_holds_no_permit(observed: Observed) -> None:
    class UnspeakableError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("not even its text")

    async def fail(*_: object) -> None:
        raise UnspeakableError

    hooks = aiohttp.TraceConfig()
    hooks.on_connection_queued_start.append(fail)
    hooks.on_connection_create_start.append(fail)
    settings = limited(queue_timeout=0.05) | {"circuit_breaker": {"minimum_calls": 100}}
    async with FaultServer() as server:
        async with observed.factory(trace_configs=(hooks,), **settings) as factory:
            session = factory.session()
            for _ in range(3):
                with pytest.raises(RuntimeError, match="not even its text"):
                    await _call(session, server.url)
            (snapshot,) = factory.circuits.snapshot()["default"].values()
    assert snapshot.in_flight == 0
    assert observed.value("platform_http_concurrency_in_use") == 0

"""One deadline per call, one timeout per attempt, and whose cancellation it was."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from multidict import CIMultiDict

from platform_http.call import Call, CallOptions, client_of, deadline
from platform_http.errors import AttemptTimeoutError, DeadlineExceededError, PoolTimeoutError
from platform_http.testing import FaultServer
from platform_http.testing.actions import (
    chunked,
    delay,
    drip,
    hang,
    partial_body,
    respond,
    response_bytes,
)
from tests.functional.conftest import Observed


async def test_a_silent_server_costs_the_attempt_timeout(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        settings = {"timeout": {"total": 5, "attempt": 0.1}, "retry": {"max_attempts": 2}}
        async with observed.session(**settings) as session:
            with pytest.raises(AttemptTimeoutError) as caught:
                await session.get(server.url)
    assert len(server.requests) == 2
    assert isinstance(caught.value, aiohttp.ClientError)
    assert isinstance(caught.value, TimeoutError)
    assert observed.value("platform_http_calls_total", error_type="attempt_timeout") == 1
    assert {span.attributes["error.type"] for span in observed.attempts} == {"attempt_timeout"}


async def test_the_deadline_covers_all_attempts(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        settings = {"timeout": {"total": 0.25, "attempt": 0.1}, "retry": {"max_attempts": 5}}
        async with observed.session(**settings) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            with pytest.raises(DeadlineExceededError) as caught:
                await session.get(server.url)
            assert loop.time() - before < 0.5
    assert len(server.requests) == 3
    assert caught.value.__notes__[0].endswith("stopped: deadline")
    assert observed.value("platform_http_calls_total", error_type="deadline_exceeded") == 1


async def test_a_wait_that_does_not_fit_into_the_deadline_is_not_begun(observed: Observed) -> None:
    async with FaultServer([respond(503, headers={"Retry-After": "2"})]) as server:
        async with observed.session(timeout={"total": 1}) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            async with session.get(server.url) as response:
                assert response.status == 503
            assert loop.time() - before < 0.9
    assert observed.calls[0].attributes["platform_http.stop_reason"] == "deadline"


async def test_the_deadline_covers_the_hops_of_a_redirect(observed: Observed) -> None:
    def script(request):
        number = int(request.target.removeprefix("/"))
        return delay(0.1, respond(302, headers={"Location": f"/{number + 1}"}))

    async with FaultServer(script) as server:
        async with observed.session(timeout={"total": 0.35}) as session:
            with pytest.raises(DeadlineExceededError):
                await session.get(server.url.with_path("/1"))
    assert len(server.requests) == 4
    assert observed.value("platform_http_calls_total") == 1


async def test_the_deadline_covers_the_body(observed: Observed) -> None:
    slow = drip(response_bytes(200, body=b"x" * 1000), interval=0.02, size=60)
    async with FaultServer([slow]) as server:
        async with observed.session(timeout={"total": 0.2}) as session:
            with pytest.raises(DeadlineExceededError):
                async with session.get(server.url) as response:
                    await response.read()
    assert observed.value("platform_http_calls_total", error_type="deadline_exceeded") == 1
    observed.assert_quiet()


async def test_a_streaming_reader_sees_the_deadline(observed: Observed) -> None:
    async with FaultServer([partial_body(b"begin", content_length=1000, then="hang")]) as server:
        async with observed.session(timeout={"total": 0.2}) as session:
            with pytest.raises(DeadlineExceededError):
                async with session.get(server.url) as response:
                    async for _ in response.content.iter_any():
                        pass
    assert observed.value("platform_http_calls_total", outcome="error") == 1


async def test_a_response_that_nobody_reads_is_closed_at_the_deadline(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"x" * 1_000_000)]) as server:
        async with observed.session(timeout={"total": 0.3}) as session:
            response = await session.get(server.url)
            assert len(session.connector._acquired) == 1
            await asyncio.sleep(0.4)
            assert not session.connector._acquired
            with pytest.raises(DeadlineExceededError):
                await response.read()
    observed.assert_quiet()


async def test_no_timer_outlives_its_response(observed: Observed) -> None:
    async with FaultServer([chunked([b"late"], interval=0.02)]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            await response.read()
            pending = [
                timer
                for timer in asyncio.get_running_loop()._scheduled
                if not timer.cancelled() and "_call_if_alive" in repr(timer)
            ]
            assert pending == []


async def test_a_body_that_falls_silent_is_a_read_timeout(observed: Observed) -> None:
    async with FaultServer([partial_body(b"begin", content_length=1000, then="hang")]) as server:
        async with observed.session(timeout={"total": 5, "read": 0.1}) as session:
            with pytest.raises(aiohttp.SocketTimeoutError):
                async with session.get(server.url) as response:
                    await response.read()
    assert observed.value("platform_http_calls_total", error_type="read_timeout") == 1
    observed.assert_quiet()


async def test_the_read_timeout_does_not_run_before_the_headers(observed: Observed) -> None:
    async with FaultServer([delay(0.2, respond(200))]) as server:
        settings = {"timeout": {"total": 5, "attempt": 1, "read": 0.05}}
        async with observed.session(**settings) as session, session.get(server.url) as response:
            assert response.status == 200
    assert len(server.requests) == 1


async def test_a_connection_that_waited_for_its_body_is_used_again_without_a_read_timeout(
    observed: Observed,
) -> None:
    body = drip(response_bytes(200, body=b"x" * 100), interval=0.02, size=80)
    async with FaultServer([body, delay(0.3, respond(200))]) as server:
        settings = {"timeout": {"total": 5, "attempt": 1, "read": 0.1}}
        async with observed.session(**settings) as session:
            for _ in range(2):
                async with session.get(server.url) as response:
                    await response.read()
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_timeouts_of_a_call_override_the_settings(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.session(retry={"enabled": False}) as session:
            with pytest.raises(AttemptTimeoutError):
                await session.get(server.url, trace_request_ctx=CallOptions(attempt_timeout=0.05))
            with pytest.raises(DeadlineExceededError):
                await session.get(server.url, trace_request_ctx=CallOptions(timeout=0.05))


async def test_other_objects_in_trace_request_ctx_are_left_alone(observed: Observed) -> None:
    seen = []

    async def started(session, context, params) -> None:
        seen.append(context.trace_request_ctx)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(started)
    marker = object()
    async with FaultServer() as server, observed.factory(trace_configs=(config,)) as factory:
        async with factory.session().get(server.url, trace_request_ctx=marker):
            pass
    assert seen == [marker]


async def test_an_ambient_deadline_bounds_calls_and_can_only_be_shortened(
    observed: Observed,
) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.session(retry={"enabled": False}) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            with deadline(0.1), deadline(60), pytest.raises(DeadlineExceededError):
                await session.get(server.url, trace_request_ctx=CallOptions(timeout=30))
            assert loop.time() - before < 1


async def test_a_deadline_that_has_passed_sends_nothing_and_blames_nobody(
    observed: Observed,
) -> None:
    async with FaultServer() as server:
        async with observed.session(circuit_breaker={"minimum_calls": 1}) as session:
            with deadline(0), pytest.raises(DeadlineExceededError):
                await session.get(server.url)
            async with session.get(f"http://127.0.0.1:{server.port}/") as response:
                assert response.status == 200
            server.requests.clear()
            observed.traces.clear()
            with deadline(0), pytest.raises(DeadlineExceededError):
                await session.get(server.url)
    assert server.requests == []
    assert observed.attempts == []
    assert observed.value("platform_http_retry_stops_total", reason="deadline") == 2


@pytest.mark.parametrize("seconds", [-1, float("nan")])
async def test_an_impossible_deadline_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds >= 0"), deadline(seconds):
        pass


async def test_waiting_for_the_pool_is_our_failure_and_not_the_servers(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        settings = {
            "pool": {"limit": 1, "limit_per_host": 1},
            "concurrency": {"limit": 0},
            "timeout": {"total": 2, "attempt": 1, "pool": 0.05},
            "retry": {"max_attempts": 2},
        }
        async with observed.session(**settings) as session:
            first = asyncio.create_task(session.get(server.url))
            await server.wait_until(lambda: server.requests)
            with pytest.raises(PoolTimeoutError, match=r"POOL__LIMIT") as caught:
                await session.get(server.url)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
    assert caught.value.attempts == 0
    assert isinstance(caught.value, TimeoutError)
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1
    assert observed.value("http_client_request_time_in_queue_seconds_count") >= 1


async def test_a_connect_that_hangs_is_a_connect_timeout_without_the_query(
    observed: Observed, black_hole
) -> None:
    settings = {"timeout": {"connect": 0.1}, "retry": {"enabled": False}}
    async with observed.session(**settings) as session:
        with pytest.raises(aiohttp.ConnectionTimeoutError) as caught:
            await session.get(f"http://127.0.0.1:{black_hole}/?token=geheim")
    assert "geheim" not in str(caught.value) + repr(caught.value)
    assert observed.value("platform_http_calls_total", error_type="connect_timeout") == 1
    assert observed.value("platform_http_connect_duration_seconds_count") == 1


async def test_a_callers_own_timeout_stays_an_additional_bound(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.session() as session:
            with pytest.raises(TimeoutError) as caught:
                await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.1))
    assert not isinstance(caught.value, AttemptTimeoutError | DeadlineExceededError)
    assert len(server.requests) == 1
    assert observed.value("platform_http_calls_total", outcome="error") == 1
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 0


async def test_a_callers_looser_timeout_does_not_loosen_the_connect_timeout(
    observed: Observed, black_hole
) -> None:
    settings = {"timeout": {"connect": 0.1}, "retry": {"enabled": False}}
    async with observed.session(**settings) as session:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get(
                f"http://127.0.0.1:{black_hole}/", timeout=aiohttp.ClientTimeout(total=60)
            )


async def test_a_callers_timeout_while_connecting_is_no_cancellation(
    observed: Observed, black_hole
) -> None:
    settings = {"timeout": {"connect": 0.9}, "retry": {"enabled": False}}
    async with observed.session(**settings) as session:
        with pytest.raises(TimeoutError):
            await session.get(
                f"http://127.0.0.1:{black_hole}/", timeout=aiohttp.ClientTimeout(total=0.1)
            )
    assert observed.attempts[0].attributes["error.type"] == "deadline_exceeded"
    assert observed.value("platform_http_calls_total", outcome="error") == 1


PHASES = ["connecting", "headers", "body", "backoff"]


@pytest.mark.parametrize("phase", PHASES)
async def test_a_callers_cancel_is_a_cancel_in_every_phase(
    observed: Observed, phase: str, black_hole
) -> None:
    script = {
        "connecting": [respond()],
        "headers": [hang()],
        "body": [partial_body(b"begin", content_length=100, then="hang")],
        "backoff": [respond(503, headers={"Retry-After": "3"})],
    }[phase]
    async with FaultServer(script) as server, observed.session() as session:
        url = f"http://127.0.0.1:{black_hole}/" if phase == "connecting" else server.url

        async def call() -> None:
            async with session.get(url) as response:
                await response.read()

        task = asyncio.create_task(call())
        if phase != "connecting":
            await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert not session.connector._acquired
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 1
    assert observed.value("platform_http_calls_total") == 1
    assert observed.value("platform_http_calls_total", outcome="error") == 0
    observed.assert_quiet()
    for span in observed.spans:
        assert "error.type" not in span.attributes or phase == "backoff"


async def test_a_task_that_uses_asyncio_timeout_around_a_call_gets_its_own_timeout(
    observed: Observed,
) -> None:
    async with FaultServer([hang()]) as server, observed.session() as session:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await session.get(server.url)
    assert type(caught.value) is TimeoutError
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 1


async def test_a_websocket_outlives_the_deadline(observed: Observed) -> None:
    async def echo(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        await asyncio.sleep(0.3)
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = aiohttp.web.Application()
    app.router.add_get("/ws", echo)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        # The handshake may take longer than an attempt, and the connection longer than a call.
        settings = {"timeout": {"total": 0.6, "attempt": 0.1, "read": 0.1}}
        async with observed.session(**settings) as session:
            async with session.ws_connect(f"http://127.0.0.1:{port}/ws") as websocket:
                await asyncio.sleep(0.5)
                await websocket.send_str("still here")
                assert (await websocket.receive_str()) == "still here"
    finally:
        await runner.cleanup()
    assert observed.value("platform_http_calls_total", outcome="success") == 1


@pytest.mark.parametrize("held", [1e9, 1.0])
async def test_a_test_may_hold_the_time_under_a_session(
    observed: Observed, monkeypatch: pytest.MonkeyPatch, held: float
) -> None:
    # As freezegun does, whose instants have nothing to do with those before.
    settings = {"retry": {"enabled": False}}
    async with FaultServer() as server, observed.session(**settings) as session:
        client = client_of(session)
        assert client is not None
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(time, "monotonic", lambda: held)
                for _ in range(2):
                    async with session.get(server.url) as response:
                        assert response.status == 200
                        assert client.clock() == held
            async with session.get(server.url) as response:
                assert response.status == 200
                assert client.clock() > held or held == 1e9
    seconds = observed.value("http_client_request_duration_seconds_sum")
    assert 0 <= seconds < 60


async def test_a_call_that_the_time_is_held_under_keeps_its_clock(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed.session() as session:
        client = client_of(session)
        assert client is not None
        call = Call(client, CallOptions())
        call.open("GET", CIMultiDict(), client.clock())
        call.leave()
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: 1e9)
            call.close("success", "", 1e9)
    assert 0 <= call.ended - call.started < 60

"""Stories 24, 25 and 27: deadlines travel, and nobody holds anything while backing off."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import CallOptions, deadline
from platform_http.errors import DeadlineExceededError
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, respond
from tests.functional.conftest import Observed

BUSY = respond(503, headers={"Retry-After": "1"})


async def test_story_24_each_attempt_carries_less_time_than_the_one_before(
    observed: Observed,
) -> None:
    async with FaultServer([delay(0.02, respond(503))]) as server:
        settings = {"base_url": str(server.url), "timeout": {"total": 3}}
        async with observed.session(**settings) as session, session.get("x"):
            pass
    left = [int(request.headers["X-Request-Timeout-Ms"]) for request in server.requests]
    assert 3000 >= left[0] > left[1] > left[2] > 2000
    assert [request.headers["X-Request-Attempt"] for request in server.requests] == ["1", "2", "3"]


async def test_story_24_a_deadline_that_has_passed_sends_nothing(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        with deadline(0), pytest.raises(DeadlineExceededError):
            await session.get(server.url)
        with deadline(0.001), pytest.raises(DeadlineExceededError):
            await asyncio.sleep(0.01)
            await session.post(server.url)
    assert server.connections == 0
    assert observed.value("platform_http_circuit_transitions_total") == 0


@pytest.mark.parametrize(
    "busy", [{"concurrency": {"limit": 1}}, {"pool": {"limit": 1, "limit_per_host": 1}}]
)
async def test_story_25_a_call_that_backs_off_holds_no_permit_and_no_connection(
    observed: Observed, busy: dict[str, object]
) -> None:
    def script(request):
        first = request.target == "/busy" and len(server.requests) == 1
        return BUSY if first else respond(200)

    async with FaultServer(script) as server, observed.session(**busy) as session:
        backing_off = asyncio.create_task(session.get(server.url.with_path("/busy")))
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.02)
        assert observed.value("platform_http_concurrency_in_use") == 0
        assert not session.connector._acquired
        async with asyncio.timeout(0.5), session.get(server.url.with_path("/other")) as response:
            assert response.status == 200
        assert not backing_off.done()
        async with await backing_off as response:
            assert response.status == 200


async def _refused(session: aiohttp.ClientSession, url, **options: object) -> None:
    async with session.get(url, **options):
        pass


async def test_story_27_a_total_timeout_that_falls_into_the_backoff_is_our_error(
    observed: Observed,
) -> None:
    # The wait fits when it begins; what comes after it does not.
    settings = {"timeout": {"total": 0.5}, "retry": {"max_attempts": 5}}
    script = [respond(503, headers={"Retry-After": "0"}), delay(1, respond(200))]
    async with FaultServer(script) as server, observed.session(**settings) as session:
        with pytest.raises(DeadlineExceededError) as caught:
            await _refused(session, server.url)
    assert isinstance(caught.value, TimeoutError)
    assert not isinstance(caught.value, asyncio.CancelledError)
    assert observed.value("platform_http_calls_total", error_type="deadline_exceeded") == 1


async def test_story_27_a_deadline_that_passes_during_a_backoff_leaves_it_to_the_next_attempt(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep

    async def oversleep(seconds: float) -> None:
        await sleep(seconds + 0.3)

    async with FaultServer([respond(503)]) as server:
        async with observed.session(timeout={"total": 0.2}) as session:
            monkeypatch.setattr(asyncio, "sleep", oversleep)
            with pytest.raises(DeadlineExceededError):
                await _refused(session, server.url)
            monkeypatch.undo()
    assert len(server.requests) == 1


async def test_story_27_a_callers_cancel_during_the_backoff_stays_a_cancel(
    observed: Observed,
) -> None:
    async with FaultServer([BUSY]) as server, observed.session() as session:
        call = asyncio.create_task(_refused(session, server.url))
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert call.cancelled()
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 1


async def test_story_27_a_callers_own_timeout_during_the_backoff_is_the_callers(
    observed: Observed,
) -> None:
    async with FaultServer([BUSY]) as server, observed.session() as session:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await _refused(session, server.url, trace_request_ctx=CallOptions(timeout=5))
    assert type(caught.value) is TimeoutError

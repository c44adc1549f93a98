"""Hedges against real, slow servers."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import CallOptions
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, hang, reset, respond
from tests.functional.conftest import Observed

HEDGED = {
    "hedging": {"enabled": True, "delay": 0.05, "max_ratio": 1},
    "timeout": {"total": 5, "attempt": 3},
}


async def _call(session: aiohttp.ClientSession, url, **options: object) -> tuple[int, str]:
    async with session.get(url, **options) as response:
        return response.status, await response.text()


async def test_a_slow_first_attempt_is_overtaken(observed: Observed) -> None:
    async with FaultServer([hang(), respond(200, body=b"second")]) as server:
        async with observed.session(**HEDGED) as session:
            assert await _call(session, server.url) == (200, "second")
            assert not session.connector._acquired
    assert len(server.requests) == 2
    assert observed.value("platform_http_hedges_total", result="won") == 1
    assert observed.value("platform_http_calls_total", outcome="success") == 1
    cancelled = [s for s in observed.attempts if s.attributes.get("platform_http.cancelled")]
    assert len(cancelled) == 1
    observed.assert_quiet()


async def test_a_fast_answer_needs_no_hedge(observed: Observed) -> None:
    async with FaultServer([respond(200)]) as server, observed.session(**HEDGED) as session:
        await _call(session, server.url)
    assert len(server.requests) == 1
    assert observed.value("platform_http_hedges_total") == 0


@pytest.mark.parametrize("failure", [respond(503), reset()])
async def test_a_fast_failing_hedge_does_not_win_over_a_slow_success(
    observed: Observed, failure
) -> None:
    async with FaultServer([delay(0.2, respond(200, body=b"first")), failure]) as server:
        async with observed.session(**HEDGED) as session:
            assert await _call(session, server.url) == (200, "first")
    assert len(server.requests) == 2
    assert observed.value("platform_http_hedges_total", result="lost") == 1


async def test_when_both_fail_the_first_one_counts_and_is_retried(observed: Observed) -> None:
    script = [delay(0.1, respond(503)), delay(0.1, respond(502)), respond(200, body=b"third")]
    async with FaultServer(script) as server, observed.session(**HEDGED) as session:
        assert await _call(session, server.url) == (200, "third")
    assert len(server.requests) == 3


async def test_a_hedge_counts_against_the_attempts_of_its_call(observed: Observed) -> None:
    script = [delay(0.1, respond(503))]
    settings = HEDGED | {"retry": {"max_attempts": 2}}
    async with FaultServer(script) as server, observed.session(**settings) as session:
        status, _ = await _call(session, server.url)
        assert status == 503
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_unsafe_methods_are_never_hedged(observed: Observed, method: str) -> None:
    async with FaultServer([delay(0.15, respond(200))]) as server:
        async with observed.session(**HEDGED) as session:
            async with session.request(method, server.url):
                pass
    assert len(server.requests) == 1


async def test_a_call_may_decline_to_be_hedged(observed: Observed) -> None:
    async with FaultServer([delay(0.15, respond(200))]) as server:
        async with observed.session(**HEDGED) as session:
            await _call(session, server.url, trace_request_ctx=CallOptions(hedge=False))
    assert len(server.requests) == 1


async def test_a_caller_who_cancels_cancels_both(observed: Observed) -> None:
    async with FaultServer([hang()]) as server, observed.session(**HEDGED) as session:
        call = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: len(server.requests) == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not session.connector._acquired
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 1
    observed.assert_quiet()


async def test_an_exhausted_budget_denies_the_hedge(observed: Observed) -> None:
    settings = HEDGED | {"retry": {"budget": {"capacity": 10, "cost": 10, "trickle": 0.001}}}
    async with FaultServer([delay(0.1, respond(200))]) as server:
        async with observed.session(**settings) as session:
            for _ in range(3):
                await _call(session, server.url)
    assert len(server.requests) == 4
    assert observed.value("platform_http_hedges_total", result="denied") == 2


async def test_three_hundred_calls_and_sixty_cancels_leave_nothing(observed: Observed) -> None:
    def script(request):
        return delay(0.08, respond(200)) if len(server.requests) % 3 else respond(200)

    settings = HEDGED | {
        "pool": {"limit": 40, "limit_per_host": 40},
        "concurrency": {"limit": 40},
        "retry": {"budget": {"capacity": 10000}},
    }
    async with FaultServer(script) as server, observed.session(**settings) as session:
        calls = [asyncio.create_task(_call(session, server.url)) for _ in range(300)]
        for index, call in enumerate(calls[::5]):
            asyncio.get_running_loop().call_later(0.004 * index, call.cancel)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(result == (200, "") for result in results) >= 240
        assert not session.connector._acquired
        assert observed.value("platform_http_concurrency_in_use") == 0
    observed.assert_quiet()


async def test_the_hedge_of_a_resend_is_no_resend(observed: Observed) -> None:
    script = [respond(503), hang(), respond(200, body=b"third")]
    settings = HEDGED | {"retry": {"backoff_initial": 0.001, "backoff_max": 0.002}}
    async with FaultServer(script) as server, observed.session(**settings) as session:
        assert await _call(session, server.url) == (200, "third")
    assert len(server.requests) == 3
    assert observed.value("platform_http_retries_total", reason="503") == 1
    assert observed.value("platform_http_hedges_total", result="won") == 1

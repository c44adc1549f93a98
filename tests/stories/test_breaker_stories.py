"""Stories 12 and 14 to 19: what a circuit learns, and from whom it must not learn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

import aiohttp
import pytest
from yarl import URL

from platform_http.errors import CircuitOpenError, PoolTimeoutError
from platform_http.policies.circuit_breaker import CircuitBreaker, Permit, Refusal, State
from platform_http.policies.outcome import Health
from platform_http.testing import FakeClock, FaultServer
from platform_http.testing.actions import delay, hang, partial_body, respond
from tests.functional.conftest import Observed

OPENED = "platform_http_circuit_transitions_total"
ALONE = {"retry": {"enabled": False}}
EAGER = {
    "circuit_breaker": {"minimum_calls": 4, "open_duration": 0.1, "open_duration_max": 0.1},
    **ALONE,
}


async def _call(session: aiohttp.ClientSession, url: URL) -> int:
    async with session.get(url) as response:
        await response.read()
        return response.status


async def _trip(session: aiohttp.ClientSession, url: URL) -> None:
    for _ in range(4):
        assert await _call(session, url) == 503


async def test_story_12_a_reset_in_a_buffered_body_is_a_failure_everywhere(
    observed: Observed,
) -> None:
    cut = partial_body(b"begin", content_length=100, then="reset")
    async with FaultServer([cut]) as server, observed.session(**EAGER) as session:
        for _ in range(4):
            with pytest.raises(aiohttp.ClientPayloadError):
                await _call(session, server.url)
        with pytest.raises(CircuitOpenError):
            await _call(session, server.url)
    assert observed.value("platform_http_calls_total", outcome="success") == 0
    assert observed.value("platform_http_calls_total", error_type="payload_error") == 4
    assert observed.value(OPENED, to="open") == 1


async def test_story_14_a_cancelled_probe_neither_closes_nor_sticks(observed: Observed) -> None:
    script = [respond(503)] * 4 + [hang(), respond(503), respond(200)]
    async with FaultServer(script) as server, observed.session(**EAGER) as session:
        await _trip(session, server.url)
        await asyncio.sleep(0.15)
        probe = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: len(server.requests) == 5)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        # Neither closed, or this 503 would not reopen it, nor stuck, or it would not be sent.
        assert await _call(session, server.url) == 503
        assert observed.value(OPENED, to="closed") == 0
        assert observed.value(OPENED, to="open") == 2
        await asyncio.sleep(0.15)
        for _ in range(3):
            assert await _call(session, server.url) == 200
    assert observed.value("platform_http_circuit_state", state="closed") == 1


async def test_story_15_a_half_open_circuit_sends_one_of_fifty(observed: Observed) -> None:
    script = [respond(503)] * 4 + [delay(0.1, respond(200)), respond(200)]
    async with FaultServer(script) as server, observed.session(**EAGER) as session:
        await _trip(session, server.url)
        await asyncio.sleep(0.15)
        results = await asyncio.gather(
            *(_call(session, server.url) for _ in range(50)), return_exceptions=True
        )
        assert len(server.requests) == 4 + 1
    refused = [result for result in results if isinstance(result, CircuitOpenError)]
    assert results.count(200) == 1
    assert len(refused) == 49


async def test_story_16_a_success_from_before_the_trip_leaves_the_circuit_open(
    observed: Observed,
) -> None:
    def script(request):
        return delay(0.3, respond(200)) if request.target == "/slow" else respond(503)

    settings = {"circuit_breaker": {"minimum_calls": 4, "open_duration": 30}, **ALONE}
    async with FaultServer(script) as server, observed.session(**settings) as session:
        late = [
            asyncio.create_task(_call(session, server.url.with_path("/slow"))) for _ in range(5)
        ]
        await server.wait_until(lambda: len(server.requests) == 5)
        await _trip(session, server.url)
        assert await asyncio.gather(*late) == [200] * 5
        with pytest.raises(CircuitOpenError):
            await _call(session, server.url)
    assert observed.value(OPENED, to="open") == 1
    assert observed.value(OPENED) == 1


def _breaker(clock: FakeClock, **options: object) -> CircuitBreaker:
    settings = {
        "failure_ratio": 0.5,
        "minimum_calls": 4,
        "window": 30.0,
        "open_duration": 5.0,
        "open_duration_max": 60.0,
        "half_open_successes": 3,
        "slow_call_duration": None,
        "slow_call_ratio": None,
        "observe": False,
        "probe_lease": 5.0,
        "clock": clock,
        "rng": Random(1),
        "on_transition": lambda previous, current: None,
    }
    return CircuitBreaker(**{**settings, **options})


def _admitted(breaker: CircuitBreaker) -> Permit:
    permit = breaker.admit()
    assert isinstance(permit, Permit)
    permit.begin()
    return permit


def test_story_16_a_success_from_before_the_trip_does_not_count_as_a_probe_either() -> None:
    clock = FakeClock()
    breaker = _breaker(clock, half_open_successes=1)
    late = _admitted(breaker)
    for permit in [_admitted(breaker) for _ in range(4)]:
        permit.record(Health.FAILED)
    clock.advance(10)
    _admitted(breaker)
    assert breaker.state is State.HALF_OPEN
    late.record(Health.OK)
    assert breaker.state is State.HALF_OPEN


async def test_story_17_a_hung_server_opens_the_circuit_by_the_age_of_what_is_in_flight(
    observed: Observed,
) -> None:
    settings = {
        "circuit_breaker": {"minimum_calls": 5, "slow_call_duration": 0.1, "slow_call_ratio": 0.5},
        "timeout": {"total": 20, "attempt": 15},
        **ALONE,
    }
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        hung = [asyncio.create_task(_call(session, server.url)) for _ in range(5)]
        await server.wait_until(lambda: len(server.requests) == 5)
        await asyncio.sleep(0.15)
        # No answer has come, and none of the five has timed out.
        with pytest.raises(CircuitOpenError):
            await _call(session, server.url)
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
    assert len(server.requests) == 5


async def test_story_17_without_a_slow_threshold_age_means_nothing(observed: Observed) -> None:
    settings = {
        "circuit_breaker": {"minimum_calls": 5},
        "timeout": {"total": 20, "attempt": 15},
        **ALONE,
    }
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        hung = [asyncio.create_task(_call(session, server.url)) for _ in range(5)]
        await server.wait_until(lambda: len(server.requests) == 5)
        await asyncio.sleep(0.15)
        hung.append(asyncio.create_task(_call(session, server.url)))
        await server.wait_until(lambda: len(server.requests) == 6)
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
    assert observed.value(OPENED) == 0


async def test_story_18_our_own_full_pool_is_not_the_servers_failure(observed: Observed) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "concurrency": {"limit": 0},
        "circuit_breaker": {"minimum_calls": 1},
        "timeout": {"total": 10, "attempt": 8, "pool": 0.05},
        **ALONE,
    }
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        holder = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: server.requests)
        for _ in range(5):
            with pytest.raises(PoolTimeoutError):
                await _call(session, server.url)
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
    assert observed.value(OPENED) == 0
    assert len(server.requests) == 1


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    with pytest.raises(CircuitOpenError) as caught:
        await call()
    assert caught.value.attempts == 0
    assert caught.value.retry_after > 0
    return time.perf_counter() - before


async def test_story_19_an_open_circuit_under_retry_refuses_in_less_than_a_millisecond(
    observed: Observed,
) -> None:
    settings = {"circuit_breaker": {"minimum_calls": 4, "open_duration": 60}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        for _ in range(2):
            await _call(session, server.url)
        sent = len(server.requests)
        times = sorted([await _timed(lambda: _call(session, server.url)) for _ in range(51)])
        assert len(server.requests) == sent
    # The median: other work on the machine is not what is measured.
    assert times[25] < 0.001
    assert observed.value("platform_http_retry_stops_total", reason="circuit_open") >= 51


def test_story_19_the_refusal_says_when_the_next_probe_is_due() -> None:
    clock = FakeClock()
    breaker = _breaker(clock)
    for permit in [_admitted(breaker) for _ in range(4)]:
        permit.record(Health.FAILED)
    clock.advance(2)
    refusal = breaker.admit()
    assert isinstance(refusal, Refusal)
    assert 3 <= refusal.retry_after <= 5

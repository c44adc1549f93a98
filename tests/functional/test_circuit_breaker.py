"""Circuits in front of real servers."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from multidict import CIMultiDict

from platform_http.call import Call, CallOptions, Origin, client_of
from platform_http.errors import CircuitOpenError
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, hang, partial_body, respond
from tests.functional.conftest import Observed

EAGER = {
    "circuit_breaker": {"minimum_calls": 4, "open_duration": 0.1, "open_duration_max": 0.1},
    "retry": {"enabled": False},
}


async def _call(session: aiohttp.ClientSession, url) -> int:
    async with session.get(url) as response:
        await response.read()
        return response.status


async def _trip(session: aiohttp.ClientSession, url) -> None:
    for _ in range(4):
        assert await _call(session, url) == 503


async def test_a_failing_origin_is_left_alone(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server, observed.session(**EAGER) as session:
        await _trip(session, server.url)
        with pytest.raises(CircuitOpenError) as caught:
            await _call(session, server.url)
    assert len(server.requests) == 4
    assert caught.value.attempts == 0
    assert 0 < caught.value.retry_after <= 0.2
    assert observed.value("platform_http_circuit_transitions_total", to="open") == 1
    assert observed.value("platform_http_circuit_state", state="open") == 1
    assert observed.value("platform_http_rejections_total", reason="circuit_open") == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1


async def test_one_origin_does_not_open_the_circuit_of_another(observed: Observed) -> None:
    async with (
        FaultServer([respond(503)]) as bad,
        FaultServer() as good,
        observed.session(**EAGER) as session,
    ):
        await _trip(session, bad.url)
        assert await _call(session, good.url) == 200


async def test_a_call_that_was_sent_before_it_was_refused_is_an_error(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as bad:
        moved = respond(302, headers={"Location": str(bad.url)})
        async with FaultServer([moved]) as good, observed.session(**EAGER) as session:
            await _trip(session, bad.url)
            with pytest.raises(CircuitOpenError) as caught:
                await _call(session, good.url)
    assert caught.value.attempts == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 0
    assert observed.value("platform_http_calls_total", error_type="circuit_open") == 1


async def test_an_open_circuit_under_retry_makes_no_attempt(observed: Observed) -> None:
    settings = {"circuit_breaker": EAGER["circuit_breaker"], "retry": {"max_attempts": 3}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        await _call(session, server.url)
        # The fourth failure opens the circuit in the middle of this call: its 503 is returned.
        assert await _call(session, server.url) == 503
        assert len(server.requests) == 4
        with pytest.raises(CircuitOpenError) as caught:
            await _call(session, server.url)
    assert len(server.requests) == 4
    assert caught.value.attempts == 0
    assert observed.value("platform_http_retry_stops_total", reason="circuit_open") == 2
    # Three attempts of the first call, one of the second, none of the third: a resend that the
    # circuit refuses is none.
    assert observed.value("platform_http_retries_total") == 2


async def test_calls_of_an_open_circuit_that_is_probed_are_no_resends(observed: Observed) -> None:
    settings = {"circuit_breaker": EAGER["circuit_breaker"], "retry": {"max_attempts": 3}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        for _ in range(8):
            with contextlib.suppress(CircuitOpenError):
                await _call(session, server.url)
            await asyncio.sleep(0.12)
        probes = len(server.requests) - 4
    assert probes >= 5
    # Each probe fails, and what would follow it is refused.
    assert observed.value("platform_http_retries_total") == 2


async def test_a_circuit_that_only_observes_refuses_nothing_and_says_what_it_would(
    observed: Observed,
) -> None:
    settings = {
        "circuit_breaker": EAGER["circuit_breaker"] | {"mode": "observe", "open_duration_max": 60},
        "retry": {"enabled": False},
    }
    settings["circuit_breaker"]["open_duration"] = 60
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        for _ in range(6):
            assert await _call(session, server.url) == 503
    assert len(server.requests) == 6
    rejections, state = "platform_http_rejections_total", "platform_http_circuit_state"
    assert observed.value(rejections, reason="circuit_open_observed") == 2
    assert observed.value(rejections) == 2
    assert observed.value(state, state="open_observed") == 1
    assert observed.value(state, state="open") == 0
    assert observed.value("platform_http_circuit_transitions_total", to="open_observed") == 1


async def test_a_half_open_circuit_lets_one_of_fifty_through_and_recovers(
    observed: Observed,
) -> None:
    failing = True

    def script(request):
        return respond(503) if failing else delay(0.05, respond(200))

    async with FaultServer(script) as server, observed.session(**EAGER) as session:
        await _trip(session, server.url)
        failing = False
        server.requests.clear()
        await asyncio.sleep(0.15)
        results = await asyncio.gather(
            *(_call(session, server.url) for _ in range(50)), return_exceptions=True
        )
        assert results.count(200) == 1
        assert sum(isinstance(result, CircuitOpenError) for result in results) == 49
        assert len(server.requests) == 1
        for _ in range(2):
            assert await _call(session, server.url) == 200
        assert await asyncio.gather(*(_call(session, server.url) for _ in range(5))) == [200] * 5
    assert observed.value("platform_http_circuit_state", state="closed") == 1
    assert observed.value("platform_http_circuit_transitions_total", to="half_open") == 1


async def test_fifty_cancelled_calls_leave_everything_as_it_was(observed: Observed) -> None:
    async with FaultServer([respond(200), hang()]) as server:
        async with observed.session(**EAGER) as session:
            await _call(session, server.url)
            tasks_before = len(asyncio.all_tasks())
            calls = [asyncio.create_task(_call(session, server.url)) for _ in range(50)]
            await server.wait_until(lambda: len(server.requests) > 20)
            for call in calls:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            await asyncio.sleep(0)
            assert not session.connector._acquired
            assert not session.connector._waiters
            assert len(asyncio.all_tasks()) - tasks_before <= 20  # the server's own
            observed.assert_quiet()
    assert observed.value("platform_http_circuit_transitions_total") == 0
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 50
    assert observed.value("platform_http_calls_total", outcome="error") == 0


async def test_a_cancelled_probe_neither_closes_nor_sticks(observed: Observed) -> None:
    answers = {"now": respond(503)}
    async with (
        FaultServer(lambda request: answers["now"]) as server,
        observed.session(**EAGER) as session,
    ):
        await _trip(session, server.url)
        answers["now"] = hang()
        await asyncio.sleep(0.15)
        probe = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: len(server.requests) == 5)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        answers["now"] = respond(200)
        for _ in range(3):
            assert await _call(session, server.url) == 200
    assert observed.value("platform_http_circuit_state", state="closed") == 1


async def test_reads_that_the_caller_cancels_do_not_close_a_circuit(observed: Observed) -> None:
    answers = {"now": respond(503)}
    async with (
        FaultServer(lambda request: answers["now"]) as server,
        observed.session(**EAGER) as session,
    ):
        await _trip(session, server.url)
        answers["now"] = partial_body(b"begin", content_length=100, then="hang")
        await asyncio.sleep(0.15)
        for number in range(3):
            probe = asyncio.create_task(_call(session, server.url))
            await server.wait_until(lambda: len(server.requests) == 5 + number)  # noqa: B023 - awaited at once
            await asyncio.sleep(0.02)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
    assert observed.value("platform_http_circuit_state", state="half_open") == 1
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 3


async def test_a_reset_in_a_buffered_body_is_a_failure_and_never_a_success(
    observed: Observed,
) -> None:
    broken = partial_body(b"begin", content_length=100, then="reset")
    async with FaultServer([broken]) as server, observed.session(**EAGER) as session:
        for _ in range(4):
            with pytest.raises(aiohttp.ClientError):
                await _call(session, server.url)
        with pytest.raises(CircuitOpenError):
            await _call(session, server.url)
    assert observed.value("platform_http_calls_total", outcome="success") == 0
    assert observed.value("platform_http_calls_total", outcome="error") == 4
    # The attempts got their headers; it is the calls that failed.
    assert {span.attributes["platform_http.outcome"] for span in observed.calls} <= {
        "error",
        "rejected",
    }


async def test_a_stream_is_judged_at_its_headers(observed: Observed) -> None:
    answers = {"now": respond(503)}
    endless = partial_body(b"begin", content_length=100, then="hang")
    async with (
        FaultServer(lambda request: answers["now"]) as server,
        observed.session(**EAGER) as session,
    ):
        await _trip(session, server.url)
        answers["now"] = endless
        await asyncio.sleep(0.15)
        async with session.get(server.url) as stream:
            assert await stream.content.readany() == b"begin"
            # The probe is over although its body is not: the next one may go.
            answers["now"] = respond(200)
            assert await _call(session, server.url) == 200
            assert await _call(session, server.url) == 200
    assert observed.value("platform_http_circuit_state", state="closed") == 1


async def test_rate_limited_answers_do_not_open_the_circuit(observed: Observed) -> None:
    async with FaultServer([respond(429)]) as server, observed.session(**EAGER) as session:
        for _ in range(10):
            assert await _call(session, server.url) == 429
    assert len(server.requests) == 10


async def test_a_breaker_that_is_off_never_refuses(observed: Observed) -> None:
    settings = {"circuit_breaker": {"mode": "off"}, "retry": {"enabled": False}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        for _ in range(30):
            assert await _call(session, server.url) == 503
    assert len(server.requests) == 30


@pytest.mark.parametrize("retries", [True, False])
async def test_a_gate_refuses_beforehand_as_it_would_have_refused_the_attempt(
    observed: Observed, retries: bool
) -> None:
    settings = EAGER | {"retry": {"enabled": retries, "max_attempts": 2}}
    async with FaultServer() as server, observed.session(**settings) as session:
        client = client_of(session)
        assert client is not None
        (path,) = session._middlewares
        gate = path.middlewares[-1]._breaker
        origin = Origin.of(server.url)

        def refusal() -> Exception | None:
            call = Call(client, CallOptions())
            call.open("GET", CIMultiDict(), client.clock())
            call.leave()
            try:
                return gate.refusal(call, origin)
            finally:
                call.close("rejected", "circuit_open", client.clock())

        assert refusal() is None
        gate._breakers.get(origin).force_open()
        with pytest.raises(CircuitOpenError) as caught:
            await _call(session, server.url)
        beforehand = refusal()
    assert isinstance(beforehand, CircuitOpenError)
    assert str(beforehand) == str(caught.value)
    assert beforehand.args == caught.value.args == (str(caught.value),)
    assert (beforehand.attempts, beforehand.retry_after) == (0, caught.value.retry_after)
    assert getattr(beforehand, "__notes__", []) == getattr(caught.value, "__notes__", [])
    assert hasattr(beforehand, "__notes__") is retries
    assert observed.value("platform_http_rejections_total", reason="circuit_open") == 2
    stops = observed.value("platform_http_retry_stops_total", reason="circuit_open")
    assert stops == (2 if retries else 0)
    assert not server.requests

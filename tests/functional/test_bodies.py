"""How the body of a response ends, and what is counted of it."""

from __future__ import annotations

import asyncio
import gzip
import math

import aiohttp
import pytest
from aiohttp import ClientTimeout
from aiohttp.streams import StreamReader

from platform_http.call import BodyEnd, client_of
from platform_http.testing import FaultServer
from platform_http.testing.actions import chunked, partial_body, respond
from tests.functional.backoffs import backing_off
from tests.functional.conftest import Observed

STALLED = partial_body(b"x", content_length=100, then="hang")
STALLED_503 = partial_body(b"x", status=503, content_length=100, then="hang")
STALLED_500 = partial_body(b"x", status=500, content_length=100_000, then="hang")

# The first 503 opens the circuit, so that its resend is refused and it is what the caller gets.
AT_ONCE = {"minimum_calls": 1}


def calls(observed: Observed) -> dict[tuple[str, str], float]:
    """What was counted, by outcome and ``error_type``."""
    return {
        (sample.labels["outcome"], sample.labels["error_type"]): sample.value
        for metric in observed.registry.collect()
        for sample in metric.samples
        if sample.name == "platform_http_calls_total" and sample.value
    }


async def _read(response: aiohttp.ClientResponse) -> None:
    await response.read()


async def _iterate(response: aiohttp.ClientResponse) -> None:
    async for _ in response.content.iter_any():
        pass


@pytest.mark.parametrize("consume", [_read, _iterate])
async def test_a_body_that_outlasts_the_callers_own_timeout_is_no_success(
    observed: Observed, consume
) -> None:
    async with FaultServer([STALLED]) as server, observed.session() as session:
        with pytest.raises(TimeoutError):
            async with session.get(server.url, timeout=ClientTimeout(total=0.1)) as response:
                await consume(response)
    assert calls(observed) == {("error", "deadline_exceeded"): 1}


async def test_a_body_is_no_success_though_the_caller_handles_his_own_timeout_while_reading(
    observed: Observed,
) -> None:
    async with FaultServer([STALLED]) as server, observed.session() as session:
        async with session.get(server.url, timeout=ClientTimeout(total=0.1)) as response:
            with pytest.raises(TimeoutError):
                await _iterate(response)
    assert calls(observed) == {("error", "deadline_exceeded"): 1}


async def test_bodies_that_outlast_the_callers_own_timeout_open_the_circuit(
    observed: Observed,
) -> None:
    async with FaultServer([STALLED]) as server:
        async with observed.session(circuit_breaker={"minimum_calls": 3}) as session:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with session.get(server.url, timeout=ClientTimeout(total=0.05)) as got:
                        await got.read()
    assert observed.value("platform_http_circuit_transitions_total", to="open") == 1


async def test_the_body_of_a_503_whose_resend_was_refused_can_still_be_read(
    observed: Observed,
) -> None:
    reason = chunked([b"reason", b" why"], status=503, interval=0.005)
    async with (
        FaultServer([reason]) as server,
        backing_off(0.2, observed, circuit_breaker=AT_ONCE) as factory,
        factory.session().get(server.url) as response,
    ):
        assert response.status == 503
        assert await response.read() == b"reason why"
    assert len(server.requests) == 1


async def test_a_503_whose_body_could_not_be_drained_in_time_counts_as_a_503(
    observed: Observed,
) -> None:
    async with FaultServer([STALLED_503]) as server:
        async with backing_off(0.05, observed, circuit_breaker=AT_ONCE) as factory:
            response = await factory.session().get(server.url)
            assert response.status == 503
            response.release()
    assert calls(observed) == {("error", "503"): 1}


async def test_a_500_that_answers_an_upload_before_its_end_counts_as_a_500(
    observed: Observed,
) -> None:
    async def body():
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    async with FaultServer([STALLED_500], read_body=False) as server:
        async with observed.session() as session, session.post(server.url, data=body()) as response:
            assert response.status == 500
    assert calls(observed) == {("error", "500"): 1}


async def test_a_call_made_while_handling_a_cancel_is_judged_by_its_own_status(
    observed: Observed,
) -> None:
    async with FaultServer([STALLED_500]) as server, observed.session() as session:

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                async with session.post(server.url):
                    pass
                raise

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert calls(observed) == {("error", "500"): 1}


async def test_a_caller_who_pauses_is_not_taken_for_a_silent_server(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"x" * 500_000)]) as server:
        async with observed.session(timeout={"total": 5, "read": 0.1}) as session:
            async with session.get(server.url, read_bufsize=1024) as response:
                await asyncio.sleep(0.3)
                assert len(await response.read()) == 500_000


async def test_a_discarded_body_is_not_decompressed_without_end(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(bytes(40_000_000))
    assert len(bomb) < 65_536
    decoded = 0
    feed_data = StreamReader.feed_data

    def counting(stream: StreamReader, data: bytes, *more: int) -> bool:
        nonlocal decoded
        decoded += len(data)
        return feed_data(stream, data, *more)

    monkeypatch.setattr(StreamReader, "feed_data", counting)
    headers = {"Content-Encoding": "gzip"}
    async with FaultServer([respond(503, headers=headers, body=bomb), respond()]) as server:
        async with backing_off(0.3, observed) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 200
    assert 0 < decoded < 4_000_000


async def test_a_body_whose_connection_was_given_away_bounds_no_other(observed: Observed) -> None:
    async with FaultServer([STALLED]) as server, observed.session() as session:
        response = await session.get(server.url)
        connection, attempt = response.connection, response.attempt
        protocol = connection.protocol
        connection.close()
        attempt.body = response._call = None
        # As where an application's middleware did so before the headers got to us.
        response._bound(attempt.call, connection)
        assert attempt.body is BodyEnd.FAILED
        assert protocol.when == math.inf
        response.close()


async def test_no_timer_is_left_of_bodies_however_they_end(observed: Observed) -> None:
    whole = chunked([b"x" * 1000] * 3)
    async with (
        FaultServer([whole, STALLED, STALLED, whole]) as server,
        observed.session() as session,
    ):
        timers = client_of(session).timers
        async with session.get(server.url) as response:
            async for _ in response.content.iter_any():
                pass
        async with session.get(server.url) as response:
            assert len(timers) == 1
        assert len(timers) == 0
        reading = asyncio.create_task((await session.get(server.url)).read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert len(timers) == 0
        async with session.get(server.url) as response:
            assert await response.read() == b"x" * 3000
        assert len(timers) == 0

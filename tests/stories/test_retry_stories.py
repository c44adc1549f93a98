"""Stories 1 and 4 to 11: what is resent, how often, and what is not."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import CallOptions
from platform_http.errors import AttemptTimeoutError, CircuitOpenError, DeadlineExceededError
from platform_http.testing import FaultServer
from platform_http.testing.actions import close, delay, hang, reset, respond
from tests.functional.conftest import Observed
from tests.servers import free_port

CALLS = 1000


async def _status(session: aiohttp.ClientSession, url) -> int:
    try:
        async with session.get(url) as response:
            return response.status
    except CircuitOpenError:
        return 0


@pytest.mark.parametrize("breaker", ["off", "enforce"])
async def test_story_01_a_thousand_calls_to_an_upstream_that_only_says_503(
    observed: Observed, breaker: str
) -> None:
    settings = {"circuit_breaker": {"mode": breaker}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        statuses: list[int] = []
        for _ in range(CALLS // 20):
            statuses += await asyncio.gather(*(_status(session, server.url) for _ in range(20)))
    assert len(server.requests) <= 1.1 * CALLS
    if breaker == "off":
        assert statuses == [503] * CALLS
        assert observed.value("platform_http_retry_stops_total", reason="budget") > 0.9 * CALLS
    else:
        assert len(server.requests) < 0.1 * CALLS
        assert observed.value("platform_http_rejections_total", reason="circuit_open") > 0.9 * CALLS


async def test_story_01_naive_retries_would_triple_it(observed: Observed) -> None:
    settings = {"circuit_breaker": {"mode": "off"}, "retry": {"budget": {"cost": 0}}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        await asyncio.gather(*(_status(session, server.url) for _ in range(50)))
    assert len(server.requests) == 150


async def test_story_04_a_retry_after_that_exceeds_the_deadline_is_not_slept_for(
    observed: Observed,
) -> None:
    settings = {"timeout": {"total": 10}, "retry": {"retry_after_max": 120}}
    busy = respond(503, headers={"Retry-After": "60"}, body=b"later")
    async with FaultServer([busy]) as server, observed.session(**settings) as session:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with session.get(server.url) as response:
            assert response.status == 503
            assert await response.read() == b"later"
        assert loop.time() - before < 1
    assert len(server.requests) == 1
    assert observed.value("platform_http_retry_stops_total", reason="deadline") == 1


@pytest.mark.parametrize(
    "value",
    [
        "9" * 400,
        "-1",
        "1e999",
        "nan",
        "inf",
        "",
        "soon",
        "\xb2",
        "Wed, 31 Feb 2026 25:61:61 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "0x10",
        "1_0",
    ],
)
async def test_story_05_a_hostile_retry_after_neither_raises_nor_delays(
    observed: Observed, value: str
) -> None:
    hostile = respond(503, headers={"Retry-After": value})
    async with FaultServer([hostile, respond(200)]) as server, observed.session() as session:
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with session.get(server.url) as response:
            assert response.status in (200, 503)
        assert loop.time() - before < 1
    assert len(server.requests) <= 2


async def test_story_06_a_post_that_times_out_after_it_was_sent_is_sent_once(
    observed: Observed,
) -> None:
    settings = {"timeout": {"attempt": 0.1}}
    async with FaultServer([hang(), respond(200)]) as server:
        async with observed.session(**settings) as session:
            with pytest.raises(AttemptTimeoutError):
                await session.post(server.url, data=b"pay")
    assert len(server.requests) == 1
    assert observed.value("platform_http_retry_stops_total", reason="not_idempotent") == 1


async def test_story_06_with_an_idempotency_key_it_is_resent_with_the_same_key(
    observed: Observed,
) -> None:
    settings = {"timeout": {"attempt": 0.1}}
    options = CallOptions(idempotency_key=True)
    async with FaultServer([hang(), respond(200)]) as server:
        async with observed.session(**settings) as session:
            async with session.post(server.url, data=b"pay", trace_request_ctx=options) as response:
                assert response.status == 200
    keys = [request.headers["Idempotency-Key"] for request in server.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert {request.body for request in server.requests} == {b"pay"}


async def test_story_07_a_post_whose_connection_was_refused_is_resent(observed: Observed) -> None:
    port = free_port()
    settings = {"retry": {"backoff_initial": 0.3, "backoff_max": 0.3}, "timeout": {"total": 20}}
    async with observed.session(**settings) as session:
        call = asyncio.create_task(session.post(f"http://127.0.0.1:{port}/", data=b"pay"))
        tokens = "platform_http_retry_budget_tokens"
        while not 0 < observed.value(tokens) < 100:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)
        async with FaultServer(port=port) as server:
            async with await call as response:
                assert response.status == 200
    assert [request.body for request in server.requests] == [b"pay"]


async def test_story_08_a_one_shot_body_over_64_kib_is_not_resent_and_the_error_is_kept(
    observed: Observed,
) -> None:
    async def body():
        for _ in range(100):
            yield b"x" * 1000

    async with FaultServer([reset(), respond(200)]) as server, observed.session() as session:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await session.put(server.url, data=body())
    assert [len(request.body) for request in server.requests] == [100_000]
    assert caught.value.__notes__[0].endswith("stopped: body_consumed")


async def test_story_09_a_thousand_big_503_bodies_leave_no_connection_acquired(
    observed: Observed,
) -> None:
    settings = {
        "circuit_breaker": {"mode": "off"},
        "retry": {"budget": {"cost": 0, "cost_timeout": 0}},
    }
    async with FaultServer([respond(503, body=b"x" * 200_000)]) as server:
        async with observed.session(**settings) as session:
            for _ in range(17):
                assert (
                    await asyncio.gather(*(_status(session, server.url) for _ in range(20)))
                    == [503] * 20
                )
            assert not session.connector._acquired
    assert len(server.requests) == 17 * 20 * 3 > CALLS
    observed.assert_quiet()


@pytest.mark.parametrize("kill", [reset(), close()])
async def test_story_10_a_server_that_kills_every_connection_sees_exactly_three_requests(
    observed: Observed, kill
) -> None:
    async with FaultServer([kill]) as server, observed.session() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(server.url)
        assert not session.connector._acquired
    assert len(server.requests) == server.connections == 3


def _chain(pause: float = 0.0):
    """Hops /0, /1, /2 …, each of which fails before it redirects."""
    seen: dict[str, int] = {}

    def script(request):
        seen[request.target] = seen.get(request.target, 0) + 1
        if seen[request.target] == 1:
            return delay(pause, respond(503))
        following = int(request.target.removeprefix("/")) + 1
        return delay(pause, respond(302, headers={"Location": f"/{following}"}))

    return script


async def test_story_11_a_redirect_chain_with_failures_has_one_attempt_cap(
    observed: Observed,
) -> None:
    async with FaultServer(_chain()) as server, observed.session() as session:
        async with session.get(server.url.with_path("/0")) as response:
            assert response.status == 503
            assert response.url.path == "/2"
    # Two resends in all, wherever they are needed.
    assert [request.target for request in server.requests] == ["/0", "/0", "/1", "/1", "/2"]
    assert observed.value("platform_http_retries_total") == 2


async def test_story_11_a_redirect_chain_with_failures_has_one_deadline(
    observed: Observed,
) -> None:
    settings = {"timeout": {"total": 0.35}, "retry": {"max_attempts": 5}}
    async with FaultServer(_chain(0.1)) as server, observed.session(**settings) as session:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(DeadlineExceededError):
            await session.get(server.url.with_path("/0"))
        assert loop.time() - before < 0.8
    assert len(server.requests) <= 4

"""Stories 26 and 28: credentials that change on the way, and middlewares that are left out."""

from __future__ import annotations

import asyncio
import itertools

import aiohttp
import pytest

from platform_http.errors import DeadlineExceededError, EgressDeniedError, PoolTimeoutError
from platform_http.testing import FakeClock, FaultServer
from platform_http.testing.actions import hang, partial_body, reset, respond
from tests.functional.conftest import Observed
from tests.token_server import token_server


async def test_story_26_a_token_that_is_refreshed_in_the_middle_of_a_retry_is_used_from_there_on(
    observed: Observed,
) -> None:
    tokens = iter(["old", "new"])

    async def authenticate(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = next(tokens)
        response = await handler(request)
        if response.status == 401:
            response.release()
            request.headers["Authorization"] = next(tokens)
            response = await handler(request)
        return response

    script = [respond(503), respond(401), respond(503), respond(200)]
    async with FaultServer(script) as server:
        async with observed.factory(middlewares=(authenticate,)) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 200
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["old", "old", "new", "new"]
    # Two resends of one call, the refresh not counted: the cap is one for both halves.
    assert observed.value("platform_http_retries_total") == 2
    assert observed.value("platform_http_calls_total") == 1
    # What is signed by us is fresh on every attempt.
    assert len({request.headers["traceparent"] for request in server.requests}) == 4


async def test_story_26_a_provider_signs_every_attempt_with_the_token_of_that_moment(
    observed: Observed,
) -> None:
    clock = FakeClock()
    script = {1: respond(503), 2: reset(), 3: respond(401), 4: respond(200)}

    def act(request):
        # Longer than a token lives.
        clock.advance(60)
        return script[len(api.requests)]

    async with token_server(lifetime=50) as tokens, FaultServer(act) as api:
        client = {"base_url": str(api.url), "auth": tokens.settings, "retry": {"max_attempts": 4}}
        async with observed.factory(clock=clock, **client) as factory:
            async with factory.session().get("x") as response:
                assert response.status == 200
    sent = [request.headers["Authorization"] for request in api.requests]
    assert sent == [f"Bearer canary-token-{number}" for number in (1, 2, 3, 4)]
    assert observed.value("platform_http_calls_total", client="default") == 1


async def test_story_26_what_stands_innermost_signs_every_attempt_afresh(
    observed: Observed,
) -> None:
    token = "old"
    numbers = itertools.count(1)

    async def sign(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"{token} {next(numbers)}"
        return await handler(request)

    def script(request):
        nonlocal token
        token = "new"
        return {1: respond(503), 2: reset(), 3: respond(200)}[len(server.requests)]

    async with FaultServer(script) as server, observed.session() as session:
        # Where credentials have their place on the path of a call: inside the attempt.
        session._middlewares = (*session._middlewares, sign)
        async with session.get(server.url) as response:
            assert response.status == 200
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["old 1", "new 2", "new 3"]


async def test_story_28_the_connector_guards_and_counts_what_leaves_the_middlewares_out(
    observed: Observed,
) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "timeout": {"total": 1, "attempt": 0.5, "pool": 0.05},
    }
    stalled = partial_body(b"x", content_length=100, then="hang")
    async with FaultServer([stalled]) as server, observed.session(**settings) as session:
        response = await session.get(server.url, middlewares=())
        with pytest.raises(PoolTimeoutError):
            await session.get(server.url, middlewares=())
        response.close()
    assert len(server.requests) == 1
    assert observed.value("platform_http_policy_bypass_total") == 1
    assert observed.value("platform_http_calls_total") == 2


async def test_story_28_the_deadline_holds_without_middlewares(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.session(timeout={"total": 0.2}) as session:
            async with asyncio.timeout(1):
                with pytest.raises(DeadlineExceededError):
                    await session.get(server.url, middlewares=())
    assert len(server.requests) == 1


async def test_story_28_the_egress_policy_holds_and_counts_without_middlewares(
    observed: Observed,
) -> None:
    metadata = "http://169.254.169.254/latest/meta-data/"
    script = [respond(307, headers={"Location": metadata})]
    async with FaultServer(script) as server, observed.session() as session:
        for sent, url in enumerate((metadata, server.url)):
            with pytest.raises(EgressDeniedError) as caught:
                await session.get(url, middlewares=())
            assert caught.value.reason == "link_local"
            assert caught.value.attempts == sent
    assert len(server.requests) == 1
    assert observed.value("platform_http_egress_denied_total", reason="link_local") == 2
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1
    assert observed.value("platform_http_calls_total", outcome="error") == 1

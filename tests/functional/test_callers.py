"""What callers and applications do, and what must not come of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings

import aiohttp
import pytest

from platform_http.call import CURRENT_CALL, Attempt, Call, CallOptions
from platform_http.settings.plain import PLAIN
from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body, respond
from tests.functional.conftest import Observed

PASSWORD = "proxy-passw0rd"
QUERY = "query-secret"
PARTS_OF_A_CALL = (Call, Attempt, aiohttp.ClientRequest, aiohttp.ClientResponse)


def _through(port: int) -> dict[str, object]:
    url = f"http://127.0.0.1:{port}"
    return {
        "proxy": {"url": url, "username": "someone", "password": PASSWORD},
        "retry": {"enabled": False},
    }


async def test_a_post_that_a_redirect_takes_to_another_origin_is_not_resent_there(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503), respond(200)]) as other:
        moved = respond(307, headers={"Location": str(other.url)})
        async with FaultServer([moved]) as server, observed.session() as session:
            options = CallOptions(idempotency_key=True)
            async with session.post(server.url, trace_request_ctx=options) as response:
                assert response.status == 503
    assert len(other.requests) == 1
    assert "Idempotency-Key" not in other.requests[0].headers


async def test_what_a_caller_calls_unsafe_is_not_resent_though_it_has_a_key(
    observed: Observed,
) -> None:
    options = CallOptions(idempotent=False, idempotency_key="k")
    async with FaultServer([respond(503), respond(200)]) as server, observed.session() as session:
        async with session.post(server.url, trace_request_ctx=options) as response:
            assert response.status == 503
    assert len(server.requests) == 1


async def test_a_failure_behind_a_proxy_shows_neither_its_password_nor_the_query(
    observed: Observed,
) -> None:
    async def body():
        yield b"x"
        raise ValueError("boom")

    async with FaultServer() as proxy, observed.session(**_through(proxy.port)) as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            await session.post(f"http://example.test/?token={QUERY}", data=body())
    shown = f"{caught.value} {caught.value!r} {caught.value.args}"
    assert PASSWORD not in shown
    assert QUERY not in shown


async def test_a_response_that_is_lost_behind_a_proxy_logs_no_password(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lost = partial_body(b"x", content_length=100, then="close")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with FaultServer([lost]) as proxy:
            async with observed.session(**_through(proxy.port)) as session:
                response = await session.get(f"http://example.test/?token={QUERY}")
                await asyncio.sleep(0.05)
                del response
                gc.collect()
                gc.collect()
    shown = f"{caplog.text} {[str(warning.message) for warning in warned]}"
    assert PASSWORD not in shown
    assert QUERY not in shown


async def test_a_callers_body_that_raises_says_nothing_of_the_server(observed: Observed) -> None:
    async def body():
        yield b"x"
        raise ValueError("boom")

    async with FaultServer() as server:
        async with observed.session(circuit_breaker={"minimum_calls": 3}) as session:
            for _ in range(4):
                with pytest.raises(aiohttp.ClientError) as caught:
                    await session.post(server.url, data=body())
                assert isinstance(caught.value.__cause__, ValueError)
    assert observed.value("platform_http_circuit_transitions_total") == 0
    assert observed.value("platform_http_calls_total", outcome="error", error_type="_OTHER") == 4


async def test_a_middleware_may_return_a_response_of_another_session(observed: Observed) -> None:
    async with FaultServer([respond(200, body=b"cached")]) as server:
        async with aiohttp.ClientSession() as cache:

            async def answer(request, handler):
                return await cache.get(request.url)

            async with observed.factory(middlewares=(answer,)) as factory:
                async with factory.session().get(server.url) as response:
                    assert await response.read() == b"cached"
    assert observed.value("platform_http_calls_total", outcome="success") == 1


async def test_the_status_of_a_request_made_on_the_way_is_not_that_of_the_call(
    observed: Observed,
) -> None:
    async with (
        FaultServer([respond(403)]) as tokens,
        FaultServer() as server,
        aiohttp.ClientSession(raise_for_status=True) as strict,
    ):

        async def authenticate(request, handler):
            async with strict.get(tokens.url):
                return await handler(request)

        async with observed.factory(middlewares=(authenticate,)) as factory:
            with pytest.raises(aiohttp.ClientResponseError):
                await factory.session().get(server.url)
    assert server.requests == []
    assert observed.value("platform_http_calls_total", outcome="success") == 0
    assert observed.value("platform_http_calls_total", outcome="error", error_type="403") == 1


class _Stop(BaseException):
    pass


async def test_a_hook_that_stops_the_program_leaves_no_attempt_open(observed: Observed) -> None:
    async def stop(*_: object) -> None:
        raise _Stop

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(stop)
    async with FaultServer() as server, observed.factory(trace_configs=(config,)) as factory:
        with pytest.raises(_Stop):
            await factory.session().get(server.url)
    observed.assert_quiet()
    assert len(observed.attempts) == 1


async def test_a_plain_session_inside_a_call_takes_nothing_from_it(observed: Observed) -> None:
    hops: list[int] = []
    async with FaultServer() as server, observed.factory(**PLAIN) as plain:

        async def fetch_token(request, handler):
            async with plain.session().get(server.url.with_path("/token")):
                pass
            call = CURRENT_CALL.get()
            assert call is not None
            hops.append(call.hops)
            return await handler(request)

        async with observed.factory(middlewares=(fetch_token,)) as factory:
            options = CallOptions(idempotency_key="k")
            async with factory.session().post(server.url, trace_request_ctx=options):
                pass
    token, post = server.requests
    assert token.target == "/token"
    assert "Idempotency-Key" not in token.headers
    assert post.headers["Idempotency-Key"] == "k"
    assert hops == [1]


async def test_a_call_that_succeeds_leaves_nothing_to_the_garbage_collector(
    observed: Observed,
) -> None:
    async with FaultServer([respond(200, body=b"x")]) as server, observed.session() as session:

        async def calls(count: int) -> None:
            for _ in range(count):
                async with session.get(server.url) as response:
                    await response.read()

        await calls(2)
        gc.collect()
        gc.disable()
        try:
            # So many that the loop forgets the cancelled timers of most, with their contexts.
            await calls(300)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = [type(thing) for thing in gc.garbage if isinstance(thing, PARTS_OF_A_CALL)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert found == []


async def test_a_middleware_that_sends_a_request_elsewhere_begins_no_hop(
    observed: Observed,
) -> None:
    calls = []

    async def elsewhere(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType):
        request.url = other.url
        request.update_host(request.url)
        request.update_headers([("Host", "elsewhere"), ("X-Key", "k")])
        request.update_cookies({"name": "value"})
        request.update_content_encoding(None)
        request.update_proxy(None, None, None)
        calls.append(request.call)
        return await handler(request)

    moved = respond(302, headers={"Location": "/again"})
    async with FaultServer() as server, FaultServer([moved, respond(200)]) as other:
        settings = {"base_url": str(server.url), "headers": {"X-Key": "k"}}
        async with (
            observed.factory(middlewares=(elsewhere,), **settings) as factory,
            factory.session().get("/") as response,
        ):
            assert response.status == 200
    assert server.requests == []
    assert [request.headers["X-Key"] for request in other.requests] == ["k", "k"]
    assert [request.headers["Cookie"] for request in other.requests] == ["name=value"] * 2
    assert [call.hops for call in calls] == [2, 2]


async def test_a_session_has_one_trace_config_unless_the_application_adds_some(
    observed: Observed,
) -> None:
    theirs = aiohttp.TraceConfig()
    async with observed.session() as session:
        assert len(session.trace_configs) == 1
    async with observed.factory(trace_configs=(theirs,)) as factory:
        configs = factory.session().trace_configs
        assert [config is theirs for config in configs] == [False, True, False]

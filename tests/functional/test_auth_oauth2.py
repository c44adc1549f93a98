"""OAuth2 client credentials against a real token server."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from platform_http.call import CallOptions, deadline
from platform_http.errors import AuthenticationError, DeadlineExceededError
from platform_http.testing import FakeClock, FaultServer
from tests.functional.conftest import Observed
from tests.token_server import TokenServer, token_server

REFRESHES = "platform_http_token_refreshes_total"


async def _get(session: aiohttp.ClientSession, url: str = "x", **options: object) -> int:
    async with session.get(url, **options) as response:
        await response.read()
        return response.status


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a server and metrics have no event to wait for
            await asyncio.sleep(0.01)


def _client(server: TokenServer, **settings: object) -> dict[str, object]:
    return {"base_url": server.api, "auth": server.settings, **settings}


async def test_a_token_is_fetched_once_and_presented_on_every_request(observed: Observed) -> None:
    async with token_server() as server:
        auth = {**server.settings, "scope": "read write", "audience": "https://api.test"}
        async with observed.session(base_url=server.api, auth=auth) as session:
            assert [await _get(session) for _ in range(3)] == [200, 200, 200]
    assert server.presented == ["Bearer canary-token-1"] * 3
    assert server.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "read write",
            "audience": "https://api.test",
        }
    ]
    assert observed.value(REFRESHES, client="default", result="success") == 1
    # The fetch is a call and an attempt of its own, under a label of its own.
    calls = "platform_http_calls_total"
    assert observed.value(calls, client="auth", operation="token", outcome="success") == 1
    assert observed.value(calls, client="default") == 3
    assert observed.value("http_client_request_duration_seconds_count", client="auth") == 1
    assert observed.value("platform_http_policy_bypass_total") == 0
    fetch = next(
        span for span in observed.attempts if span.attributes["service.peer.name"] == "auth"
    )
    assert fetch.attributes["http.request.method"] == "POST"
    assert fetch.context.trace_id not in {span.context.trace_id for span in observed.calls[1:]}
    observed.assert_quiet()


async def test_the_token_endpoint_gets_nothing_that_is_meant_for_the_api(
    observed: Observed,
) -> None:
    seen = []

    async def record(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.url.path)
        return await handler(request)

    async with token_server() as server:
        client = _client(server, headers={"X-Api-Key": "canary-key"})
        async with observed.factory(middlewares=(record,), **client) as factory:
            assert await _get(factory.session()) == 200
    assert seen == ["/api/x"]
    assert "X-Api-Key" not in server.headers[0]
    assert "X-Request-Attempt" not in server.headers[0]


async def test_a_thousand_callers_cause_one_refresh(observed: Observed) -> None:
    clock = FakeClock()
    async with token_server() as server:
        server.gate.clear()
        # A thousand connect and queue at once: on a busy machine that takes seconds.
        patient = {"total": 60, "attempt": 50, "connect": 20, "pool": 20}
        client = _client(server, concurrency={"limit": 0}, timeout=patient)
        async with observed.factory(clock=clock, **client) as factory:
            session = factory.session()
            calls = [asyncio.create_task(_get(session)) for _ in range(1000)]
            await _until(lambda: server.issued)
            server.gate.set()
            assert set(await asyncio.gather(*calls)) == {200}
            server.revoke()
            clock.advance(2)
            calls = [asyncio.create_task(_get(session)) for _ in range(200)]
            assert set(await asyncio.gather(*calls)) == {200}
    assert server.issued == 2
    assert observed.value(REFRESHES, result="success") == 2


async def test_a_token_is_refreshed_ahead_of_its_end_while_the_old_one_is_used(
    observed: Observed,
) -> None:
    clock = FakeClock()
    async with token_server(lifetime=100) as server:
        async with observed.factory(clock=clock, **_client(server)) as factory:
            session = factory.session()
            await _get(session)
            clock.advance(91)
            server.gate.clear()
            # The refresh hangs, and nobody waits for it.
            assert [await _get(session) for _ in range(3)] == [200] * 3
            server.gate.set()
            await _until(lambda: observed.value(REFRESHES) == 2)
            await _get(session)
    numbers = [each.removeprefix("Bearer canary-token-") for each in server.presented]
    assert numbers == ["1", "1", "1", "1", "2"]
    assert server.issued == 2


async def test_the_old_token_is_used_while_refreshes_fail(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    async with token_server(lifetime=100) as server:
        async with observed.factory(clock=clock, **_client(server)) as factory:
            session = factory.session()
            await _get(session)
            server.status = 400
            clock.advance(91)
            assert await _get(session) == 200
            await _until(lambda: observed.value(REFRESHES, result="failure"))
            # Within the pause no call asks again.
            assert [await _get(session) for _ in range(3)] == [200] * 3
            assert server.issued == 2
            clock.advance(5)
            with pytest.raises(AuthenticationError, match="answered 400"):
                await _get(session)
            with pytest.raises(AuthenticationError, match=r"the next refresh is due in \d"):
                await _get(session)
            server.status = 200
            clock.advance(2)
            assert await _get(session) == 200
    assert "client default got no token: the token endpoint at http://127.0.0.1" in caplog.text
    assert "canary" not in caplog.text


async def test_without_a_token_the_call_fails_and_nothing_else_suffers(observed: Observed) -> None:
    async with token_server(status=500) as server:
        client = _client(server, circuit_breaker={"minimum_calls": 1}, retry={"enabled": True})
        async with observed.factory(**client) as factory:
            session = factory.session()
            with pytest.raises(AuthenticationError, match="answered 500") as caught:
                await _get(session)
            assert isinstance(caught.value, aiohttp.ClientError)
    assert server.presented == []
    assert observed.value("platform_http_circuit_state", client="default", state="open") == 0
    assert observed.value("platform_http_retries_total", client="default") == 0
    assert (
        observed.value("platform_http_calls_total", client="default", error_type="auth_error") == 1
    )
    assert observed.value(REFRESHES, result="failure") == 1


async def test_a_blip_of_the_token_endpoint_is_retried_by_the_refresh_itself(
    observed: Observed,
) -> None:
    granted = {"access_token": "t", "token_type": "Bearer", "expires_in": 60}
    answers = [web.Response(status=503), web.json_response(granted)]
    async with token_server(answer=lambda: answers.pop(0)) as server:
        server.valid.add("t")
        async with observed.session(**_client(server)) as session:
            assert await _get(session) == 200
    assert server.issued == 2
    assert observed.value(REFRESHES, result="success") == 1
    assert observed.value(REFRESHES, result="failure") == 0


async def test_a_401_after_a_revocation_is_answered_with_a_new_token_once(
    observed: Observed,
) -> None:
    clock = FakeClock()
    async with token_server() as server:
        async with observed.factory(clock=clock, **_client(server)) as factory:
            session = factory.session()
            await _get(session)
            server.revoke()
            clock.advance(2)
            async with session.post("x", data=b"payload") as response:
                assert response.status == 200
                assert await response.text() == "ok"
    assert server.bodies == [b"", b"payload", b"payload"]
    assert server.presented[1:] == ["Bearer canary-token-1", "Bearer canary-token-2"]
    assert observed.value("platform_http_retries_total", reason="401") == 1
    assert observed.value("platform_http_retry_budget_tokens", client="default") == 100
    assert [span.attributes.get("http.request.resend_count") for span in observed.attempts][-1] == 1


async def test_a_server_that_refuses_every_token_is_asked_twice_per_call_at_most(
    observed: Observed,
) -> None:
    clock = FakeClock()
    async with token_server() as server:
        async with observed.factory(clock=clock, **_client(server)) as factory:
            session = factory.session()
            await _get(session)
            server.answer = lambda: web.json_response(
                {"access_token": f"useless-{server.issued}", "token_type": "Bearer"}
            )
            server.revoke()
            clock.advance(2)
            async with session.get("x") as response:
                assert response.status == 401
                assert await response.text() == "who are you?"
            assert server.refused == 2
            assert server.issued == 2
            # The new token is hardly old enough to have been revoked.
            assert await _get(session) == 401
    assert server.refused == 3
    assert server.issued == 2


@pytest.mark.parametrize(
    "why", ["one attempt", "one-shot body", "no retries", "no token to be had"]
)
async def test_a_401_that_cannot_be_answered_is_returned_and_the_next_call_has_a_new_token(
    observed: Observed, why: str
) -> None:
    async def stream():
        yield b"x" * 10

    options: dict[str, object] = {}
    if why == "one attempt":
        options["trace_request_ctx"] = CallOptions(max_attempts=1)
    if why == "one-shot body":
        options["data"] = stream()
    clock = FakeClock()
    async with token_server() as server:
        client = _client(server, retry={"enabled": why != "no retries"})
        async with observed.factory(clock=clock, **client) as factory:
            session = factory.session()
            await _get(session)
            server.revoke()
            clock.advance(2)
            server.status = 400 if why == "no token to be had" else 200
            async with session.post("x", **options) as response:
                assert response.status == 401
                assert await response.text() == "who are you?"
            server.status = 200
            clock.advance(2)
            assert await _get(session) == 200
    assert server.refused == 1
    observed.assert_quiet()


async def test_a_cancelled_caller_leaves_the_refresh_to_the_others(observed: Observed) -> None:
    async with token_server() as server:
        server.gate.clear()
        async with observed.session(**_client(server)) as session:
            first = asyncio.create_task(_get(session))
            await _until(lambda: server.issued)
            second = asyncio.create_task(_get(session))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            server.gate.set()
            assert await second == 200
    assert server.issued == 1
    assert observed.value("platform_http_calls_total", client="default", outcome="cancelled") == 1


async def test_a_slow_token_endpoint_costs_the_caller_its_deadline_and_nobody_a_permit(
    observed: Observed,
) -> None:
    async with token_server() as server:
        server.gate.clear()
        client = _client(
            server,
            timeout={"total": 0.3, "attempt": 0.1},
            concurrency={"limit": 1},
            circuit_breaker={"minimum_calls": 1},
        )
        async with observed.session(**client) as session:
            with deadline(0.2), pytest.raises(DeadlineExceededError):
                await _get(session)
            assert observed.value("platform_http_concurrency_in_use", client="default") == 0
            # The attempt timeout does not run meanwhile, and the refresh outlives the call.
            waiting = asyncio.create_task(_get(session))
            await asyncio.sleep(0.15)
            server.gate.set()
            assert await waiting == 200
    assert server.issued == 1
    assert observed.value("platform_http_circuit_transitions_total") == 0


async def test_closing_the_factory_ends_the_refresh_in_flight(observed: Observed) -> None:
    async with token_server() as server:
        server.gate.clear()
        async with observed.factory(**_client(server)) as factory:
            call = asyncio.create_task(_get(factory.session()))
            await _until(lambda: server.issued)
            await factory.aclose(grace=0)
            with pytest.raises(AuthenticationError, match="closing"):
                await call


async def test_a_running_call_gets_its_token_while_the_factory_is_closing(
    observed: Observed,
) -> None:
    async with token_server() as server:
        async with observed.factory(**_client(server)) as factory:
            server.gate.clear()
            call = asyncio.create_task(_get(factory.session()))
            await _until(lambda: server.issued)
            closing = asyncio.create_task(factory.aclose())
            await asyncio.sleep(0.01)
            server.gate.set()
            assert await call == 200
            await closing


async def test_the_token_endpoint_does_not_redirect(observed: Observed) -> None:
    async with FaultServer() as thief, token_server() as server:
        server.answer = lambda: web.Response(status=307, headers={"Location": str(thief.url)})
        async with observed.session(**_client(server)) as session:
            with pytest.raises(AuthenticationError, match="answered 307"):
                await _get(session)
    assert thief.requests == []


async def test_the_egress_policy_judges_the_token_endpoint(observed: Observed) -> None:
    async with token_server() as server:
        egress = {"mode": "allowlist", "allowed_hosts": ["localhost"], "denied_hosts": []}
        client = _client(server, egress=egress)
        client["base_url"] = server.api.replace("127.0.0.1", "localhost")
        async with observed.session(**client) as session:
            with pytest.raises(AuthenticationError, match="egress policy") as caught:
                await _get(session)
    assert server.issued == 0
    assert "canary" not in f"{caught.value!r} {caught.value}"
    assert observed.value("platform_http_egress_denied_total", client="auth") == 1


async def test_an_endpoint_that_is_away_is_named_without_its_path(observed: Observed) -> None:
    async with token_server() as server:
        client = _client(server)
    async with observed.session(**client) as session:
        with pytest.raises(AuthenticationError) as caught:
            await _get(session)
    assert f"the token endpoint at {server.url} gave no answer: connection_error" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"x" * 100_000, "larger than 65536 bytes"),
        (b'["canary"]', "no JSON object"),
        (b'{"access_token": "canary", "token_type": "mac"}', "token_type is not bearer"),
    ],
)
async def test_an_answer_that_is_none_is_not_quoted(
    observed: Observed, caplog: pytest.LogCaptureFixture, body: bytes, what: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with token_server(answer=lambda: web.Response(body=body)) as server:
        async with observed.session(**_client(server)) as session:
            with pytest.raises(AuthenticationError, match=what) as caught:
                await _get(session)
    assert "canary" not in str(caught.value)
    assert "canary" not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("platform_http")
    )


async def test_no_token_and_no_secret_is_seen_from_outside(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "platform_http")
    clock = FakeClock()
    errors: list[BaseException] = []
    async with token_server(lifetime=100) as server:
        async with observed.factory(clock=clock, **_client(server)) as factory:
            session = factory.session()
            await _get(session)
            server.revoke()
            clock.advance(2)
            async with session.get("x") as response:
                assert response.status == 200
            for status in (401, 500):
                clock.advance(200)
                server.status = status
                with pytest.raises(AuthenticationError) as caught:
                    await _get(session)
                errors.append(caught.value)
    seen = [
        *("".join(traceback.format_exception(error)) for error in errors),
        *(repr(error) for error in errors),
        *(span.to_json() for span in observed.spans),
        *(f"{record.getMessage()} {vars(record)}" for record in caplog.records),
        generate_latest(observed.registry).decode(),
    ]
    assert server.presented
    assert caplog.records
    login = server.headers[0]["Authorization"].removeprefix("Basic ")
    for secret in ("canary", login):
        assert not [text for text in seen if secret in text]

"""The life of a factory: what it shares, and how it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from platform_http.errors import FactoryClosedError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings, plain_settings
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, hang, partial_body, respond
from platform_http.timers import Timers
from platform_http.transport import tls
from tests.functional.conftest import Observed


async def test_a_second_session_with_the_same_settings_makes_no_ssl_context(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    original = tls.build_context

    def counted(profile: tls.TlsProfile):
        built.append(profile)
        return original(profile)

    monkeypatch.setattr(tls, "build_context", counted)
    async with observed.factory() as factory:
        first = factory.session("a").connector
        second = factory.session("b").connector
        assert first._ssl is second._ssl
    before = len(built)
    async with observed.factory() as factory:
        factory.session("c")
    assert len(built) == before <= 1


def test_the_first_session_loads_no_module() -> None:
    # Reading modules takes longer than all else that a session does, and it does it in the loop.
    script = """
import asyncio, sys
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings

async def main():
    async with SessionFactory(HttpSettings()) as factory:
        before = set(sys.modules)
        factory.session()
        print(sorted(set(sys.modules) - before))

asyncio.run(main())
"""
    run = [sys.executable, "-W", "error", "-c", script]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "[]\n"


async def test_clients_that_are_seldom_called_keep_no_timer_each(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    original = loop.call_at
    armed = []

    def counted(when: float, callback: Callable[..., object], *args: object, **kwargs: object):
        if isinstance(getattr(callback, "__self__", None), Timers):
            armed.append(when)
        return original(when, callback, *args, **kwargs)

    async with FaultServer() as server, observed.factory() as factory:
        sessions = [factory.session(f"client{number}") for number in range(20)]
        monkeypatch.setattr(loop, "call_at", counted)
        for session in sessions:
            async with session.get(server.url) as response:
                await response.read()
    assert len(armed) == 1


async def test_running_calls_may_finish_and_new_ones_are_refused(observed: Observed) -> None:
    async with FaultServer([delay(0.2, respond(200, body=b"done"))]) as server:
        async with observed.factory() as factory:
            session = factory.session()

            async def call() -> bytes:
                async with session.get(server.url) as response:
                    return await response.read()

            running = asyncio.create_task(call())
            await server.wait_until(lambda: server.requests)
            closing = asyncio.create_task(factory.aclose())
            await asyncio.sleep(0.01)
            with pytest.raises(FactoryClosedError):
                await session.get(server.url)
            assert await running == b"done"
            await closing
    assert len(server.requests) == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1


async def test_a_running_call_may_still_follow_its_redirect(observed: Observed) -> None:
    def script(request):
        moved = delay(0.1, respond(302, headers={"Location": "/new"}))
        return moved if request.target == "/old" else respond(200)

    async with FaultServer(script) as server, observed.factory() as factory:
        running = asyncio.create_task(factory.session().get(server.url.with_path("/old")))
        await server.wait_until(lambda: server.requests)
        closing = asyncio.create_task(factory.aclose())
        response = await running
        assert response.status == 200
        await closing


@pytest.mark.closes_in_flight
async def test_calls_that_outlive_the_grace_end_with_an_error(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.factory(retry={"enabled": False}) as factory:
            session = factory.session()
            running = asyncio.create_task(session.get(server.url))
            await server.wait_until(lambda: server.requests)
            loop = asyncio.get_running_loop()
            before = loop.time()
            await factory.aclose(grace=0.1)
            assert loop.time() - before < 1
            with pytest.raises(aiohttp.ClientError):
                await running


@pytest.mark.closes_in_flight
async def test_calls_that_wait_for_the_pool_are_told_that_the_factory_closed(
    observed: Observed,
) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "timeout": {"total": 10, "attempt": 8, "pool": 5},
    }
    async with FaultServer([hang()]) as server, observed.factory(**settings) as factory:
        session = factory.session()
        first = asyncio.create_task(session.get(server.url))
        await server.wait_until(lambda: server.requests)
        second = asyncio.create_task(session.get(server.url))
        await asyncio.sleep(0.01)
        await factory.aclose(grace=0)
        with pytest.raises(FactoryClosedError):
            await second
        with pytest.raises(aiohttp.ClientError):
            await first
        assert not second.cancelled()


async def test_an_unread_body_holds_the_drain_until_it_is_released(observed: Observed) -> None:
    async with FaultServer([partial_body(b"x", content_length=100, then="hang")]) as server:
        async with observed.factory() as factory:
            response = await factory.session().get(server.url)
            closing = asyncio.create_task(factory.aclose())
            await asyncio.sleep(0.05)
            assert not closing.done()
            response.release()
            await closing


async def test_closing_twice_and_without_sessions_is_fine(observed: Observed) -> None:
    factory = SessionFactory(HttpSettings(), registry=observed.registry)
    await factory.aclose()
    async with factory:
        await factory.aclose()
        await factory.aclose()
    with pytest.raises(RuntimeError, match="entered once"):
        await factory.__aenter__()


async def test_the_plain_profile_is_a_bare_session_but_for_the_hidden_resend(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503, headers={"Set-Cookie": "a=1"})]) as server:
        async with SessionFactory(plain_settings(), registry=observed.registry) as factory:
            session = factory.session()
            assert session._middlewares == ()
            assert session.trace_configs == []
            assert session.timeout.total == 300
            async with session.get(server.url) as response:
                assert response.status == 503
    assert len(server.requests) == 1
    assert observed.value("http_client_request_duration_seconds_count") == 0


async def test_event_loop_lag_is_measured_while_a_factory_is_open(observed: Observed) -> None:
    async with observed.factory():
        await asyncio.sleep(0.8)
        assert observed.value("platform_http_event_loop_lag_seconds_count") >= 1


def test_a_session_that_is_made_outside_of_a_coroutine_says_where_to_make_it() -> None:
    factory = SessionFactory(HttpSettings(), registry=CollectorRegistry())
    with asyncio.Runner() as runner:
        runner.run(factory.__aenter__())
        # As a synchronous fixture does, between two runs of its loop.
        with pytest.raises(RuntimeError, match="in a test from an `async def` fixture"):
            factory.session()
        runner.run(factory.aclose())

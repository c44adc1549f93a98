"""What running calls see of a factory, or a session, that closes."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from platform_http.call import CURRENT_CALL, client_of
from platform_http.errors import FactoryClosedError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, hang, partial_body, respond
from tests.functional.backoffs import backing_off
from tests.functional.conftest import Observed


@pytest.mark.closes_in_flight
@pytest.mark.parametrize("count", [1, 30])
async def test_calls_under_which_the_factory_closes_end_at_once_and_blame_nobody(
    observed: Observed, count: int
) -> None:
    settings = {
        "pool": {"limit_per_host": 40},
        "circuit_breaker": {"minimum_calls": 1},
        "retry": {"backoff_initial": 0.01, "backoff_max": 0.01},
    }
    async with FaultServer([hang()]) as server, observed.factory(**settings) as factory:
        session = factory.session()
        running = [asyncio.create_task(session.get(server.url)) for _ in range(count)]
        await server.wait_until(lambda: len(server.requests) == count)
        await factory.aclose(grace=0)
        async with asyncio.timeout(1):
            results = await asyncio.gather(*running, return_exceptions=True)
        assert [type(result) for result in results] == [FactoryClosedError] * count
        assert {result.attempts for result in results} == {1}
        assert len(server.requests) == server.connections == count
    assert observed.value("platform_http_circuit_transitions_total") == 0
    assert observed.value("platform_http_retries_total") == 0
    observed.assert_quiet()


@pytest.mark.closes_in_flight
async def test_a_503_at_hand_is_returned_when_the_factory_closes_during_the_backoff(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503)]) as server, backing_off(0.2, observed) as factory:
        running = asyncio.create_task(factory.session().get(server.url))
        await server.wait_until(lambda: server.requests)
        await asyncio.sleep(0.02)
        await factory.aclose(grace=0)
        assert (await running).status == 503
    assert len(server.requests) == server.connections == 1


@pytest.mark.closes_in_flight
async def test_closing_wakes_whoever_reads_a_body(observed: Observed) -> None:
    stalled = partial_body(b"x", content_length=100, then="hang")
    async with FaultServer([stalled]) as server:
        async with observed.factory(timeout={"total": 5, "read": 5}) as factory:
            response = await factory.session().get(server.url)
            reader = asyncio.create_task(response.read())
            await asyncio.sleep(0.02)
            await factory.aclose(grace=0)
            with pytest.raises(aiohttp.ClientError):
                async with asyncio.timeout(1):
                    await reader


async def test_a_running_call_may_still_make_the_calls_that_it_needs(observed: Observed) -> None:
    session: aiohttp.ClientSession

    async def refresh_after(request, handler):
        response = await handler(request)
        if request.url.path == "/outer":
            async with session.get(request.url.with_path("/inner")):
                pass
        return response

    async with FaultServer([delay(0.05, respond())]) as server:
        async with observed.factory(middlewares=(refresh_after,)) as factory:
            session = factory.session()
            running = asyncio.create_task(session.get(server.url.with_path("/outer")))
            await server.wait_until(lambda: server.requests)
            closing = asyncio.create_task(factory.aclose())
            response = await running
            assert response.status == 200
            response.release()
            await closing
    assert [request.target for request in server.requests] == ["/outer", "/inner"]


@pytest.mark.closes_in_flight
async def test_a_session_that_its_user_closes_ends_calls_with_an_error_and_no_cancel(
    observed: Observed,
) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "concurrency": {"limit": 0},
        "timeout": {"total": 10, "attempt": 8, "pool": 5},
    }
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        sent = asyncio.create_task(session.get(server.url))
        await server.wait_until(lambda: server.requests)
        waiting = asyncio.create_task(session.get(server.url))
        await asyncio.sleep(0.02)
        await session.close()
        results = await asyncio.gather(sent, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [FactoryClosedError] * 2
    assert observed.value("platform_http_calls_total", outcome="cancelled") == 0


async def test_a_client_that_is_given_more_time_gets_it(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_SHUTDOWN__GRACE", "0")
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__PATIENT__SHUTDOWN__GRACE", "5")
    async with FaultServer([delay(0.1, respond(200))]) as server:
        async with SessionFactory(HttpSettings(), registry=observed.registry) as factory:
            running = asyncio.create_task(factory.session("patient").get(server.url))
            await server.wait_until(lambda: server.requests)
            closing = asyncio.create_task(factory.aclose())
            response = await running
            assert response.status == 200
            response.release()
            await closing


@pytest.mark.closes_in_flight
async def test_a_client_that_is_given_less_time_is_not_waited_for(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_SHUTDOWN__GRACE", "5")
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__HASTY__SHUTDOWN__GRACE", "0.05")
    async with FaultServer([hang()]) as server:
        async with SessionFactory(HttpSettings(), registry=observed.registry) as factory:
            running = asyncio.create_task(factory.session("hasty").get(server.url))
            await server.wait_until(lambda: server.requests)
            async with asyncio.timeout(1):
                await factory.aclose()
            with pytest.raises(FactoryClosedError):
                await running


async def test_resolvers_are_closed_with_their_factory(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []

    async def close(resolver: aiohttp.ThreadedResolver) -> None:
        closed.append(resolver)

    monkeypatch.setattr(aiohttp.ThreadedResolver, "close", close)
    async with observed.factory() as factory:
        for name in ("a", "b"):
            factory.session(name)
        assert closed == []
    assert len(closed) == len(set(map(id, closed))) == 2


async def test_nothing_of_a_call_stays_behind_once_everything_is_closed(
    observed: Observed,
) -> None:
    async with FaultServer() as server, observed.session() as session:
        async with session.get(server.url):
            pass
    assert CURRENT_CALL.get() is None
    observed.assert_quiet()


async def test_what_was_counted_is_carried_over_where_a_session_fails_to_close(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise OSError("no end")

    told = []

    def tell(observer: object) -> None:
        told.append(observer)

    with pytest.raises(OSError, match="no end"):
        async with observed.factory() as factory:
            session = factory.session()
            client = client_of(session)
            assert client is not None
            monkeypatch.setattr(type(client.observer), "session_closed", tell)
            monkeypatch.setattr(session._connector, "close", fail)
    monkeypatch.undo()
    await session.close()
    assert told == [client.observer]

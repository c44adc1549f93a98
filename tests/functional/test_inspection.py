"""What a factory tells of its clients while they work."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from platform_http import HttpSettings, SessionFactory, plain_settings
from platform_http.call import Origin
from platform_http.inspection import SHOWN_ORIGINS
from platform_http.policies.circuit_breaker import State
from tests.web.conftest import running


def _factory(**settings: object) -> SessionFactory:
    return SessionFactory(HttpSettings(**settings), registry=CollectorRegistry())


async def test_a_factory_without_sessions_has_nothing_to_tell() -> None:
    async with _factory() as factory:
        assert list(factory.inspect()) == []
    assert list(factory.inspect()) == []


async def test_calls_connections_permits_and_waits_are_counted() -> None:
    async def wait(_: web.Request) -> web.Response:
        await may_answer.wait()
        return web.Response()

    may_answer = asyncio.Event()
    upstream = web.Application()
    upstream.router.add_get("/", wait)
    settings = {
        "pool": {"limit": 2, "limit_per_host": 2},
        "concurrency": {"limit": 2},
        "rate_limit": {"rate": 100},
    }
    async with running(upstream) as url, _factory(**settings) as factory:
        client = factory.session()
        calls = [asyncio.create_task(client.get(url)) for _ in range(3)]
        async with asyncio.timeout(10):
            while (busy := next(factory.inspect())).pool.active < 2:  # noqa: ASYNC110 - it is polled
                await asyncio.sleep(0.01)
        may_answer.set()
        for call in calls:
            async with await call:
                pass
        (rested,) = factory.inspect()
        factory._clients["default"].closing = True
        assert next(factory.inspect()).closing
    assert (busy.name, busy.in_flight) == ("default", 3)
    assert (busy.pool.active, busy.pool.limit, busy.pool.limit_per_host) == (2, 2, 2)
    (origin,) = busy.origins
    assert origin.origin == Origin("http", "127.0.0.1", url.port)
    assert (origin.in_use, origin.waiting, busy.concurrency_limit) == (2, 1, 2)
    # Nothing was paid from it or into it yet.
    assert (origin.budget, busy.budget_capacity) == (None, 100)
    assert origin.next_token == 0
    assert rested.in_flight == 0
    assert (rested.pool.active, rested.pool.idle, rested.pool.waiting) == (0, 2, 0)


async def test_whoever_waits_for_a_connection_is_counted() -> None:
    async def wait(_: web.Request) -> web.Response:
        await may_answer.wait()
        return web.Response()

    may_answer = asyncio.Event()
    upstream = web.Application()
    upstream.router.add_get("/", wait)
    settings = {"pool": {"limit": 1}, "concurrency": {"limit": 0}, "timeout": {"pool": 3}}
    async with running(upstream) as url, _factory(**settings) as factory:
        calls = [asyncio.create_task(factory.session().get(url)) for _ in range(2)]
        async with asyncio.timeout(10):
            while not next(factory.inspect()).pool.waiting:  # noqa: ASYNC110 - it is polled
                await asyncio.sleep(0.01)
        (origin,) = next(factory.inspect()).origins
        may_answer.set()
        for call in calls:
            async with await call:
                pass
    assert (origin.in_use, origin.next_token) == (None, None)


async def test_a_connection_that_the_server_dropped_is_not_idle() -> None:
    upstream = web.Application()
    upstream.router.add_get("/", _answer)
    async with _factory() as factory:
        async with running(upstream) as url:
            async with factory.session().get(url):
                pass
            assert next(factory.inspect()).pool.idle == 1
        async with asyncio.timeout(10):
            while next(factory.inspect()).pool.idle:  # noqa: ASYNC110 - it is polled
                await asyncio.sleep(0.01)


async def _answer(_: web.Request) -> web.Response:
    return web.Response()


async def test_the_worst_origins_come_first_and_the_rest_is_counted() -> None:
    async with _factory(circuit_breaker={"minimum_calls": 1}) as factory:
        factory.session()
        (registries,) = factory._registries.values()
        for number in range(SHOWN_ORIGINS + 3):
            registries.budgets.get(Origin("http", f"host{number}.test", 80))
        worst = Origin("http", "host52.test", 80)
        registries.breakers.get(worst).force_open()
        poor = Origin("http", "host51.test", 80)
        registries.budgets.get(poor).spend(timeout=True)
        registries.limits.get(Origin("http", "never-resent.test", 80))
        (client,) = factory.inspect()
    assert len(client.origins) == SHOWN_ORIGINS
    assert client.origins_left_out == 4
    assert client.origins[0].origin == worst
    assert client.origins[0].circuit.state is State.OPEN
    assert client.origins[1].origin == poor


async def test_a_client_without_any_policy_has_a_pool() -> None:
    async with SessionFactory(plain_settings(), registry=CollectorRegistry()) as factory:
        factory.session()
        (client,) = factory.inspect()
    assert client.origins == ()
    assert client.pool.limit == 100


async def test_looking_makes_no_policy_and_uses_none() -> None:
    async with _factory() as factory:
        client = factory.session()
        with contextlib.suppress(aiohttp.ClientError):
            await client.get("http://127.0.0.1:9/")
        (registries,) = factory._registries.values()
        before = [len(each) for each in (registries.budgets, registries.breakers)]
        assert len(list(factory.inspect())) == 1
        assert [len(each) for each in (registries.budgets, registries.breakers)] == before

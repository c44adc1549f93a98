"""A handler's calls end before its caller has given up."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from platform_http import DeadlineExceededError, HttpSettings
from platform_http.web import session, setup
from tests.web.conftest import running

HEADER = "X-Request-Timeout-Ms"


async def _report(request: web.Request) -> web.Response:
    """Answer with the time that this request says is left, in seconds."""
    return web.json_response(int(request.headers[HEADER]) / 1000)


async def _relay(request: web.Request) -> web.Response:
    async with session(request, "billing").get("") as response:
        return web.json_response(await response.json())


async def _left(url: URL, *values: str, name: str = HEADER) -> float:
    headers = [(name, value) for value in values]
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        assert response.status == 200
        return float(await response.json())


def _app(upstream: URL, registry, **settings: object) -> web.Application:
    app = web.Application()
    clients = {"billing": {"base_url": str(upstream)}}
    setup(app, HttpSettings(clients=clients, **settings), registry=registry)
    app.router.add_get("/", _relay)
    return app


def _upstream() -> web.Application:
    app = web.Application()
    app.router.add_get("/", _report)
    return app


async def test_the_inbound_header_bounds_outbound_calls(registry) -> None:
    async with running(_upstream()) as upstream, running(_app(upstream, registry)) as url:
        assert 9.0 < await _left(url) <= 10.0
        assert 2.0 < await _left(url, "3000") <= 3.0


async def test_it_only_shortens(registry) -> None:
    async with running(_upstream()) as upstream, running(_app(upstream, registry)) as url:
        assert await _left(url, "60000") <= 10.0


async def test_the_shortest_of_several_counts(registry) -> None:
    async with running(_upstream()) as upstream, running(_app(upstream, registry)) as url:
        assert await _left(url, "8000", "3000", "x") <= 3.0


@pytest.mark.parametrize("value", ["", "0", "-5", "soon", "1e3", "1.5", "٣", "9" * 13, "100, 200"])
async def test_nonsense_is_ignored(registry, value) -> None:
    async with running(_upstream()) as upstream, running(_app(upstream, registry)) as url:
        assert await _left(url, value) > 9.0


async def test_the_name_of_the_header_is_a_setting(registry) -> None:
    name = "X-Time-Left"
    # The upstream reads the usual name, and is told so.
    async with running(_upstream()) as upstream:
        app = web.Application()
        clients = {
            "billing": {"base_url": str(upstream), "propagation": {"timeout_header": HEADER}}
        }
        setup(
            app,
            HttpSettings(clients=clients, propagation={"timeout_header": name}),
            registry=registry,
        )
        app.router.add_get("/", _relay)
        async with running(app) as url:
            assert await _left(url, "3000", name=name) <= 3.0
            assert await _left(url, "3000") > 9.0


async def test_propagation_can_be_switched_off(registry) -> None:
    async with running(_upstream()) as upstream:
        app = web.Application()
        clients = {"billing": {"base_url": str(upstream), "propagation": {"enabled": True}}}
        setup(app, HttpSettings(clients=clients, propagation={"enabled": False}), registry=registry)
        app.router.add_get("/", _relay)
        async with running(app) as url:
            assert await _left(url, "3000") > 9.0


async def test_a_call_ends_with_the_time_of_its_caller(registry) -> None:
    caught: list[BaseException] = []

    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        raise AssertionError

    async def impatient(request: web.Request) -> web.Response:
        try:
            await session(request, "billing").get("")
        except DeadlineExceededError as error:
            caught.append(error)
        raise web.HTTPGatewayTimeout

    server = web.Application()
    server.router.add_get("/", hang)
    runner = web.AppRunner(server, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        app = web.Application()
        clients = {"billing": {"base_url": f"{site.name}/"}}
        setup(app, HttpSettings(clients=clients), registry=registry)
        app.router.add_get("/", impatient)
        async with running(app) as url, aiohttp.ClientSession() as client:
            async with client.get(url, headers={HEADER: "150"}) as response:
                assert response.status == 504
    finally:
        await runner.cleanup()
    assert len(caught) == 1


async def test_calls_of_the_applications_own_middlewares_are_bounded_too(registry) -> None:
    left: list[float] = []

    @web.middleware
    async def authenticate(request: web.Request, handler):
        async with session(request, "billing").get("") as response:
            left.append(await response.json())
        return await handler(request)

    async with running(_upstream()) as upstream:
        app = web.Application(middlewares=[authenticate])
        setup(
            app, HttpSettings(clients={"billing": {"base_url": str(upstream)}}), registry=registry
        )
        app.router.add_get("/", _relay)
        async with running(app) as url:
            await _left(url, "3000")
    assert left[0] <= 3.0

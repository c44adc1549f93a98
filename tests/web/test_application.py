"""Sessions in an application, and what it says when they cannot be had."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from platform_http import CallOptions, ConfigurationError, HttpSettings, SessionFactory
from platform_http.errors import FactoryClosedError
from platform_http.web import factory, session, setup
from platform_http.web.service import SERVICE
from tests.web.conftest import running


async def _answer(request: web.Request) -> web.Response:
    return web.json_response({"number": request.match_info.get("number")})


def _upstream() -> web.Application:
    app = web.Application()
    app.router.add_get("/invoices/{number}", _answer)
    return app


async def _relay(request: web.Request) -> web.Response:
    path = f"invoices/{request.match_info['number']}"
    async with session(request, "billing").get(path) as response:
        return web.json_response(await response.json(), status=response.status)


async def _get(url: object) -> tuple[int, object]:
    async with aiohttp.ClientSession() as client, client.get(str(url)) as response:
        return response.status, await response.json()


async def test_a_handler_calls_its_upstream_through_a_plain_session(registry) -> None:
    async with running(_upstream()) as upstream:
        settings = HttpSettings(clients={"billing": {"base_url": str(upstream)}})
        app = web.Application()
        setup(app, settings, registry=registry)
        app.router.add_get("/orders/{number}", _relay)
        async with running(app) as url:
            assert await _get(url / "orders" / "42") == (200, {"number": "42"})
            assert isinstance(session(app, "billing"), aiohttp.ClientSession)
            assert session(app, "billing") is factory(app).session("billing")


async def test_settings_come_from_the_environment_at_the_start(registry, monkeypatch) -> None:
    app = web.Application()
    setup(app, registry=registry)
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL", "http://billing.test/")
    async with running(app):
        assert factory(app).settings.client_names == ("billing",)


async def test_an_invalid_environment_does_not_start(registry, monkeypatch) -> None:
    app = web.Application()
    setup(app, registry=registry)
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "never")
    with pytest.raises(ConfigurationError, match="PLATFORM_HTTP_TIMEOUT__TOTAL"):
        async with running(app):
            pass


async def test_the_parts_of_the_factory_are_passed_on(registry) -> None:
    seen = []

    async def middleware(request, handler):
        seen.append("middleware")
        return await handler(request)

    async def traced(_session, context, _parameters):
        seen.append(context.trace_request_ctx.operation)

    trace_config = aiohttp.TraceConfig()
    trace_config.on_request_start.append(traced)
    async with running(_upstream()) as upstream:
        app = web.Application()
        setup(
            app,
            HttpSettings(),
            middlewares=[middleware],
            trace_configs=[trace_config],
            registry=registry,
        )
        async with running(app):
            options = CallOptions(operation="invoices.get")
            url = upstream / "invoices" / "1"
            async with session(app).get(url, trace_request_ctx=options):
                pass
    assert seen == ["invoices.get", "middleware"]


async def test_several_sites_serve_one_application_and_end_together(registry, tmp_path) -> None:
    async with running(_upstream()) as upstream:
        app = web.Application()
        settings = HttpSettings(clients={"billing": {"base_url": str(upstream)}})
        setup(app, settings, registry=registry)
        app.router.add_get("/orders/{number}", _relay)
        runner = web.AppRunner(app)
        await runner.setup()
        path = str(tmp_path / "service.sock")
        connectors = [aiohttp.TCPConnector(), aiohttp.TCPConnector(), aiohttp.UnixConnector(path)]
        try:
            sites = [web.TCPSite(runner, "127.0.0.1", 0) for _ in range(2)]
            for site in (*sites, web.UnixSite(runner, path)):
                await site.start()
            addresses = [*(site.name for site in sites), "http://localhost"]
            for address, connector in zip(addresses, connectors, strict=True):
                async with aiohttp.ClientSession(connector=connector) as client:
                    async with client.get(f"{address}/orders/7") as response:
                        assert await response.json() == {"number": "7"}
            kept = session(app, "billing")
        finally:
            await runner.cleanup()
        assert kept.closed
        with pytest.raises(aiohttp.ClientConnectorError):
            await _get(f"{addresses[0]}/healthz")


async def test_a_background_task_has_sessions_until_it_is_ended(registry) -> None:
    ended = []

    async def refresh(app: web.Application) -> None:
        try:
            while True:
                async with session(app, "billing").get("invoices/7") as response:
                    fetched.set()
                    await response.json()
        finally:
            # The last call of a task that is told to end.
            async with session(app, "billing").get("invoices/8") as response:
                ended.append(response.status)

    async def background(app: web.Application):
        task = asyncio.create_task(refresh(app))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    fetched = asyncio.Event()
    async with running(_upstream()) as upstream:
        app = web.Application()
        settings = HttpSettings(clients={"billing": {"base_url": str(upstream)}})
        setup(app, settings, registry=registry)
        app.cleanup_ctx.append(background)
        async with running(app):
            await fetched.wait()
    assert ended == [200]


async def test_an_application_can_be_started_again(registry) -> None:
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    factories = []
    for _ in range(2):
        async with running(app) as url:
            factories.append(factory(app))
            assert (await _get(url / "readyz"))[0] == 200
            assert app[SERVICE].remaining() is None
    assert factories[0] is not factories[1]


async def test_a_sub_application_asks_with_its_request(registry) -> None:
    async with running(_upstream()) as upstream:
        app, part = web.Application(), web.Application()
        setup(
            app,
            HttpSettings(clients={"billing": {"base_url": str(upstream)}}),
            registry=registry,
        )
        part.router.add_get("/orders/{number}", _relay)
        app.add_subapp("/shop/", part)
        async with running(app) as url:
            assert await _get(url / "shop" / "orders" / "7") == (200, {"number": "7"})
            with pytest.raises(RuntimeError, match="in a sub-application pass the request"):
                session(part)


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_sub_application_that_is_set_up_too_does_not_start(depth) -> None:
    app, part = web.Application(), web.Application()
    setup(part, HttpSettings(), registry=CollectorRegistry())
    for _ in range(depth - 1):
        outer = web.Application()
        outer.add_subapp("/more/", part)
        part = outer
    setup(app, HttpSettings(), registry=CollectorRegistry())
    app.add_subapp("/shop/", part)
    named = r"'/shop(/more)?' is set up.*call platform_http\.web\.setup for the outer one alone"
    with pytest.raises(RuntimeError, match=named):
        async with running(app):
            pass


async def test_sub_applications_side_by_side_may_be_set_up() -> None:
    app, parts = web.Application(), [web.Application(), web.Application()]
    for number, part in enumerate(parts):
        setup(part, HttpSettings(), registry=CollectorRegistry())
        app.add_subapp(f"/part{number}/", part)
    async with running(app) as url:
        assert await _get(url / "part1" / "healthz") == (200, {"status": "alive"})
        assert factory(parts[0]) is not factory(parts[1])


async def test_a_sub_application_is_not_set_up_after_it_was_added(registry) -> None:
    app, part = web.Application(), web.Application()
    app.add_subapp("/shop/", part)
    with pytest.raises(RuntimeError, match="part of another, which is to be set up instead"):
        setup(part, registry=registry)


@pytest.mark.closes_in_flight("the call in the background outlives the grace")
async def test_a_runner_of_aiohttp_drains_it_but_for_what_comes_before_the_port_closes() -> None:
    began, go_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(_: web.Request) -> web.Response:
        began.set()
        await go_on.wait()
        return web.Response()

    async def let_go_on(app: web.Application) -> None:
        seen.append((app[SERVICE].draining, app[SERVICE].remaining()))
        go_on.set()

    async def hang(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    seen = []
    upstream = web.Application()
    upstream.router.add_get("/", hang)
    app = web.Application()
    patient = {"patient": {"shutdown": {"grace": 30}}}
    settings = HttpSettings(shutdown={"grace": 0.3}, clients=patient)
    setup(app, settings, registry=CollectorRegistry())
    app.router.add_get("/slow", slow)
    app.on_shutdown.append(let_go_on)
    runner = web.AppRunner(app)
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(running(upstream))
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        client = await stack.enter_async_context(aiohttp.ClientSession())
        call = asyncio.create_task(client.get(f"{site.name}/slow"))
        await began.wait()
        outbound = asyncio.create_task(session(app, "patient").get(address))
        await asyncio.sleep(0.05)
        ending = loop.time()
        await runner.cleanup()
        # Its client's own grace is half a minute.
        assert loop.time() - ending < 8
        async with await call as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")
        with pytest.raises(FactoryClosedError):
            await outbound
        over.set()
    ((draining, remaining),) = seen
    assert draining
    assert 0.2 < remaining <= 0.3


async def test_what_is_entered_after_it_has_sessions_at_its_start_and_its_end(registry) -> None:
    found = []

    async def warm_up(app: web.Application):
        found.append(session(app, "billing").closed)
        yield
        found.append(session(app, "billing").closed)

    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    app.cleanup_ctx.append(warm_up)
    async with running(app):
        pass
    assert found == [False, False]


async def test_there_are_no_sessions_before_the_start_and_after_the_end(registry) -> None:
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    with pytest.raises(RuntimeError, match="only while the application runs"):
        session(app)
    async with running(app):
        kept = session(app)
    assert kept.closed
    with pytest.raises(RuntimeError, match="only while the application runs"):
        session(app)


def test_an_application_that_was_not_set_up_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match=r"call platform_http\.web\.setup\(app\)"):
        factory(web.Application())


def test_it_is_set_up_once(registry) -> None:
    app = web.Application()
    setup(app, registry=registry)
    with pytest.raises(RuntimeError, match="set up already"):
        setup(app, registry=registry)


async def test_it_is_not_set_up_after_its_start(registry) -> None:
    app = web.Application()
    async with running(app):
        with pytest.raises(RuntimeError, match="has started"):
            setup(app, registry=registry)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/debug/platform-http"])
def test_a_path_that_the_application_has_is_an_error_that_names_it(registry, path) -> None:
    app = web.Application()
    app.router.add_get(path, _answer)
    app.router.add_get("/other", _answer)
    with pytest.raises(ValueError, match=f"has {path} already"):
        setup(app, registry=registry)
    assert len(app.router.resources()) == 2


async def test_a_handler_for_every_path_leaves_the_pages_alone(registry) -> None:
    app = web.Application()
    app.router.add_get("/{anything:.*}", _answer)
    setup(app, HttpSettings(), registry=registry)
    async with running(app) as url:
        assert await _get(url / "healthz") == (200, {"status": "alive"})


async def test_applications_side_by_side_have_factories_of_their_own() -> None:
    apps = [web.Application(), web.Application()]
    for app in apps:
        setup(app, HttpSettings(), registry=CollectorRegistry())
    async with running(apps[0]), running(apps[1]):
        factories = [factory(app) for app in apps]
    assert len(set(factories)) == 2
    assert all(isinstance(each, SessionFactory) for each in factories)

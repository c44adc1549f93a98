"""How WebSockets end with their application."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import WSCloseCode, WSMsgType, web

from platform_http import HttpSettings
from platform_http.web import session, setup
from platform_http.web.service import SERVICE, Inbound
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from aiohttp.typedefs import Handler
    from prometheus_client import CollectorRegistry
    from yarl import URL


@dataclass
class Scene:
    """An application with WebSockets and a request that takes as long as the test wants."""

    app: web.Application
    runner: web.AppRunner
    url: URL
    client: aiohttp.ClientSession
    slow_began: asyncio.Event = field(default_factory=asyncio.Event)
    slow_may_end: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[str] = field(default_factory=list)

    async def connect(self, path: str = "listen") -> aiohttp.ClientWebSocketResponse:
        return await self.client.ws_connect(self.url / path)

    async def next(self, socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
        return await socket.receive(10)


@contextlib.asynccontextmanager
async def _scene(
    registry: CollectorRegistry,
    *,
    grace: float = 20,
    on_shutdown: Callable[[web.Application], Awaitable[None]] | None = None,
    added: Mapping[str, Handler] = MappingProxyType({}),
) -> AsyncIterator[Scene]:
    app = web.Application()
    if on_shutdown is not None:
        app.on_shutdown.append(on_shutdown)
    setup(app, HttpSettings(shutdown={"grace": grace}), registry=registry)
    runner = web.AppRunner(app, shutdown_timeout=20)
    async with aiohttp.ClientSession() as client:
        scene = Scene(app, runner, url=None, client=client)

        async def listen(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data)
            scene.heard.append("closed")
            return socket

        async def talk(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            with contextlib.suppress(ConnectionError):
                while not socket.closed:
                    await socket.send_str("tick" * int(request.query.get("times", "1")))
                    await asyncio.sleep(0.01)
            return socket

        async def slow(_: web.Request) -> web.Response:
            scene.slow_began.set()
            await scene.slow_may_end.wait()
            scene.heard.append("slow ended")
            return web.Response()

        app.router.add_get("/listen", listen)
        app.router.add_get("/talk", talk)
        app.router.add_get("/slow", slow)
        for path, handler in added.items():
            app.router.add_get(path, handler)
        async with _ended(runner):
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            scene.url = aiohttp.client.URL(f"{site.name}/")
            yield scene


@contextlib.asynccontextmanager
async def _ended(runner: web.AppRunner) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await runner.cleanup()


async def test_a_runner_of_aiohttp_closes_idle_ones_at_once_as_going_away(registry) -> None:
    loop = asyncio.get_running_loop()
    async with _scene(registry) as scene:
        sockets = [await scene.connect() for _ in range(3)]
        began = loop.time()
        ending = asyncio.create_task(scene.runner.cleanup())
        for socket in sockets:
            message = await scene.next(socket)
            assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)
            assert message.extra == "going away"
        await ending
        # The grace is twenty seconds, and so is the runner's own patience.
        assert loop.time() - began < 5
    assert scene.heard == ["closed"] * 3


async def test_they_hear_of_the_last_request_before_they_are_closed(registry) -> None:
    async with _scene(registry) as scene:
        socket = await scene.connect()
        call = asyncio.create_task(scene.client.get(scene.url / "slow"))
        await scene.slow_began.wait()
        ending = asyncio.create_task(scene.runner.cleanup())
        # A request is being handled.
        with pytest.raises(TimeoutError):
            await socket.receive(0.2)
        scene.slow_may_end.set()
        async with await call as response:
            assert response.status == 200
        assert (await scene.next(socket)).data == WSCloseCode.GOING_AWAY
        await ending
    assert scene.heard == ["slow ended", "closed"]


@pytest.mark.closes_in_flight("a request outlives the grace")
async def test_a_request_that_takes_the_whole_grace_does_not_cost_them_their_goodbye(
    registry,
) -> None:
    async with _scene(registry, grace=0.8) as scene:
        socket = await scene.connect()
        call = asyncio.create_task(scene.client.get(scene.url / "slow"))
        await scene.slow_began.wait()
        ending = asyncio.create_task(scene.runner.cleanup())
        assert (await scene.next(socket)).data == WSCloseCode.GOING_AWAY
        assert not scene.slow_may_end.is_set()
        scene.slow_may_end.set()
        (await call).release()
        await ending


async def test_one_that_only_sends_is_closed_too(registry) -> None:
    async with _scene(registry) as scene:
        socket = await scene.connect("talk")
        ending = asyncio.create_task(scene.runner.cleanup())
        async for message in socket:
            assert message.data == "tick"
        assert socket.close_code == WSCloseCode.GOING_AWAY
        await ending


async def test_a_peer_that_does_not_even_read_is_not_waited_for_long(registry) -> None:
    loop = asyncio.get_running_loop()
    async with _scene(registry) as scene:
        reader, writer = await asyncio.open_connection(scene.url.host, scene.url.port)
        writer.write(
            b"GET /talk?times=5000000 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"tick")
        began = loop.time()
        await scene.runner.cleanup()
        assert loop.time() - began < 5
        writer.close()


async def test_one_that_the_application_closes_itself_keeps_its_own_code(registry) -> None:
    async def close(app: web.Application) -> None:
        for socket in list(app[SERVICE].inbound.sockets.values()):
            await socket.close(code=4000, message=b"moved")

    async with _scene(registry, on_shutdown=close) as scene:
        socket = await scene.connect()
        ending = asyncio.create_task(scene.runner.cleanup())
        assert (await scene.next(socket)).data == 4000
        await ending


async def test_one_that_cannot_be_told_does_not_cost_the_others_their_goodbye(
    registry, caplog
) -> None:
    class Broken(web.WebSocketResponse):
        async def close(self, **options: object) -> bool:
            if options.get("code") == WSCloseCode.GOING_AWAY:
                raise LookupError("no such thing")
            return await super().close(**options)

    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = Broken()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async with _scene(registry, added={"/broken": listen}) as scene:
        broken, sound = await scene.connect("broken"), await scene.connect()
        ending = asyncio.create_task(scene.runner.cleanup())
        assert (await scene.next(sound)).data == WSCloseCode.GOING_AWAY
        await broken.close()
        await ending
    assert "was not told that the service goes away" in caplog.text


async def test_one_that_opens_during_the_goodbye_is_closed_as_soon_as_it_is_open(registry) -> None:
    async with _scene(registry) as scene:
        app = scene.app
        await app.shutdown()
        assert app[SERVICE].goodbye is not None
        await asyncio.sleep(0.1)
        socket = await scene.connect()
        assert (await scene.next(socket)).data == WSCloseCode.GOING_AWAY


async def test_nothing_is_remembered_of_what_has_ended(registry) -> None:
    async with _scene(registry) as scene:
        socket = await scene.connect()
        inbound = scene.app[SERVICE].inbound
        assert (inbound.requests, len(inbound.sockets)) == (1, 1)
        await socket.close()
        async with scene.client.get(scene.url / "nowhere") as response:
            assert response.status == 404
        async with asyncio.timeout(5):
            while inbound != Inbound():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)


async def test_sessions_outlive_them(registry) -> None:
    upstream, found = web.Application(), []

    async def farewell(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        async with session(request).get(address) as response:
            found.append(response.status)
        return socket

    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    upstream.router.add_get("/", answer)
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    app.router.add_get("/", farewell)
    async with running(upstream) as address, aiohttp.ClientSession() as client:
        async with running(app) as url:
            socket = await client.ws_connect(url)
        await socket.close()
    assert found == [200]

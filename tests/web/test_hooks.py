"""Hooks of the application that fail, hang or cancel cost nobody else anything."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import WSCloseCode, web

from platform_http import HttpSettings
from platform_http.web import serve, session, setup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yarl import URL

    Hook = Callable[[web.Application], Awaitable[None]]


async def _fail(_: web.Application) -> None:
    raise LookupError("no such thing")


async def _hang(_: web.Application) -> None:
    await asyncio.Event().wait()


async def _await_what_it_cancelled(_: web.Application) -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


async def _end(hook: Hook, *, grace: float) -> BaseException | None:
    """End a service with a request and a WebSocket; return what :func:`serve` raised, if it did.

    Both must have had their due.
    """

    async def slow(_: web.Request) -> web.Response:
        began.set()
        await told.wait()
        await asyncio.sleep(0.1)
        return web.Response(text="done")

    async def listen(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async def tell(app: web.Application) -> None:
        told.set()
        await hook(app)

    began, told = asyncio.Event(), asyncio.Event()
    started: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
    app = web.Application()
    app.router.add_get("/slow", slow)
    app.router.add_get("/listen", listen)
    # Before ours, which then is never come to.
    app.on_shutdown.append(tell)
    setup(app, HttpSettings(shutdown={"grace": grace}))
    serving = asyncio.create_task(
        serve(app, host="127.0.0.1", port=0, drain_delay=0, started=started.set_result)
    )
    url = await started
    async with aiohttp.ClientSession() as client, client.ws_connect(url / "listen") as socket:
        client._retry_connection = False
        call = asyncio.create_task(client.get(url / "slow"))
        await began.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        async with await call as response:
            assert await response.text() == "done"
        assert (await socket.receive(10)).data == WSCloseCode.GOING_AWAY
        (raised,) = await asyncio.wait_for(asyncio.gather(serving, return_exceptions=True), 15)
    return raised


async def test_one_that_raises_is_an_error_after_the_drain() -> None:
    raised = await _end(_fail, grace=10)
    assert isinstance(raised, LookupError)


async def test_one_that_hangs_is_cancelled_and_told_of(caplog) -> None:
    assert await _end(_hang, grace=2) is None
    assert "a hook of on_shutdown was cancelled" in caplog.text


async def test_one_that_lets_a_cancellation_escape_is_an_error_after_the_drain() -> None:
    raised = await _end(_await_what_it_cancelled, grace=10)
    assert isinstance(raised, RuntimeError)
    assert "let the CancelledError of a task escape" in str(raised)


async def test_a_start_that_hangs_is_given_up_at_the_first_signal() -> None:
    async def resource(app: web.Application) -> AsyncIterator[None]:
        opened.append(session(app))
        yield
        # Its session still works, as at any other end.
        closed.append(opened[0].closed)

    async def hang(_: web.Application) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    opened: list[aiohttp.ClientSession] = []
    closed: list[bool] = []
    app = web.Application()
    setup(app, HttpSettings())
    app.cleanup_ctx.append(resource)
    app.on_startup.append(hang)
    await asyncio.wait_for(serve(app, host="127.0.0.1", port=0, started=pytest.fail), 10)
    assert (closed, opened[0].closed) == ([False], True)


async def test_a_start_that_fails_fails() -> None:
    async def fail(_: web.Application) -> None:
        raise TimeoutError("no answer")

    app = web.Application()
    setup(app, HttpSettings())
    app.on_startup.append(fail)
    with pytest.raises(TimeoutError, match="no answer"):
        await serve(app, host="127.0.0.1", port=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_are_afterwards_what_they_were(number) -> None:
    def own(*_: object) -> None:
        pass

    async def nothing(_: web.Application) -> None:
        pass

    before = signal.signal(number, own)
    try:
        assert await _end(nothing, grace=10) is None
        assert signal.getsignal(number) is own
    finally:
        signal.signal(number, before)

"""A service that a test starts, loads and ends: ``python -m tests.web.slow_service``.

It has an upstream in the same process, so that a drain has outbound calls to wait for. It prints
its address, and ``began`` and ``ended`` for every request. ``DRAIN_DELAY=aiohttp`` runs it by
aiohttp's own ``run_app``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from platform_http.web import run, session, setup
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yarl import URL

_UPSTREAM = web.AppKey("upstream", list[URL] if TYPE_CHECKING else list)

DOWNLOAD = 32 * 1024 * 1024

_BACKGROUND = web.AppKey("background", list)


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _work(request: web.Request) -> web.Response:
    _say("began")
    (upstream,) = request.app[_UPSTREAM]
    async with session(request).get(upstream, params=request.query) as response:
        answer = await response.text()
    _say("ended")
    return web.Response(text=answer)


async def _store(request: web.Request) -> web.Response:
    _say("began")
    size = len(await request.read())
    _say("ended")
    return web.Response(text=str(size))


async def _send(request: web.Request) -> web.Response:
    # The handler is done as soon as all of it is in the buffer.
    assert request.transport is not None
    request.transport.set_write_buffer_limits(high=2 * DOWNLOAD)
    _say("began")
    return web.Response(body=bytes(DOWNLOAD))


async def _listen(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse()
    await response.prepare(request)
    _say("began")
    async for message in response:
        await response.send_str(message.data)
    _say("ended")
    return response


async def _leave_running(request: web.Request) -> web.Response:
    (upstream,) = request.app[_UPSTREAM]
    client = session(request, "patient")
    request.app[_BACKGROUND].append(asyncio.create_task(client.get(upstream, params=request.query)))
    _say("began")
    return web.Response()


async def _sleep(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query.get("seconds", "0.05")))
    return web.Response(text="done")


async def _upstream(app: web.Application) -> AsyncIterator[None]:
    upstream = web.Application()
    upstream.router.add_get("/", _sleep)
    async with running(upstream) as url:
        app[_UPSTREAM].append(url)
        yield


def main() -> None:
    app = web.Application()
    app[_UPSTREAM] = []
    app[_BACKGROUND] = []
    app.cleanup_ctx.append(_upstream)
    setup(app)
    app.router.add_get("/work", _work)
    app.router.add_put("/store", _store)
    app.router.add_get("/listen", _listen)
    app.router.add_get("/send", _send)
    app.router.add_get("/background", _leave_running)
    if os.environ["DRAIN_DELAY"] == "aiohttp":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _say(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            web.run_app(app, sock=listener, print=None)
    else:
        delay = float(os.environ["DRAIN_DELAY"])
        run(app, host="127.0.0.1", port=0, drain_delay=delay, started=_say)


if __name__ == "__main__":
    main()

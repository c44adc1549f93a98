"""The servers that the code of a page calls: everything a client of the documents may want."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = b"0123456789abcdef" * 4096
CLIENTS = ("BILLING", "INVENTORY", "SEARCH", "FILES", "FEED")


async def _invoice(request: web.Request) -> web.Response:
    number = int(request.match_info["number"])
    return web.json_response({"number": number, "total": 12.5, "currency": "EUR"})


async def _post(request: web.Request) -> web.Response:
    size = len(await request.read())
    return web.json_response({"received": size}, status=201)


async def _stock(request: web.Request) -> web.Response:
    return web.json_response({"article": request.match_info["article"], "left": 3})


async def _file(request: web.Request) -> web.Response:
    tag = f'"{hashlib.sha256(REPORT).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes"}
    wanted = request.http_range
    if wanted.start:
        part = REPORT[wanted.start :]
        headers["Content-Range"] = f"bytes {wanted.start}-{len(REPORT) - 1}/{len(REPORT)}"
        return web.Response(body=part, status=206, headers=headers)
    return web.Response(body=REPORT, headers=headers)


async def _lines(_: web.Request) -> web.Response:
    rows = [json.dumps({"number": number}) for number in (1, 2, 3)]
    return web.Response(text="\n".join(rows) + "\n", content_type="application/x-ndjson")


async def _events(_: web.Request) -> web.Response:
    text = "".join(f"id: {number}\nevent: paid\ndata: {number}\n\n" for number in (1, 2, 3))
    return web.Response(text=text, content_type="text/event-stream")


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == web.WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


def _application() -> web.Application:
    app = web.Application()
    app.router.add_get("/api/invoices/{number}", _invoice)
    app.router.add_post("/api/invoices", _post)
    app.router.add_put("/api/{kind:files|reports}/{name}", _post)
    app.router.add_post("/api/files", _post)
    app.router.add_get("/api/stock/{article}", _stock)
    app.router.add_get("/api/files/{name}", _file)
    app.router.add_get("/api/lines", _lines)
    app.router.add_get("/api/events", _events)
    app.router.add_get("/api/echo", _echo)
    return app


async def _serve(started: threading.Event, port: list[int], end: asyncio.Event) -> None:
    runner = web.AppRunner(_application(), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port.append(runner.addresses[0][1])
    started.set()
    await end.wait()
    await runner.cleanup()


@contextmanager
def world() -> Iterator[str]:
    """Serve it from a thread, so that the code of a page may run loops of its own.

    Yields:
        The base URL for every client.
    """
    started, port, end = threading.Event(), [], asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def run() -> None:
        with asyncio.Runner() as runner:
            loops.append(runner.get_loop())
            runner.run(_serve(started, port, end))

    thread = threading.Thread(target=run, name="the world of the documents")
    thread.start()
    try:
        assert started.wait(10)
        yield f"http://127.0.0.1:{port[0]}/api/"
    finally:
        loops[0].call_soon_threadsafe(end.set)
        thread.join(10)

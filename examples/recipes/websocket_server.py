"""WebSockets of a server: told at its end, after the last request, and without any code for it.

Guide: 3, "Graceful shutdown"; 9, "WebSockets".

Prints::

    hello, hello
    the last order was answered: 200
    closed: 1001 going away
"""

import asyncio

import aiohttp
from aiohttp import web
from yarl import URL

from platform_http import HttpSettings
from platform_http.web import setup

BEGAN = web.AppKey("began", asyncio.Event)


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Say everything twice; the loop ends when the service does."""
    socket = web.WebSocketResponse(heartbeat=20)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{message.data}, {message.data}")
    return socket


async def order(request: web.Request) -> web.Response:
    """Take a while."""
    request.app[BEGAN].set()
    await asyncio.sleep(0.2)
    return web.Response()


async def main() -> None:
    """End the service while a WebSocket is open and a request is handled."""
    app = web.Application()
    app[BEGAN] = asyncio.Event()
    app.router.add_get("/echo", echo)
    app.router.add_get("/order", order)
    setup(app, HttpSettings())
    runner = web.AppRunner(app, shutdown_timeout=10)  # not below SHUTDOWN__GRACE
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = URL(f"{site.name}/")
    async with aiohttp.ClientSession() as client, client.ws_connect(url / "echo") as socket:
        await socket.send_str("hello")
        print(await socket.receive_str())
        call = asyncio.create_task(client.get(url / "order"))
        await app[BEGAN].wait()
        ending = asyncio.create_task(runner.cleanup())
        async with await call as response:
            print("the last order was answered:", response.status)
        last = await socket.receive()
        print("closed:", last.data, last.extra)
        await ending


if __name__ == "__main__":
    asyncio.run(main())

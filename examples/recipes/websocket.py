"""Keep a WebSocket to a feed that restarts now and then, and subscribe again each time.

Guide: 2, table, row "WebSocket client"; 8, row "Custom WebSocket loops"; 9, concurrency.

Prints::

    price 1
    price 2
    the feed restarts, and we are back
    price 3
    the server is done: 1000
"""

from __future__ import annotations

import asyncio
from itertools import count

from aiohttp import WSCloseCode, web

from platform_http import CallOptions, SessionFactory
from platform_http.settings import HttpSettings
from platform_http.websocket import Reconnect, WebSocket, connect

FEED = CallOptions(operation="prices.watch", url_template="/feed")


def feed() -> web.Application:
    """Return a server that sends three prices to whoever subscribes, and restarts in between."""
    prices = count(1)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_json()
        for price in prices:
            await socket.send_json({"price": price})
            if price == 2:
                await socket.close(code=WSCloseCode.SERVICE_RESTART)
            if price >= 2:
                break
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/feed", serve)
    return app


async def subscribe(prices: WebSocket) -> None:
    """Say what we want; a new connection knows nothing of the one before."""
    await prices.send_json({"subscribe": "prices"})


async def resubscribe(prices: WebSocket) -> None:
    """Subscribe again, before anything else is sent."""
    print("the feed restarts, and we are back")
    await subscribe(prices)


async def main() -> None:
    """Follow the feed to its end."""
    runner = web.AppRunner(feed())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    settings = HttpSettings(clients={"prices": {"base_url": f"http://127.0.0.1:{site.port}"}})
    async with SessionFactory(settings) as factory:
        again = Reconnect(on_reconnect=resubscribe, initial=0.01)
        session = factory.session("prices")
        async with connect(session, "/feed", reconnect=again, options=FEED) as prices:
            await subscribe(prices)
            async for message in prices:
                print("price", message.json()["price"])
        print(f"the server is done: {prices.close_code}")
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())

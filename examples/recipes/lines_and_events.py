"""Read JSON Lines as they arrive, and subscribe to Server-Sent Events that survive a disconnect.

Guide: section 2, table row "Large downloads" (streaming responses).

Prints::

    invoice 1
    invoice 2
    event 1: price 10
    event 2: price 11
"""

import asyncio

from aiohttp import web

from platform_http import open_session
from platform_http.streaming import events, iter_json_lines


async def invoices(_: web.Request) -> web.Response:
    """Answer in JSON Lines."""
    return web.Response(text='{"id": 1}\n{"id": 2}\n', content_type="application/x-ndjson")


async def prices(request: web.Request) -> web.Response:
    """Tell one price per connection, and then no more."""
    seen = int(request.headers.get("Last-Event-ID", "0"))
    if seen == 2:
        return web.Response(status=204)
    text = f"retry: 10\nid: {seen + 1}\nevent: price\ndata: {10 + seen}\n\n"
    return web.Response(text=text, content_type="text/event-stream")


async def main() -> None:
    """Start the server and read from it."""
    app = web.Application()
    app.router.add_get("/invoices", invoices)
    app.router.add_get("/prices", prices)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://{runner.addresses[0][0]}:{runner.addresses[0][1]}"

    async with open_session() as session:
        async with session.get(f"{base}/invoices") as response:
            async for invoice in iter_json_lines(response):
                print(f"invoice {invoice['id']}")
        async for event in events(session, f"{base}/prices"):
            print(f"event {event.id}: {event.event} {event.data}")
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())

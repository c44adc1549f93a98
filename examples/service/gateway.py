"""A service of orders with two upstreams: ``python examples/service/gateway.py``.

Where they are is ``PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL`` and ``…__INVENTORY__BASE_URL``.
"""

import asyncio
import os

import aiohttp
from aiohttp import web

from platform_http import CallOptions
from platform_http.web import run, session, setup

INVOICE = CallOptions(operation="invoices.get", url_template="/invoices/{id}")
STOCK = CallOptions(operation="stock.get", url_template="/stock/{id}")


async def fetch(client: aiohttp.ClientSession, path: str, options: CallOptions) -> object:
    """Return the JSON at *path*; an answer of 400 and above is an error."""
    async with client.get(path, trace_request_ctx=options, raise_for_status=True) as response:
        return await response.json(content_type=None)


async def order(request: web.Request) -> web.Response:
    """Answer with what the two upstreams know; 502 if one of them has failed for good."""
    number = request.match_info["id"]
    billing, inventory = session(request, "billing"), session(request, "inventory")
    try:
        invoice, stock = await asyncio.gather(
            fetch(billing, f"invoices/{number}", INVOICE),
            fetch(inventory, f"stock/{number}", STOCK),
        )
    except (aiohttp.ClientError, TimeoutError) as error:
        raise web.HTTPBadGateway(text=f"{error}\n") from None
    return web.json_response({"invoice": invoice, "stock": stock})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/orders/{id:[0-9]+}", order)
    setup(app)
    run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), started=print)

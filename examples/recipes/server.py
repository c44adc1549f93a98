"""A service whose handlers and background task call upstreams, with health and an orderly end.

Guide: 3, "Minimal service with lifecycle & health"; 8, row "Home-grown server".

Prints::

    ready: 200
    order 7: 200 {"price": 12.5}
    told to end, readiness: 503 order 8: 200
    the background task had its session to the end: True
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from yarl import URL

from platform_http import HttpSettings
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from platform_http.web import serve, session, setup

JSON = {"Content-Type": "application/json"}


async def order(request: web.Request) -> web.Response:
    """Answer with what another service knows."""
    async with session(request, "billing").get(f"prices/{request.match_info['id']}") as response:
        return web.json_response(await response.json())


async def refreshed_rates(app: web.Application) -> AsyncIterator[None]:
    """Run beside the server, from its start until just before its sessions close."""

    async def refresh() -> None:
        while True:
            async with session(app, "billing").get("rates"):
                await asyncio.sleep(60)

    task = asyncio.create_task(refresh())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print("the background task had its session to the end:", not session(app, "billing").closed)


async def call(started: asyncio.Future[URL]) -> None:
    """Be the callers, the probe, and whoever ends the service."""
    async with aiohttp.ClientSession(await started) as client:
        async with client.get("readyz") as response:
            print("ready:", response.status)
        async with client.get("orders/7") as response:
            print("order 7:", response.status, await response.text())
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        async with client.get("readyz") as ready, client.get("orders/8") as response:
            print("told to end, readiness:", ready.status, "order 8:", response.status)


async def main() -> None:
    """Serve until SIGTERM, as ``platform_http.web.run`` does in a service."""
    async with FaultServer([respond(body=b'{"price": 12.5}', headers=JSON)]) as billing:
        app = web.Application()
        app.router.add_get("/orders/{id:[0-9]+}", order)  # no "..", no "?"
        setup(app, HttpSettings(clients={"billing": {"base_url": str(billing.url)}}))
        app.cleanup_ctx.append(refreshed_rates)  # after setup, to end before the sessions
        started: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        calls = asyncio.create_task(call(started))
        await serve(app, host="127.0.0.1", port=0, drain_delay=1, started=started.set_result)
        await calls


if __name__ == "__main__":
    asyncio.run(main())

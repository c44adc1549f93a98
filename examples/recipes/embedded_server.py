"""A server inside of another program: started and stopped by it, on a port and on a socket.

Guide: 10 c; 3, "Lifecycle & deployment".

Prints::

    tcp: {"id": "7"}
    unix: {"id": "8"}
    stopped: the port is closed, and so are the sessions
"""

import asyncio
import tempfile
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from platform_http import HttpSettings
from platform_http.web import session, setup


async def invoice(request: web.Request) -> web.Response:
    """Stand in for the upstream, which this program serves as well."""
    return web.json_response({"id": request.match_info["id"]})


async def relay(request: web.Request) -> web.Response:
    """Pass on what the upstream says."""
    async with session(request, "billing").get(f"invoices/{request.match_info['id']}") as answer:
        return web.json_response(await answer.json())


async def started(app: web.Application, *, path: str | None = None) -> tuple[web.AppRunner, URL]:
    """Start *app* on a free port, and on the Unix socket *path*."""
    runner = web.AppRunner(app, shutdown_timeout=10)  # not below SHUTDOWN__GRACE
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    if path is not None:
        await web.UnixSite(runner, path).start()
    return runner, URL(f"{site.name}/")


async def main() -> None:
    """Serve, call both sites, and stop."""
    upstream = web.Application()
    upstream.router.add_get("/invoices/{id}", invoice)
    upstream_runner, address = await started(upstream)

    app = web.Application()
    app.router.add_get("/{id:[0-9]+}", relay)
    setup(app, HttpSettings(clients={"billing": {"base_url": str(address)}}))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "service.sock")
        runner, url = await started(app, path=path)
        async with aiohttp.ClientSession() as client, client.get(url / "7") as response:
            print("tcp:", await response.text())
        connector = aiohttp.UnixConnector(path)
        client = aiohttp.ClientSession(connector=connector)
        async with client, client.get("http://localhost/8") as response:
            print("unix:", await response.text())
        kept = session(app, "billing")
        await runner.cleanup()
    try:
        async with aiohttp.ClientSession() as client, client.get(url):
            print("still there")
    except aiohttp.ClientConnectorError:
        print("stopped: the port is closed, and so are the sessions" if kept.closed else "too late")
    await upstream_runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())

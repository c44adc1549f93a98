"""The page that Prometheus scrapes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web
from yarl import URL

from platform_http.telemetry import exposition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

_HOST: Final = "127.0.0.1"


@contextlib.asynccontextmanager
async def metrics_page(registry: CollectorRegistry, port: int) -> AsyncIterator[URL]:
    """Serve *registry* at ``/metrics`` as long as the block and yield the page's URL.

    Args:
        registry: What to show.
        port: On loopback; 0 takes a free one.

    Raises:
        OSError: If the port cannot be bound.
    """

    async def show(request: web.Request) -> web.Response:
        body, content_type = await asyncio.to_thread(
            exposition.render, registry, request.headers.get("Accept")
        )
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get("/metrics", show)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, _HOST, port)
        await site.start()
        yield URL.build(scheme="http", host=_HOST, port=site.port, path="/metrics")
    finally:
        await runner.cleanup()

"""The pages for probes, scrapes and whoever is on call."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from platform_http.telemetry import exposition
from platform_http.web.service import SERVICE


def add_routes(app: web.Application) -> None:
    """Add the pages to *app*.

    Raises:
        ValueError: If *app* has one of their paths.
    """
    taken = {resource.canonical for resource in app.router.resources()} & _PAGES.keys()
    if taken:
        raise ValueError(
            f"this application has {', '.join(sorted(taken))} already: "
            f"platform_http.web.setup adds {', '.join(_PAGES)}"
        )
    for path, page in _PAGES.items():
        app.router.add_get(path, page)


async def _healthz(_: web.Request) -> web.Response:
    # That the loop comes to answer is all there is to say: a dependency that fails is no reason to
    # restart this process.
    return web.json_response({"status": "alive"})


async def _readyz(request: web.Request) -> web.Response:
    service = request.config_dict[SERVICE]
    if service.draining:
        return _not_ready({"reason": "draining"})
    circuits = service.open_circuits()
    if circuits:
        return _not_ready({"reason": "open circuits", "circuits": circuits})
    return web.json_response({"status": "ready"})


def _not_ready(why: dict[str, object]) -> web.Response:
    return web.json_response({"status": "not ready", **why}, status=503)


async def _metrics(request: web.Request) -> web.Response:
    # A page of 20,000 lines takes most of a second, which no call should wait for.
    body, content_type = await asyncio.to_thread(
        exposition.render,
        request.config_dict[SERVICE].registry,
        request.headers.get(hdrs.ACCEPT),
    )
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


async def _status(request: web.Request) -> web.Response:
    # Settings are read at the start, when routes cannot be added any more.
    page = request.config_dict[SERVICE].status_page
    if page is None:
        raise web.HTTPNotFound
    return await page.answer(request)


_PAGES: Final = {
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": _metrics,
    "/debug/platform-http": _status,
    "/debug/platform-http.json": _status,
}

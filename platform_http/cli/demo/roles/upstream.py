"""The role ``upstream``: three faulty services, and a page to make them fail."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING

from aiohttp import web

from platform_http.cli.demo import script
from platform_http.cli.demo.roles import incident
from platform_http.cli.demo.roles.day import Day
from platform_http.cli.demo.upstream import Upstream
from platform_http.web import setup

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.cli.demo.roles.process import Address


def upstream_app(
    address: Address,
    *,
    day: float,
    seed: int,
    search_tls: ssl.SSLContext | None = None,
    tracer_provider: TracerProvider | None = None,
    registry: CollectorRegistry | None = None,
) -> web.Application:
    """Return the control page; the upstreams listen as long as it runs.

    Args:
        address: Of the control page; the upstreams have the ports behind it, or free ones where
            its own is a free one.
        day: Length of the repeated day, seconds; 0 is healthy until an incident.
        seed: The same faults for the same number.
        search_tls: What search speaks TLS with; ``None`` for plain HTTP.
        tracer_provider: Makes spans; ``None`` is the global one.
        registry: Takes the metrics; ``None`` is the global one.
    """

    async def play(app: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            upstreams = [
                await stack.enter_async_context(upstream)
                for upstream in _upstreams(address, seed, search_tls)
            ]
            app[incident.DAY] = Day(upstreams, day)
            playing = asyncio.create_task(app[incident.DAY].run())
            yield
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing

    app = web.Application()
    app.router.add_get("/phases", incident.show_phases)
    app.router.add_put("/phases", incident.put_phase)
    setup(app, tracer_provider=tracer_provider, registry=registry)
    app.cleanup_ctx.append(play)
    return app


def _upstreams(address: Address, seed: int, search_tls: ssl.SSLContext | None) -> list[Upstream]:
    seeds = Random(seed)  # noqa: S311 - chance for a show, not cryptography
    return [
        Upstream(
            day,
            Random(seeds.random()),  # noqa: S311 - as above
            host=address.host,
            port=address.port + number if address.port else 0,
            tls=search_tls if day.client == "search" else None,
        )
        for number, day in enumerate(script.DAY, start=1)
    ]

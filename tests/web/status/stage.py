"""A service in trouble, for a look at its status page: ``python -m tests.web.status.stage``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from platform_http import CallOptions, HttpSettings
from platform_http.web import session, setup
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yarl import URL

NOBODY = "http://127.0.0.1:9/"


async def _answer(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query.get("seconds", "0")))
    return web.Response(status=int(request.query.get("status", "200")))


def _settings(upstream: URL, **status: object) -> HttpSettings:
    return HttpSettings(
        web={"status_page": True} | status,
        headers={"X-Api-Key": "canary-header"},
        clients={
            "billing": {
                "base_url": str(upstream.with_user("someone").with_password("canary-login")),
                "retry": {"backoff_initial": 0.001, "backoff_max": 0.001},
                "rate_limit": {"rate": 500},
            },
            "inventory": {
                "base_url": NOBODY,
                "retry": {"backoff_initial": 0.001, "backoff_max": 0.001},
                "circuit_breaker": {"minimum_calls": 3, "open_duration": 60},
            },
        },
    )


async def _call(client: aiohttp.ClientSession, operation: str, **query: str) -> None:
    options = CallOptions(operation=operation, url_template="/invoices/{id}")
    with contextlib.suppress(aiohttp.ClientError):
        async with client.get(
            "invoices/7", params=query | {"key": "canary-query"}, trace_request_ctx=options
        ) as response:
            await response.read()


@contextlib.asynccontextmanager
async def in_trouble(**status: object) -> AsyncIterator[tuple[web.Application, URL]]:
    """Run a service of which one upstream is away and another fails; yield it and its root URL.

    Args:
        **status: Settings of the section ``web`` beside ``status_page``.
    """
    upstream = web.Application()
    upstream.router.add_get("/invoices/{id}", _answer)
    async with running(upstream) as address:
        app = web.Application()
        setup(
            app,
            _settings(address, **status),
            registry=CollectorRegistry(),
            tracer_provider=TracerProvider(),
        )
        async with running(app) as url:
            billing, inventory = session(app, "billing"), session(app, "inventory")
            await _call(billing, "invoices.get")
            await _call(billing, "invoices.list", seconds="0.05")
            await _call(billing, "invoices.get", status="503")
            await _call(billing, "invoices.get", status="404")
            for _ in range(3):
                await _call(inventory, "stock.get")
            yield app, url


async def _serve() -> None:
    async with in_trouble() as (_, url):
        sys.stdout.write(f"{url / 'debug' / 'platform-http'}\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())

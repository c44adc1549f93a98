"""Applications that run on a loopback port of their own."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("PLATFORM_HTTP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@contextlib.asynccontextmanager
async def running(app: web.Application) -> AsyncIterator[URL]:
    """Run *app* and yield its root URL."""
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield URL(f"{site.name}/")
    finally:
        await runner.cleanup()

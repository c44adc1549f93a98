"""The role ``load``: people who use the caller."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import REGISTRY

from platform_http.call import CallOptions
from platform_http.cli.demo.service import Operation, Service
from platform_http.web import factory, setup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.settings import HttpSettings

_DRAIN_SECONDS: Final = 5.0


def _get(
    operation: str, path: str, template: str, weight: int, patience: float | None = None
) -> Operation:
    options = CallOptions(operation=operation, url_template=template)
    return Operation("caller", "GET", path, options, weight, patience)


OPERATIONS: Final = (
    _get("orders.get", "orders/{id}", "/orders/{id}", 8),
    _get("orders.list", "orders", "/orders", 3),
    Operation(
        client="caller",
        method="POST",
        path="orders",
        # The caller hands the key on, so an order may be sent again.
        options=CallOptions(
            operation="orders.create", url_template="/orders", idempotency_key=True
        ),
        weight=4,
    ),
    _get("search.query", "search?q={id}", "/search", 6),
    _get("search.suggest", "suggest?q={id}", "/suggest", 2),
    _get("legacy.get", "legacy/orders/{id}", "/legacy/orders/{id}", 1),
    _get("partners.get", "partners/{id}", "/partners/{id}", 1),
    Operation(
        client="caller",
        method="POST",
        path="orders/{id}/notifications",
        options=CallOptions(operation="orders.notify", url_template="/orders/{id}/notifications"),
        weight=1,
    ),
    # Some look at another page before this one has come.
    _get("orders.browse", "orders/{id}", "/orders/{id}", 2, patience=0.15),
)


def load_app(
    settings: HttpSettings,
    *,
    rate: float,
    seed: int,
    tracer_provider: TracerProvider | None = None,
    registry: CollectorRegistry | None = None,
) -> web.Application:
    """Return the page of the load; the load goes on as long as it runs.

    Args:
        settings: The client ``caller`` in it has the base URL of the caller.
        rate: Calls per second, > 0. No more than a hundred are in flight.
        seed: The same calls for the same number.
        tracer_provider: Makes spans; ``None`` is the global one.
        registry: Takes the metrics; ``None`` is the global one.
    """
    registry = registry or REGISTRY

    async def call(app: web.Application) -> AsyncIterator[None]:
        service = Service(
            factory(app),
            registry,
            Random(seed),  # noqa: S311 - chance for a show, not cryptography
            operations=OPERATIONS,
            rate=rate,
        )
        stop = asyncio.Event()
        calling = asyncio.create_task(service.run(stop))
        yield
        stop.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await calling

    app = web.Application()
    setup(app, settings, tracer_provider=tracer_provider, registry=registry)
    app.cleanup_ctx.append(call)
    return app

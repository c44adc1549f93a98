"""The role ``caller``: a service of orders that needs billing, inventory, search and a partner.

It also tells customers at addresses that they gave, with a client that reaches public ones only.

Nothing in it says how often a call is resent, when a circuit opens or how long anything may take:
all of that is ``PLATFORM_HTTP_CLIENTS__<NAME>__*``.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from platform_http.call import CallOptions
from platform_http.cli.demo.roles.answers import Answer, ask, failure
from platform_http.cli.demo.roles.server_spans import server_spans
from platform_http.cli.demo.roles.stock import watch_stock
from platform_http.web import session, setup

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

_INVOICE: Final = CallOptions(operation="invoices.get", url_template="/invoices/{id}")
_INVOICES: Final = CallOptions(operation="invoices.list", url_template="/invoices")
_LEGACY: Final = CallOptions(operation="invoices.legacy", url_template="/invoices/{id}")
_STOCK: Final = CallOptions(operation="stock.get", url_template="/stock/{id}")
# Without a key it is resent only when nothing was sent.
_RESERVATION: Final = CallOptions(operation="reservations.create", url_template="/reservations")
_SEARCH: Final = CallOptions(operation="search.query", url_template="/search")
_SUGGESTIONS: Final = CallOptions(operation="search.suggest", url_template="/suggest")
_PARTNER: Final = CallOptions(operation="partners.get", url_template="/partners/{id}")
_NOTIFICATION: Final = CallOptions(operation="customers.notify")

# What customers typed where they were asked for the address of their service.
_WEBHOOKS: Final = (
    "http://169.254.169.254/latest/meta-data/",
    "http://10.20.30.40/orders",
    "http://localhost/orders",
)

# Whoever types on does not wait for suggestions for what was typed before.
_PATIENCE: Final = 0.1


def caller_app(
    tracer_provider: TracerProvider | None = None,
    registry: CollectorRegistry | None = None,
    *,
    watches: bool = False,
) -> web.Application:
    """Return the service; its settings are those of the environment.

    Args:
        tracer_provider: Makes spans; ``None`` is the global one.
        registry: Takes the metrics; ``None`` is the global one.
        watches: Whether it listens to what inventory tells of its stock.
    """
    app = web.Application(middlewares=[server_spans(tracer_provider)])
    app.add_routes(
        [
            web.get("/orders", _orders),
            web.post("/orders", _create_order),
            web.get(r"/orders/{id:\d+}", _order),
            web.get("/search", _search),
            web.get("/suggest", _suggest),
            web.get(r"/legacy/orders/{id:\d+}", _legacy_order),
            web.get(r"/partners/{id:\d+}", _partner),
            web.post(r"/orders/{id:\d+}/notifications", _notify),
        ]
    )
    setup(app, tracer_provider=tracer_provider, registry=registry)
    if watches:
        app.cleanup_ctx.append(watch_stock)
    return app


async def _order(request: web.Request) -> web.Response:
    """Answer with the invoice; what else belongs to an order may be missing."""
    number = request.match_info["id"]
    invoice, stock, related = await asyncio.gather(
        ask(session(request, "billing").get(f"invoices/{number}", trace_request_ctx=_INVOICE)),
        ask(session(request, "inventory").get(f"stock/{number}", trace_request_ctx=_STOCK)),
        ask(
            session(request, "search").get(
                "search", params={"q": number}, trace_request_ctx=_SEARCH
            )
        ),
    )
    if invoice.failed:
        return failure(invoice, "the invoice")
    parts = {"stock": stock, "related": related}
    return web.json_response(
        {
            "id": number,
            "invoice": invoice.body,
            **{name: part.body for name, part in parts.items()},
            "missing": [name for name, part in parts.items() if part.failed],
        }
    )


async def _orders(request: web.Request) -> web.Response:
    call = session(request, "billing").get("invoices", trace_request_ctx=_INVOICES)
    return _relayed(await ask(call), "the list of orders")


async def _create_order(request: web.Request) -> web.Response:
    """Reserve, then charge: the second only with a key, which makes it safe to resend."""
    try:
        order = json.loads(await request.read())
    except ValueError:
        return web.json_response({"error": "the body is not JSON"}, status=400)
    reservation = await ask(
        session(request, "inventory").post(
            "reservations", json=order, trace_request_ctx=_RESERVATION
        )
    )
    if reservation.failed:
        return failure(reservation, "the reservation")
    payment = await ask(
        session(request, "billing").post(
            "payments",
            json=order,
            trace_request_ctx=CallOptions(
                operation="payments.create",
                url_template="/payments",
                idempotency_key=request.headers.get("Idempotency-Key") or True,
            ),
        )
    )
    if payment.failed:
        return failure(payment, "the payment")
    return web.json_response({"payment": payment.body}, status=201)


async def _search(request: web.Request) -> web.Response:
    call = session(request, "search").get("search", params=request.query, trace_request_ctx=_SEARCH)
    return _relayed(await ask(call), "the search")


async def _suggest(request: web.Request) -> web.Response:
    """Answer with no suggestions where there are none in time."""
    call = session(request, "search").get(
        "suggest", params=request.query, trace_request_ctx=_SUGGESTIONS
    )
    suggestions = Answer()
    try:
        async with asyncio.timeout(_PATIENCE):
            suggestions = await ask(call)
    except TimeoutError:
        pass
    return web.json_response({"suggestions": suggestions.body})


async def _legacy_order(request: web.Request) -> web.Response:
    """Answer as before there were policies: this call replaces them, which is counted."""
    call = session(request, "billing").get(
        f"invoices/{request.match_info['id']}", middlewares=(), trace_request_ctx=_LEGACY
    )
    return _relayed(await ask(call), "the invoice")


async def _partner(request: web.Request) -> web.Response:
    call = session(request, "partner").get(
        f"partners/{request.match_info['id']}", trace_request_ctx=_PARTNER
    )
    return _relayed(await ask(call), "the partner")


async def _notify(request: web.Request) -> web.Response:
    """Tell the customer; none of their addresses is a public one, so that this is refused."""
    number = int(request.match_info["id"])
    call = session(request, "webhooks").post(
        _WEBHOOKS[number % len(_WEBHOOKS)], json={"id": number}, trace_request_ctx=_NOTIFICATION
    )
    return _relayed(await ask(call), "the customer's service")


def _relayed(answer: Answer, what: str) -> web.Response:
    return failure(answer, what) if answer.failed else web.json_response(answer.body)

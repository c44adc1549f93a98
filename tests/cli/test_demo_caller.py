"""The role ``caller``: what it answers when its upstreams do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http.cli.demo.roles.answers import ask
from platform_http.cli.demo.roles.caller import caller_app
from platform_http.cli.demo.roles.process import Address
from platform_http.cli.demo.roles.upstream import upstream_app
from platform_http.errors import (
    CircuitOpenError,
    ConcurrencyLimitError,
    DeadlineExceededError,
    PoolTimeoutError,
)
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


CLIENTS = ("billing", "inventory", "search")


@dataclass
class Caller:
    """A running caller and its upstreams."""

    url: URL
    control: URL
    registry: CollectorRegistry
    client: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, object]]:
        async with self.client.get(f"{self.url}{path}", headers=headers) as response:
            return response.status, await response.json()

    async def fail(self, client: str, **incident: object) -> None:
        body = {"client": client, "latency": 0, "seconds": 60, **incident}
        async with self.client.put(self.control / "phases", json=body) as response:
            assert response.status == 200

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
async def caller(monkeypatch: pytest.MonkeyPatch, leak_detector: None) -> AsyncIterator[Caller]:
    async with contextlib.AsyncExitStack() as stack:
        upstream = upstream_app(
            Address("127.0.0.1", 0, 0), day=0, seed=1, registry=CollectorRegistry()
        )
        control = await stack.enter_async_context(running(upstream))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        async with client.get(control / "phases") as response:
            phases = await response.json()
        for name in CLIENTS:
            variable = f"PLATFORM_HTTP_CLIENTS__{name.upper()}__BASE_URL"
            monkeypatch.setenv(variable, phases[name]["url"])
        partner = phases["billing"]["url"].replace("http://", "https://")
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__PARTNER__BASE_URL", partner)
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__WEBHOOKS__EGRESS__MODE", "public")
        monkeypatch.setenv("PLATFORM_HTTP_RETRY__ENABLED", "false")
        monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "0.5")
        registry = CollectorRegistry()
        url = await stack.enter_async_context(running(caller_app(registry=registry)))
        yield Caller(url, control, registry, client)


async def test_an_order_has_all_its_parts(caller: Caller) -> None:
    status, order = await caller.get("orders/42")
    assert status == 200
    assert order["id"] == "42"
    assert order["missing"] == []
    assert all(order[part] for part in ("invoice", "stock", "related"))


async def test_an_order_can_do_without_stock_and_search(caller: Caller) -> None:
    await caller.fail("inventory", listens=False)
    await caller.fail("search", fault="unavailable")
    status, order = await caller.get("orders/42")
    assert status == 200
    assert order["missing"] == ["stock", "related"]
    assert order["stock"] is None
    assert order["invoice"]


@pytest.mark.parametrize(
    ("incident", "status"),
    [
        ({"fault": "unavailable"}, 503),
        ({"fault": "throttled"}, 503),
        ({"fault": "reset"}, 502),
        ({"fault": "broken_body"}, 502),
        ({"listens": False}, 502),
        ({"fault": "hang"}, 504),
    ],
)
@pytest.mark.parametrize("path", ["orders/42", "orders", "legacy/orders/42"])
async def test_an_order_cannot_do_without_billing(caller, incident, status, path) -> None:
    await caller.fail("billing", **incident)
    found, answer = await caller.get(path)
    assert found == status
    assert set(answer) == {"error"}


@pytest.mark.parametrize("path", ["orders/", "legacy/orders/", "partners/"])
async def test_what_is_no_number_becomes_no_part_of_a_url(caller: Caller, path: str) -> None:
    url = URL(f"{caller.url}{path}..%2Fsearch%3Fq=1", encoded=True)
    async with caller.client.get(url) as response:
        assert response.status == 404


async def test_a_new_order_is_reserved_and_paid(caller: Caller) -> None:
    async with caller.client.post(caller.url / "orders", json={"amount": 1}) as response:
        assert response.status == 201
        assert set(await response.json()) == {"payment"}
    for client, operation in (("inventory", "reservations.create"), ("billing", "payments.create")):
        labels = {"operation": operation, "outcome": "success", "error_type": ""}
        assert caller.count("platform_http_calls_total", client=client, **labels) == 1


@pytest.mark.parametrize(("client", "what"), [("inventory", "reservation"), ("billing", "payment")])
async def test_a_new_order_needs_both(caller: Caller, client: str, what: str) -> None:
    await caller.fail(client, fault="unavailable")
    async with caller.client.post(caller.url / "orders", json={}) as response:
        assert response.status == 503
        assert await response.json() == {"error": f"the {what} cannot be had"}


async def test_a_body_that_is_not_json_is_the_callers_mistake(caller: Caller) -> None:
    async with caller.client.post(caller.url / "orders", data=b"amount=1") as response:
        assert response.status == 400


async def test_the_callers_idempotency_key_goes_on_to_billing(
    monkeypatch: pytest.MonkeyPatch, leak_detector: None
) -> None:
    keys: list[str | None] = []

    async def accept(request: web.Request) -> web.Response:
        keys.append(request.headers.get("Idempotency-Key"))
        return web.json_response({})

    upstream = web.Application()
    upstream.router.add_post("/{path}", accept)
    async with running(upstream) as url, aiohttp.ClientSession() as client:
        monkeypatch.setenv("PLATFORM_HTTP_BASE_URL", str(url))
        async with running(caller_app(registry=CollectorRegistry())) as caller:
            for headers in ({"Idempotency-Key": "abc"}, {}):
                async with client.post(caller / "orders", json={}, headers=headers) as response:
                    assert response.status == 201
    reserved, paid, _, generated = keys
    assert reserved is None
    assert paid == "abc"
    assert generated not in {None, "", "abc"}


async def test_a_search_is_answered(caller: Caller) -> None:
    assert (await caller.get("search?q=x"))[0] == 200


async def test_suggestions_that_come_too_late_are_none(caller: Caller) -> None:
    status, answer = await caller.get("suggest?q=x")
    assert status == 200
    assert answer["suggestions"]
    await caller.fail("search", fault="hang")
    assert await caller.get("suggest?q=x") == (200, {"suggestions": None})
    labels = {"operation": "search.suggest", "outcome": "cancelled", "error_type": ""}
    assert caller.count("platform_http_calls_total", client="search", **labels) == 1


async def test_the_legacy_call_replaces_the_policies(caller: Caller) -> None:
    assert (await caller.get("legacy/orders/42"))[0] == 200
    assert caller.count("platform_http_policy_bypass_total", client="billing") == 1


async def test_a_partner_that_speaks_no_tls_is_a_bad_gateway(caller: Caller) -> None:
    assert (await caller.get("partners/7"))[0] == 502
    labels = {"operation": "partners.get", "outcome": "error"}
    failed = caller.count(
        "platform_http_calls_total",
        client="partner",
        error_type="secure_connection_error",
        **labels,
    )
    assert failed == 1


@pytest.mark.parametrize(("number", "reason"), [(0, "link_local"), (1, "private"), (2, "loopback")])
async def test_a_customers_address_that_is_not_public_is_the_customers_mistake(
    caller: Caller, number: int, reason: str
) -> None:
    async with caller.client.post(caller.url / f"orders/{number}/notifications") as response:
        assert response.status == 422
        assert await response.json() == {"error": "the customer's service cannot be had"}
    labels = {"client": "webhooks", "reason": reason}
    assert caller.count("platform_http_egress_denied_total", **labels) == 1


@contextlib.asynccontextmanager
async def _raising(error: Exception) -> AsyncIterator[aiohttp.ClientResponse]:
    raise error
    yield


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (CircuitOpenError("x", retry_after=1.2), 503, 1.2),
        (ConcurrencyLimitError("x"), 503, None),
        (PoolTimeoutError("x"), 503, None),
        (DeadlineExceededError("x"), 504, None),
        (TimeoutError(), 504, None),
        (aiohttp.ClientPayloadError("x"), 502, None),
        (json.JSONDecodeError("x", "", 0), 502, None),
    ],
)
async def test_what_fails_has_a_status(error, status, retry_after) -> None:
    answer = await ask(_raising(error))
    assert (answer.failed, answer.status, answer.retry_after) == (True, status, retry_after)


async def test_an_open_circuit_says_when_to_come_again(caller: Caller, monkeypatch) -> None:
    await caller.fail("billing", listens=False)
    async with asyncio.timeout(20):
        while (await caller.get("orders"))[0] != 503:
            pass
    async with caller.client.get(caller.url / "orders") as response:
        assert response.status == 503
        assert 1 <= int(response.headers["Retry-After"]) <= 10


async def test_spans_of_calls_are_below_that_of_the_request(
    monkeypatch: pytest.MonkeyPatch, leak_detector: None
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setenv("PLATFORM_HTTP_BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__ENABLED", "false")
    app = caller_app(provider, CollectorRegistry())
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    async with running(app) as url, aiohttp.ClientSession() as client:
        async with client.get(url / "orders", headers=headers) as response:
            assert response.status == 502
    provider.shutdown()
    (server,) = (span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER)
    (attempt,) = (span for span in spans.get_finished_spans() if span.kind is SpanKind.CLIENT)
    assert server.name == "GET /orders"
    assert server.attributes["http.response.status_code"] == 502
    assert f"{server.context.trace_id:032x}" == trace_id
    assert attempt.parent.span_id == server.context.span_id


async def test_it_hears_of_the_stock_over_a_websocket_that_outlasts_restarts(
    monkeypatch: pytest.MonkeyPatch, leak_detector: None
) -> None:
    monkeypatch.setattr("platform_http.cli.demo.upstream._NEWS_EVERY", 0.01)
    registry = CollectorRegistry()
    control = upstream_app(Address("127.0.0.1", 0, 0), day=0, seed=1, registry=CollectorRegistry())
    async with running(control) as url, aiohttp.ClientSession() as client:
        async with client.get(url / "phases") as response:
            inventory = (await response.json())["inventory"]["url"]
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__INVENTORY__BASE_URL", inventory)
        async with running(caller_app(registry=registry, watches=True)):
            labels = {"client": "inventory", "reason": "1012"}
            async with asyncio.timeout(5):
                name = "platform_http_websocket_reconnects_total"
                while not registry.get_sample_value(name, labels):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)
    name = "platform_http_websocket_connections"
    assert registry.get_sample_value(name, {"client": "inventory"}) == 0


async def test_it_ends_its_websocket_in_no_time(
    monkeypatch: pytest.MonkeyPatch, leak_detector: None
) -> None:
    registry = CollectorRegistry()
    control = upstream_app(Address("127.0.0.1", 0, 0), day=0, seed=1, registry=CollectorRegistry())
    async with running(control) as url, aiohttp.ClientSession() as client:
        async with client.get(url / "phases") as response:
            inventory = (await response.json())["inventory"]["url"]
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__INVENTORY__BASE_URL", inventory)
        labels = {"client": "inventory"}
        name = "platform_http_websocket_connections"
        async with asyncio.timeout(4):
            async with running(caller_app(registry=registry, watches=True)):
                while not registry.get_sample_value(name, labels):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)

"""Spans, metrics and hooks of your own for every call, without monkey-patching.

Guide: 2, table, row "Observability"; 5; 13, step 4.

Prints::

    INTERNAL invoices.get: success
    CLIENT GET /invoices/{id}: 503
    CLIENT GET /invoices/{id}: 200, resend 1
    http_client_request_duration_seconds_count: 2
    platform_http_calls_total: 1
    own hooks: connected 200
"""

import asyncio

import aiohttp
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from platform_http import CallOptions, HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond

INVOICE = CallOptions(operation="invoices.get", url_template="/invoices/{id}")


def own_hooks(seen: list[str]) -> aiohttp.TraceConfig:
    """Return hooks that write into *seen*, beside the library's own."""

    async def connected(_: object, __: object, ___: object) -> None:
        seen.append("connected")

    async def ended(_: object, __: object, event: aiohttp.TraceRequestEndParams) -> None:
        seen.append(str(event.response.status))

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(connected)
    config.on_request_end.append(ended)
    return config


async def main() -> None:
    """Make a call that is resent once, and look at what it left."""
    spans, registry = InMemorySpanExporter(), CollectorRegistry()
    seen: list[str] = []
    provider = TracerProvider()  # a service has configure_telemetry() instead
    provider.add_span_processor(SimpleSpanProcessor(spans))
    async with (
        FaultServer([respond(503), respond(200)]) as server,
        SessionFactory(
            HttpSettings(base_url=str(server.url)),
            registry=registry,  # by default prometheus_client's REGISTRY
            tracer_provider=provider,  # by default OpenTelemetry's global one
            trace_configs=[own_hooks(seen)],
        ) as factory,
        factory.session().get("invoices/42", trace_request_ctx=INVOICE) as response,
    ):
        await response.read()
    for span in sorted(spans.get_finished_spans(), key=lambda span: span.start_time or 0):
        told = span.attributes or {}
        result = told.get("platform_http.outcome", told.get("http.response.status_code"))
        resend = told.get("http.request.resend_count")
        print(f"{span.kind.name} {span.name}: {result}{f', resend {resend}' if resend else ''}")
    for name in ("http_client_request_duration_seconds_count", "platform_http_calls_total"):
        print(f"{name}: {_total(registry, name)}")
    print("own hooks:", *seen)


def _total(registry: CollectorRegistry, name: str) -> int:
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return int(sum(sample.value for sample in samples if sample.name == name))


if __name__ == "__main__":
    asyncio.run(main())

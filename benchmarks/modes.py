"""The sessions that every benchmark compares: aiohttp's own, ours by mode, and the peers'."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import aiohttp_retry
import purgatory
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from platform_http import CallOptions, HttpSettings, SessionFactory, plain_settings

OPTIONS = CallOptions(operation="invoices.get", url_template="/invoices/{id}")

Get = Callable[[str], Awaitable[None]]
"""Makes one small GET and reads its body."""

Opener = Callable[[], contextlib.AbstractAsyncContextManager[Get]]


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _provider(ratio: float) -> TracerProvider:
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


def _of(session: aiohttp.ClientSession) -> Get:
    async def get(url: str) -> None:
        async with session.get(url, trace_request_ctx=OPTIONS) as response:
            await response.read()

    return get


@contextlib.asynccontextmanager
async def _raw() -> AsyncIterator[Get]:
    async with aiohttp.ClientSession() as session:
        yield _of(session)


def _official(ratio: float | None) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Get]:
        config = create_trace_config(tracer_provider=None if ratio is None else _provider(ratio))
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            yield _of(session)

    return opened


def _ours(settings: HttpSettings, ratio: float | None = None) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Get]:
        async with SessionFactory(
            settings,
            tracer_provider=None if ratio is None else _provider(ratio),
            registry=CollectorRegistry(),
        ) as factory:
            yield _of(factory.session("bench"))

    return opened


@contextlib.asynccontextmanager
async def _retrying() -> AsyncIterator[Get]:
    options = aiohttp_retry.ExponentialRetry(attempts=3)
    async with aiohttp_retry.RetryClient(retry_options=options) as client:

        async def get(url: str) -> None:
            async with client.get(url) as response:
                await response.read()

        yield get


def _composed(ratio: float | None) -> Opener:
    """Return what a user composes today: retry, breaker, instrumentation and metrics."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Get]:
        registry = CollectorRegistry()
        server = ("server_address", "server_port")
        duration = Histogram(
            "http_client_request_duration_seconds",
            "Duration.",
            ("method", *server, "template", "status"),
            registry=registry,
        )
        active = Gauge("http_client_active_requests", "Active.", server, registry=registry)
        calls = Counter("calls", "Calls.", ("operation", "outcome"), registry=registry)
        breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=5)
        config = create_trace_config(tracer_provider=None if ratio is None else _provider(ratio))
        options = aiohttp_retry.ExponentialRetry(attempts=3)
        session = aiohttp.ClientSession(
            trace_configs=[config], timeout=aiohttp.ClientTimeout(total=10, sock_read=4)
        )
        client = aiohttp_retry.RetryClient(client_session=session, retry_options=options)

        async def get(url: str) -> None:
            outcome = "error"
            active.labels("127.0.0.1", "80").inc()
            began = time.perf_counter()
            try:
                async with (
                    await breakers.get_breaker("127.0.0.1"),
                    client.get(url) as response,
                ):
                    labels = ("GET", "127.0.0.1", "80", "/invoices/{id}", str(response.status))
                    duration.labels(*labels).observe(time.perf_counter() - began)
                    await response.read()
                    outcome = "success"
            finally:
                active.labels("127.0.0.1", "80").dec()
                calls.labels("invoices.get", outcome).inc()

        async with client:
            yield get

    return opened


RAW = "raw aiohttp"

OURS: dict[str, Opener] = {
    "plain profile": _ours(plain_settings()),
    "policies + metrics, no SDK": _ours(HttpSettings()),
    "sampled out, 1 %": _ours(HttpSettings(), 0.01),
    "recorded, CLIENT span": _ours(HttpSettings(telemetry={"call_span": "never"}), 1),
    "recorded, call + CLIENT + phases": _ours(HttpSettings(), 1),
}

PEERS: dict[str, Opener] = {
    "aiohttp-retry": _retrying,
    "official instrumentation, no SDK": _official(None),
    "official instrumentation, 1 %": _official(0.01),
    "official instrumentation, recorded": _official(1),
    "composed stack, no SDK": _composed(None),
    "composed stack, 1 %": _composed(0.01),
    "composed stack, recorded": _composed(1),
}

MODES: dict[str, Opener] = {RAW: _raw, **OURS, **PEERS}

COMPOSED: dict[str, str] = {
    "policies + metrics, no SDK": "composed stack, no SDK",
    "sampled out, 1 %": "composed stack, 1 %",
    "recorded, CLIENT span": "composed stack, recorded",
    "recorded, call + CLIENT + phases": "composed stack, recorded",
}
"""Which composed stack each of our modes is held against."""


def silence() -> None:
    """Keep the library from warning of what is meant here, such as another instrumentation."""
    logging.getLogger("platform_http").setLevel(logging.ERROR)

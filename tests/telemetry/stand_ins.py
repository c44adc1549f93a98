"""Calls and attempts as the middlewares would make them, without a server.

The calls, attempts and requests are the real ones; only the settings are a stand-in, since these
tests are about a handful of fields.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp import HttpVersion11
from multidict import CIMultiDict
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http.call import Attempt, Call, CallOptions, Client, Origin
from platform_http.telemetry.metrics import Metrics
from platform_http.telemetry.observer import ClientTelemetry
from platform_http.timers import Timers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

    from platform_http.settings import ClientSettings, TelemetrySettings

DEFAULT_KEYS = (
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "access_token",
    "token",
    "api_key",
    "apikey",
    "key",
    "password",
    "secret",
    "code",
)


def telemetry_settings(**changes: object) -> TelemetrySettings:
    fields: dict[str, object] = {
        "traces": True,
        "metrics": True,
        "call_span": "auto",
        "propagate_to": ("*",),
        "capture_request_headers": (),
        "capture_response_headers": (),
        "redact_query": DEFAULT_KEYS,
    }
    return cast("TelemetrySettings", SimpleNamespace(**fields | changes))


def client_settings(name: str = "billing", circuit_breaker: str = "enforce") -> ClientSettings:
    return cast(
        "ClientSettings",
        SimpleNamespace(
            name=name,
            timeout=SimpleNamespace(total=10.0, attempt=4.0),
            retry=SimpleNamespace(enabled=True, max_attempts=3),
            circuit_breaker=SimpleNamespace(mode=circuit_breaker),
        ),
    )


class Scene:
    """One client with a registry and spans of its own."""

    def __init__(
        self,
        *,
        sampler: Sampler | None = None,
        sdk: bool = True,
        can_resend: bool = True,
        base_origin: Origin | None = None,
        circuit_breaker: str = "enforce",
        concurrency_limit: int = 20,
        registry: CollectorRegistry | None = None,
        **telemetry: object,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self.metrics = Metrics.of(self.registry)
        self.exporter = InMemorySpanExporter()
        self.provider = None
        if sdk:
            self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
            self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = ClientTelemetry(
            "billing",
            telemetry_settings(**telemetry),
            self.metrics,
            tracer_provider=self.provider,
            base_origin=base_origin,
            can_resend=can_resend,
            pool_limit=100,
            pool_limit_per_host=20,
            concurrency_limit=concurrency_limit,
        )
        self.loop = asyncio.new_event_loop()
        settings = client_settings(circuit_breaker=circuit_breaker)
        self.client = Client(settings, self.telemetry, Timers(self.loop))
        self.now = 1000.0

    def close(self) -> None:
        self.loop.close()
        if self.provider is not None:
            self.provider.shutdown()

    def call(self, method: str = "GET", **options: object) -> Call:
        call = Call(self.client, CallOptions(**options))
        call.open(method, CIMultiDict(), self.now)
        call.leave()
        call.hops = 1
        return call

    def attempt(
        self,
        call: Call,
        url: str = "http://api.example.com/invoices/42",
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[Attempt, aiohttp.ClientRequest]:
        target = URL(url)
        request = aiohttp.ClientRequest(
            method or call.method, target, headers=headers, loop=self.loop
        )
        attempt = Attempt(call, Origin.of(target), request.method, target, self.now)
        self.telemetry.attempt_started(attempt, request)
        return attempt, request

    def answer(self, attempt: Attempt, status: int = 200, after: float = 0.02) -> None:
        attempt.mark_sent(self.now)
        self.now += after
        attempt.ended = self.now
        attempt.status = status
        attempt.call.status = status
        attempt.version = HttpVersion11
        attempt.peer = ("127.0.0.1", 8080)
        self.telemetry.attempt_ended(attempt)

    def fail(self, attempt: Attempt, error_type: str, after: float = 0.02) -> None:
        self.now += after
        attempt.ended = self.now
        attempt.error_type = error_type
        self.telemetry.attempt_ended(attempt)

    def cancel(self, attempt: Attempt, after: float = 0.02) -> None:
        self.now += after
        attempt.ended = self.now
        attempt.cancelled = True
        self.telemetry.attempt_ended(attempt)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return a sample of this client; labels that are not named must be empty."""
        found = [
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name
            and {key: value for key, value in sample.labels.items() if value}
            == {"client": "billing", **labels}
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def spans(self) -> dict[str, object]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

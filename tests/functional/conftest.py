"""Factories whose spans and samples a test can read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

import platform_http.testing
from platform_http.auth import CredentialProvider
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings

# Real backoffs, too short to wait for.
FAST = {"retry": {"backoff_initial": 0.001, "backoff_max": 0.002, "backoff_throttled": 0.001}}


def merged(base: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    result = dict(base)
    for key, value in extra.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


@dataclass
class Observed:
    """What one test's factories emit."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of *name* whose labels include *labels*."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.INTERNAL]

    @asynccontextmanager
    async def factory(
        self,
        *,
        middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (),
        trace_configs: tuple[aiohttp.TraceConfig, ...] = (),
        providers: Mapping[str, CredentialProvider] | None = None,
        clock: Callable[[], float] | None = None,
        **settings: object,
    ) -> AsyncIterator[SessionFactory]:
        """A factory that writes here; *settings* as for ``HttpSettings``."""
        async with SessionFactory(
            HttpSettings(**merged(FAST, settings)),
            registry=self.registry,
            tracer_provider=self.provider,
            middlewares=middlewares,
            trace_configs=trace_configs,
            auth=providers,
            clock=clock,
        ) as factory:
            yield factory

    @asynccontextmanager
    async def session(self, **settings: object) -> AsyncIterator[aiohttp.ClientSession]:
        """The default session of such a factory."""
        async with self.factory(**settings) as factory:
            yield factory.session()

    def assert_quiet(self) -> None:
        """Nothing is in flight: no attempt, no active connection."""
        assert self.value("http_client_active_requests") == 0
        assert self.value("http_client_open_connections", http_connection_state="active") == 0


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port on which connects neither succeed nor fail."""
    with platform_http.testing.black_hole() as port:
        yield port

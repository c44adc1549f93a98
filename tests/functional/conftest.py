"""Factories whose spans and samples a test can read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from prometheus_client import CollectorRegistry

import platform_http.testing
from platform_http.auth import CredentialProvider
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.testing import CapturedMetrics, CapturedSpans
from platform_http.testing.fast_settings import merged

# Real backoffs, too short to wait for.
FAST = {"retry": {"backoff_initial": 0.001, "backoff_max": 0.002, "backoff_throttled": 0.001}}


@dataclass
class Observed:
    """What one test's factories emit."""

    metrics: CapturedMetrics = field(default_factory=CapturedMetrics)
    traces: CapturedSpans = field(default_factory=CapturedSpans)

    @property
    def registry(self) -> CollectorRegistry:
        return self.metrics.registry

    @property
    def provider(self) -> TracerProvider:
        return self.traces.provider

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.value(name, **labels)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.traces.finished

    @property
    def attempts(self) -> list[ReadableSpan]:
        return self.traces.attempts

    @property
    def calls(self) -> list[ReadableSpan]:
        return self.traces.calls

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
def observed(captured_metrics: CapturedMetrics, captured_spans: CapturedSpans) -> Observed:
    return Observed(captured_metrics, captured_spans)


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port on which connects neither succeed nor fail."""
    with platform_http.testing.black_hole() as port:
        yield port

"""The sessions that every benchmark compares: aiohttp's own, ours by mode, and the peers'."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
import aiohttp_retry
import httpx
import purgatory
import tenacity
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from benchmarks import evidence
from benchmarks.evidence import CALL, CLIENT, Tracing
from platform_http import (
    CallOptions,
    CircuitOpenError,
    HttpSettings,
    SessionFactory,
    plain_settings,
)

OPTIONS = CallOptions(operation="invoices.get", url_template="/invoices/{id}")

Check = Callable[[int, str], Awaitable[None]]
"""Fails unless so many calls to the server at a URL left behind what they promised."""


async def _nothing(calls: int, url: str) -> None:
    """A bare session promises nothing."""


class Candidate:
    """An open client that counts its calls.

    Args:
        request: Begins a request of aiohttp's to a URL.
        check: What it must have left behind.
        flush: Exports the spans that have ended.
    """

    def __init__(
        self,
        request: Callable[[str], Any],
        check: Check = _nothing,
        flush: Callable[[], object] = bool,
    ) -> None:
        self.calls = 0
        self.flush = flush
        self._request = request
        self._check = check

    async def get(self, url: str) -> None:
        """Make a GET and read its body as a whole."""
        self.calls += 1
        async with self._request(url) as response:
            await response.read()

    async def stream(self, url: str) -> None:
        """Make a GET and read its body as it comes."""
        self.calls += 1
        async with self._request(url) as response:
            async for _ in response.content.iter_any():
                pass

    async def check(self, url: str) -> None:
        """Fail unless all calls left behind what they promised; the last thing to do with it.

        Args:
            url: Of :mod:`benchmarks.upstream`.

        Raises:
            NotDoneError: If something was left out.
        """
        await self._check(self.calls, url)


Opener = Callable[[], contextlib.AbstractAsyncContextManager[Candidate]]


def _of(
    session: aiohttp.ClientSession, check: Check = _nothing, flush: Callable[[], object] = bool
) -> Candidate:
    return Candidate(functools.partial(session.get, trace_request_ctx=OPTIONS), check, flush)


@contextlib.asynccontextmanager
async def _raw() -> AsyncIterator[Candidate]:
    async with aiohttp.ClientSession() as session:
        yield _of(session)


def _official(ratio: float | None) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Candidate]:
        tracing = Tracing(ratio, CLIENT)
        config = create_trace_config(tracer_provider=tracing.provider)
        async with aiohttp.ClientSession(trace_configs=[config]) as session:

            async def check(calls: int, url: str) -> None:
                sent = await evidence.headers_sent(session.get, f"{url}/invoices/42")
                await tracing.check(calls + 1, sent)

            yield _of(session, check, tracing.flush)

    return opened


def ours(
    settings: HttpSettings,
    ratio: float | None = None,
    kinds: tuple[SpanKind, ...] = (CLIENT, CALL),
    *,
    plain: bool = False,
) -> Opener:
    """Return what opens a session of the library.

    Args:
        settings: Of its factory.
        ratio: Share of traces that are sampled; ``None`` is no SDK.
        kinds: Of the spans that each call promises where there is an SDK.
        plain: Whether it promises neither samples nor policies.
    """

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Candidate]:
        tracing, registry = Tracing(ratio, *kinds), CollectorRegistry()
        async with SessionFactory(
            settings, tracer_provider=tracing.provider, registry=registry
        ) as factory:
            session = factory.session("bench")

            async def check(calls: int, url: str) -> None:
                sent = await evidence.headers_sent(session.get, f"{url}/invoices/42")
                await tracing.check(calls + 1, sent)
                if not plain:
                    evidence.check_samples(registry, calls + 1)
                    await evidence.check_policies(factory, "bench", url)

            yield _of(session, check, tracing.flush)

    return opened


class _Refused(Candidate):
    async def get(self, url: str) -> None:
        self.calls += 1
        try:
            await self._request(url)
        except CircuitOpenError:
            return
        raise evidence.NotDoneError("an open circuit refused nothing")


@contextlib.asynccontextmanager
async def _refused() -> AsyncIterator[Candidate]:
    registry = CollectorRegistry()
    settings = HttpSettings(circuit_breaker={"mode": "force_open"})
    async with SessionFactory(settings, registry=registry) as factory:
        session = factory.session("bench")

        async def check(calls: int, _: str) -> None:
            refused = evidence.value(
                registry, "platform_http_calls_total", outcome="rejected", error_type="circuit_open"
            )
            evidence.expect("refusals counted", refused, calls)

        yield _Refused(functools.partial(session.get, trace_request_ctx=OPTIONS), check)


@contextlib.asynccontextmanager
async def _retrying() -> AsyncIterator[Candidate]:
    options = aiohttp_retry.ExponentialRetry(attempts=3)
    async with aiohttp_retry.RetryClient(retry_options=options) as client:
        yield Candidate(client.get)


class _Composed(Candidate):
    """What a user composes today: retry, breaker, instrumentation and metrics."""

    def __init__(
        self, client: aiohttp_retry.RetryClient, tracing: Tracing, registry: CollectorRegistry
    ) -> None:
        super().__init__(client.get, self._left, tracing.flush)
        self._tracing = tracing
        self._registry = registry
        server = ("server_address", "server_port")
        self._duration = Histogram(
            "http_client_request_duration_seconds",
            "Duration.",
            ("method", *server, "template", "status"),
            registry=registry,
        )
        self._active = Gauge("http_client_active_requests", "Active.", server, registry=registry)
        self._ended = Counter("calls", "Calls.", ("operation", "outcome"), registry=registry)
        self._breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=5)

    def get(self, url: str) -> Coroutine[None, None, None]:
        return self._made(url, whole=True)

    def stream(self, url: str) -> Coroutine[None, None, None]:
        return self._made(url, whole=False)

    async def _made(self, url: str, *, whole: bool) -> None:
        self.calls += 1
        outcome = "error"
        self._active.labels("127.0.0.1", "80").inc()
        began = time.perf_counter()
        try:
            async with (
                await self._breakers.get_breaker("127.0.0.1"),
                self._request(url) as response,
            ):
                labels = ("GET", "127.0.0.1", "80", "/invoices/{id}", str(response.status))
                self._duration.labels(*labels).observe(time.perf_counter() - began)
                if whole:
                    await response.read()
                else:
                    async for _ in response.content.iter_any():
                        pass
                outcome = "success"
        finally:
            self._active.labels("127.0.0.1", "80").dec()
            self._ended.labels("invoices.get", outcome).inc()

    async def _left(self, calls: int, url: str) -> None:
        sent = await evidence.headers_sent(self._request, f"{url}/invoices/42")
        await self._tracing.check(calls + 1, sent)
        done = evidence.value(self._registry, "calls_total", outcome="success")
        evidence.expect("calls counted", done, calls)
        breaker = await self._breakers.get_breaker("127.0.0.1")
        evidence.expect("state of the breaker", breaker.context.state, "closed")


def _composed(ratio: float | None) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Candidate]:
        tracing = Tracing(ratio, CLIENT)
        config = create_trace_config(tracer_provider=tracing.provider)
        options = aiohttp_retry.ExponentialRetry(attempts=3)
        session = aiohttp.ClientSession(
            trace_configs=[config], timeout=aiohttp.ClientTimeout(total=10, sock_read=4)
        )
        async with aiohttp_retry.RetryClient(
            client_session=session, retry_options=options
        ) as client:
            yield _Composed(client, tracing, CollectorRegistry())

    return opened


class _Httpx(Candidate):
    """httpx, which retries connects at most, or with tenacity around it."""

    def __init__(self, client: httpx.AsyncClient, tracing: Tracing, *, retried: bool) -> None:
        super().__init__(client.get, self._left, tracing.flush)
        self._client = client
        self._tracing = tracing
        if retried:
            self._request = tenacity.retry(
                stop=tenacity.stop_after_attempt(3),
                wait=tenacity.wait_random_exponential(max=5),
                retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            )(client.get)

    async def get(self, url: str) -> None:
        self.calls += 1
        response = await self._request(url)
        response.raise_for_status()

    async def stream(self, url: str) -> None:
        self.calls += 1
        async with self._client.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                pass

    async def _left(self, calls: int, url: str) -> None:
        response = await self._client.get(f"{url}/invoices/42")
        await self._tracing.check(calls + 1, response.request.headers)


def _httpx(*, instrumented: bool, retried: bool) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Candidate]:
        tracing = Tracing(1 if instrumented else None, CLIENT)
        retries = 2 if instrumented and not retried else 0
        transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(retries=retries)
        if instrumented:
            transport = AsyncOpenTelemetryTransport(transport, tracer_provider=tracing.provider)
        async with httpx.AsyncClient(transport=transport) as client:
            yield _Httpx(client, tracing, retried=retried)

    return opened


RAW = "raw aiohttp"
DEFAULT = "recorded, call + CLIENT + phases"
REFUSAL = "refusal by an open circuit"

OURS: dict[str, Opener] = {
    "plain profile": ours(plain_settings(), plain=True),
    "policies + metrics, no SDK": ours(HttpSettings()),
    "sampled out, 1 %": ours(HttpSettings(), 0.01),
    "recorded, CLIENT span": ours(HttpSettings(telemetry={"call_span": "never"}), 1, (CLIENT,)),
    DEFAULT: ours(HttpSettings(), 1),
}

PEERS: dict[str, Opener] = {
    "aiohttp-retry": _retrying,
    "official instrumentation, no SDK": _official(None),
    "official instrumentation, 1 %": _official(0.01),
    "official instrumentation, recorded": _official(1),
    "composed stack, no SDK": _composed(None),
    "composed stack, 1 %": _composed(0.01),
    "composed stack, recorded": _composed(1),
    "httpx": _httpx(instrumented=False, retried=False),
    "httpx, retries + instrumentation": _httpx(instrumented=True, retried=False),
    "httpx, tenacity + instrumentation": _httpx(instrumented=True, retried=True),
}

MODES: dict[str, Opener] = {RAW: _raw, **OURS, REFUSAL: _refused, **PEERS}

COMPOSED: dict[str, str] = {
    "policies + metrics, no SDK": "composed stack, no SDK",
    "sampled out, 1 %": "composed stack, 1 %",
    "recorded, CLIENT span": "composed stack, recorded",
    DEFAULT: "composed stack, recorded",
}
"""Which composed stack each of our modes is held against."""

WHOLE: tuple[str, ...] = (
    RAW,
    "policies + metrics, no SDK",
    DEFAULT,
    "official instrumentation, recorded",
    "composed stack, recorded",
    "httpx, retries + instrumentation",
)
"""Those that are also compared with many calls in flight, and where bodies are large."""

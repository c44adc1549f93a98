"""What calls leave behind, and that it is what was promised: nothing is measured that is off."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from platform_http import CircuitOpenError, SessionFactory

CLIENT, CALL = SpanKind.CLIENT, SpanKind.INTERNAL


class NotDoneError(AssertionError):
    """A candidate left something out, so its figures are no figures."""


def expect(what: str, found: object, promised: object) -> None:
    """Raise NotDoneError unless *found* is what was *promised*."""
    if found != promised:
        raise NotDoneError(f"{what}: {found}, and not {promised}")


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """Return the sum of the samples of *name* that have *labels*."""
    return sum(
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


class _Counting(SpanExporter):
    """Keeps how many spans of each kind came, and nothing of them."""

    def __init__(self) -> None:
        self.kinds = {CLIENT: 0, CALL: 0}

    def export(self, spans: Any) -> SpanExportResult:
        # Cheaply: what exports is measured with what is exported.
        clients = sum(span.kind is CLIENT for span in spans)
        self.kinds[CLIENT] += clients
        self.kinds[CALL] += len(spans) - clients
        return SpanExportResult.SUCCESS


class Tracing:
    """A set-up of OpenTelemetry's SDK, or its absence.

    Args:
        ratio: Share of traces that are sampled; ``None`` is no SDK.
        kinds: Kinds of the spans that each call has.
    """

    def __init__(self, ratio: float | None, *kinds: SpanKind) -> None:
        self._ratio = ratio
        self._kinds = kinds
        self._exporter = _Counting()
        self.provider: TracerProvider | None = None
        if ratio is not None:
            sampler = ParentBased(TraceIdRatioBased(ratio))
            self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
            self.provider.add_span_processor(BatchSpanProcessor(self._exporter))

    def flush(self) -> None:
        """Export what has ended."""
        if self.provider is not None:
            self.provider.force_flush()

    async def check(self, calls: int, headers: Any) -> None:
        """Fail unless *calls* calls have left their spans, and the last one sent its trace.

        Args:
            calls: All that were made.
            headers: What the last one sent.
        """
        if self.provider is None:
            expect("trace sent without an SDK", "traceparent" in headers, False)
            return
        await asyncio.to_thread(self.flush)
        kinds = self._exporter.kinds
        expect("kinds of spans", [k for k in kinds if kinds[k] and k not in self._kinds], [])
        counts = [kinds[kind] for kind in self._kinds]
        expect("trace sent", "traceparent" in headers, True)
        if self._ratio == 1:
            expect("spans", counts, [calls] * len(self._kinds))
        else:
            expect("few spans, in pairs", len(set(counts)) == 1 and counts[0] < calls / 5, True)


def check_samples(registry: CollectorRegistry, calls: int) -> None:
    """Fail unless the metrics of the library hold *calls* calls."""
    done = value(registry, "platform_http_calls_total", outcome="success")
    expect("calls counted", done, calls)
    for name in ("http_client_request_duration_seconds", "platform_http_call_duration_seconds"):
        expect(f"samples of {name}", value(registry, f"{name}_count"), calls)
    expect("active requests", value(registry, "http_client_active_requests"), 0)


async def check_policies(factory: SessionFactory, name: str, url: str) -> None:
    """Fail unless limit, breaker, retry and budget of client *name* decide, each of them.

    Args:
        factory: Whose client has called *url*'s origin and met no failure.
        name: Of the client.
        url: Of :mod:`benchmarks.upstream`.
    """
    session = factory.session(name)

    def origin() -> Any:
        (client,) = factory.inspect()
        expect("origins with policies", len(client.origins), 1)
        return client.origins[0]

    async def get(path: str) -> None:
        async with session.get(f"{url}{path}") as response:
            await response.read()

    if origin().circuit is None or origin().in_use is None:
        raise NotDoneError("a circuit or a limit was never asked")
    # Older results than its window have left the breaker, so it need not have seen all of them.
    expect("successes in the breaker", origin().circuit.ok > 0, True)
    held = asyncio.create_task(get("/held/2"))
    while origin().circuit.in_flight == 0:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0)
    expect("permits of a call in flight", origin().in_use, 1)
    await asyncio.gather(held, get("/held/2"))
    expect("permits left", (origin().in_use, origin().circuit.in_flight), (0, 0))
    failed = origin().circuit.failed
    await get("/failing")
    expect("attempts of a call that fails", origin().circuit.failed - failed, 3)
    expect("tokens of two resends spent", origin().budget < 90, True)
    factory.circuits.force_open(name, url)
    try:
        await get("/invoices/42")
    except CircuitOpenError:
        return
    raise NotDoneError("an open circuit refused nothing")


async def headers_sent(request: Any, url: str) -> Any:
    """Return the headers of one more call that *request* makes."""
    async with request(url) as response:
        assert isinstance(response, aiohttp.ClientResponse)
        await response.read()
        return response.request_info.headers

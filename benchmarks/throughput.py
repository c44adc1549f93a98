"""CPU and throughput of small GETs and of streams of 1 MiB, over raw aiohttp in the same round.

Every candidate stays open for the whole run on connections of its own. CPU is that of the loop's
thread. The ratios are medians over the rounds, with their quartiles. What is ours reads its calls
back at the end: a call without its span and its sample would be no fair candidate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import tenacity
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

import platform_http
from benchmarks import modes, upstream
from benchmarks.report import against, median, promise, promise_least, spread, table
from benchmarks.rounds import Cost, One, interleaved
from platform_http import HttpSettings, SessionFactory

MIB = 1 << 20

_RECORDED = "recorded, call + CLIENT + phases"
_COMPOSED = modes.COMPOSED[_RECORDED]
_PACKAGE = str(Path(platform_http.__file__).parent)


class _Counted(SpanExporter):
    """Keeps how many spans came, and nothing of them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


def _provider(exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@contextlib.asynccontextmanager
async def _httpx(*, instrumented: bool, retried: bool) -> AsyncIterator[modes.Get]:
    transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(
        retries=2 if instrumented and not retried else 0
    )
    if instrumented:
        transport = AsyncOpenTelemetryTransport(transport, tracer_provider=_provider(_Counted()))
    async with httpx.AsyncClient(transport=transport) as client:

        async def get(url: str) -> None:
            response = await client.get(url)
            response.raise_for_status()

        if retried:
            get = tenacity.retry(
                stop=tenacity.stop_after_attempt(3),
                wait=tenacity.wait_random_exponential(max=5),
                retry=tenacity.retry_if_exception_type(httpx.HTTPError),
            )(get)
        yield get


SMALL: dict[str, modes.Opener] = {
    **modes.MODES,
    "httpx": lambda: _httpx(instrumented=False, retried=False),
    "httpx, retries + instrumentation": lambda: _httpx(instrumented=True, retried=False),
    "httpx, tenacity + instrumentation": lambda: _httpx(instrumented=True, retried=True),
}


def _streaming(session: aiohttp.ClientSession) -> modes.Get:
    async def get(url: str) -> None:
        async with session.get(url, trace_request_ctx=modes.OPTIONS) as response:
            async for _ in response.content.iter_any():
                pass

    return get


@contextlib.asynccontextmanager
async def _raw_stream(trace_configs: list[aiohttp.TraceConfig]) -> AsyncIterator[modes.Get]:
    async with aiohttp.ClientSession(trace_configs=trace_configs) as session:
        yield _streaming(session)


@contextlib.asynccontextmanager
async def _our_stream(exporter: SpanExporter | None) -> AsyncIterator[modes.Get]:
    factory = SessionFactory(
        HttpSettings(),
        tracer_provider=None if exporter is None else _provider(exporter),
        registry=CollectorRegistry(),
    )
    async with factory:
        yield _streaming(factory.session("bench"))


STREAMS: dict[str, modes.Opener] = {
    modes.RAW: lambda: _raw_stream([]),
    "policies + metrics, no SDK": lambda: _our_stream(None),
    _RECORDED: lambda: _our_stream(_Counted()),
    "official instrumentation, recorded": lambda: _raw_stream(
        [create_trace_config(tracer_provider=_provider(_Counted()))]
    ),
}


def _bound(get: modes.Get, url: str) -> One:
    return lambda: get(url)


@contextlib.asynccontextmanager
async def _opened(openers: dict[str, modes.Opener], url: str) -> AsyncIterator[dict[str, One]]:
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: _bound(await stack.enter_async_context(opener()), url)
            for name, opener in openers.items()
        }


def _print(title: str, costs: dict[str, Cost]) -> None:
    print(f"### {title}\n")
    raw = costs[modes.RAW]
    rows = []
    for name, cost in costs.items():
        cpu = against(cost.cpu, raw.cpu)
        rate = against(raw.wall, cost.wall)
        rows.append(
            (
                name,
                f"{median(cost.cpu):.0f}",
                f"{median(cpu):.2f}",
                spread(cpu),
                f"{median(rate):.2f}",
                spread(rate),
            )
        )
    heads = ("mode", "CPU µs", "CPU to raw", "quartiles", "throughput to raw", "quartiles")
    table(heads, rows)


def _overhead(costs: dict[str, Cost], name: str) -> list[float]:
    pairs = zip(costs[name].cpu, costs[modes.RAW].cpu, strict=True)
    return [ours - raw for ours, raw in pairs]


async def _entered(call: One) -> tuple[int, int]:
    """Return how many frames of the library one call enters or resumes, and all function calls."""
    await call()
    frames = functions = 0

    def count(frame: Any, event: str, _: object) -> None:
        nonlocal frames, functions
        functions += event in ("call", "c_call")
        frames += event == "call" and frame.f_code.co_filename.startswith(_PACKAGE)

    sys.setprofile(count)
    try:
        await call()
    finally:
        sys.setprofile(None)
    return frames, functions


async def _per_chunk(url: str) -> None:
    """Say what a longer stream adds: frames of the library, and calls of any function.

    A collection in the middle may add a finalizer: the least of some runs counts.
    """
    added: dict[str, tuple[int, int]] = {}
    for mode in (modes.RAW, _RECORDED):
        async with STREAMS[mode]() as get:
            few, many = [
                min([await _entered(_bound(get, f"{url}/stream/{size}")) for _ in range(5)])
                for size in (MIB, 4 * MIB)
            ]
        added[mode] = many[0] - few[0], many[1] - few[1]
    (_, raw), (frames, ours) = added.values()
    print(f"Three further MiB add {raw} function calls to a raw stream and {ours} to ours.\n")
    promise("frames of the library that three further MiB of a stream add", frames, 0)
    promise("function calls that three further MiB of a stream add, over raw", ours / raw, 1)


async def _asserted(url: str) -> None:
    """Fail where a default session leaves out what it promises."""
    exporter, registry, calls = _Counted(), CollectorRegistry(), 20
    provider = _provider(exporter)
    async with SessionFactory(
        HttpSettings(), tracer_provider=provider, registry=registry
    ) as factory:
        for _ in range(calls):
            async with factory.session("bench").get(url) as response:
                await response.read()
        circuits = [
            circuit
            for circuits in factory.circuits.snapshot().values()
            for circuit in circuits.values()
        ]
    await asyncio.to_thread(provider.force_flush)
    samples = registry.get_sample_value(
        "platform_http_calls_total",
        {"client": "bench", "operation": "", "outcome": "success", "error_type": ""},
    )
    assert exporter.spans == 2 * calls, exporter.spans
    assert samples == calls, samples
    assert sum(circuit.ok for circuit in circuits) == calls, circuits
    print(
        f"{calls} calls of the default session left {exporter.spans} spans, {samples:.0f} samples"
    )
    print(f"and {calls} results in its circuit breaker.\n")


async def _run(rounds: int, calls: int, in_flight: int) -> None:
    with upstream.running() as url:
        small, large = f"{url}/invoices/42", f"{url}/stream/{MIB}"
        await _asserted(small)
        async with _opened(SMALL, small) as candidates:
            sequential = await interleaved(candidates, rounds=rounds, calls=calls)
            _print("Small GETs, one at a time", sequential)
            several = await interleaved(
                candidates, rounds=rounds, calls=2 * calls, in_flight=in_flight
            )
            _print(f"Small GETs, {in_flight} in flight", several)
        async with _opened(STREAMS, large) as candidates:
            streams = await interleaved(candidates, rounds=rounds, calls=max(1, calls // 4))
            _print("Streams of 1 MiB, one at a time", streams)
            both = await interleaved(
                candidates, rounds=max(1, rounds // 2), calls=calls, in_flight=in_flight
            )
            _print(f"Streams of 1 MiB, {in_flight} in flight", both)
        await _per_chunk(url)
    rate = against(several[_COMPOSED].wall, several[_RECORDED].wall)
    promise_least(f"throughput over the composed stack, {in_flight} in flight", median(rate), 1.5)
    fixed = median(_overhead(sequential, _RECORDED))
    stream = median(_overhead(streams, _RECORDED))
    # The quartiles of a stream's own time are wider than this.
    noise = 0.05 * median(streams[modes.RAW].cpu)
    promise("CPU of a 1 MiB stream over raw", stream, fixed + noise, "µs")
    print(f"  (the fixed cost of a call, {fixed:.0f} µs, and 5 % of a raw stream)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=60, help="of each mode and round")
    parser.add_argument("--in-flight", type=int, default=50, help="where it is not one at a time")
    arguments = parser.parse_args()
    modes.silence()
    asyncio.run(_run(arguments.rounds, arguments.calls, arguments.in_flight))


if __name__ == "__main__":
    main()

"""CPU of one small GET through a factory session, over raw aiohttp, by mode.

Every round measures each mode once, in a new order, on one keep-alive connection; a mode's figure
is the median over the rounds of its ratio to raw aiohttp in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import CollectorRegistry

from benchmarks import server
from platform_http import CallOptions, HttpSettings, SessionFactory, plain_settings

OPTIONS = CallOptions(operation="invoices.get", url_template="/invoices/{id}")

Opener = Callable[[], contextlib.AbstractAsyncContextManager[aiohttp.ClientSession]]


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _provider(ratio: float) -> TracerProvider:
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


@contextlib.asynccontextmanager
async def _raw() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def _official(ratio: float) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[aiohttp.ClientSession]:
        config = create_trace_config(tracer_provider=_provider(ratio))
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            yield session

    return opened


def _ours(settings: HttpSettings, provider: TracerProvider | None = None) -> Opener:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[aiohttp.ClientSession]:
        async with SessionFactory(
            settings, tracer_provider=provider, registry=CollectorRegistry()
        ) as factory:
            yield factory.session("bench")

    return opened


MODES: dict[str, Opener] = {
    "raw aiohttp": _raw,
    "plain profile": _ours(plain_settings()),
    "policies + metrics, no SDK": _ours(HttpSettings()),
    "sampled out, 1 %": _ours(HttpSettings(), _provider(0.01)),
    "recorded, CLIENT span": _ours(HttpSettings(telemetry={"call_span": "never"}), _provider(1)),
    "recorded, call + CLIENT + phases": _ours(HttpSettings(), _provider(1)),
    "official instrumentation, recorded": _official(1),
}


async def _measure(opener: Opener, url: str, calls: int) -> float:
    async with opener() as session:

        async def run(count: int) -> None:
            for _ in range(count):
                async with session.get(url, trace_request_ctx=OPTIONS) as response:
                    await response.read()

        await run(calls // 10)
        before = time.process_time()
        await run(calls)
        return time.process_time() - before


async def _rounds(url: str, rounds: int, calls: int) -> dict[str, list[float]]:
    ratios: dict[str, list[float]] = {name: [] for name in MODES}
    order = list(MODES)
    for _ in range(rounds):
        random.shuffle(order)
        seconds = {name: await _measure(MODES[name], url, calls) for name in order}
        for name, value in seconds.items():
            ratios[name].append(value / seconds["raw aiohttp"])
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1500)
    arguments = parser.parse_args()
    # What it warns about, such as another instrumentation, is meant here.
    logging.getLogger("platform_http").setLevel(logging.ERROR)
    with server.running() as url:
        ratios = asyncio.run(_rounds(url, arguments.rounds, arguments.calls))
    print(f"CPU of one small GET, {arguments.rounds} rounds of {arguments.calls} calls\n")
    print("| mode | ratio to raw aiohttp | quartiles |")
    print("|---|---|---|")
    for name, values in ratios.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"| {name} | {median:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()

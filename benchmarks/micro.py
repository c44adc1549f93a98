"""What the parts cost alone: spans and samples, settings, sessions, a refusal.

Decisions of the policies are in ``policy_cost``, importing is in ``import_cost``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind
from opentelemetry.trace import TracerProvider as AnyProvider
from prometheus_client import CollectorRegistry, Histogram

from benchmarks import modes, upstream
from benchmarks.function_calls import BUDGETS
from benchmarks.report import against, median, promise, spread, table
from benchmarks.rounds import One, interleaved, silence
from platform_http import HttpSettings, SessionFactory, load_settings

_ENVIRONMENT = {
    "PLATFORM_HTTP_TIMEOUT__TOTAL": "8",
    "PLATFORM_HTTP_POOL__LIMIT": "200",
    "PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL": "https://billing.internal/",
    "PLATFORM_HTTP_CLIENTS__BILLING__RETRY__MAX_ATTEMPTS": "2",
    "PLATFORM_HTTP_CLIENTS__SEARCH__CIRCUIT_BREAKER__WINDOW": "60",
}


def _microseconds(action: Callable[[], object], *, rounds: int, calls: int) -> list[float]:
    """Return the CPU of one *action*, microseconds, by round."""
    found = []
    for _ in range(rounds):
        gc.collect()
        began = time.thread_time()
        for _ in range(calls):
            action()
        found.append((time.thread_time() - began) / calls * 1e6)
    return found


def _bare_span(provider: TracerProvider) -> Callable[[], None]:
    """Return what any user of the public Tracer pays for a span with as many attributes."""
    tracer = provider.get_tracer("bench")
    attributes = {f"attribute.{number}": "value" for number in range(12)}

    def span() -> None:
        tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=attributes).end()

    return span


def _sample() -> Callable[[], None]:
    histogram = Histogram("sample", "A sample.", ("client",), registry=CollectorRegistry())
    child = histogram.labels("bench")
    return lambda: child.observe(0.012)


@contextlib.asynccontextmanager
async def _session(
    provider: AnyProvider | None, **telemetry: object
) -> AsyncIterator[aiohttp.ClientSession]:
    async with SessionFactory(
        HttpSettings(telemetry=telemetry), tracer_provider=provider, registry=CollectorRegistry()
    ) as factory:
        yield factory.session("bench")


def _get(session: aiohttp.ClientSession, url: str) -> One:
    async def get() -> None:
        async with session.get(url, trace_request_ctx=modes.OPTIONS) as response:
            await response.read()

    return get


async def _telemetry(rounds: int, calls: int) -> None:
    unsampled, recorded = TracerProvider(sampler=ALWAYS_OFF), TracerProvider()
    steps = {
        "neither samples nor spans": _session(None, traces=False, metrics=False),
        "all samples of a call": _session(None, traces=False),
        "… and spans without an SDK": _session(NoOpTracerProvider()),
        "… and spans that are sampled out": _session(unsampled),
        "… and a CLIENT span": _session(recorded, call_span="never"),
        "… and a call span and a CLIENT span": _session(recorded),
    }
    async with contextlib.AsyncExitStack() as stack:
        url = f"{stack.enter_context(upstream.running())}/invoices/42"
        candidates = {
            name: _get(await stack.enter_async_context(step), url) for name, step in steps.items()
        }
        costs = await interleaved(candidates, rounds=rounds, calls=calls)
    nothing = costs["neither samples nor spans"].cpu
    rows = []
    for name, cost in costs.items():
        added = [each - base for each, base in zip(cost.cpu, nothing, strict=True)]
        rows.append((name, f"{median(cost.cpu):.0f}", f"{median(added):.1f}", spread(added, 1)))
    print("\n### Spans and samples\n")
    table(("a small GET with", "CPU µs", "added µs", "quartiles"), rows)
    alone = {
        "A span of the SDK with 12 attributes": _bare_span(recorded),
        "A sample of a histogram child": _sample(),
    }
    for name, part in alone.items():
        taken = _microseconds(part, rounds=rounds, calls=calls)
        print(f"{name} alone: {median(taken):.1f} µs ({spread(taken, 1)}).\n")


@contextlib.contextmanager
def _environment() -> Any:
    # What is loaded is set here, and nothing that the machine may have set.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PLATFORM_HTTP_")}
    with mock.patch.dict(os.environ, kept | _ENVIRONMENT, clear=True):
        yield


@contextlib.contextmanager
def _contexts_counted() -> Any:
    """Count the SSL contexts that are made, as ``.made``."""
    count = SimpleNamespace(made=0)
    new = ssl.SSLContext.__new__

    def counting(cls: type[ssl.SSLContext], *args: Any, **kwargs: Any) -> ssl.SSLContext:
        count.made += 1
        return new(cls, *args, **kwargs)

    with mock.patch.object(ssl.SSLContext, "__new__", counting):
        yield count


async def _sessions(clients: int) -> tuple[list[float], float, int, int]:
    """Return microseconds of each session of one factory, those of entering it, and contexts."""
    with _contexts_counted() as contexts:
        factory = SessionFactory(load_settings(), registry=CollectorRegistry())
        began = time.perf_counter()
        async with factory:
            entered = (time.perf_counter() - began) * 1e6
            loaded = contexts.made
            seconds = []
            for number in range(clients):
                began = time.thread_time()
                factory.session(f"client{number}")
                seconds.append((time.thread_time() - began) * 1e6)
            return seconds, entered, loaded, contexts.made - loaded


async def _creation(rounds: int, clients: int) -> None:
    with _environment():
        loading = _microseconds(load_settings, rounds=rounds, calls=1)
        # The first factory of the process builds the SSL context, and imports what sessions need.
        (first, *rest), entered, loaded, more = await _sessions(clients)
        later = [await _sessions(clients) for _ in range(rounds)]
        raw = []
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(clients):
                began = time.thread_time()
                session = aiohttp.ClientSession()
                raw.append((time.thread_time() - began) * 1e6)
                await stack.enter_async_context(session)
    firsts = [seconds[0] for seconds, *_ in later]
    following = rest + [each for seconds, *_ in later for each in seconds[1:]]
    contexts = loaded + more + sum(each[2] + each[3] for each in later)
    rows = [
        ("load_settings() of five variables", loading),
        ("entering the first factory (wall)", [entered]),
        ("entering another one (wall)", [each[1] for each in later]),
        ("first session of the process", [first]),
        ("first session of another factory", firsts),
        ("each further session", following),
        ("aiohttp.ClientSession()", raw),
    ]
    print("### Settings and sessions\n")
    table(
        ("part", "µs", "quartiles"),
        [(name, f"{median(each):.0f}", spread(each, 0)) for name, each in rows],
    )
    print(f"SSL contexts made: {loaded} on entering the first factory, {contexts} in all.\n")
    settings = median(loading)
    promise("settings and first session of the process", (settings + first) / 1000, 1.5, "ms")
    promise("the same with its modules imported", (settings + median(firsts)) / 1000, 1.5, "ms")
    promise("each further session", median(following), 150, "µs")
    promise("SSL contexts of the process", contexts, 1)


async def _refusal(rounds: int, calls: int) -> None:
    with upstream.running() as url:
        small = f"{url}/invoices/42"
        async with modes.MODES[modes.RAW]() as raw, modes.MODES[modes.REFUSAL]() as refused:
            candidates = {"raw": lambda: raw.get(small), "refused": lambda: refused.get(small)}
            costs = await interleaved(candidates, rounds=rounds, calls=calls)
            await refused.check(url)
    ratios = against(costs["refused"].cpu, costs["raw"].cpu)
    print("### An open circuit\n")
    print(
        f"A refusal takes {median(costs['refused'].cpu):.0f} µs of CPU, a raw request "
        f"{median(costs['raw'].cpu):.0f} µs; ratio {median(ratios):.2f}, quartiles "
        f"{spread(ratios)}.\n"
    )
    most = BUDGETS["cpu_ratio"][modes.REFUSAL]
    promise("a refusal over a raw request (CPU)", median(ratios), most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--clients", type=int, default=50)
    arguments = parser.parse_args()
    silence()
    # Before anything else, which would have imported and cached what a new process has not.
    asyncio.run(_creation(arguments.rounds, arguments.clients))
    asyncio.run(_telemetry(arguments.rounds, arguments.calls))
    asyncio.run(_refusal(arguments.rounds, arguments.calls))


if __name__ == "__main__":
    main()

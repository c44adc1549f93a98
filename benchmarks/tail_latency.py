"""Latencies of calls to ten replicas of which one is slow, and what each remedy adds to the load.

The replicas are behind one origin, as behind a load balancer that does not look: a client can tell
none of them apart. Calls arrive at a fixed rate whatever became of the ones before, and a latency
counts from the instant at which its call was due. Figures of all calls, failed ones included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import aiohttp_retry
from prometheus_client import CollectorRegistry

from benchmarks import upstream
from benchmarks.report import table
from benchmarks.rounds import silence
from platform_http import CallOptions, HttpSettings, SessionFactory

_Get = Callable[[str], Awaitable[None]]

_DELAY = 0.04
"""Seconds after which a call is hedged, or its attempt is given up: no healthy replica needs it."""

_RARELY, _OFTEN = 0.05, 0.15
"""Shares of calls that may be hedged: the default, and more than there are slow ones."""

_QUANTILES = (0.5, 0.95, 0.99, 0.999)

_LATE = 100.0
"""Milliseconds that only a call to the slow replica takes."""

_SLOW_CALLS = {"slow_call_duration": _DELAY, "slow_call_ratio": 0.5}


@contextlib.asynccontextmanager
async def _plain() -> AsyncIterator[_Get]:
    async with aiohttp.ClientSession() as session:
        yield _of(session)


@contextlib.asynccontextmanager
async def _retrying(seconds: float | None) -> AsyncIterator[_Get]:
    timeout = aiohttp.ClientTimeout(total=seconds)
    # Left to itself it resends after no exception at all.
    options = aiohttp_retry.ExponentialRetry(
        attempts=3, start_timeout=0.01, exceptions={aiohttp.ClientError, TimeoutError}
    )
    async with aiohttp_retry.RetryClient(retry_options=options, timeout=timeout) as client:

        async def get(url: str) -> None:
            async with client.get(url) as response:
                await response.read()

        yield get


def _ours(
    attempt_timeout: float | None = None, **settings: Any
) -> Callable[[], contextlib.AbstractAsyncContextManager[_Get]]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[_Get]:
        options = CallOptions(attempt_timeout=attempt_timeout)
        async with SessionFactory(HttpSettings(**settings), registry=CollectorRegistry()) as made:
            yield _of(made.session("bench"), options)

    return opened


def _hedging(max_ratio: float = _RARELY, delay: float | str = _DELAY) -> dict[str, object]:
    return {"enabled": True, "delay": delay, "max_ratio": max_ratio}


def _of(session: aiohttp.ClientSession, options: CallOptions | None = None) -> _Get:
    async def get(url: str) -> None:
        async with session.get(url, trace_request_ctx=options) as response:
            await response.read()

    return get


_OFF, _SLOW = {"mode": "off"}, {"mode": "enforce", **_SLOW_CALLS}
_MS = f"{_DELAY * 1e3:.0f} ms"

CANDIDATES: dict[str, Callable[[], Any]] = {
    "plain aiohttp": _plain,
    "aiohttp-retry": lambda: _retrying(None),
    f"aiohttp-retry, {_MS} for an attempt": lambda: _retrying(_DELAY),
    "ours, defaults": _ours(),
    "ours, breaker off": _ours(circuit_breaker=_OFF),
    f"ours, breaker with slow calls over {_MS}": _ours(circuit_breaker=_SLOW),
    f"ours, {_MS} for an attempt": _ours(_DELAY),
    "ours, hedging at the p95": _ours(hedging=_hedging(delay="p95")),
    f"ours, hedging after {_MS}": _ours(hedging=_hedging()),
    f"ours, hedging after {_MS}, {_OFTEN:.0%} of calls": _ours(hedging=_hedging(_OFTEN)),
    "… and breaker off": _ours(hedging=_hedging(_OFTEN), circuit_breaker=_OFF),
    "… and breaker with slow calls": _ours(hedging=_hedging(_OFTEN), circuit_breaker=_SLOW),
}


def quantile(values: list[float], share: float) -> float:
    """Return the value that *share* of the sorted *values* do not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]


async def _measure(get: _Get, url: str, calls: int, rate: float) -> tuple[list[float], int]:
    """Return the latencies, milliseconds, and how many calls failed."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    failed = 0

    async def call(due: float) -> None:
        nonlocal failed
        try:
            await get(f"{url}/replica")
        except (aiohttp.ClientError, TimeoutError):
            failed += 1
        latencies.append((loop.time() - due) * 1e3)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            due = began + number / rate
            await asyncio.sleep(due - loop.time())
            group.create_task(call(due))
    return latencies, failed


async def _requests(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/requests") as response:
        return int(await response.read())


async def _run(calls: int, rate: float, names: list[str], slices: int) -> None:
    found: dict[str, tuple[list[float], int, int]] = {name: ([], 0, 0) for name in names}
    each = max(1, calls // slices)
    async with contextlib.AsyncExitStack() as stack:
        # Each meets replicas of its own that are slow at the same requests. In slices: what the
        # machine does besides meets all of them.
        urls = {name: stack.enter_context(upstream.running(seed=1)) for name in names}
        gets = {name: await stack.enter_async_context(CANDIDATES[name]()) for name in names}
        for number in range(slices + 1):
            for name, (latencies, failed, requests) in found.items():
                url = urls[name]
                more, failures = await _measure(gets[name], url, each, rate)
                sent = await _requests(url)
                # The first slice connects, and shows a hedge at the p95 what the p95 is.
                if number:
                    found[name] = latencies + more, failed + failures, requests + sent
    rows = []
    for name, (latencies, failed, requests) in found.items():
        ordered, made = sorted(latencies), len(latencies)
        tail = [f"{quantile(ordered, share):.0f}" for share in _QUANTILES]
        late = sum(latency > _LATE for latency in ordered) / made
        load = requests / made - 1
        rows.append((name, *tail, f"{late:.1%}", f"{load:+.1%}", f"{failed / made:.2%}"))
    fast, slow = (f"{a * 1e3:.0f} to {b * 1e3:.0f} ms" for a, b in (upstream.FAST, upstream.SLOW))
    print(
        f"{each * slices} calls at {rate:.0f} a second for each; one of "
        f"{upstream.REPLICAS} replicas takes\n{slow}, the others {fast}. Milliseconds.\n"
    )
    heads = (f"p{100 * share:g}" for share in _QUANTILES)
    table(("client", *heads, f"over {_LATE:.0f} ms", "more requests", "failed"), rows)
    print(
        "One call in a hundred meets the slow replica twice, so the p99 is where one hedge or\n"
        "resend stops helping. A p95 that is the slow replica's own comes too late for a hedge,\n"
        "and a breaker of the whole origin sees one slow call in ten: no reason to open."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=400, help="calls a second")
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--only", action="append", choices=CANDIDATES, help="all if none is given")
    arguments = parser.parse_args()
    silence()
    asyncio.run(
        _run(arguments.calls, arguments.rate, arguments.only or list(CANDIDATES), arguments.slices)
    )


if __name__ == "__main__":
    main()

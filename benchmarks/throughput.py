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
from collections.abc import AsyncIterator, Sequence

from benchmarks import modes, upstream
from benchmarks.report import against, median, promise, promise_least, spread, table
from benchmarks.rounds import Cost, One, interleaved, silence
from platform_http import HttpSettings

MIB = 1 << 20

_COMPOSED = modes.COMPOSED[modes.DEFAULT]

_UNQUEUED = f"{modes.DEFAULT}, 100 permits"
"""The default limit is 20 attempts per origin: most of 50 calls wait for one that ends."""

SMALL: dict[str, modes.Opener] = {
    **{name: opener for name, opener in modes.MODES.items() if name != modes.REFUSAL},
    _UNQUEUED: modes.ours(
        HttpSettings(
            pool={"limit": 100, "limit_per_host": 100},
            concurrency={"limit": 100},
        ),
        1,
    ),
}

STREAMS: dict[str, modes.Opener] = {name: modes.MODES[name] for name in modes.WHOLE}

Candidates = dict[str, modes.Candidate]


@contextlib.asynccontextmanager
async def _opened(openers: dict[str, modes.Opener], url: str) -> AsyncIterator[Candidates]:
    """Open all of them, and fail unless the calls of each left behind what they promise."""
    async with contextlib.AsyncExitStack() as stack:
        candidates = {
            name: await stack.enter_async_context(opener()) for name, opener in openers.items()
        }
        yield candidates
        for name, candidate in candidates.items():
            try:
                await candidate.check(url)
            except AssertionError as error:
                error.add_note(f"mode: {name}")
                raise


def _gets(candidates: Candidates, url: str) -> dict[str, One]:
    def one(candidate: modes.Candidate) -> One:
        return lambda: candidate.get(url)

    return {name: one(candidate) for name, candidate in candidates.items()}


def _streams(candidates: Candidates, url: str) -> dict[str, One]:
    def one(candidate: modes.Candidate) -> One:
        return lambda: candidate.stream(url)

    return {name: one(candidate) for name, candidate in candidates.items()}


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


async def _entered(call: One) -> int:
    """Return how many functions one call calls or resumes."""
    await call()
    functions = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal functions
        functions += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        await call()
    finally:
        sys.setprofile(None)
    return functions


async def _per_chunk(url: str) -> None:
    """Say how many function calls a longer stream adds: work per chunk would show in them.

    A collection in the middle may add a finalizer: the least of some runs counts.
    """
    added: dict[str, int] = {}
    for mode in (modes.RAW, modes.DEFAULT):
        async with STREAMS[mode]() as candidate:
            few, many = [
                min([await _entered(_streams({mode: candidate}, target)[mode]) for _ in range(5)])
                for target in (f"{url}/stream/{MIB}", f"{url}/stream/{4 * MIB}")
            ]
        added[mode] = many - few
    raw, ours = added.values()
    print(f"Three further MiB add {raw} function calls to a raw stream and {ours} to ours.\n")
    promise("function calls that three further MiB of a stream add, over raw", ours / raw, 1)


def _rate(costs: dict[str, Cost], name: str) -> Sequence[float]:
    return against(costs[_COMPOSED].wall, costs[name].wall)


async def _run(rounds: int, calls: int, in_flight: int) -> None:
    with upstream.running() as url:
        small, large = f"{url}/invoices/42", f"{url}/stream/{MIB}"
        async with _opened(SMALL, url) as candidates:
            gets = _gets(candidates, small)
            sequential = await interleaved(gets, rounds=rounds, calls=calls)
            _print("Small GETs, one at a time", sequential)
            # So many that beginning and end of a round, when fewer are in flight, count for little.
            most = 6 * calls
            several = await interleaved(gets, rounds=rounds, calls=most, in_flight=in_flight)
            _print(f"Small GETs, {in_flight} in flight", several)
        async with _opened(STREAMS, url) as candidates:
            bodies = _streams(candidates, large)
            streams = await interleaved(bodies, rounds=rounds, calls=max(1, calls // 4))
            _print("Streams of 1 MiB, one at a time", streams)
            both = await interleaved(
                bodies, rounds=max(1, rounds // 2), calls=calls, in_flight=in_flight
            )
            _print(f"Streams of 1 MiB, {in_flight} in flight", both)
        await _per_chunk(url)
    promise_least(
        f"throughput over the composed stack, {in_flight} in flight",
        median(_rate(several, modes.DEFAULT)),
        1.5,
    )
    print(f"  ({median(_rate(several, _UNQUEUED)):.2f} where no call waits for a permit)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=60, help="of each mode and round")
    parser.add_argument("--in-flight", type=int, default=50, help="where it is not one at a time")
    arguments = parser.parse_args()
    silence()
    asyncio.run(_run(arguments.rounds, arguments.calls, arguments.in_flight))


if __name__ == "__main__":
    main()

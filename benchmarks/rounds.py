"""Interleaved rounds: whatever else the machine does meets every candidate alike."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import FrameType
from typing import NamedTuple

One = Callable[[], Awaitable[None]]
"""Makes one call."""

_WARM_UP = 10

# More than any benchmark leaves behind.
_MANY_TIMERS = 10_000


class Cost(NamedTuple):
    """What one call of a candidate took, by round."""

    cpu: list[float]
    """Microseconds of the loop's thread: exporters of spans have threads of their own."""

    wall: list[float]
    """Microseconds that passed, divided by the calls made meanwhile."""


async def run(one: One, calls: int, in_flight: int) -> None:
    """Make so many *calls*, so many of them at a time."""
    if in_flight == 1:
        for _ in range(calls):
            await one()
        return
    left = calls

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())


def silence() -> None:
    """Keep the library from warning of what is meant here: another instrumentation, or thousands of
    clients without settings.
    """
    logging.getLogger("platform_http").setLevel(logging.ERROR)


async def drop_cancelled_timers() -> None:
    """Let the event loop forget the timers that earlier calls have cancelled.

    It does so when more than half of its timers are, and else looks at each when its time comes:
    in the midst of calls that have nothing to do with it.
    """
    loop = asyncio.get_running_loop()
    for handle in [loop.call_later(3600, loop.stop) for _ in range(_MANY_TIMERS)]:
        handle.cancel()
    await asyncio.sleep(0)


async def function_calls(one: One, calls: int) -> float:
    """Return the calls of Python and C functions that one call makes, the mean of *calls*."""
    total = 0

    def counting(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal total
        total += event in ("call", "c_call")

    await drop_cancelled_timers()
    # A collection may run finalizers, which are nobody's calls.
    gc.collect()
    gc.disable()
    sys.setprofile(counting)
    try:
        for _ in range(calls):
            await one()
    finally:
        sys.setprofile(None)
        gc.enable()
    return total / calls


async def warm_up(candidates: Mapping[str, One], in_flight: int = 1) -> None:
    """Make a few calls of each of *candidates*."""
    for one in candidates.values():
        await run(one, max(_WARM_UP, in_flight), in_flight)


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Keep what lives on from being walked by each collection that a candidate happens to start."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def one_round(
    candidates: Mapping[str, One], calls: int, in_flight: int = 1
) -> dict[str, tuple[float, float]]:
    """Measure each of *candidates* once, in a random order.

    Returns:
        By name, microseconds of this thread's CPU and microseconds that passed, both by call.
    """
    costs = {}
    for name in random.sample(list(candidates), len(candidates)):
        wall, cpu = time.perf_counter(), time.thread_time()
        await run(candidates[name], calls, in_flight)
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        costs[name] = (cpu / calls * 1e6, wall / calls * 1e6)
    return {name: costs[name] for name in candidates}


async def interleaved(
    candidates: Mapping[str, One], *, rounds: int, calls: int, in_flight: int = 1
) -> dict[str, Cost]:
    """Measure every candidate once in each of *rounds*, each time in a new order.

    Args:
        candidates: What to compare, by name.
        rounds: How often, >= 1; what warms up before is not counted.
        calls: Calls of each candidate and round.
        in_flight: How many of them at a time.
    """
    await warm_up(candidates, in_flight)
    costs = {name: Cost([], []) for name in candidates}
    with settled():
        for _ in range(rounds):
            for name, (cpu, wall) in (await one_round(candidates, calls, in_flight)).items():
                costs[name].cpu.append(cpu)
                costs[name].wall.append(wall)
    return costs

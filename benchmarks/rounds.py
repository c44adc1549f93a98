"""Interleaved rounds: whatever else the machine does meets every candidate alike."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import NamedTuple

One = Callable[[], Awaitable[None]]
"""Makes one call."""

_WARM_UP = 10


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


async def function_calls(one: One, calls: int) -> float:
    """Return the calls of Python and C functions that one call makes, the mean of *calls*."""
    total = 0

    def counting(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal total
        total += event in ("call", "c_call")

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


async def interleaved(
    candidates: dict[str, One], *, rounds: int, calls: int, in_flight: int = 1
) -> dict[str, Cost]:
    """Measure every candidate once in each of *rounds*, each time in a new order.

    Args:
        candidates: What to compare, by name.
        rounds: How often, >= 1; the first round that warms up is not counted.
        calls: Calls of each candidate and round.
        in_flight: How many of them at a time.
    """
    for one in candidates.values():
        await run(one, max(_WARM_UP, in_flight), in_flight)
    # What lives on is not walked again by each collection that a candidate happens to start.
    gc.collect()
    gc.freeze()
    costs = {name: Cost([], []) for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            wall, cpu = time.perf_counter(), time.thread_time()
            await run(candidates[name], calls, in_flight)
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            costs[name].cpu.append(cpu / calls * 1e6)
            costs[name].wall.append(wall / calls * 1e6)
    gc.unfreeze()
    return costs

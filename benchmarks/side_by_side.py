"""What each of several modes holds and calls, in a process of its own, measured in turns.

One process may have too few descriptors for two modes, and what one of them holds would weigh on
the caches and the event loop of the other. Rounds are interleaved all the same: while one process
makes its calls, the others wait.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks import upstream
from benchmarks.report import undisturbed
from benchmarks.rounds import (
    One,
    drop_cancelled_timers,
    function_calls,
    one_round,
    settled,
    silence,
    warm_up,
)

Prepared = AbstractAsyncContextManager[dict[str, One]]
Prepare = Callable[..., Prepared]
"""A function of a module: makes ready what is measured, the first candidate as the reference."""

_ROUND, _WORK, _END = "round", "work", "end"


class Ratios(NamedTuple):
    """What the candidates of one mode take, over the reference."""

    cpu: dict[str, float]
    """By candidate."""

    work: float
    """Function calls of the last candidate."""


def compare(
    modes: Mapping[str, tuple[Prepare, tuple[object, ...]]], *, rounds: int, calls: int
) -> dict[str, Ratios]:
    """Return the ratios of each of *modes*, by its name.

    Args:
        modes: What makes each of them ready, and its arguments, by the name of the mode.
        rounds: How often each is measured, >= 1, each time in a new order.
        calls: Calls of each candidate and round.
    """
    spawning = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes: dict[str, Connection] = {}
        for mode, (prepare, arguments) in modes.items():
            pipes[mode], theirs = spawning.Pipe()
            process = spawning.Process(
                target=_work, args=(theirs, prepare, arguments, calls), daemon=True
            )
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(pipes[mode].close)
        for pipe in pipes.values():
            pipe.recv()
        costs: dict[str, list[dict[str, float]]] = {mode: [] for mode in pipes}
        order = list(pipes)
        for _ in range(rounds):
            random.shuffle(order)
            for mode in order:
                pipes[mode].send(_ROUND)
                costs[mode].append(pipes[mode].recv())
        work: dict[str, float] = {}
        for mode, pipe in pipes.items():
            pipe.send(_WORK)
            work[mode] = pipe.recv()
            pipe.send(_END)
        return {mode: _ratios(costs[mode], work[mode]) for mode in pipes}


def _ratios(costs: list[dict[str, float]], work: float) -> Ratios:
    cpu = {name: undisturbed([cost[name] for cost in costs]) for name in costs[0]}
    reference, *others = cpu
    return Ratios({name: cpu[name] / cpu[reference] for name in others}, work)


def _work(pipe: Connection, prepare: Prepare, arguments: tuple[object, ...], calls: int) -> None:
    silence()
    upstream.allow_descriptors()
    asyncio.run(_answer(pipe, prepare(*arguments), calls))


async def _answer(pipe: Connection, prepared: Prepared, calls: int) -> None:
    async with prepared as candidates:
        await warm_up(candidates)
        await drop_cancelled_timers()
        with settled():
            # Nothing else is to happen in this loop while another process is measured.
            pipe.send(None)
            while (asked := pipe.recv()) != _END:
                if asked == _ROUND:
                    costs = await one_round(candidates, calls)
                    pipe.send({name: cpu for name, (cpu, _) in costs.items()})
                else:
                    reference, *_, last = candidates.values()
                    work = [await function_calls(one, calls) for one in (last, reference)]
                    pipe.send(work[0] / work[1])

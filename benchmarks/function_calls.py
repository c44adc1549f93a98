"""Function calls of one small GET by mode: what CI holds against ``budgets.toml``.

Instructions need valgrind and minutes. Calls of Python and C functions are counted in seconds, are
the same on every machine with the same versions, and grow with what a call does.
"""

from __future__ import annotations

import asyncio
import random
import tomllib
from pathlib import Path

from benchmarks import modes, upstream
from benchmarks.report import promise, table
from benchmarks.rounds import function_calls, silence

BUDGETS = tomllib.loads(Path(__file__).with_name("budgets.toml").read_text())

_WARM_UP, _CALLS = 30, 20


async def count(mode: str, url: str) -> float:
    """Return the function calls of one GET in *mode*."""
    # Which traces are sampled is the same in every run.
    random.seed(1)
    async with modes.MODES[mode]() as candidate:
        small = f"{url}/invoices/42"
        for _ in range(_WARM_UP):
            await candidate.get(small)
        figure = await function_calls(lambda: candidate.get(small), _CALLS)
        await candidate.check(url)
        return figure


def count_all(names: list[str]) -> dict[str, float]:
    """Return the function calls of one GET by mode."""
    with upstream.running() as url:
        return {name: asyncio.run(count(name, url)) for name in names}


def main() -> None:
    silence()
    figures = count_all([modes.RAW, *modes.OURS])
    raw = figures[modes.RAW]
    rows = [(name, f"{figure:.0f}", f"{figure - raw:.0f}") for name, figure in figures.items()]
    table(("mode", "function calls of one GET", "over raw aiohttp"), rows)
    for name, most in BUDGETS["function_calls_over_raw"].items():
        promise(f"function calls over raw, {name}", figures[name] - raw, most)


if __name__ == "__main__":
    main()

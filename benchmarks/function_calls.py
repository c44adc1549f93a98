"""Function calls of one small GET by mode: what CI holds against ``budgets.toml``.

Instructions need valgrind and minutes. Calls of Python and C functions are counted in seconds, are
the same on every machine with the same versions, and grow with what a call does.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tomllib
from pathlib import Path
from types import FrameType

from benchmarks import modes, server

BUDGETS = tomllib.loads(Path(__file__).with_name("budgets.toml").read_text())

_WARM_UP, _CALLS = 30, 20


async def count(mode: str, url: str) -> float:
    """Return the function calls of one GET in *mode*."""
    total = 0

    def counting(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal total
        total += event in ("call", "c_call")

    async with modes.MODES[mode]() as get:

        async def run(calls: int) -> None:
            for _ in range(calls):
                await get(url)

        await run(_WARM_UP)
        # A collection may run finalizers, which are nobody's calls.
        gc.collect()
        gc.disable()
        sys.setprofile(counting)
        try:
            await run(_CALLS)
        finally:
            sys.setprofile(None)
            gc.enable()
    return total / _CALLS


def count_all(names: list[str]) -> dict[str, float]:
    """Return the function calls of one GET by mode."""
    with server.running() as url:
        return {name: asyncio.run(count(name, url)) for name in names}


def main() -> None:
    modes.silence()
    figures = count_all([modes.RAW, *modes.OURS])
    print("| mode | function calls of one GET | over raw aiohttp | at most |")
    print("|---|---|---|---|")
    raw = figures[modes.RAW]
    for name, figure in figures.items():
        most = BUDGETS["function_calls_over_raw"].get(name, "")
        print(f"| {name} | {figure:.0f} | {figure - raw:.0f} | {most} |")


if __name__ == "__main__":
    main()

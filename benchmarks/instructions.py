"""Instructions of one small GET under callgrind, over raw aiohttp in the same run, by mode.

The client is a process of its own under valgrind, the server another one. The counters are dumped
after *calls* calls and again after three times as many: the difference holds nothing but calls.
Whatever a mode's figure is, it is the same the next time to about one percent; seconds are not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import modes, server

_WARM_UP = 40
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def _control(option: str, value: str = "") -> None:
    command = ["callgrind_control", option, *([value] if value else []), str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _child(mode: str, url: str, calls: int) -> None:
    async with modes.MODES[mode]() as get:

        async def run(count: int) -> None:
            for _ in range(count):
                await get(url)

        await run(_WARM_UP)
        gc.collect()
        gc.freeze()
        _control("-i", "on")
        await run(5)
        _control("-d")
        await run(calls)
        _control("-d")
        await run(3 * calls)
        _control("-d")
        _control("-i", "off")


def measure(mode: str, url: str, calls: int) -> float:
    """Return the instructions of one call in *mode*."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        command += [f"--callgrind-out-file={out}", sys.executable, "-m", "benchmarks.instructions"]
        command += ["--child", mode, "--url", url, "--calls", str(calls)]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{mode}: {done.stderr[-2000:]}")
        # One dump per request of ours, numbered from 1 on.
        few, many = (
            sum(map(int, _TOTALS.findall(Path(f"{out}.{number}").read_text())[:1]))
            for number in (2, 3)
        )
    return (many - few) / (2 * calls)


def measure_all(names: list[str], calls: int, jobs: int) -> dict[str, float]:
    """Return the instructions of one call by mode."""
    with server.running() as url, ThreadPoolExecutor(jobs) as pool:
        figures = pool.map(lambda name: measure(name, url, calls), names)
        return dict(zip(names, figures, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", help="a mode; all of them if none is given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        modes.silence()
        asyncio.run(_child(arguments.child, arguments.url, arguments.calls))
        return
    if shutil.which("valgrind") is None:
        sys.exit("needs valgrind: apt-get install valgrind")
    names = [modes.RAW, *(arguments.only or [name for name in modes.MODES if name != modes.RAW])]
    figures = measure_all(names, arguments.calls, arguments.jobs)
    raw = figures[modes.RAW]
    print("| mode | instructions of one GET | ratio to raw aiohttp |")
    print("|---|---|---|")
    for name, figure in figures.items():
        print(f"| {name} | {figure:,.0f} | {figure / raw:.3f} |")


if __name__ == "__main__":
    main()

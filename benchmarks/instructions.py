"""Instructions of one call under callgrind, over raw aiohttp in the same run, by mode.

The client is a process of its own under valgrind, the server another one. The counters are dumped
after some calls and again after three times as many: the difference holds nothing but calls.
Whatever a mode's figure is, it is the same the next time to about one percent; seconds are not.
Each process then shows that its calls left the spans, samples and policy decisions that its mode
promises, or the run fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks import modes, upstream
from benchmarks.function_calls import BUDGETS
from benchmarks.report import promise, table
from benchmarks.rounds import run, silence

# Past the first 64 bodies of a client, for which it looks up who asked for them.
_WARM_UP = 80

_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class Load(NamedTuple):
    """What a client is measured with.

    Args:
        title: Of its table.
        path: What is asked for.
        names: Modes that are measured with it.
        in_flight: Calls at a time.
        share: Of the number of calls that was asked for.
    """

    title: str
    path: str
    names: tuple[str, ...]
    in_flight: int = 1
    share: float = 1.0

    def calls(self, wanted: int) -> int:
        """Return how many calls it makes where so many are *wanted*."""
        return max(self.in_flight, round(self.share * wanted))


LOADS = {
    "small": Load("A small GET, one at a time", "/invoices/42", tuple(modes.MODES)),
    "in_flight": Load("A small GET, 50 in flight", "/invoices/42", modes.WHOLE, in_flight=50),
    # Its head and its body come in one read or two, as the kernel likes.
    "short_stream": Load(
        "A stream of 384 KiB, one at a time", f"/stream/{3 << 17}", modes.WHOLE, share=0.2
    ),
    "stream": Load(
        "A stream of 1 MiB, one at a time", f"/stream/{1 << 20}", modes.WHOLE, share=0.2
    ),
}

Figures = dict[str, dict[str, float]]
"""Instructions of one call by load and mode."""


def _control(option: str) -> None:
    command = ["callgrind_control", *option.split(), str(os.getpid())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _child(mode: str, url: str, loads: Sequence[str], calls: int) -> None:
    # Which traces are sampled is the same in every run.
    random.seed(1)
    async with modes.MODES[mode]() as candidate:
        for name in loads:
            load = LOADS[name]
            one = candidate.stream if load.path.startswith("/stream/") else candidate.get
            target, few = f"{url}{load.path}", load.calls(calls)

            async def made(count: int) -> None:
                await run(lambda: one(target), count, load.in_flight)  # noqa: B023 - not kept
                # A span costs until it is exported and gone, whenever that would have been.
                candidate.flush()

            await made(max(_WARM_UP, load.in_flight))
            gc.collect()
            gc.freeze()
            _control("-i on")
            await made(5)
            _control("-d")
            await made(few)
            _control("-d")
            await made(3 * few)
            _control("-d")
            _control("-i off")
            gc.unfreeze()
        await candidate.check(url)


def trace(
    mode: str, url: str, loads: Sequence[str], calls: int, out: Path, *options: str
) -> subprocess.Popen[str]:
    """Start a client in *mode* under callgrind.

    It leaves three dumps for each of *loads*, numbered from 1 on: before what is measured, after
    *calls* calls (less for some loads), and after three times as many.

    Args:
        mode: One of :data:`modes.MODES`.
        url: Of the server.
        loads: Names of :data:`LOADS`.
        calls: How many, as said above.
        out: Dumps begin with this path.
        *options: More of them, for callgrind before ``--`` and for Python after it.
    """
    split = options.index("--") if "--" in options else len(options)
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", *options[:split]]
    command += [f"--callgrind-out-file={out}", sys.executable, *options[split + 1 :]]
    command += ["-m", "benchmarks.instructions", "--child", mode, "--url", url]
    command += ["--calls", str(calls), "--load", *loads]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], mode: str) -> None:
    """Wait for the client to end.

    Raises:
        RuntimeError: If it failed.
    """
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{mode}: {errors[-2000:]}")


def measure(mode: str, url: str, loads: Sequence[str], calls: int) -> dict[str, float]:
    """Return the instructions of one call in *mode* by load."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        ended(trace(mode, url, loads, calls, out), mode)

        def total(number: int) -> int:
            return int(_TOTALS.findall(Path(f"{out}.{number}").read_text())[0])

        return {
            name: (total(3 * index + 3) - total(3 * index + 2)) / (2 * LOADS[name].calls(calls))
            for index, name in enumerate(loads)
        }


def measure_all(names: Sequence[str], loads: Sequence[str], calls: int, jobs: int) -> Figures:
    """Return the instructions of one call by load and mode."""
    wanted = {
        name: [load for load in loads if name in LOADS[load].names] for name in dict.fromkeys(names)
    }
    with upstream.running() as url, ThreadPoolExecutor(jobs) as pool:
        figures = pool.map(lambda name: measure(name, url, wanted[name], calls), wanted)
        found = dict(zip(wanted, figures, strict=True))
    return {
        load: {name: figures[load] for name, figures in found.items() if load in figures}
        for load in loads
    }


class Verdict(NamedTuple):
    """Something that was promised, and what came of it."""

    what: str
    measured: float
    most: float


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Yield what *figures* say of each promise about instructions."""
    small = figures.get("small", {})
    raw = small.get(modes.RAW, 0)
    for mode, most in BUDGETS["instruction_ratio"].items():
        if mode in small:
            yield Verdict(f"instructions over raw, {mode}", small[mode] / raw, most)
    for mode, most in BUDGETS["overhead_to_composed"].items():
        peer = modes.COMPOSED[mode]
        if mode in small and peer in small:
            share = (small[mode] - raw) / (small[peer] - raw)
            yield Verdict(f"overhead over the {peer}'s, {mode}", share, most)
    streams = figures.get("stream", {})
    for mode in set(modes.OURS) & set(streams) & set(small):
        base = streams[modes.RAW]
        most = (base + small[mode] - raw) / base
        # How many reads a stream takes is up to the kernel: raw streams differ by as much.
        yield Verdict(
            f"a 1 MiB stream over raw plus a call's fixed cost, {mode}",
            streams[mode] / base / most,
            1 + BUDGETS["stream"]["noise"],
        )
        short = figures.get("short_stream", {})
        if mode in short:
            yield Verdict(
                f"what is over raw of a stream of 1 MiB, over that of 384 KiB, {mode}",
                (streams[mode] - base) / (short[mode] - short[modes.RAW]),
                BUDGETS["stream"]["growth"],
            )


def must_hold(small: dict[str, float]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each mode of ours that was measured: its figures beside its budgets."""
    raw, shares = small[modes.RAW], BUDGETS["overhead_to_composed"]
    for mode, most in BUDGETS["instruction_ratio"].items():
        if mode not in small:
            continue
        ratio, peer = small[mode] / raw, modes.COMPOSED.get(mode, "")
        holds, cells = ratio <= most, ("", "")
        if peer in small:
            share = (ratio - 1) / (small[peer] / raw - 1)
            holds = holds and share <= shares[mode]
            cells = f"{share:.3f}", f"{shares[mode]:.2f}"
        yield mode, f"{ratio:.3f}", f"{most:.2f}", *cells, "yes" if holds else "**no**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", help="a mode; all of them if none is given")
    parser.add_argument("--load", choices=LOADS, nargs="+", default=list(LOADS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        silence()
        asyncio.run(_child(arguments.child, arguments.url, arguments.load, arguments.calls))
        return
    if shutil.which("valgrind") is None:
        sys.exit("needs valgrind: apt-get install valgrind")
    names = [modes.RAW, *(arguments.only or modes.MODES)]
    figures = measure_all(names, arguments.load, arguments.calls, arguments.jobs)
    for name, by_mode in figures.items():
        raw = by_mode[modes.RAW]
        print(f"### {LOADS[name].title}\n")
        rows = [(mode, f"{each:,.0f}", f"{each / raw:.3f}") for mode, each in by_mode.items()]
        table(("mode", "instructions", "ratio to raw aiohttp"), rows)
    if "small" in figures:
        print("### What must hold, one at a time\n")
        heads = ("mode", "ratio to raw", "at most", "overhead to composed", "at most", "holds")
        table(heads, must_hold(figures["small"]))
    for verdict in verdicts(figures):
        promise(*verdict, digits=3)


if __name__ == "__main__":
    main()

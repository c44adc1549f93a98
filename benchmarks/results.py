"""Runs every benchmark and writes ``RESULTS.md``: what was promised first, then all figures.

Each of them is a process of its own and says in its docstring how it measures. What takes too long
for every run is in ``by_hand.md`` and copied.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import BROKEN, HOLDS

_HERE = Path(__file__).parent


class Part(NamedTuple):
    """A benchmark.

    Args:
        title: Its heading.
        module: Its name in this package.
        smallest: Options with which it only shows that it works.
    """

    title: str
    module: str
    smallest: tuple[str, ...] = ()


PARTS = (
    Part("Instructions of one call", "instructions", ("--calls=5", "--only=plain profile")),
    Part("Function calls of one small GET", "function_calls"),
    Part("CPU and throughput", "throughput", ("--rounds=1", "--calls=4", "--in-flight=2")),
    Part("Parts of a call, settings and sessions", "micro", ("--rounds=2", "--calls=4")),
    Part("One decision of each policy", "policy_cost"),
    Part("Importing", "import_cost"),
    Part("Growth", "growth", ("--rounds=1", "--calls=4", "--sizes", "8")),
    Part("Tail latency", "tail_latency", ("--calls=10", "--slices=1", "--only=ours, defaults")),
)


def run(part: Part, *options: str) -> str:
    """Return what *part* prints.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-m", f"benchmarks.{part.module}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part.module}: {done.stderr[-3000:]}")
    return done.stdout


def _verdicts(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if line.startswith((HOLDS, BROKEN)):
            yield line


def _introduction(part: Part) -> str:
    module = importlib.import_module(f"benchmarks.{part.module}")
    return inspect.cleandoc(module.__doc__ or "")


def _machine() -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("aiohttp", "opentelemetry-sdk", "prometheus_client", "aiohttp-retry", "httpx")
    )
    return (
        f"Measured by `make bench` on {os.cpu_count()} cores that do other work as well, "
        f"{platform.python_implementation()} {platform.python_version()},\n{versions}."
    )


def compose(outputs: dict[Part, str]) -> str:
    """Return the document."""
    verdicts = [line for output in outputs.values() for line in _verdicts(output)]
    # What does not hold comes first.
    verdicts.sort(key=lambda line: line.startswith(HOLDS))
    sections = [
        f"## {part.title}\n\n{_introduction(part)}\n\n{output.strip()}\n"
        for part, output in outputs.items()
    ]
    promises = "\n".join(verdicts)
    broken = sum(line.startswith(BROKEN) for line in verdicts)
    return (
        f"# What it costs\n\n{_machine()}\nRatios are worth more than times: these change with "
        "what the machine does besides.\n\n## What was promised\n\n"
        f"{broken} of {len(verdicts)} promises do not hold.\n\n{promises}\n\n"
        + "\n".join(sections)
        + f"\n## Measured by hand\n\n{(_HERE / 'by_hand.md').read_text()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, default=_HERE / "RESULTS.md")
    parser.add_argument("--smallest", action="store_true", help="only show that all of it works")
    names = [part.module for part in PARTS]
    parser.add_argument("--only", action="append", choices=names, help="all if none is given")
    arguments = parser.parse_args()
    outputs = {}
    for part in PARTS:
        if part.module not in (arguments.only or names):
            continue
        if part.module == "instructions" and shutil.which("valgrind") is None:
            outputs[part] = "Not measured: there was no valgrind.\n"
            continue
        began = time.perf_counter()
        outputs[part] = run(part, *(part.smallest if arguments.smallest else ()))
        print(f"{part.module}: {time.perf_counter() - began:.0f} s", flush=True)
    arguments.write.write_text(compose(outputs))


if __name__ == "__main__":
    main()

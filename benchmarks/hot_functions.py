"""Instructions of one call by Python function, callees included: where a mode's cost lies.

By hand: ``python3.12 -m benchmarks.hot_functions "policies + metrics, no SDK"``. It needs valgrind,
and trampolines that Python has from 3.12 on: with these every call of a Python function is one that
callgrind can see. They make all figures about 1.4 times those of ``benchmarks.instructions``, and
calls look dearer than they are. A coroutine counts as one call for each time that it goes on.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks import instructions, modes, upstream
from benchmarks.report import table

_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
_PYTHON = "py::"


class Symbols:
    """The trampolines of a process, as Python wrote them down for perf."""

    def __init__(self, path: Path) -> None:
        entries = []
        for line in path.read_text().splitlines():
            start, size, name = line.split(" ", 2)
            entries.append((int(start, 16), int(size, 16), name))
        self._entries = sorted(entries)
        self._starts = [start for start, *_ in self._entries]

    def resolve(self, name: str) -> str:
        """Return the name of the function at an address, any other *name* as it is."""
        if not name.startswith("0x"):
            return name
        address = int(name.partition("'")[0], 16)
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return name
        start, size, symbol = self._entries[index]
        return symbol if address < start + size else name


def calls_in(dump: Iterator[str], symbols: Symbols) -> Iterator[tuple[str, str, int, int]]:
    """Yield caller, callee, number of calls and instructions in them from a *dump* of callgrind."""
    known: dict[str, str] = {}

    def named(text: str) -> str:
        # A name is spelled out where it first stands, and is a number from then on.
        found = _NAME.match(text)
        assert found is not None, text
        number, name = found.groups()
        if name:
            known[number] = symbols.resolve(name)
        return known[number]

    caller = callee = ""
    for line in dump:
        if line.startswith("fn="):
            caller = named(line[3:])
        elif line.startswith("cfn="):
            callee = named(line[4:])
        elif line.startswith("calls="):
            yield caller, callee, int(line[6:].split()[0]), int(next(dump).split()[-1])


def total_of(dump: str) -> int:
    """Return all instructions of a *dump*."""
    found = re.search(r"^(?:totals|summary): (\d+)", dump, re.MULTILINE)
    assert found is not None
    return int(found[1])


def by_function(dump: str, symbols: Symbols) -> tuple[Counter[str], Counter[str]]:
    """Return the instructions in each Python function, callees included, and its calls."""
    costs: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for caller, callee, count, cost in calls_in(iter(dump.splitlines()), symbols):
        # The interpreter calls the trampoline, which calls the interpreter.
        if callee.startswith(_PYTHON) and not caller.startswith(_PYTHON):
            costs[callee] += cost
            calls[callee] += count
    return costs, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=modes.MODES)
    parser.add_argument("--load", choices=instructions.LOADS, default="small")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--top", type=int, default=100)
    arguments = parser.parse_args()
    if sys.version_info < (3, 12):
        sys.exit("needs Python 3.12 or newer, which has trampolines for perf")
    if shutil.which("valgrind") is None:
        sys.exit("needs valgrind: apt-get install valgrind")
    load = instructions.LOADS[arguments.load]
    calls = 3 * load.calls(arguments.calls)
    with tempfile.TemporaryDirectory() as directory, upstream.running() as url:
        out = Path(directory) / "out"
        options = ("--dump-instr=yes", "--", "-X", "perf")
        process = instructions.trace(
            arguments.mode, url, [arguments.load], arguments.calls, out, *options
        )
        instructions.ended(process, arguments.mode)
        trampolines = Path(f"/tmp/perf-{process.pid}.map")
        symbols = Symbols(trampolines)
        trampolines.unlink()
        dump = Path(f"{out}.3").read_text()
    costs, counts = by_function(dump, symbols)
    total = total_of(dump)
    print(f"{load.title}, {arguments.mode}: {total / calls:,.0f} instructions.\n")
    rows = [
        (name.removeprefix(_PYTHON), f"{counts[name] / calls:.2f}", f"{cost / calls:,.0f}")
        for name, cost in costs.most_common(arguments.top)
    ]
    table(("function", "calls", "instructions"), rows)


if __name__ == "__main__":
    main()

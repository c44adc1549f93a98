"""What grows with the number of clients, of origins, of calls in flight and of metric series.

Each part runs in a process of its own, so that its memory is its own. Origins are addresses of
127.0.0.0/8 behind one server, each with a connection that stays open, for raw aiohttp as for ours:
what the kernel and aiohttp take for more connections is theirs, and is taken out of the verdict.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import multiprocessing
import random
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import aiohttp
import prometheus_client
from prometheus_client import CollectorRegistry
from yarl import URL

import platform_http
from benchmarks import upstream
from benchmarks.report import median, promise, table
from benchmarks.rounds import One, silence
from benchmarks.side_by_side import Prepare, Ratios, compare
from platform_http import CallOptions, HttpSettings, SessionFactory
from platform_http.telemetry import exposition

_PACKAGE = Path(platform_http.__file__).parent
_POLICIES = (_PACKAGE / "policies", _PACKAGE / "middlewares", _PACKAGE / "wiring.py")
_METRICS = (_PACKAGE / "telemetry", Path(prometheus_client.__file__).parent)

_KIB = 1024

_OPTIONS = CallOptions(operation="invoices.get", url_template="/invoices/{id}")

# One connection to each origin, kept for as long as a part takes.
_OPEN = {"pool": {"keepalive": 600, "limit": 0, "limit_per_host": 0}, "concurrency": {"limit": 20}}

# The series of an origin are bounded to the first 100 of a client.
_SERVERS_WITH_SERIES = 100


def _get(session: aiohttp.ClientSession, url: URL) -> One:
    async def get() -> None:
        async with session.get(url, trace_request_ctx=_OPTIONS) as response:
            await response.read()

    return get


def _in_turn(calls: Sequence[One]) -> One:
    """Return what makes one of *calls* at a time, in an order that no cache can guess."""
    shuffled = list(calls)
    random.shuffle(shuffled)
    following = itertools.cycle(shuffled)

    async def one() -> None:
        await next(following)()

    return one


@contextlib.asynccontextmanager
async def _raw_session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=600)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def _factory() -> SessionFactory:
    return SessionFactory(HttpSettings(**_OPEN), registry=CollectorRegistry())


@contextlib.asynccontextmanager
async def _our_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with _factory() as factory:
        yield factory.session("bench")


_RAW, _OURS = "raw", "ours"
_SESSIONS = {_RAW: _raw_session, _OURS: _our_session}

_ALONE, _ONE, _TURN = "alone", "one", "turn"

# Pairs of processes whose figures are averaged.
_RUNS = 5


async def _candidates(alone: One, many: Sequence[One]) -> dict[str, One]:
    """Return what is compared, when each of *many* has its connection."""
    for one in many:
        await one()
    return {_ALONE: alone, _ONE: many[0], _TURN: _in_turn(many)}


def _net(ratios: dict[str, Ratios], place: str) -> float:
    """Return what *place* takes of ours over the reference, net of raw aiohttp."""
    return ratios[_OURS].cpu[place] / ratios[_RAW].cpu[place]


def _compare(prepare: Prepare, *arguments: object, rounds: int, calls: int) -> dict[str, Ratios]:
    modes = {mode: (prepare, (mode, *arguments)) for mode in _SESSIONS}
    # Where things lie in memory is a matter of chance, and the same for as long as a process lives.
    runs = min(_RUNS, rounds)
    found = [compare(modes, rounds=rounds // runs, calls=calls) for _ in range(runs)]
    return {
        mode: Ratios(
            {place: fmean(run[mode].cpu[place] for run in found) for place in (_ONE, _TURN)},
            fmean(run[mode].work for run in found),
        )
        for mode in modes
    }


_HEADS = (
    *("raw, one", "raw, in turn", "raw, work", "ours, one", "ours, in turn", "ours, work"),
    "ours net, in turn",
)


def _row(ratios: dict[str, Ratios]) -> tuple[str, ...]:
    figures = [
        figure
        for mode in (ratios[_RAW], ratios[_OURS])
        for figure in (mode.cpu[_ONE], mode.cpu[_TURN], mode.work)
    ]
    return tuple(f"{figure:.2f}" for figure in (*figures, _net(ratios, _TURN)))


def _promise_no_growth(ratios: dict[str, Ratios], what: str) -> None:
    promise(f"a call to one of {what}, over 1, net of raw", _net(ratios, _ONE), 1.05)
    promise(f"calls to {what} in turn, over 1, net of raw", _net(ratios, _TURN), 1.05)
    work = ratios[_OURS].work / ratios[_RAW].work
    promise(f"function calls of calls to {what} in turn, over 1, net of raw", work, 1.05)


@contextlib.asynccontextmanager
async def many_clients(mode: str, count: int) -> AsyncIterator[dict[str, One]]:
    """Make so many clients ready, and another one in a factory of its own."""
    async with contextlib.AsyncExitStack() as stack:
        target = URL(f"{stack.enter_context(upstream.running())}/invoices/42")
        alone = await stack.enter_async_context(_SESSIONS[mode]())
        if mode == _RAW:
            many = [await stack.enter_async_context(_raw_session()) for _ in range(count)]
        else:
            factory = await stack.enter_async_context(_factory())
            many = [factory.session(f"client{number}") for number in range(count)]
        yield await _candidates(_get(alone, target), [_get(each, target) for each in many])


async def clients(sizes: Sequence[int], rounds: int, calls: int) -> None:
    """Print what each further client takes, and what it takes from the calls of the others."""
    rows = []
    for count in sizes:
        ratios = _compare(many_clients, count, rounds=rounds, calls=calls)
        each, held = await _cost_of_clients(count)
        rows.append((count, f"{each:.0f}", f"{held / _KIB:.0f}", *_row(ratios)))
    print("### Clients\n")
    print("Cost of a call over the only client's, to one of the clients and to each in turn.\n")
    print("Work is function calls, which no cache of the processor changes, to each in turn.\n")
    table(("clients", "µs each", "KiB each", *_HEADS), rows)
    _promise_no_growth(ratios, f"{count} clients")


async def _cost_of_clients(count: int) -> tuple[float, float]:
    """Return the microseconds that a client takes to make, and its bytes before its first call."""
    async with _factory() as factory:
        # The first one brings modules along.
        factory.session("first")
        began = time.thread_time()
        for number in range(count):
            factory.session(f"timed{number}")
        each = (time.thread_time() - began) / count * 1e6
        gc.collect()
        tracemalloc.start()
        for number in range(count):
            factory.session(f"client{number}")
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
    return each, held


@contextlib.asynccontextmanager
async def many_origins(mode: str, count: int) -> AsyncIterator[dict[str, One]]:
    """Make a session ready that knows so many origins, and another one that knows one."""
    opened = _SESSIONS[mode]
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(upstream.running())
        urls = [URL(f"{each}/invoices/42") for each in upstream.origins(url, count)]
        reference = await stack.enter_async_context(opened())
        session = await stack.enter_async_context(opened())
        yield await _candidates(_get(reference, urls[0]), [_get(session, each) for each in urls])


async def origins(sizes: Sequence[int], rounds: int, calls: int) -> None:
    """Print what a call takes when so many origins are known, and what each of them holds."""
    rows = []
    for count in sizes:
        ratios = _compare(many_origins, count, rounds=rounds, calls=calls)
        rows.append((count, *_row(ratios)))
    print("### Origins\n")
    print("Cost of a call over one to the only origin: to one of them, and to each in turn.\n")
    table(("origins", *_HEADS), rows)
    _promise_no_growth(ratios, f"{count} origins")
    await _state_of_origins(min(count, 10 * _SERVERS_WITH_SERIES))


def _held_by(snapshot: tracemalloc.Snapshot, places: Sequence[Path]) -> int:
    names = tuple(map(str, places))
    return sum(
        statistic.size
        for statistic in snapshot.statistics("filename")
        if statistic.traceback[0].filename.startswith(names)
    )


async def _state_of_origins(count: int) -> None:
    """Print what an origin holds, by the file that allocated it."""
    first = min(count, _SERVERS_WITH_SERIES)
    held: list[tuple[int, int, int]] = []
    with upstream.running() as url:
        urls = [URL(f"{each}/invoices/42") for each in upstream.origins(url, count + 1)]
        async with _our_session() as session:
            await _get(session, urls[-1])()
            gc.collect()
            tracemalloc.start()
            for batch in (urls[:0], urls[: first - 1], urls[first - 1 : -1]):
                for target in batch:
                    for _ in range(3):
                        await _get(session, target)()
                gc.collect()
                snapshot = tracemalloc.take_snapshot()
                everything = sum(each.size for each in snapshot.statistics("filename"))
                policies = _held_by(snapshot, _POLICIES)
                held.append((policies, _held_by(snapshot, _METRICS), everything))
                del snapshot
            tracemalloc.stop()
    rows = []
    steps = [("the first 100 of a client", first - 1), ("later ones", count - first + 1)]
    for number, (name, size) in enumerate(steps):
        if size:
            grown = [new - old for new, old in zip(held[number + 1], held[number], strict=True)]
            state, children, whole = (part / size / _KIB for part in grown)
            rest = whole - state - children
            rows.append((name, f"{state:.1f}", f"{children:.1f}", f"{rest:.1f}"))
    print("\nMemory of an origin with one open connection, KiB, by what allocated it.\n")
    table(("origins", "policy state", "metric children", "connection and the rest"), rows)
    state = (held[-1][0] - held[0][0]) / max(1, count - 1) / _KIB
    promise("policy state of an origin", state, 4, "KiB")


def _resident() -> float:
    """Return the resident memory of this process, KiB, after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / _KIB


async def in_flight(sizes: Sequence[int], rounds: int, _: int) -> None:
    """Print what a call takes and holds among so many that are in flight at a time."""
    rows = []
    for count in sizes:
        cells: list[str] = []
        least: list[float] = []
        for mode in ("raw", "ours"):
            command = [sys.executable, "-m", "benchmarks.growth", "--wave", mode]
            command += ["--sizes", str(count), "--rounds", str(rounds)]
            cpu, held = map(float, (await asyncio.to_thread(_output, command)).split())
            least.append(cpu)
            cells += [f"{cpu:.0f}", f"{held:.0f}" if count >= 100 else "not seen"]
        rows.append((count, *cells, f"{least[1] / least[0]:.2f}"))
    print("### Calls in flight\n")
    print("All answered at once when the last one has arrived, each on a connection of its own.\n")
    heads = ("in flight", "raw: CPU µs", "raw: KiB each", "ours: CPU µs", "ours: KiB each")
    table((*heads, "CPU to raw"), rows)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def _wave(mode: str, count: int, rounds: int) -> None:
    """Print the CPU of a call, microseconds, and the memory that it holds, KiB."""
    upstream.allow_descriptors()
    settings = {
        "pool": {"limit": 0, "limit_per_host": 0, "keepalive": 600},
        "concurrency": {"limit": count + 1},
        "timeout": {"total": 300, "attempt": 290, "connect": 60, "read": 290},
    }
    async with contextlib.AsyncExitStack() as stack:
        url = URL(f"{stack.enter_context(upstream.running())}/held/{count}")
        if mode == "raw":
            session = await stack.enter_async_context(_raw_session())
        else:
            registry = CollectorRegistry()
            factory = SessionFactory(HttpSettings(**settings), registry=registry)
            session = (await stack.enter_async_context(factory)).session("bench")
        ask = url.with_path("/waiting")
        await _get(session, ask)()
        before, held, costs = _resident(), 0.0, []
        # The first wave connects, and shows what is held.
        for wave in range(rounds + 1):
            began = time.thread_time()
            get = _get(session, url)
            calls = [asyncio.ensure_future(get()) for _ in range(count - 1)]
            if wave == 0:
                while await _number(session, ask) < count - 1:
                    pass
                held = (_resident() - before) / count
            await asyncio.gather(*calls, get())
            costs.append((time.thread_time() - began) / count * 1e6)
        print(min(costs[1:]), held)


async def _number(session: aiohttp.ClientSession, url: URL) -> int:
    async with session.get(url) as response:
        return int(await response.read())


async def series(sizes: Sequence[int], rounds: int, _: int) -> None:
    """Print what metric series hold, what a scrape of them takes, and for how long it blocks."""
    rows = []
    per_ten = stall = loaded_stall = 0.0
    for count in sizes:
        registry = CollectorRegistry()
        gc.collect()
        tracemalloc.start()
        with upstream.running() as url:
            await _fill(registry, count, f"{url}/invoices/42")
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        lines = _lines(registry)
        taken = min(_scrape_seconds(registry) for _ in range(rounds))
        per_ten = taken / lines * 1e4
        with upstream.running() as url:
            idle, quiet = await _stalls(registry, f"{url}/invoices/42", rounds, calls=0)
            loaded_idle, loaded = await _stalls(registry, f"{url}/invoices/42", rounds, calls=20)
        stall, loaded_stall = quiet - idle, loaded - loaded_idle
        rows.append(
            (
                lines,
                f"{held / lines / _KIB:.2f}",
                f"{taken * 1e3:.1f}",
                f"{per_ten:.2f}",
                f"{idle:.1f} → {quiet:.1f}",
                f"{loaded_idle:.1f} → {loaded:.1f}",
            )
        )
    print("### Metric series\n")
    print(
        "The page is made in a thread, which pauses after each half millisecond of work and takes\n"
        "turns with others as often. A stall is the longest time between two turns of a task that\n"
        "only sleeps for a millisecond, less that millisecond. Medians over the rounds, without a\n"
        "scrape and with one: on an idle loop, and beside 20 callers without a pause, whose turns\n"
        "take time themselves.\n"
    )
    heads = ("series", "KiB each", "scrape ms", "ms per 10", "stall, idle, ms")
    table((*heads, "stall, 20 callers, ms"), rows)
    promise("a scrape per 10 series", per_ten, 0.5, "ms")
    promise(f"stall added by a scrape of {lines} series, idle loop", stall, 20, "ms")
    promise(f"stall added by a scrape of {lines} series, 20 callers", loaded_stall, 20, "ms")


def _scrape_seconds(registry: CollectorRegistry) -> float:
    began = time.thread_time()
    exposition.render(registry, None)
    return time.thread_time() - began


def _lines(registry: CollectorRegistry) -> int:
    page, _ = exposition.render(registry, None)
    return sum(not line.startswith(b"#") for line in page.splitlines())


async def _fill(registry: CollectorRegistry, count: int, url: str) -> None:
    """Make about *count* series by calls of several clients with templates and operations."""
    async with SessionFactory(HttpSettings(), registry=registry) as factory:
        for number in itertools.count():
            if number % 5 == 0 and _lines(registry) >= count:
                return
            name = f"things{number % 50}"
            options = CallOptions(operation=f"{name}.get", url_template=f"/{name}/{{id}}")
            session = factory.session(f"client{number // 50}")
            async with session.get(url, trace_request_ctx=options) as response:
                await response.read()


async def _stalls(
    registry: CollectorRegistry, url: str, rounds: int, *, calls: int
) -> tuple[float, float]:
    """Return the longest stall without and with a scrape, milliseconds, medians of *rounds*."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(_our_session())
        get = _get(session, URL(url))

        async def busy() -> None:
            while True:
                await get()

        callers = [asyncio.create_task(busy()) for _ in range(calls)]
        try:
            await get()
            without, with_one = [], []
            for _ in range(rounds):
                with_one.append(
                    await _longest(asyncio.to_thread(exposition.render, registry, None))
                )
                seconds = await _render_time(registry)
                without.append(await _longest(asyncio.sleep(seconds)))
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
    return median(without) * 1e3, median(with_one) * 1e3


async def _render_time(registry: CollectorRegistry) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(exposition.render, registry, None)
    return time.perf_counter() - began


async def _longest(during: Coroutine[Any, Any, object]) -> float:
    """Return the longest that the loop was away while *during* ran, seconds."""
    pause, longest, ended = 0.001, 0.0, threading.Event()

    async def watched() -> None:
        await during
        ended.set()

    task = asyncio.create_task(watched())
    while not ended.is_set():
        before = time.perf_counter()
        await asyncio.sleep(pause)
        longest = max(longest, time.perf_counter() - before - pause)
    await task
    return longest


class _Part(NamedTuple):
    """A part, and what it is measured with unless told otherwise."""

    measure: Callable[[Sequence[int], int, int], Coroutine[Any, Any, None]]
    sizes: tuple[int, ...]
    rounds: int
    calls: int = 0


# What is compared by a few percent is measured in many short rounds: most of them are undisturbed.
PARTS = {
    "clients": _Part(clients, (1, 30, 1000), rounds=250, calls=80),
    "origins": _Part(origins, (1, 1000, 10_000), rounds=250, calls=80),
    "in_flight": _Part(in_flight, (1, 10, 100, 1000, 10_000), rounds=7),
    "series": _Part(series, (100, 1000, 5000), rounds=7),
}


def _run(part: _Part) -> None:
    asyncio.run(part.measure(part.sizes, part.rounds, part.calls))
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="in place of each part's own")
    parser.add_argument("--calls", type=int, help="as above")
    parser.add_argument("--sizes", type=int, nargs="+", help="as above")
    parser.add_argument("--part", choices=PARTS, help="all of them if none is given")
    parser.add_argument("--wave", choices=("raw", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    silence()
    upstream.allow_descriptors()
    if arguments.wave:
        asyncio.run(_wave(arguments.wave, arguments.sizes[0], arguments.rounds))
        return
    forking = multiprocessing.get_context("fork")
    for name in [arguments.part] if arguments.part else PARTS:
        part = PARTS[name]
        given = {what: getattr(arguments, what) for what in ("sizes", "rounds", "calls")}
        part = part._replace(**{what: value for what, value in given.items() if value})
        process = forking.Process(target=_run, args=(part,))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{name} failed")


if __name__ == "__main__":
    main()

"""The composition of the demo: upstreams, service, screen, and their beginning and end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from platform_http.cli.demo.events import Events
from platform_http.cli.demo.figures import Figures
from platform_http.cli.demo.frame import Frame
from platform_http.cli.demo.live import live_screen
from platform_http.cli.demo.metrics_page import metrics_page
from platform_http.cli.demo.plain import PlainScreen
from platform_http.cli.demo.prometheus import PrometheusError, installed, prometheus
from platform_http.cli.demo.readings import Reading
from platform_http.cli.demo.script import DAY, Mood
from platform_http.cli.demo.service import Service, settings_for
from platform_http.cli.demo.summary import summary
from platform_http.cli.demo.telemetry import demo_telemetry
from platform_http.cli.demo.upstream import Upstream
from platform_http.factory import SessionFactory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console
    from yarl import URL

    from platform_http.cli.demo.frame import Screen

_CLIENTS: Final = tuple(script.client for script in DAY)
_TICK: Final = 0.1
_FRAME: Final = 0.3
# Rates and quantiles are those of the last seconds.
_RECENT: Final = 3.0
_STOPS_INTERVAL: Final = 3.0
_DRAIN_SECONDS: Final = 5.0
_MOOD_STYLES: Final = {Mood.FINE: "green", Mood.SLOW: "yellow"}


class DemoError(Exception):
    """The demo itself did not work."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says.

    Args:
        duration: Length of the day, seconds, > 0.
        live: Whether to draw a live view instead of printing lines.
        repeat: Whether another day follows, until a signal comes.
        serve: Whether to serve the metrics, and to start a Prometheus where there is one.
        port: Of the metrics page; 0 takes a free one.
        seed: Of everything that is random.
    """

    duration: float
    live: bool
    repeat: bool
    serve: bool
    port: int
    seed: int


async def run(options: Options, console: Console) -> None:
    """Run the demo until its day is over or a signal ends it, and print the summary.

    Args:
        options: How.
        console: Where to.

    Raises:
        DemoError: If no call was made or something is still in flight after the end.
        ConfigurationError: If the environment is invalid.
        OSError: If the metrics page's port cannot be bound.
    """
    registry = CollectorRegistry()
    chances = _chances(options.seed)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(_stop_by_signal())
        tracer_provider = await stack.enter_async_context(
            demo_telemetry("platform-http-demo", registry)
        )
        upstreams = [
            await stack.enter_async_context(Upstream(script, next(chances))) for script in DAY
        ]
        urls = {upstream.script.client: upstream.url for upstream in upstreams}
        settings = await asyncio.to_thread(settings_for, urls, options.duration)
        factory = await stack.enter_async_context(
            SessionFactory(
                settings,
                registry=registry,
                rng=next(chances),
                tracer_provider=tracer_provider,
            )
        )
        service = Service(factory, registry, next(chances))
        pages = await _pages(stack, options, registry, console)
        began = loop.time()
        events = Events(lambda: loop.time() - began)
        stack.enter_context(events.listening())
        show = _Show(
            options,
            registry=registry,
            upstreams=upstreams,
            events=events,
            screen=stack.enter_context(_screen(options, console, events)),
            pages=pages,
        )
        async with asyncio.TaskGroup() as tasks:
            calls = tasks.create_task(service.run(stop))
            await show.run(began, stop)
            stop.set()
            # The environment may have switched all timeouts off.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await calls
        lasted = loop.time() - began
    end = Reading.of(registry, lasted)
    console.print(summary(end, _CLIENTS))
    _verify(Figures(end, *_CLIENTS))


def _chances(seed: int) -> Iterator[Random]:
    """Yield independent random sources, the same ones for the same *seed*."""
    seeds = Random(seed)  # noqa: S311 - chance for a show, not cryptography
    while True:
        yield Random(seeds.random())  # noqa: S311 - as above


def _verify(figures: Figures) -> None:
    if figures.calls == 0:
        raise DemoError("no calls were made")
    if figures.in_flight or figures.open_connections:
        raise DemoError(
            f"left behind: {figures.in_flight:.0f} attempts in flight, "
            f"{figures.open_connections:.0f} open connections"
        )


class _Show:
    """Drives the upstreams through the day, and the screen with them."""

    def __init__(
        self,
        options: Options,
        *,
        registry: CollectorRegistry,
        upstreams: Sequence[Upstream],
        events: Events,
        screen: Screen,
        pages: Mapping[str, URL],
    ) -> None:
        self._options = options
        self._registry = registry
        self._upstreams = upstreams
        self._events = events
        self._screen = screen
        self._pages = pages

    async def run(self, began: float, stop: asyncio.Event) -> None:
        """Return when the day is over, or when *stop* is set."""
        loop = asyncio.get_running_loop()
        readings = deque([Reading.of(self._registry, 0.0)])
        judged = readings[0]
        next_frame = 0.0
        while not stop.is_set():
            elapsed = loop.time() - began
            if elapsed >= self._options.duration and not self._options.repeat:
                return
            moment = elapsed / self._options.duration % 1.0
            await self._enter_phases(moment)
            if elapsed >= next_frame:
                next_frame = elapsed + _FRAME
                reading = Reading.of(self._registry, elapsed)
                readings.append(reading)
                while readings[1].seconds <= elapsed - _RECENT:
                    readings.popleft()
                if elapsed - judged.seconds >= _STOPS_INTERVAL:
                    self._events.add_retry_stops(reading.since(judged))
                    judged = reading
                self._screen.show(self._frame(reading, reading.since(readings[0]), moment))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TICK)

    async def _enter_phases(self, moment: float) -> None:
        for upstream in self._upstreams:
            phase = upstream.script.at(moment)
            if phase is not upstream.phase:
                await upstream.enter_phase(phase)
                style = _MOOD_STYLES.get(phase.mood, "red")
                self._events.add(upstream.script.client, f"upstream: {phase.name}", style)

    def _frame(self, total: Reading, recent: Reading, moment: float) -> Frame:
        return Frame(
            elapsed=total.seconds,
            duration=self._options.duration,
            moment=moment,
            scripts=DAY,
            total=total,
            recent=recent,
            events=self._events.latest,
            pages=self._pages,
        )


@contextlib.contextmanager
def _stop_by_signal() -> Iterator[asyncio.Event]:
    """Yield an event that Ctrl-C and SIGTERM set: they are how the demo is meant to end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _pages(
    stack: contextlib.AsyncExitStack,
    options: Options,
    registry: CollectorRegistry,
    console: Console,
) -> dict[str, URL]:
    """Serve the metrics if that is wanted, and return the addresses to look at."""
    if not options.serve:
        return {}
    page = await stack.enter_async_context(metrics_page(registry, options.port))
    pages = {"metrics": page}
    program = installed()
    if program is None:
        console.print("there is no prometheus on the PATH; any other can scrape the page")
    else:
        try:
            pages["prometheus"] = await stack.enter_async_context(prometheus(program, page))
        except PrometheusError as error:
            console.print(f"going on without Prometheus: {error}")
    for name, url in pages.items():
        console.print(f"{name}: {url}", soft_wrap=True)
    return pages


@contextlib.contextmanager
def _screen(options: Options, console: Console, events: Events) -> Iterator[Screen]:
    if options.live:
        with live_screen(console) as screen:
            yield screen
    else:
        yield PlainScreen(console, events, interval=max(2.0, options.duration / 10))

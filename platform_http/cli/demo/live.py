"""The live view in a terminal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from platform_http.cli.demo.figures import Figures
from platform_http.cli.demo.frame import clock
from platform_http.cli.demo.script import Mood
from platform_http.cli.demo.summary import duration, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from platform_http.cli.demo.frame import Frame, Screen
    from platform_http.cli.demo.script import Script

_STRIP: Final = 40
_OTHER_LINES: Final = 17
_MIN_EVENTS: Final = 5
_MOODS: Final = {
    Mood.FINE: "green",
    Mood.SLOW: "yellow",
    Mood.FAILING: "red",
    Mood.DOWN: "bold red",
}
_CIRCUITS: Final = {"closed": "green", "half_open": "yellow", "open": "bold white on red"}


class LiveScreen:
    """Redraws the terminal in place.

    Args:
        live: Running, without a thread of its own.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, frame: Frame) -> None:
        """Show *frame* instead of the one before."""
        self._live.update(picture(frame, self._live.console.height), refresh=True)


@contextlib.contextmanager
def live_screen(console: Console) -> Iterator[Screen]:
    """Yield a screen that gives way to what was there before at the end of the block."""
    with Live(console=console, auto_refresh=False, screen=True) as live:
        yield LiveScreen(live)


def picture(frame: Frame, height: int = 24) -> RenderableType:
    """Return *frame* as something that fits into 80 columns and *height* lines.

    Args:
        frame: What to draw.
        height: At least 24; what is left of it shows more events.
    """
    marks = "  ".join(f"{mood.value} {mood.name.lower()}" for mood in Mood)
    return Group(
        _head(frame),
        Text(),
        _clients(frame),
        _budgets(frame),
        Text(),
        Text.assemble(("what the upstreams do", "bold"), (f"   {marks}", "dim")),
        _upstreams(frame),
        Text(),
        Text("what happened", style="bold"),
        _events(frame, max(_MIN_EVENTS, height - _OTHER_LINES)),
    )


def _head(frame: Frame) -> Text:
    day = int(frame.elapsed // frame.duration)
    text = Text.assemble(
        ("platform-http demo", "bold"),
        f"   {clock(frame.moment * frame.duration)} of {clock(frame.duration)}",
        f"   day {day + 1}" if day else "",
        ("   Ctrl-C ends it", "dim"),
    )
    for name, url in frame.pages.items():
        text.append(f"\n{name:<11}{url}", style="cyan")
    return text


def _clients(frame: Frame) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("client", width=9)
    for heading in ("calls/s", "ok %", "err %", "rej %", "recovered"):
        table.add_column(heading, justify="right")
    for heading in ("p50", "p95"):
        table.add_column(heading, justify="right", min_width=6)
    table.add_column("in flight", justify="right")
    table.add_column("circuit", width=9)
    for script in frame.scripts:
        now = Figures(frame.total, script.client)
        recent = Figures(frame.recent, script.client)
        table.add_row(
            Text(script.client),
            Text(f"{recent.calls_per_second:.1f}"),
            _percentage(recent.percentage("success")),
            _percentage(recent.percentage("error"), style="red"),
            _percentage(recent.percentage("rejected"), style="magenta"),
            Text(f"{now.recovered:.0f}", style="cyan"),
            Text(duration(recent.call_duration(0.5))),
            Text(duration(recent.call_duration(0.95))),
            Text(_in_flight(now)),
            Text("\n").join(_circuit(state) for state in now.circuits) or Text("-"),
        )
    return table


def _in_flight(now: Figures) -> str:
    limit = now.concurrency_limit
    return f"{now.in_flight:.0f}" if limit is None else f"{now.permits or 0:.0f}/{limit:.0f}"


def _budgets(frame: Frame) -> Text:
    text = Text("retry budget", style="bold")
    for script in frame.scripts:
        left = tokens(Figures(frame.total, script.client).budget_tokens)
        text.append(f"   {script.client} {left}", style="not bold")
    return text


def _percentage(value: float | None, style: str = "") -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(f"{value:.0f}", style=style if value else "dim")


def _circuit(state: str) -> Text:
    # What is not as it should be is seen without colours, too.
    word = state.replace("_", "-")
    return Text(word.upper() if state == "open" else word, style=_CIRCUITS.get(state, ""))


def _upstreams(frame: Frame) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=9)
    table.add_column(width=_STRIP)
    table.add_column(no_wrap=True)
    here = int(frame.moment * _STRIP)
    for script in frame.scripts:
        phase = script.at(frame.moment)
        now = Text(phase.name, style=_MOODS[phase.mood])
        table.add_row(script.client, _strip(script, here), now)
    table.add_row("", Text(f"{' ' * here}^", style="bold"))
    return table


def _strip(script: Script, here: int) -> Text:
    """Return the day as a row of marks, the past and the present highlighted."""
    strip = Text()
    for cell in range(_STRIP):
        mood = script.at(cell / _STRIP).mood
        style = _MOODS[mood]
        strip.append(mood.value, style=f"{style} reverse" if cell == here else style)
    return strip


def _events(frame: Frame, count: int) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=5, style="dim")
    table.add_column(width=9)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for event in frame.events[-count:]:
        table.add_row(clock(event.seconds), event.client, Text(event.text, style=event.style))
    return table

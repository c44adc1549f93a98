"""Lines for a log, where there is no terminal or no live view is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from platform_http.cli.demo.figures import Figures
from platform_http.cli.demo.frame import clock
from platform_http.cli.demo.summary import duration, tokens

if TYPE_CHECKING:
    from rich.console import Console

    from platform_http.cli.demo.events import Events
    from platform_http.cli.demo.frame import Frame


class PlainScreen:
    """Prints each event once, and every few seconds how the clients fare.

    Args:
        console: Where to.
        events: What happens.
        interval: Seconds between two lines of figures, > 0.
    """

    def __init__(self, console: Console, events: Events, interval: float) -> None:
        self._console = console
        self._events = events
        self._interval = interval
        self._next = interval

    def show(self, frame: Frame) -> None:
        """Print what is new in *frame*."""
        for event in self._events.unread():
            self._print(event.seconds, event.client, Text(event.text, style=event.style))
        if frame.elapsed >= self._next:
            self._next += self._interval
            for script in frame.scripts:
                self._print(frame.elapsed, script.client, _state(frame, script.client))

    def _print(self, seconds: float, client: str, text: Text) -> None:
        line = Text(f"{clock(seconds)}  {client:<10} ").append_text(text)
        self._console.print(line, soft_wrap=True)


def _state(frame: Frame, client: str) -> Text:
    now, recent = Figures(frame.total, client), Figures(frame.recent, client)
    success = recent.percentage("success")
    return Text(
        f"  {recent.calls_per_second:.1f} calls/s, "
        f"{'-' if success is None else f'{success:.0f}'} % ok, "
        f"{now.recovered:.0f} recovered so far, "
        f"p95 {duration(recent.call_duration(0.95))}, "
        f"circuit {', '.join(now.circuits).replace('_', '-') or '-'}, "
        f"retry budget {tokens(now.budget_tokens)}",
        style="dim",
    )

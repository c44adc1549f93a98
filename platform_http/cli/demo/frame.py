"""What a screen shows at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yarl import URL

    from platform_http.cli.demo.events import Event
    from platform_http.cli.demo.readings import Reading
    from platform_http.cli.demo.script import Script


@dataclass(frozen=True, slots=True)
class Frame:
    """The state of the demo.

    Args:
        elapsed: Seconds since it began.
        duration: Length of a day, seconds.
        moment: Share of the present day that is over, in [0, 1).
        scripts: The upstreams' days, in the order in which they are shown.
        total: All samples.
        recent: Their increase over the last seconds.
        events: What happened, oldest first.
        pages: Addresses to look at, by name.
    """

    elapsed: float
    duration: float
    moment: float
    scripts: Sequence[Script]
    total: Reading
    recent: Reading
    events: Sequence[Event] = ()
    pages: Mapping[str, URL] = field(default_factory=dict)


class Screen(Protocol):
    """Shows frames as they come."""

    def show(self, frame: Frame) -> None:
        """Show *frame* instead of the one before."""


def clock(seconds: float) -> str:
    """Return *seconds* as minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02}:{rest:02}"

"""When to ask a silent peer whether it is still there, and when to give it up."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Beat(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    PING = enum.auto()
    GIVE_UP = enum.auto()


class Heartbeat:
    """Watches over a connection on which both sides may be silent for long.

    After *interval* seconds of silence a ping is due; if then nothing is heard for *timeout*
    seconds, the peer is gone. Whatever is heard counts, a pong or anything else: a peer that is
    busy sending need not answer a ping first.

    While nobody listens nothing can be heard, so that silence proves nothing: the watch is
    suspended then, and starts anew.

    Args:
        interval: Seconds of silence before a ping, > 0; infinite switches the heartbeat off.
        timeout: Seconds that an answer may take, > 0.
        clock: Current instant in seconds; never goes backwards.

    Source: RFC 6455, sections 5.5.2 and 5.5.3; aiohttp's client resets its heartbeat at any data.
    """

    __slots__ = ("_clock", "_heard_at", "_interval", "_pinged_at", "_suspended", "_timeout")

    def __init__(self, *, interval: float, timeout: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._timeout = timeout
        self._clock = clock
        self._heard_at = clock()
        self._pinged_at: float | None = None
        self._suspended = False

    def heard(self) -> None:
        """Note that something came from the peer."""
        self._heard_at = self._clock()
        self._pinged_at = None

    def suspend(self) -> None:
        """Note that nobody listens from now on."""
        self._suspended = True

    def resume(self) -> None:
        """Note that somebody listens; after a suspension the silence begins now."""
        if self._suspended:
            self._suspended = False
            self.heard()

    @property
    def due(self) -> float:
        """The instant at which :meth:`beat` has something to do; infinite if never."""
        if self._suspended:
            return math.inf
        if self._pinged_at is not None:
            return self._pinged_at + self._timeout
        return self._heard_at + self._interval

    def beat(self) -> Beat:
        """Tell what to do now; a ping that it asks for counts as sent."""
        now = self._clock()
        if now < self.due:
            return Beat.NOTHING
        if self._pinged_at is not None:
            return Beat.GIVE_UP
        self._pinged_at = now
        return Beat.PING

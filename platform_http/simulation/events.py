"""Simulated time: what happens next, and when."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Events:
    """A clock that jumps from one event to the next.

    Events at the same instant happen in the order in which they were planned, so that a run is
    the same each time. There is no way to cancel one: whoever planned it finds out, when it
    happens, whether it still matters.

    Attributes:
        now: The current instant, seconds since the start of the run.
    """

    __slots__ = ("_heap", "_planned", "now")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[Any], None], object]] = []
        self._planned = 0
        self.now = 0.0

    def clock(self) -> float:
        """Return the current instant, for policies."""
        return self.now

    def at(self, instant: float, action: Callable[[T], None], subject: T) -> None:
        """Plan that ``action(subject)`` happens.

        Args:
            instant: When, seconds, not before now.
            action: What happens; it may plan more.
            subject: Whom it happens to.
        """
        self._planned += 1
        heapq.heappush(self._heap, (instant, self._planned, action, subject))

    def run(self) -> None:
        """Let everything happen that is planned."""
        heap, pop = self._heap, heapq.heappop
        while heap:
            self.now, _, action, subject = pop(heap)
            action(subject)

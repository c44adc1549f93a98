"""What happened in a run, counted as it happens."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

SECOND: Final = 1.0
"""Width of the bins of every series, seconds."""

FINE: Final = 0.1
"""Width of the bins in which bursts of resends are looked for, seconds."""


class Tally:
    """A count per bin of time.

    Args:
        width: Of a bin, seconds, > 0.
    """

    __slots__ = ("_bins", "_width")

    def __init__(self, width: float = SECOND) -> None:
        self._width = width
        self._bins: defaultdict[int, int] = defaultdict(int)

    def count(self, now: float) -> None:
        """Count one more."""
        self._bins[int(now / self._width)] += 1

    def __getitem__(self, place: int) -> int:
        return self._bins.get(place, 0)

    @property
    def total(self) -> int:
        """All that was counted."""
        return sum(self._bins.values())

    def filled(self) -> list[int]:
        """Return the bins from the first to the last one that are not empty."""
        if not self._bins:
            return []
        return [self[place] for place in range(min(self._bins), max(self._bins) + 1)]


class Recorder:
    """The measurements of one run.

    Attributes:
        calls: Calls by the second in which they began.
        attempts: Requests that were sent.
        successes: Calls by the second in which they succeeded.
        resends: Attempts after a failed one.
        hedges: Attempts beside a slow one.
        errors: Failed calls by their ``error.type``.
        latencies: Seconds from the begin to the end of each call that succeeded, by the second
            in which it did.
        waiting: Requests in the queues of the last upstream, at the end of each second.
    """

    __slots__ = (
        "attempts",
        "calls",
        "errors",
        "hedges",
        "latencies",
        "resends",
        "successes",
        "waiting",
    )

    def __init__(self) -> None:
        self.calls = Tally()
        self.attempts = Tally()
        self.successes = Tally()
        self.resends = Tally(FINE)
        self.hedges = Tally()
        self.errors: Counter[str] = Counter()
        self.latencies: defaultdict[int, list[float]] = defaultdict(list)
        self.waiting: list[int] = []

    def call_ended(self, began: float, now: float, reason: str) -> None:
        """Count the end of a call; *reason* is its ``error.type``, ``""`` for a success."""
        if reason:
            self.errors[reason] += 1
        else:
            self.successes.count(now)
            self.latencies[int(now / SECOND)].append(now - began)

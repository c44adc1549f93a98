"""A quantile of the latencies of late, in bounded memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMUM_SAMPLES = 100
"""Latencies in the window below which a quantile says nothing."""

SLICES = 5
"""Parts of a window. The oldest is forgotten whole, so a latency counts for 0.8 to 1 windows."""

SHORTEST = 1e-4
"""Latencies below this many seconds are not told apart."""

BUCKETS = 170
"""Each is wider than the one before by :data:`GROWTH`; together they reach to 1000 seconds."""

GROWTH = 1.1
"""The value given for a bucket is at most (GROWTH - 1) / (GROWTH + 1), 4.8 %, off."""

_PER_E = 1.0 / math.log(GROWTH)
_MIDDLE = 2.0 * GROWTH / (GROWTH + 1.0)


class MovingQuantile:
    """A quantile of what was recorded in the last *window* seconds.

    A histogram with logarithmic buckets, and beside it one for each slice of the window, so that a
    slice can be taken out again. The bucket of the quantile is remembered and moves by few steps
    from one question to the next.

    Args:
        q: Which quantile, in (0, 1].
        window: Length of the window, seconds, > 0.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.

    Source: the mapping of DDSketch (Masson, Rim and Lee, VLDB 2019).
    """

    __slots__ = (
        "_below",
        "_bucket",
        "_clock",
        "_counts",
        "_current",
        "_q",
        "_samples",
        "_slice_ends",
        "_slices",
        "_width",
    )

    def __init__(self, q: float = 0.95, *, window: float, clock: Callable[[], float]) -> None:
        self._q = q
        self._clock = clock
        self._width = window / SLICES
        self._slice_ends = clock() + self._width
        self._slices: list[dict[int, int]] = [{} for _ in range(SLICES)]
        self._current = 0
        self._counts = [0] * BUCKETS
        self._samples = 0
        # Where the quantile was found last, and how many samples lie in the buckets before.
        self._bucket = 0
        self._below = 0

    def record(self, seconds: float) -> None:
        """Add a latency, seconds, >= 0."""
        self._advance()
        bucket = 0
        if seconds > SHORTEST:
            # The cap comes first: the logarithm of infinity has no integer.
            bucket = int(min(math.log(seconds / SHORTEST) * _PER_E, BUCKETS - 1))
        part = self._slices[self._current]
        part[bucket] = part.get(bucket, 0) + 1
        self._counts[bucket] += 1
        self._samples += 1
        if bucket < self._bucket:
            self._below += 1

    def value(self) -> float | None:
        """Return the quantile, or ``None`` for fewer than :data:`MINIMUM_SAMPLES` samples.

        Returns:
            Seconds, at most 5 % off the smallest latency that a share q of all does not exceed.
            Latencies outside of 0.1 ms to 1000 s count as the nearer of the two.
        """
        self._advance()
        if self._samples < MINIMUM_SAMPLES:
            return None
        counts, bucket, below = self._counts, self._bucket, self._below
        rank = self._q * self._samples
        while below >= rank:
            bucket -= 1
            below -= counts[bucket]
        while below + counts[bucket] < rank:
            below += counts[bucket]
            bucket += 1
        self._bucket, self._below = bucket, below
        return SHORTEST * GROWTH**bucket * _MIDDLE

    def _advance(self) -> None:
        now = self._clock()
        if now < self._slice_ends:
            return
        begun = int((now - self._slice_ends) / self._width) + 1
        for _ in range(min(begun, SLICES)):
            self._current = (self._current + 1) % SLICES
            part = self._slices[self._current]
            for bucket, count in part.items():
                self._counts[bucket] -= count
                self._samples -= count
            part.clear()
        self._slice_ends += begun * self._width
        self._bucket = self._below = 0

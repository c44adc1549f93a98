"""Counts of the last so many seconds, in constant space."""

from __future__ import annotations

BUCKETS = 10
"""Parts of a window. The oldest is forgotten whole, so a result counts for 0.9 to 1 windows."""


class SlidingWindow:
    """Results of the last *duration* seconds, in a ring of :data:`BUCKETS`.

    A result is a success or a failure; it may be slow besides.

    Args:
        duration: Length of the window, seconds, > 0.
        now: The current instant, seconds on any clock that never goes backwards.

    Attributes:
        bucket_ends: Until then :meth:`advance` does nothing.
        ok: Successes remembered, as of the last :meth:`advance`.
        failed: Failures remembered, as of the last :meth:`advance`.
        slow: Those of both that were slow, as of the last :meth:`advance`.

    Source: the time-based sliding window of resilience4j.
    """

    __slots__ = (
        "_current",
        "_failed",
        "_ok",
        "_slow",
        "_width",
        "bucket_ends",
        "failed",
        "ok",
        "slow",
    )

    def __init__(self, duration: float, now: float) -> None:
        self._width = duration / BUCKETS
        self._ok = [0] * BUCKETS
        self._failed = [0] * BUCKETS
        self._slow = [0] * BUCKETS
        self.ok = self.failed = self.slow = 0
        self.clear(now)

    def clear(self, now: float) -> None:
        """Forget everything; a new bucket begins *now*."""
        self._forget_all()
        self._current = 0
        self.bucket_ends = now + self._width

    def add_ok(self) -> None:
        """Count a success into the current bucket."""
        self._ok[self._current] += 1
        self.ok += 1

    def add_failed(self) -> None:
        """Count a failure into the current bucket."""
        self._failed[self._current] += 1
        self.failed += 1

    def add_slow(self) -> None:
        """Mark the result that was just counted as slow."""
        self._slow[self._current] += 1
        self.slow += 1

    def advance(self, now: float) -> None:
        """Forget the buckets that lie more than the window's duration before *now*."""
        if now < self.bucket_ends:
            return
        begun = int((now - self.bucket_ends) / self._width) + 1
        self.bucket_ends += begun * self._width
        if begun >= BUCKETS:
            # Where each of thousands of origins is called now and then, this is every call.
            self._forget_all()
            return
        oldest = self._current + 1
        self._current = (self._current + begun) % BUCKETS
        if self.ok:
            self.ok -= _forget(self._ok, oldest, begun)
        if self.failed:
            self.failed -= _forget(self._failed, oldest, begun)
        if self.slow:
            self.slow -= _forget(self._slow, oldest, begun)

    def _forget_all(self) -> None:
        if self.ok:
            self._ok = [0] * BUCKETS
            self.ok = 0
        if self.failed:
            self._failed = [0] * BUCKETS
            self.failed = 0
        if self.slow:
            self._slow = [0] * BUCKETS
            self.slow = 0


def _forget(counts: list[int], oldest: int, begun: int) -> int:
    """Empty so many buckets from the *oldest* on, and return what they held."""
    held = 0
    for place in range(oldest, oldest + begun):
        bucket = place % BUCKETS
        held += counts[bucket]
        counts[bucket] = 0
    return held

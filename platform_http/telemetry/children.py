"""Children of prometheus_client's metrics, moved at the least cost.

Its verbs check with every call what was settled when the child was made, look for a bucket one
after the other, and take a lock for each value. These end in the same values, under one lock where
several belong together. Whoever reads takes one value at a time, so only writers have to keep off
each other. What worker processes share (multiprocess mode) has no lock of its own and is written by
its own verbs.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from prometheus_client.samples import Exemplar

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter, Gauge, Histogram

# The private names below are held by a canary in tests/contract.
# ruff: noqa: SLF001


def adder(child: Counter | Gauge) -> Callable[[float], None]:
    """Return what adds to *child*; a counter is for its caller to keep from falling."""
    add: Callable[[float], None] = child._value.inc
    return add


class Level:
    """A gauge that is only ever set."""

    __slots__ = ("_is_shared", "_value")

    def __init__(self, child: Gauge) -> None:
        self._value: Any = child._value
        self._is_shared = not hasattr(self._value, "_lock")

    def set(self, level: float) -> None:
        """Show *level*."""
        if self._is_shared:
            self._value.set(level)
        else:
            # One assignment: there is nothing that a lock could keep together.
            self._value._value = float(level)


class Pair:
    """Two gauges between which things move."""

    __slots__ = ("_first", "_lock", "_second")

    def __init__(self, first: Gauge, second: Gauge) -> None:
        self._first: Any = first._value
        self._second: Any = second._value
        self._lock = getattr(self._first, "_lock", None)

    def add(self, first: float, second: float) -> None:
        """Add to both."""
        if self._lock is None:
            self._first.inc(first)
            self._second.inc(second)
        else:
            with self._lock:
                self._first._value += first
                self._second._value += second


class Distribution:
    """What observes for one child of a histogram."""

    __slots__ = ("_bounds", "_buckets", "_lock", "_sum")

    def __init__(self, child: Histogram) -> None:
        self._sum: Any = child._sum
        self._bounds = child._upper_bounds
        self._buckets: list[Any] = child._buckets
        self._lock = getattr(self._sum, "_lock", None)

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count *amount*; the labels of *exemplar* are taken as they are."""
        bucket = self._buckets[bisect_left(self._bounds, amount)]
        if self._lock is None:
            self._sum.inc(amount)
            bucket.inc(1)
        else:
            with self._lock:
                self._sum._value += amount
                bucket._value += 1
        if exemplar is not None:
            bucket.set_exemplar(Exemplar(exemplar, amount, time.time()))

"""Children of prometheus_client's metrics, moved at the least cost.

Its verbs check with every call what was settled when the child was made, look for a bucket one
after the other, and take a lock for each value. These end in the same values, under one lock where
several belong together. Whoever reads takes one value at a time, so only writers have to keep off
each other. Values of any other kind than the usual one, such as those that worker processes share
(multiprocess mode), are left to the verbs of their child.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from prometheus_client.samples import Exemplar
from prometheus_client.values import MutexValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter, Gauge, Histogram

# The private names below are held by a canary in tests/telemetry/test_children.py.
# ruff: noqa: SLF001


def _mutex_value(child: object, name: str = "_value") -> Any:
    """Return the value that *child* holds as *name*, or ``None`` if it is of another kind."""
    value = getattr(child, name, None)
    return value if type(value) is MutexValue else None


def adder(child: Counter | Gauge) -> Callable[[float], None]:
    """Return what adds to *child*; a counter is for its caller to keep from falling."""
    value = _mutex_value(child)
    add: Callable[[float], None] = child.inc if value is None else value.inc
    return add


class Level:
    """A gauge that is only ever set."""

    __slots__ = ("_child", "_value")

    def __init__(self, child: Gauge) -> None:
        self._child = child
        self._value = _mutex_value(child)

    def set(self, level: float) -> None:
        """Show *level*."""
        if self._value is None:
            self._child.set(level)
        else:
            # One assignment: there is nothing that a lock could keep together.
            self._value._value = float(level)


class Pair:
    """Two gauges between which things move; no one else may move the second."""

    __slots__ = ("_children", "_first", "_lock", "_second")

    def __init__(self, first: Gauge, second: Gauge) -> None:
        self._children = (first, second)
        self._first = _mutex_value(first)
        self._second = _mutex_value(second)
        both = self._first is not None and self._second is not None
        self._lock = self._first._lock if both else None

    def add(self, first: float, second: float) -> None:
        """Add to both."""
        if self._lock is None:
            for child, amount in zip(self._children, (first, second), strict=True):
                child.inc(amount)
        else:
            with self._lock:
                self._first._value += first
                self._second._value += second


class Distribution:
    """What observes for one child of a histogram, and nothing else does."""

    __slots__ = ("_bounds", "_buckets", "_child", "_lock", "_sum")

    def __init__(self, child: Histogram) -> None:
        self._child = child
        self._sum = _mutex_value(child, "_sum")
        self._lock = None if self._sum is None else self._sum._lock
        self._bounds: list[float] = getattr(child, "_upper_bounds", [])
        self._buckets: list[Any] = getattr(child, "_buckets", [])

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count *amount*; the labels of *exemplar* are taken as they are."""
        if self._lock is None:
            self._child.observe(amount, exemplar)
            return
        bucket = self._buckets[bisect_left(self._bounds, amount)]
        with self._lock:
            self._sum._value += amount
            bucket._value += 1
        if exemplar is not None:
            bucket.set_exemplar(Exemplar(exemplar, amount, time.time()))

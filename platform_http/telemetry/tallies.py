"""What a session counts on, and how it gets to prometheus_client's children.

Counting must cost next to nothing: no lock, no label, no text. So a session counts on plain numbers
of its own, and whoever collects the registry carries over what has changed since the last look.

That needs no lock where it is counted. A session belongs to one event loop, so each number has one
thread that writes it; the thread that collects only reads it, and keeps what it has carried over to
itself, behind a lock that only those take who collect, open or close. Reading a slot or copying a
list of integers gives what stood there at some instant, on builds without a global interpreter lock
too, and what is written in the next instant is carried over at the next look.

The exception is the finalizer of a response or a connection that was lost in a reference cycle: it
runs in whichever thread collects garbage. A number is moved in one statement that calls nothing in
Python, and CPython changes threads at calls and jumps back, so with the lock of the interpreter no
move is lost to that. Without it two threads at the same number in the same instant lose one.

Other processes read the values of multiprocess mode whenever they like, so there the children are
moved at once (:class:`LedgerAtOnce`).
"""

from __future__ import annotations

import functools
import os
import threading
from bisect import bisect_left
from itertools import chain
from time import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import Gauge
from prometheus_client.samples import Exemplar
from prometheus_client.values import MutexValue

from platform_http.call import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.trace import SpanContext
    from prometheus_client import Counter, Histogram
    from prometheus_client.metrics import MetricWrapperBase

_CARRYING: Final = threading.Lock()
# A process that is forked while a thread of its parent collects would wait for that thread.
os.register_at_fork(
    before=_CARRYING.acquire,
    after_in_parent=_CARRYING.release,
    after_in_child=_CARRYING.release,
)


def exemplar_labels(context: SpanContext) -> dict[str, str]:
    """Return the labels that lead from a sample to the span of *context*."""
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


class Level(Protocol):
    """A number that goes up and down, to be looked at."""

    @property
    def value(self) -> int:
        """What it is now."""


class Observing(Protocol):
    """Takes the samples of one series."""

    def observe(self, amount: float, context: SpanContext | None = None) -> None:
        """Count *amount*, an example of which is the span of *context*."""


class Distribution:
    """Samples that wait to be carried over to a child of a histogram.

    Args:
        histogram: The child.
        counter: What is to count the samples as well.
    """

    __slots__ = (
        "_bounds",
        "_carried",
        "_carried_total",
        "_counter",
        "_counts",
        "_exemplars",
        "_histogram",
        "_shown",
        "_total",
    )

    def __init__(self, histogram: Histogram, counter: Counter | None = None) -> None:
        self._histogram: Any = histogram
        self._counter = counter
        self._bounds = _shared(tuple(self._histogram._upper_bounds))  # noqa: SLF001 - held by a canary
        self._counts = [0] * len(self._bounds)
        self._total = 0.0
        self._exemplars: dict[int, tuple[SpanContext, float, float]] = {}
        # From here on it is the collecting thread's.
        self._carried = self._counts.copy()
        self._carried_total = 0.0
        self._shown: dict[int, tuple[SpanContext, float, float]] = {}

    def observe(self, amount: float, context: SpanContext | None = None) -> None:
        """Count *amount*, an example of which is the span of *context*."""
        bucket = bisect_left(self._bounds, amount)
        if context is not None:
            self._exemplars[bucket] = (context, amount, time())
        self._total += amount
        # Last: who sees the count finds all that belongs to it.
        self._counts[bucket] += 1

    def carry(self) -> None:
        """Carry over what has changed."""
        counts = self._counts.copy()
        if counts == self._carried:
            return
        total = self._total
        child = self._histogram
        # Noted before it is moved, so that nothing counts twice where one of these is interrupted.
        before, self._carried = self._carried, counts
        total_before, self._carried_total = self._carried_total, total
        for bucket, (now, then) in enumerate(zip(counts, before, strict=True)):
            if now != then:
                child._buckets[bucket].inc(now - then)  # noqa: SLF001 - held by a canary
        child._sum.inc(total - total_before)  # noqa: SLF001 - held by a canary
        if self._counter is not None:
            self._counter.inc(sum(counts) - sum(before))
        for bucket, example in self._exemplars.copy().items():
            if self._shown.get(bucket) is not example:
                context, amount, moment = example
                exemplar = Exemplar(exemplar_labels(context), amount, moment)
                child._buckets[bucket].set_exemplar(exemplar)  # noqa: SLF001 - held by a canary
                self._shown[bucket] = example

    def end(self) -> None:
        """Carry over what is left."""
        self.carry()


class _Shown:
    """A number and the child that shows it."""

    __slots__ = ("_carried", "_child", "_number")

    def __init__(self, child: Counter | Gauge, number: Level) -> None:
        self._child = child
        self._number = number
        self._carried = 0

    def carry(self) -> None:
        self._carry(self._number.value)

    def end(self) -> None:
        # What has been counted stays; what is up at the end of its session is no longer there.
        self._carry(0 if isinstance(self._child, Gauge) else self._number.value)

    def _carry(self, value: int) -> None:
        if value != self._carried:
            # By the difference: several sessions of a client add up.
            self._child.inc(value - self._carried)
            self._carried = value


class Ledger:
    """All that one session counts, until it is carried over. Only its loop's thread adds to it.

    Args:
        failed: Told of what could not be carried over; the rest is, and neither who counts nor who
            looks is to hear of it.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._entries: dict[MetricWrapperBase, list[Distribution | _Shown]] = {}

    def tally(self, family: Counter | Gauge, *labels: str) -> Tally:
        """Return what counts for the child of *family* that has *labels*."""
        tally = Tally()
        self._enter(_Shown(family.labels(*labels), tally), family)
        return tally

    def show(self, family: Gauge, *labels: str, level: Level) -> Callable[[], None] | None:
        """Let the child of *family* that has *labels* show *level*.

        Returns:
            What has to be called after each change; ``None`` where nobody has to.
        """
        self._enter(_Shown(family.labels(*labels), level), family)
        return None

    def distribution(self, family: Histogram, *labels: str) -> Observing:
        """Return what samples for the child of *family* that has *labels*."""
        child = family.labels(*labels)
        if not _is_known(child):
            return _ObservedAtOnce(child)
        distribution = Distribution(child)
        self._enter(distribution, family)
        return distribution

    def counted(
        self,
        family: Histogram,
        labels: tuple[str, ...],
        counter: Counter,
        counter_labels: tuple[str, ...],
    ) -> Observing:
        """Return what samples for a child of *family*, and counts for one of *counter*."""
        child, counted = family.labels(*labels), counter.labels(*counter_labels)
        if not _is_known(child):
            return _ObservedAtOnce(child, counted)
        distribution = Distribution(child, counted)
        self._enter(distribution, family, counter)
        return distribution

    def carry_over(self, family: MetricWrapperBase) -> None:
        """Carry over what ends in *family*."""
        with _CARRYING:
            errors = _tried(entry.carry for entry in self._entries.get(family, ()))
        self._report(errors)

    def settle(self) -> None:
        """Carry over everything; for the thread that counts."""
        with _CARRYING:
            errors = _tried(entry.carry for entry in self._all())
        self._report(errors)

    def close(self) -> None:
        """Carry over what its session has left behind; nothing may be counted any more."""
        with _CARRYING:
            errors = _tried(entry.end for entry in self._all())
            self._entries.clear()
        self._report(errors)

    def _all(self) -> Iterator[Distribution | _Shown]:
        # Of a copy: a finalizer that runs meanwhile may count what nobody has counted before.
        return chain.from_iterable(tuple(self._entries.values()))

    def _report(self, errors: list[Exception]) -> None:
        # Without the lock: whoever is told may log, and a handler of logs may do anything.
        for error in errors:
            self._failed(error)

    def _enter(self, entry: Distribution | _Shown, *families: MetricWrapperBase) -> None:
        for family in families:
            self._entries.setdefault(family, []).append(entry)


class LedgerAtOnce(Ledger):
    """A ledger that keeps nothing: whatever is counted is there for other processes at once."""

    def tally(self, family: Counter | Gauge, *labels: str) -> Tally:
        """Return what counts for the child of *family* that has *labels*."""
        return _TallyAtOnce(family.labels(*labels), self._failed)

    def show(self, family: Gauge, *labels: str, level: Level) -> Callable[[], None] | None:
        """Let the child of *family* that has *labels* show *level*."""
        tally = self.tally(family, *labels)

        def show() -> None:
            tally.value = level.value

        return show

    def distribution(self, family: Histogram, *labels: str) -> Observing:
        """Return what samples for the child of *family* that has *labels*."""
        return _ObservedAtOnce(family.labels(*labels))

    def counted(
        self,
        family: Histogram,
        labels: tuple[str, ...],
        counter: Counter,
        counter_labels: tuple[str, ...],
    ) -> Observing:
        """Return what samples for a child of *family*, and counts for one of *counter*."""
        return _ObservedAtOnce(family.labels(*labels), counter.labels(*counter_labels))


class _TallyAtOnce(Tally):
    __slots__ = ("_child", "_failed", "_shown")

    def __init__(self, child: Counter | Gauge, failed: Callable[[Exception], None]) -> None:
        self._child = child
        self._failed = failed
        self._shown = 0

    @property
    def value(self) -> int:
        return self._shown

    @value.setter
    def value(self, value: int) -> None:
        try:
            self._child.inc(value - self._shown)
        except Exception as error:  # noqa: BLE001 - telemetry must not break a call, whatever fails
            self._failed(error)
        self._shown = value


class _ObservedAtOnce:
    """Samples of a child whose values are none of ours to know."""

    __slots__ = ("_counter", "_histogram")

    def __init__(self, histogram: Histogram, counter: Counter | None = None) -> None:
        self._histogram = histogram
        self._counter = counter

    def observe(self, amount: float, context: SpanContext | None = None) -> None:
        self._histogram.observe(amount, None if context is None else exemplar_labels(context))
        if self._counter is not None:
            self._counter.inc()


@functools.lru_cache
def _shared(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Return one object for equal *bounds*: each call looks through those of several children."""
    return bounds


def _tried(verbs: Iterable[Callable[[], None]]) -> list[Exception]:
    """Do all *verbs*, and return what was raised."""
    errors = []
    for verb in verbs:
        try:
            verb()
        except Exception as error:  # noqa: BLE001 - one series must not keep back all others
            errors.append(error)
    return errors


def _is_known(child: Any) -> bool:
    """Tell whether *child* holds its values where a distribution puts them."""
    bounds, buckets = getattr(child, "_upper_bounds", ()), getattr(child, "_buckets", ())
    values = (getattr(child, "_sum", None), *buckets)
    return len(bounds) == len(buckets) > 0 and all(type(each) is MutexValue for each in values)

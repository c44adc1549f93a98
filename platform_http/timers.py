"""Many timeouts that nearly never end anything, on one timer of the event loop.

Each attempt has one, and so has each body that is on its way. A timer of its own for each, made,
kept in a heap and cancelled again, would be a tenth of what a call costs.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from contextvars import Context
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


# As it is now: a test may put another function in its place.
_TIME_OF_ASYNCIO: Final = asyncio.BaseEventLoop.time


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return what tells the time of *loop*: ``loop.time``, or what that one asks.

    Each call looks at the clock eight times, and asyncio's own loops do so through a function that
    takes longer than the look.
    """
    is_asyncios = getattr(loop.time, "__func__", None) is _TIME_OF_ASYNCIO
    return time.monotonic if is_asyncios else loop.time


def _find_current_task() -> Callable[[asyncio.AbstractEventLoop], asyncio.Task[object] | None]:
    # Since Python 3.12 it is written in C; before, it looks into this dictionary, and making the
    # call takes five times as long as the look.
    tasks = getattr(asyncio.tasks, "_current_tasks", None)
    if sys.version_info < (3, 12) and isinstance(tasks, dict):
        return tasks.get
    return asyncio.current_task


_current_task = _find_current_task()


class Expiring(Protocol):
    """What ends at an instant, unless it is discarded before."""

    when: float
    """An instant of ``loop.time()``, finite; it does not change."""

    def expire(self) -> None:
        """End it; called once, and not after it was discarded."""


# Seconds that share a set: few sets to find the next instant among, few entries to look through.
_SLICE = 1 / 16
_NO_SLICE = -math.inf

_instant = attrgetter("when")


class Timers:
    """Expires what is due.

    The loop's timer stands at the earliest instant that was asked for when it was set, and is not
    touched when that one is discarded: it wakes up for nothing then, and is set anew.

    What is pending is kept by slices of time. Where a server answers nothing, thousands may expire
    one by one, and each must not cost a look at all the others.

    Args:
        loop: Whose time and timer it is.
    """

    __slots__ = ("_handle", "_latest", "_number", "_slices", "_wakes_at", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # By the number of the slice that their instant lies in. None is empty but the latest that
        # was asked for, which is at hand: most of what is added and discarded belongs there.
        self._slices: dict[float, set[Expiring]] = {}
        self._latest: set[Expiring] = set()
        self._number = _NO_SLICE
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return sum(map(len, self._slices.values()))

    def add(self, expiring: Expiring) -> None:
        """Expire *expiring* when its time has come."""
        when = expiring.when
        number = when // _SLICE
        if number != self._number:
            self._reach_for(number)
        self._latest.add(expiring)
        if when < self._wakes_at:
            self._set(when)

    def discard(self, expiring: Expiring) -> None:
        """Forget *expiring*, whether it is pending or not."""
        number = expiring.when // _SLICE
        if number == self._number:
            self._latest.discard(expiring)
        elif number in self._slices:
            pending = self._slices[number]
            pending.discard(expiring)
            if not pending:
                del self._slices[number]

    def _reach_for(self, number: float) -> None:
        self._drop_if_empty()
        self._number = number
        self._latest = self._slices.setdefault(number, set())

    def _drop_if_empty(self) -> None:
        if not self._latest:
            self._slices.pop(self._number, None)
            self._number = _NO_SLICE

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wakes_at = when
        # It outlives the call that happens to set it, so it must not hold that call's context.
        self._handle = self.loop.call_at(when, self._wake, context=Context())

    def _wake(self) -> None:
        self._handle = None
        self._wakes_at = math.inf
        now = self.loop.time()
        current = now // _SLICE
        for number in sorted(number for number in self._slices if number <= current):
            due = [each for each in self._slices.get(number, ()) if each.when <= now]
            # A loop that was kept busy finds several at a time, and the first of them says what
            # happened: a body that is out of time is not also a silent one.
            due.sort(key=_instant)
            for expiring in due:
                self._expire(expiring)
        self._drop_if_empty()
        if self._slices:
            when = min(each.when for each in self._slices[min(self._slices)])
            if when < self._wakes_at:
                self._set(when)

    def _expire(self, expiring: Expiring) -> None:
        if expiring not in self._slices.get(expiring.when // _SLICE, ()):
            # What expired just before has discarded it.
            return
        self.discard(expiring)
        try:
            expiring.expire()
        except Exception as error:  # noqa: BLE001 - told by the loop, as of a timer of its own
            # The others are due all the same.
            context = {"message": "Exception in a timeout", "exception": error}
            self.loop.call_exception_handler(context)


class Bounded:
    """What one task does until an instant, as in ``asyncio.timeout_at``, for a tenth of its cost.

    It is its own timer's entry, so that nothing has to be made to bound it. What is bound is
    released on every path.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "when")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None

    def bind(self, timers: Timers, when: float) -> None:
        """Cancel the current task at *when*, which is finite, unless it is released before."""
        task = _current_task(timers.loop)
        assert task is not None
        self.when = when
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        timers.add(self)

    def expire(self) -> None:
        """Cancel the task."""
        assert self._task is not None
        self._expired = True
        self._task.cancel()

    def release(self, timers: Timers) -> bool:
        """End the bound, if there is one.

        Returns:
            Whether it alone cancelled the task, so that a ``CancelledError`` is nobody else's.
        """
        task, self._task = self._task, None
        if task is None:
            return False
        if self._expired:
            return task.uncancel() <= self._cancelling
        timers.discard(self)
        return False

"""Many timeouts that nearly never end anything, on one timer of the event loop.

Each attempt has one, and so has each body that is on its way. A timer of its own for each, made,
kept in a heap and cancelled again, would be a tenth of what a call costs.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return what tells the time of *loop*: ``loop.time``, or what that one asks.

    Each call looks at the clock eight times, and asyncio's own loops do so through a function that
    takes longer than the look.
    """
    is_asyncios = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return time.monotonic if is_asyncios else loop.time


class Expiring(Protocol):
    """What ends at an instant, unless it is discarded before."""

    when: float
    """An instant of ``loop.time()``, finite; it does not change."""

    def expire(self) -> None:
        """End it; called once, and not after it was discarded."""


# Seconds that share a set: few sets to find the next instant among, few entries to look through.
_SLICE = 1 / 16


class Timers:
    """Expires what is due.

    The loop's timer stands at the earliest instant that was asked for when it was set, and is not
    touched when that one is discarded: it wakes up for nothing then, and is set anew.

    What is pending is kept by slices of time. Where a server answers nothing, thousands may expire
    one by one, and each must not cost a look at all the others.

    Args:
        loop: Whose time and timer it is.
    """

    __slots__ = ("_handle", "_loop", "_slices", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # By the number of the slice that their instant lies in; none is empty.
        self._slices: dict[float, set[Expiring]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return sum(map(len, self._slices.values()))

    def add(self, expiring: Expiring) -> None:
        """Expire *expiring* when its time has come."""
        when = expiring.when
        number = when // _SLICE
        if number in self._slices:
            self._slices[number].add(expiring)
        else:
            self._slices[number] = {expiring}
        if when < self._wakes_at:
            self._set(when)

    def discard(self, expiring: Expiring) -> None:
        """Forget *expiring*, whether it is pending or not."""
        number = expiring.when // _SLICE
        if number in self._slices:
            pending = self._slices[number]
            pending.discard(expiring)
            if not pending:
                del self._slices[number]

    def timeout(self, when: float) -> Timeout:
        """Cancel the current task at *when*, unless the timeout is stopped before."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        timeout = Timeout(self, when, task)
        self.add(timeout)
        return timeout

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wakes_at = when
        # It outlives the call that happens to set it, so it must not hold that call's context.
        self._handle = self._loop.call_at(when, self._wake, context=Context())

    def _wake(self) -> None:
        self._handle = None
        self._wakes_at = math.inf
        now = self._loop.time()
        current = now // _SLICE
        for number in sorted(number for number in self._slices if number <= current):
            due = [each for each in self._slices.get(number, ()) if each.when <= now]
            for expiring in due:
                self._expire(expiring)
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
            self._loop.call_exception_handler(context)


class Timeout:
    """Bounds what one task awaits, as ``asyncio.timeout_at`` does, for a tenth of its cost.

    Stop it on every path.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "_timers", "when")

    def __init__(self, timers: Timers, when: float, task: asyncio.Task[Any]) -> None:
        self._timers = timers
        self.when = when
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self._task.cancel()

    def stop(self) -> bool:
        """End the timeout.

        Returns:
            Whether it alone cancelled the task, so that a ``CancelledError`` is nobody else's.
        """
        if self._expired:
            return self._task.uncancel() <= self._cancelling
        self._timers.discard(self)
        return False

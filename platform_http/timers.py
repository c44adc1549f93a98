"""Many timeouts that nearly never end anything, on one timer of the event loop.

Each attempt has one, and so has each body that is on its way. A timer of its own for each, made,
kept in a heap and cancelled again, would be a tenth of what a call costs.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any


class Expiring(Protocol):
    """What ends at an instant, unless it is discarded before."""

    when: float
    """An instant of ``loop.time()``."""

    def expire(self) -> None:
        """End it; called once, and not after it was discarded. It must not raise."""


class Timers:
    """Expires what is due.

    The loop's timer stands at the earliest instant that was asked for when it was set, and is not
    touched when that one is discarded: it wakes up for nothing then, and is set anew.

    Args:
        loop: Whose time and timer it is.
    """

    __slots__ = ("_handle", "_loop", "_pending", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: set[Expiring] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, expiring: Expiring) -> None:
        """Expire *expiring* when its time has come."""
        self._pending.add(expiring)
        if expiring.when < self._wakes_at:
            self._set(expiring.when)

    def discard(self, expiring: Expiring) -> None:
        """Forget *expiring*, whether it is pending or not."""
        self._pending.discard(expiring)

    def timeout(self, when: float) -> Timeout:
        """Cancel the current task at *when*, unless the timeout is stopped before."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        timeout = Timeout(self, when, task)
        self.add(timeout)
        return timeout

    def close(self) -> None:
        """Expire nothing any more."""
        self._pending.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

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
        due = [expiring for expiring in self._pending if expiring.when <= now]
        self._pending.difference_update(due)
        for expiring in due:
            expiring.expire()
        if self._pending:
            self._set(min(expiring.when for expiring in self._pending))


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

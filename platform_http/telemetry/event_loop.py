"""How late the timers of an event loop run: the first thing to look at when everything is slow."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import asyncio

    from platform_http.telemetry.metrics import Metrics

_INTERVAL: Final = 0.5


class LagMonitor:
    """Samples how late a timer runs, every half second, without a task."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop = loop
        self._metrics = metrics
        self._holders = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def acquire(self) -> None:
        """Sample from now on, if not already."""
        self._holders += 1
        if self._holders == 1:
            self._arm()

    def release(self) -> None:
        """Stop sampling with the last holder."""
        self._holders -= 1
        if self._holders == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due = self._loop.time() + _INTERVAL
        self._timer = self._loop.call_at(self._due, self._sample)

    def _sample(self) -> None:
        # Clock granularity lets a timer run a little early.
        self._metrics.event_loop_lag.observe(max(0.0, self._loop.time() - self._due))
        self._arm()


class LagHandle:
    """One holder's share in a monitor."""

    def __init__(self, monitor: LagMonitor) -> None:
        self._monitor: LagMonitor | None = monitor

    def stop(self) -> None:
        """Give the share back; the second time does nothing."""
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            monitor.release()


# By identity of loop and metrics: a monitor keeps both alive, so an entry never outlives them.
_MONITORS: WeakValueDictionary[tuple[int, int], LagMonitor] = WeakValueDictionary()
_LOCK = threading.Lock()


def start(loop: asyncio.AbstractEventLoop, metrics: Metrics) -> LagHandle:
    """Measure the lag of *loop* until the returned handle is stopped.

    However many sessions ask, a loop is sampled once per registry.

    Args:
        loop: The running loop; call it from its thread.
        metrics: Where samples go.
    """
    key = (id(loop), id(metrics))
    with _LOCK:
        monitor = _MONITORS.get(key)
        if monitor is None:
            monitor = _MONITORS[key] = LagMonitor(loop, metrics)
    monitor.acquire()
    return LagHandle(monitor)

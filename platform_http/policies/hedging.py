"""When a second attempt is started beside a slow one, and how many calls may have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_http.policies.latency import MovingQuantile

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 300.0
"""Seconds over which the p95 is taken: a client with a call every three seconds has one."""

CREDIT_CALLS = 20
"""Calls whose credit can be saved up. With a ratio of 5 % that is one hedge, never a burst."""

# Twenty times 0.05 must be one hedge, however the additions round.
_ONE = 1.0 - 1e-9


class HedgePolicy:
    """Hedges of one client's calls to one origin.

    Each call earns a credit of *max_ratio* and each hedge takes 1. The credit starts at nothing and
    is capped at what :data:`CREDIT_CALLS` calls earn, or at 1 if that is more. So hedges are never
    more than *max_ratio* of all calls, and n calls in a row see at most the cap more than n *
    *max_ratio*. When everything becomes slow, every call asks for a hedge until the p95 has
    followed; the credit bounds what that adds to the load.

    Args:
        delay: Age of the first attempt at which a call may be hedged, seconds, >= 0; ``None`` is
            the p95 of the last :data:`WINDOW` seconds.
        max_ratio: Share of calls that are hedged at most, in (0, 1].
        delay_cap: Longest delay that leaves room for the hedge's own attempt, seconds; the p95 is
            clipped to it, and without any room (<= 0) there is no hedge at the p95.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.

    Source: Dean and Barroso, "The Tail at Scale", CACM 2013; the retry throttling of gRPC A6.
    """

    __slots__ = ("_credit", "_credit_max", "_delay", "_delay_cap", "_latency", "_max_ratio")

    def __init__(
        self,
        *,
        delay: float | None,
        max_ratio: float,
        delay_cap: float,
        clock: Callable[[], float],
    ) -> None:
        self._delay = delay
        self._delay_cap = delay_cap
        self._max_ratio = max_ratio
        self._credit = 0.0
        self._credit_max = max(1.0, max_ratio * CREDIT_CALLS)
        self._latency = MovingQuantile(0.95, window=WINDOW, clock=clock) if delay is None else None

    def delay(self) -> float | None:
        """Return after how many seconds a call that starts now may be hedged.

        Returns:
            Seconds, >= 0, or ``None`` for never: too few latencies are known, or there is no room.
        """
        if self._latency is None:
            return self._delay
        p95 = self._latency.value()
        if p95 is None or self._delay_cap <= 0.0:
            return None
        return min(p95, self._delay_cap)

    def record(self, latency: float) -> None:
        """Learn from a call that succeeded.

        Args:
            latency: Seconds, >= 0, from the start of the first attempt to the result, whichever
                attempt it came from. A primary that lost took at least as long; leaving it out
                would pull the p95 down with every hedge that helps.
        """
        if self._latency is not None:
            self._latency.record(latency)

    def call_started(self) -> None:
        """Earn the credit of a call, whether or not it will ask for a hedge."""
        self._credit = min(self._credit + self._max_ratio, self._credit_max)

    def admit(self) -> bool:
        """Return whether a hedge may be sent now, and take its credit."""
        if self._credit < _ONE:
            return False
        self._credit -= 1.0
        return True

"""How many running attempts have become slow, without looking at all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class InFlight(Generic[K]):
    """Running attempts by age, in constant amortized time.

    They start in the order of the clock, so only the oldest that is not slow yet can become slow
    next.

    Args:
        slow_after: Age at which an attempt is slow, seconds, > 0.
    """

    __slots__ = ("_slow", "_slow_after", "_young")

    def __init__(self, slow_after: float) -> None:
        self._slow_after = slow_after
        self._young: OrderedDict[K, float] = OrderedDict()
        self._slow = 0

    def start(self, attempt: K, now: float) -> None:
        """Add an attempt that starts *now*."""
        self._young[attempt] = now

    def finish(self, attempt: K) -> None:
        """Take out an attempt that was started, once."""
        if self._young.pop(attempt, None) is None:
            self._slow -= 1

    def slow(self, now: float) -> int:
        """Return how many have been running for the slow age or longer at *now*."""
        young = self._young
        while young and now - next(iter(young.values())) >= self._slow_after:
            young.popitem(last=False)
            self._slow += 1
        return self._slow

    def clear(self) -> None:
        """Forget all of them; none of them is to be finished any more."""
        self._young.clear()
        self._slow = 0

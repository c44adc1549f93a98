"""Reject here what an overloaded server would only reject there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_http.policies.sliding_window import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class AdaptiveThrottle:
    """Rejects at random a share of requests that grows as the server accepts fewer of them.

    A request is rejected with the probability ``(requests - k * accepts) / (requests + 1)``, where
    that lies between 0 and *cap*, over the requests and accepts of a sliding window. Nothing is
    rejected while the server accepts one in *k*. Below that, local rejections count as requests
    too, so a client whose demand grows is held back more while what it sends stays about *k* times
    what the server accepts. A server that accepts nothing gets ``1 - cap`` of the demand, by which
    its recovery is noticed.

    It is slow to forgive: a server that accepted nothing for long and then recovers has the whole
    demand again after about two windows.

    A request counts when its answer is known, and a local rejection at once. Counted from their
    admission on, as in the source, the first requests to a healthy server would look like refused
    ones until the first answer: of 50 at one instant 7 would be sent.

    Args:
        k: Requests per accepted one before it rejects, >= 1. Lower reacts earlier and rejects more
            of what would have been accepted.
        window: Length of the window, seconds, > 0.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.
        rng: Source of chance, drawn from once for each request that may be rejected; seeded in
            tests.
        cap: Highest probability of a rejection, in [0, 1). At 1 nothing would ever be sent again
            to a server that once accepted nothing.

    Source: Google, "Site Reliability Engineering", chapter 21, "Handling Overload": client-side
    throttling. The cap and the instant of counting are ours.
    """

    __slots__ = ("_cap", "_clock", "_k", "_rng", "_window")

    def __init__(
        self,
        *,
        k: float,
        window: float,
        clock: Callable[[], float],
        rng: Random,
        cap: float = 0.9,
    ) -> None:
        self._k = k
        self._cap = cap
        self._clock = clock
        self._rng = rng
        # Its successes are requests that were accepted, its failures all others.
        self._window = SlidingWindow(window, clock())

    @property
    def idle(self) -> bool:
        """Whether a new throttle would behave the same."""
        window = self._advanced()
        return not window.ok and not window.failed

    def admit(self) -> bool:
        """Return whether to send a request; one that is not sent is counted as refused."""
        window = self._advanced()
        requests = window.ok + window.failed
        chance = min(self._cap, (requests - self._k * window.ok) / (requests + 1))
        if chance <= 0.0 or self._rng.random() >= chance:
            return True
        window.add_failed()
        return False

    def accepted(self) -> None:
        """Record that a request which was sent was accepted, whatever else came of it."""
        self._advanced().add_ok()

    def refused(self) -> None:
        """Record that a request which was sent was not accepted."""
        self._advanced().add_failed()

    def _advanced(self) -> SlidingWindow:
        self._window.advance(self._clock())
        return self._window

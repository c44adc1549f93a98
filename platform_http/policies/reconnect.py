"""Whether a connection that ended is made anew, and after which wait."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from platform_http.policies import backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Again(NamedTuple):
    """Connect again.

    Args:
        delay: Seconds to wait before, >= 0.
    """

    delay: float


class GiveUp(NamedTuple):
    """Tell the caller.

    Args:
        reason: ``budget``, ``retry_after_max`` or ``deadline``.
    """

    reason: str


class ReconnectPolicy:
    """Decides over the connects of one long-lived connection that follow an end or a failure.

    The waits grow from one connect to the next, and start anew after a connection that lasted. A
    peer that accepts and drops at once is therefore not asked more often than one that is down.

    All connects together are bounded by a count in a window: once *limit* of the last *window*
    seconds are spent, something is wrong that connecting does not cure.

    Args:
        initial: Upper bound of the first wait, seconds, > 0.
        maximum: Cap on every backoff, seconds, finite, > 0.
        limit: Connects within *window*, >= 0.
        window: Seconds, > 0.
        stable: Seconds after which a connection counts as one that lasted, >= 0.
        retry_after_max: Longest wait that a server may ask for, seconds, >= 0.
        clock: Current instant in seconds; never goes backwards.
        rng: Source of jitter; seeded in tests.

    Source: full jitter, AWS Architecture Blog; the count in a window is the restart intensity of
    Erlang/OTP's supervisors.
    """

    __slots__ = (
        "_clock",
        "_connected_at",
        "_initial",
        "_limit",
        "_made",
        "_maximum",
        "_retry_after_max",
        "_rng",
        "_stable",
        "_tries",
        "_window",
    )

    def __init__(
        self,
        *,
        initial: float,
        maximum: float,
        limit: int,
        window: float,
        stable: float,
        retry_after_max: float,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._limit = limit
        self._window = window
        self._stable = stable
        self._retry_after_max = retry_after_max
        self._clock = clock
        self._rng = rng
        self._made: deque[float] = deque()
        self._tries = 0
        self._connected_at: float | None = None

    def connected(self) -> None:
        """Note that the connection stands."""
        self._connected_at = self._clock()

    def decide(
        self,
        *,
        asked: float | None = None,
        refused: float = 0.0,
        remaining: float = math.inf,
    ) -> Again | GiveUp:
        """Decide what follows an end, or a connect that failed and may succeed next time.

        Args:
            asked: Seconds that the server wants to be left alone, >= 0; it replaces the backoff.
            refused: Seconds for which a policy on our side refuses anyway, >= 0.
            remaining: Seconds that are left to connect in.
        """
        now = self._clock()
        if self._connected_at is not None:
            if now - self._connected_at >= self._stable:
                self._tries = 0
            self._connected_at = None
        while self._made and self._made[0] <= now - self._window:
            self._made.popleft()
        if len(self._made) >= self._limit:
            return GiveUp("budget")
        if asked is not None and asked > self._retry_after_max:
            return GiveUp("retry_after_max")
        wait = backoff.delay(
            self._tries + 1, initial=self._initial, maximum=self._maximum, rng=self._rng
        )
        # On top of what was asked for, so that those who were told the same do not come at once.
        delay = wait if asked is None else asked + wait
        delay = max(delay, refused)
        if delay >= remaining:
            return GiveUp("deadline")
        self._tries += 1
        self._made.append(now)
        return Again(delay)

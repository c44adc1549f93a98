"""No more requests than a quota allows, and a little patience instead of a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A shorter wait is none, seconds. Whoever comes back after exactly ``retry_after`` must not be sent
# away once more for the last bit of a clock. The rest stays owed, so that no token is made of it.
_INSTANT = 1e-6


class TokenBucket:
    """A token bucket whose tokens can be reserved ahead. It starts full.

    Tokens are handed out in the order in which they are asked for, each with the wait until it is
    due, and a promised instant never moves. In any interval of t seconds at most
    ``rate * t / per + burst`` of them fall due.

    A refunded token goes to whoever asks next, as early as the quota leaves room for one more.
    Nobody gets it before it was due; but as its first holder might have used it late, so may the
    next one. The tokens used in an interval may therefore exceed the bound by as many as were due
    before it and came back; those kept since the start never exceed it.

    Args:
        rate: Tokens per period, > 0.
        per: Length of the period, seconds, > 0.
        burst: Tokens that an unused bucket holds, > 0. Less than one counts as one: a bucket that
            never holds a whole token would hand out none without a wait.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.

    Source: the token bucket of RFC 2697, section 3; reservations after Go's ``x/time/rate``.
    """

    __slots__ = ("_burst", "_clock", "_counted_at", "_interval", "_tokens")

    def __init__(
        self, *, rate: float, per: float, burst: float, clock: Callable[[], float]
    ) -> None:
        self._interval = per / rate
        self._burst = max(1.0, burst)
        self._clock = clock
        # Below zero: reserved, and not due yet.
        self._tokens = self._burst
        self._counted_at = clock()

    @property
    def full(self) -> bool:
        """Whether a new bucket would behave the same."""
        self._count_new()
        return self._tokens >= self._burst

    @property
    def retry_after(self) -> float:
        """Seconds until a token is due that nobody has reserved, >= 0; 0.0 when there is one."""
        self._count_new()
        return self._wait()

    def take(self, max_wait: float) -> float | None:
        """Reserve a token.

        Args:
            max_wait: Seconds that the caller would wait; infinite for any wait. Nobody waits a
                negative time: nothing is reserved then.

        Returns:
            Seconds in [0, *max_wait*] to wait before using the token, 0.0 for now, or ``None``
            when it would be more; nothing is reserved then.
        """
        self._count_new()
        wait = self._wait()
        if wait > max_wait:
            return None
        self._tokens -= 1.0
        return wait

    def refund(self) -> None:
        """Give back a token that :meth:`take` reserved and nothing was sent for."""
        # New tokens are counted and the burst is enforced when somebody looks.
        self._tokens += 1.0

    def _wait(self) -> float:
        wait = (1.0 - self._tokens) * self._interval
        return wait if wait > _INSTANT else 0.0

    def _count_new(self) -> None:
        now = self._clock()
        new = (now - self._counted_at) / self._interval
        self._tokens = min(self._burst, self._tokens + new)
        self._counted_at = now

"""What pays for resends and hedges, so that a fleet that retries cannot keep a server down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RetryBudget:
    """Tokens that resends spend and successes earn, on top of a slow trickle. It starts full.

    A success without a resend adds *refund*, one after a resend gives back what the last resend
    cost. A resend that helped is therefore free, and one that did not has to be earned: by
    ``cost / refund`` first-time successes, or by waiting.

    In a **total outage** nothing succeeds. The tokens saved pay for a burst of ``capacity / cost``
    resends, and from then on the trickle for ``trickle / cost`` per second. That is 10 resends and
    then 0.1/s with the defaults (100, 10, 1), and 5 and then 0.05/s where every attempt times out
    (*cost_timeout* 20), however many calls are made: 1000 calls in 10 s send at most 1011
    requests.

    Args:
        capacity: Tokens at most, > 0. Below a cost, that kind of resend is never paid for.
        cost: Tokens for a resend or hedge, >= 0; 0.0 makes them free.
        cost_timeout: Tokens for a resend after a timeout, >= 0. Higher than *cost*, as the server
            may be busy with the attempt that was given up.
        refund: Tokens for a success without a resend, >= 0.
        trickle: Tokens per second, >= 0; without it, an empty budget waits for successes.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.

    Attributes:
        untouched: Whether nothing was spent since it last :meth:`recovered`.

    Source: the retry quota of the AWS SDKs (standard mode); the trickle after Finagle's
    ``RetryBudget``, whose minimum keeps a client with few calls able to retry.
    """

    __slots__ = (
        "_capacity",
        "_clock",
        "_cost",
        "_cost_timeout",
        "_counted_at",
        "_refund",
        "_tokens",
        "_trickle",
        "untouched",
    )

    def __init__(
        self,
        *,
        capacity: float,
        cost: float,
        cost_timeout: float,
        refund: float,
        trickle: float,
        clock: Callable[[], float],
    ) -> None:
        self._capacity = capacity
        self._cost = cost
        self._cost_timeout = cost_timeout
        self._refund = refund
        self._trickle = trickle
        self._clock = clock
        self._tokens = capacity
        self.untouched = True
        self._counted_at = clock()

    @property
    def tokens(self) -> float:
        """Tokens there are now, in [0, capacity]."""
        self._count_trickle()
        return self._tokens

    @property
    def full(self) -> bool:
        """Whether a new budget would behave the same."""
        self._count_trickle()
        return self._tokens >= self._capacity

    def recovered(self) -> bool:
        """Tell whether it is full again, and if so take it for untouched from now on."""
        if not self.full:
            return False
        self.untouched = True
        return True

    def spend(self, *, timeout: bool) -> float | None:
        """Pay for one resend or hedge.

        Args:
            timeout: Whether the attempt before it ended by a timeout.

        Returns:
            The tokens paid, for :meth:`succeeded`, or ``None`` when there are too few; nothing is
            taken then. A free resend returns 0.0, which is not ``None``.
        """
        self._count_trickle()
        cost = self._cost_timeout if timeout else self._cost
        if self._tokens < cost:
            return None
        self._tokens -= cost
        self.untouched = False
        return cost

    def succeeded(self, last_cost: float) -> None:
        """Record a success.

        Args:
            last_cost: What the last resend of this call cost, as :meth:`spend` returned it; 0.0
                for a call that was not resent.
        """
        # On the path of every call: trickle and capacity can wait until somebody looks.
        self._tokens += last_cost or self._refund

    def _count_trickle(self) -> None:
        now = self._clock()
        earned = (now - self._counted_at) * self._trickle
        self._tokens = min(self._capacity, self._tokens + earned)
        self._counted_at = now

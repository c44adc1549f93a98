"""Whether a body that was cut is asked for again, and after which wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from platform_http.call import Origin
from platform_http.policies import backoff

if TYPE_CHECKING:
    from random import Random

    from yarl import URL

    from platform_http.call import CallOptions, Client
    from platform_http.policies.retry_budget import RetryBudget

PROGRESS: Final = 2**20
"""Bytes that make a request worth its while: the count of attempts begins anew."""

# Of a session that no factory made.
_MAX_ATTEMPTS = 3
_BACKOFF_INITIAL = 0.05
_BACKOFF_MAX = 5.0


class Resumption:
    """Decides after each body that was cut. Failures before the headers are the retry policy's.

    At most ``RETRY__MAX_ATTEMPTS`` requests in a row may bring less than :data:`PROGRESS` new
    bytes, so that a large file over a bad line arrives and a server that is broken is left alone.
    Each resumption is paid for from the client's retry budget of that origin, and given back when
    it helped.

    Args:
        client: Whose settings and budgets apply; ``None`` for a session that no factory made, which
            has no budget.
        options: Of the caller.
        rng: Source of jitter.
    """

    def __init__(self, client: Client | None, options: CallOptions, rng: Random) -> None:
        self._client = client
        self._rng = rng
        self._initial, self._maximum = _BACKOFF_INITIAL, _BACKOFF_MAX
        self._max_attempts = options.max_attempts or _MAX_ATTEMPTS
        if client is not None:
            retry = client.settings.retry
            self._initial, self._maximum = retry.backoff_initial, retry.backoff_max
            self._max_attempts = options.max_attempts or retry.max_attempts
            if not retry.enabled or "GET" not in retry.methods:
                self._max_attempts = 1
        if options.idempotent is False:
            self._max_attempts = 1
        self._fruitless = 0
        self._paid: tuple[RetryBudget, float, Origin] | None = None
        self.stop_reason = ""

    def delay(self, url: URL, *, gained: int, remaining: float, timed_out: bool) -> float | None:
        """Return the seconds to wait before the next request, or ``None`` to give up.

        Args:
            url: Where the body came from.
            gained: New bytes that the last request brought.
            remaining: Seconds until the deadline.
            timed_out: Whether the body went silent rather than broke off.
        """
        if gained >= PROGRESS:
            self._fruitless = 0
            self.helped()
        else:
            self._fruitless += 1
        if self._max_attempts == 1 or self._fruitless >= self._max_attempts:
            self.stop_reason = "attempts"
            return None
        wait = backoff.delay(
            self._fruitless + 1, initial=self._initial, maximum=self._maximum, rng=self._rng
        )
        if wait >= remaining:
            self.stop_reason = "deadline"
            return None
        if not self._pay(Origin.of(url), timed_out=timed_out):
            self.stop_reason = "budget"
            return None
        return wait

    def helped(self) -> None:
        """Give back what was paid: the resumption was worth it."""
        if self._paid is not None:
            budget, cost, origin = self._paid
            self._paid = None
            budget.succeeded(cost)
            self._report(budget, origin)

    def _pay(self, origin: Origin, *, timed_out: bool) -> bool:
        if self._client is None or self._client.budgets is None:
            return True
        budget = self._client.budgets.get(origin)
        cost = budget.spend(timeout=timed_out)
        if cost is None:
            return False
        self._paid = (budget, cost, origin)
        self._report(budget, origin)
        return True

    def _report(self, budget: RetryBudget, origin: Origin) -> None:
        assert self._client is not None
        self._client.observer.budget_changed(origin, budget.tokens)

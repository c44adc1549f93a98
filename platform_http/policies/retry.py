"""Whether a failed attempt is followed by another one, and after which wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from platform_http.policies import backoff
from platform_http.policies.outcome import Kind

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from platform_http.policies.outcome import Outcome

RETRY_AFTER_JITTER = 0.5
"""A wait that the server asked for is stretched by up to this share, and never shortened."""


class Resend(NamedTuple):
    """Send again.

    Args:
        delay: Seconds to wait before, >= 0 and less than what remained of the deadline.
        reason: Why, an ``error.type`` word.
    """

    delay: float
    reason: str


class Stop(NamedTuple):
    """Hand the last response or error to the caller.

    Args:
        reason: The stop reason; see :class:`RetryPolicy` for the words and their order.
    """

    reason: str


class RetryPolicy:
    """Decides over resends of one client's calls. Holds no state but its random source.

    When several reasons forbid a resend, the first of this list is given. It goes from what lasts
    to what passes, so that curing the reason that is reported (allowing more attempts, a longer
    deadline) never uncovers one that had been true from the start:

    1. ``not_retryable``: the outcome would be the same again.
    2. ``not_idempotent``: the request may have been processed, and must not be twice.
    3. ``body_consumed``: the body was sent and cannot be produced again.
    4. ``exhausted``: the attempts of this call, or the one resend that its outcome is worth, are
       spent.
    5. ``retry_after_max``: the server asks for a longer wait than we are willing to make.
    6. ``deadline``: the wait would not end before the call's deadline. It comes last because it
       depends on the jitter; nothing is drawn from *rng* for any other stop, and one number for
       each resend.

    Args:
        methods: Methods that are idempotent, upper case.
        backoff_initial: Upper bound of the first wait, seconds, > 0.
        backoff_max: Cap on every backoff, seconds, finite, > 0.
        backoff_throttled: Upper bound of the first wait after a throttled attempt, seconds, > 0.
        respect_retry_after: Whether a server's ``Retry-After`` replaces the backoff.
        retry_after_max: Longest ``Retry-After`` that is waited for, seconds, >= 0.
        rng: Source of jitter; seeded in tests.

    Source: retry rules 1 to 3 and 5 of the resilience rules; RFC 9110, section 9.2.2.
    """

    __slots__ = (
        "_backoff_initial",
        "_backoff_max",
        "_backoff_throttled",
        "_methods",
        "_respect_retry_after",
        "_retry_after_max",
        "_rng",
    )

    def __init__(
        self,
        *,
        methods: Collection[str],
        backoff_initial: float,
        backoff_max: float,
        backoff_throttled: float,
        respect_retry_after: bool,
        retry_after_max: float,
        rng: Random,
    ) -> None:
        self._methods = frozenset(methods)
        self._backoff_initial = backoff_initial
        self._backoff_max = backoff_max
        self._backoff_throttled = backoff_throttled
        self._respect_retry_after = respect_retry_after
        self._retry_after_max = retry_after_max
        self._rng = rng

    def may_resend(self, method: str, *, idempotent: bool | None) -> bool:
        """Tell whether a request may be sent again after it was sent.

        Args:
            method: Upper case.
            idempotent: Whether processing it twice is safe; ``None`` judges by *method*.
        """
        return method in self._methods if idempotent is None else idempotent

    def decide(
        self,
        outcome: Outcome,
        *,
        method: str,
        resends: int,
        max_attempts: int,
        idempotent: bool | None,
        sent: bool,
        replayable: bool,
        retry_after: float | None,
        remaining: float,
        once_spent: bool,
    ) -> Resend | Stop | None:
        """Decide what follows an attempt.

        Args:
            outcome: The verdict on the attempt.
            method: Its method, upper case.
            resends: Resends that this call has made so far, >= 0.
            max_attempts: Cap on the first attempt plus resends, >= 1.
            idempotent: Whether processing the request twice is safe; ``None`` judges by *method*.
            sent: Whether this attempt's request may have reached the server. What was not sent
                may be resent whatever its method, and its body is untouched.
            replayable: Whether the body can be sent again after it was sent.
            retry_after: Seconds that the server asked to wait, >= 0, or ``None``. The caller
                reads it from the statuses where it counts (429 and 503).
            remaining: Seconds until the call's deadline; infinite without one.
            once_spent: Whether this call has been resent for a *once* outcome before.

        Returns:
            ``None`` when there is nothing to decide: a success, or nothing learned.
        """
        if outcome.kind is Kind.SUCCESS or outcome.kind is Kind.NEUTRAL:
            return None
        if outcome.kind is Kind.PERMANENT:
            return Stop("not_retryable")
        if sent:
            if not self.may_resend(method, idempotent=idempotent):
                return Stop("not_idempotent")
            if not replayable:
                return Stop("body_consumed")
        if resends + 1 >= max_attempts or (outcome.once and once_spent):
            return Stop("exhausted")
        asked = retry_after if self._respect_retry_after else None
        if asked is not None and asked > self._retry_after_max:
            return Stop("retry_after_max")
        wait = self._wait(outcome, resends + 1, asked)
        return Stop("deadline") if wait >= remaining else Resend(wait, outcome.reason)

    def _wait(self, outcome: Outcome, resend: int, asked: float | None) -> float:
        if asked is not None:
            return asked * (1.0 + RETRY_AFTER_JITTER * self._rng.random())
        throttled = outcome.kind is Kind.THROTTLED
        return backoff.delay(
            resend,
            initial=self._backoff_throttled if throttled else self._backoff_initial,
            maximum=self._backoff_max,
            rng=self._rng,
        )

"""One attempt on its way through the inner policies: rate limit, breaker, concurrency, timeout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from platform_http.errors import AttemptTimeoutError, DeadlineExceededError
from platform_http.outcomes import of_exception
from platform_http.policies.circuit_breaker import Refusal
from platform_http.policies.concurrency import Slot
from platform_http.policies.outcome import of_status
from platform_http.simulation.wire import Lost, Reply

if TYPE_CHECKING:
    from platform_http.policies.circuit_breaker import Permit
    from platform_http.policies.concurrency import Ticket
    from platform_http.policies.outcome import Outcome
    from platform_http.simulation.call import Call

_TIMED_OUT = of_exception(AttemptTimeoutError())
_DEADLINE = of_exception(DeadlineExceededError())
_LOST = {
    Lost.REFUSED: of_exception(aiohttp.ClientConnectionError()),
    Lost.RESET: of_exception(aiohttp.ServerDisconnectedError()),
}


class Result(NamedTuple):
    """What an attempt came to.

    Args:
        outcome: The verdict; ``None`` when a policy refused.
        reason: The ``error.type`` word, ``""`` for a success.
        sent: Whether the request may have reached the upstream.
        retry_after: Seconds that the upstream asked to wait, or ``None``.
    """

    outcome: Outcome | None
    reason: str
    sent: bool
    retry_after: float | None = None

    @property
    def timed_out(self) -> bool:
        """Whether the upstream was silent for too long."""
        return self.outcome is _TIMED_OUT


class Attempt:
    """One try of a call; it ends by telling the call, or by :meth:`cancel`.

    Args:
        call: Whose attempt it is.
        is_resend: Whether it follows a failed one.

    Attributes:
        deadline: What the upstream is told of the call's deadline.
        ended: Whether it ended or was cancelled.
    """

    __slots__ = (
        "_call",
        "_holds_token",
        "_is_resend",
        "_permit",
        "_sent",
        "_slot",
        "_ticket",
        "deadline",
        "ended",
    )

    def __init__(self, call: Call, *, is_resend: bool = False) -> None:
        self._call = call
        self._is_resend = is_resend
        self._holds_token = False
        self._permit: Permit | None = None
        self._ticket: Ticket | None = None
        self._slot: Slot | None = None
        self._sent = False
        self.ended = False
        self.deadline = call.deadline if call.fleet.settings.propagation.enabled else math.inf

    def begin(self) -> None:
        """Pass the inner policies, outermost first."""
        call = self._call
        bucket = call.process.bucket
        if bucket is None:
            self._pass_breaker()
            return
        now = call.fleet.events.now
        max_wait = call.fleet.settings.rate_limit.max_wait
        wait = bucket.take(min(max_wait, call.deadline - now))
        if wait is None:
            self._refuse("rate_limited")
            return
        self._holds_token = True
        if wait > 0:
            call.fleet.events.at(now + wait, Attempt._waited, self)
        else:
            self._pass_breaker()

    def cancel(self) -> None:
        """End without a result; the upstream goes on with what it was sent."""
        if not self.ended:
            self._end(None)

    def answered(self, reply: Reply | Lost) -> None:
        """Take the upstream's answer, unless nobody waits for it any more."""
        if self.ended:
            return
        if isinstance(reply, Lost):
            outcome = _LOST[reply]
            self._conclude(Result(outcome, outcome.reason, reply is not Lost.REFUSED))
        else:
            outcome = of_status(reply.status, self._call.fleet.statuses)
            self._conclude(Result(outcome, outcome.reason, True, reply.retry_after))

    def _waited(self) -> None:
        if not self.ended:
            self._pass_breaker()

    def _pass_breaker(self) -> None:
        breaker = self._call.process.breaker
        if breaker is not None:
            admission = breaker.admit()
            if isinstance(admission, Refusal):
                self._refuse("circuit_open")
                return
            self._permit = admission
        self._pass_limit()

    def _pass_limit(self) -> None:
        call = self._call
        limit = call.process.limit
        if limit is None:
            self._send()
            return
        concurrency, events = call.fleet.settings.concurrency, call.fleet.events
        entry = limit.enter(self._woken)
        if isinstance(entry, Slot):
            self._slot = entry
            self._send()
        elif not concurrency.enforce:
            if entry is not None:
                entry.leave()
            self._send()
        elif entry is None:
            self._refuse("concurrency_limited")
        else:
            self._ticket = entry
            until = min(events.now + concurrency.queue_timeout, call.deadline)
            if until < math.inf:
                events.at(until, Attempt._queue_timeout, self)

    def _woken(self) -> None:
        # An event of its own: a queue of thousands would otherwise be a recursion.
        events = self._call.fleet.events
        events.at(events.now, Attempt._enter, self)

    def _enter(self) -> None:
        ticket = self._ticket
        if not self.ended and ticket is not None:
            self._ticket, self._slot = None, ticket.slot
            self._send()

    def _queue_timeout(self) -> None:
        if self.ended or self._ticket is None:
            return
        if self._call.fleet.events.now >= self._call.deadline:
            self._conclude(Result(_DEADLINE, _DEADLINE.reason, False))
        else:
            self._refuse("concurrency_limited")

    def _send(self) -> None:
        call = self._call
        fleet = call.fleet
        now = fleet.events.now
        if now >= call.deadline:
            self._conclude(Result(_DEADLINE, _DEADLINE.reason, False))
            return
        self._sent = True
        if self._permit is not None:
            self._permit.begin()
        if fleet.recorder is not None:
            fleet.recorder.attempts.count(now)
            if self._is_resend:
                fleet.recorder.resends.count(now)
        until = min(now + fleet.settings.timeout.attempt, call.deadline)
        if until < math.inf:
            fleet.events.at(until, Attempt._timeout, self)
        fleet.upstream.receive(self)

    def _timeout(self) -> None:
        if self.ended:
            return
        call = self._call
        outcome = _DEADLINE if call.fleet.events.now >= call.deadline else _TIMED_OUT
        self._conclude(Result(outcome, outcome.reason, True))

    def _refuse(self, reason: str) -> None:
        self._conclude(Result(None, reason, False))

    def _conclude(self, result: Result) -> None:
        self._end(result.outcome)
        self._call.attempt_ended(self, result)

    def _end(self, outcome: Outcome | None) -> None:
        """Give back whatever is held."""
        self.ended = True
        if self._permit is not None:
            if self._sent and outcome is not None:
                self._permit.record(outcome.health)
            else:
                self._permit.release()
        if self._slot is not None:
            self._slot.release()
        if self._ticket is not None:
            self._ticket.leave()
        if self._holds_token and not self._sent:
            bucket = self._call.process.bucket
            assert bucket is not None
            bucket.refund()

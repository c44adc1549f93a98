"""One call: attempts and hedges until the retry policy stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from platform_http.policies.retry import Resend, Stop
from platform_http.simulation.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from platform_http.simulation.attempt import Result
    from platform_http.simulation.fleet import Fleet, Process

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Call:
    """What one ``session.get()`` of production does, in the same order.

    Args:
        fleet: Settings, upstream and time.
        process: The policies of the process that makes the call.
        deadline: Instant at which whoever caused it stops waiting; the call's own may be sooner.
        done: Called with whether it succeeded, when it ends.

    Attributes:
        deadline: Instant at which it ends at the latest.
    """

    __slots__ = (
        "_began",
        "_done",
        "_earlier",
        "_first_result",
        "_is_hedged",
        "_last_cost",
        "_once_spent",
        "_resends",
        "_turn",
        "_turn_began",
        "deadline",
        "fleet",
        "process",
    )

    def __init__(
        self, fleet: Fleet, process: Process, deadline: float, done: Callable[[bool], None]
    ) -> None:
        self.fleet = fleet
        self.process = process
        self._began = fleet.events.now
        self.deadline = min(self._began + fleet.settings.timeout.total, deadline)
        self._done = done
        self._resends = 0
        self._last_cost = 0.0
        self._once_spent = False
        self._earlier: Result | None = None
        # The attempts of this turn: the first one and perhaps its hedge.
        self._turn: list[Attempt] = []
        self._turn_began = 0.0
        self._is_hedged = False
        self._first_result: Result | None = None

    def begin(self) -> None:
        """Start it, unless the throttle rejects."""
        recorder = self.fleet.recorder
        if recorder is not None:
            recorder.calls.count(self._began)
        throttle = self.process.throttle
        if throttle is not None and not throttle.admit():
            self._conclude("throttled")
        else:
            self._try()

    def attempt_ended(self, attempt: Attempt, result: Result) -> None:
        """Take the result of an attempt: the first success wins, a fast failure does not."""
        if result.reason:
            if attempt is self._turn[0]:
                self._first_result = result
            if not all(each.ended for each in self._turn):
                return
            # None succeeded, so the first one speaks for both.
            result = self._first_result or result
        for each in self._turn:
            each.cancel()
        if self._is_hedged and not result.reason:
            assert self.process.hedge is not None
            self.process.hedge.record(self.fleet.events.now - self._turn_began)
        self._decide(result)

    def _try(self, *, is_resend: bool = False) -> None:
        now = self.fleet.events.now
        attempt = Attempt(self, is_resend=is_resend)
        self._turn = [attempt]
        self._turn_began = now
        self._first_result = None
        hedge = self.process.hedge
        self._is_hedged = (
            hedge is not None
            and self.fleet.method in _SAFE_METHODS
            and self._resends + 1 < self.fleet.max_attempts
        )
        if hedge is not None and self._is_hedged:
            hedge.call_started()
            delay = hedge.delay()
            if delay is not None:
                self.fleet.events.at(now + delay, self._hedge, attempt)
        attempt.begin()

    def _hedge(self, first: Attempt) -> None:
        """Start a second attempt, if the *first* one of then still runs."""
        if first.ended:
            return
        hedge = self.process.hedge
        assert hedge is not None
        if not hedge.admit() or self.process.budget.spend(timeout=False) is None:
            return
        self._resends += 1
        second = Attempt(self)
        self._turn.append(second)
        if self.fleet.recorder is not None:
            self.fleet.recorder.hedges.count(self.fleet.events.now)
        second.begin()

    def _decide(self, result: Result) -> None:
        decision = self._next(result)
        if decision is None:
            self.process.budget.succeeded(self._last_cost)
            self._finish(result)
        elif isinstance(decision, Stop):
            refused = result.outcome is None
            self._finish(self._earlier if refused and self._earlier is not None else result)
        else:
            self._resend(result, decision)

    def _next(self, result: Result) -> Resend | Stop | None:
        outcome = result.outcome
        if outcome is None:
            return Stop(result.reason)
        return self.fleet.retry.decide(
            outcome,
            method=self.fleet.method,
            resends=self._resends,
            max_attempts=self.fleet.max_attempts,
            idempotent=None,
            sent=result.sent,
            replayable=True,
            retry_after=result.retry_after,
            remaining=self.deadline - self.fleet.events.now,
            once_spent=self._once_spent,
        )

    def _resend(self, result: Result, resend: Resend) -> None:
        cost = self.process.budget.spend(timeout=result.timed_out)
        if cost is None:
            self._finish(result)
            return
        assert result.outcome is not None
        self._last_cost = cost
        self._once_spent = self._once_spent or result.outcome.once
        self._earlier = result
        self._resends += 1
        events = self.fleet.events
        events.at(events.now + resend.delay, Call._send_again, self)

    def _send_again(self) -> None:
        self._try(is_resend=True)

    def _finish(self, result: Result) -> None:
        throttle = self.process.throttle
        # What another policy of ours refused says nothing of the upstream.
        if throttle is not None and result.outcome is not None:
            if _is_accepted(result):
                throttle.accepted()
            else:
                throttle.refused()
        self._conclude(result.reason)

    def _conclude(self, reason: str) -> None:
        # An attempt knows its call, and collecting a million such circles takes its time.
        self._turn = []
        recorder = self.fleet.recorder
        if recorder is not None:
            recorder.call_ended(self._began, self.fleet.events.now, reason)
        self._done(not reason)


def _is_accepted(result: Result) -> bool:
    """Tell an answer, other than 429 and 503, from a failure without one."""
    is_answer = not result.reason or result.reason.isdigit()
    return is_answer and result.reason not in {"429", "503"}

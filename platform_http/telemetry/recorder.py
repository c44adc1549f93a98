"""The calls that an operator looks for first: the slowest, and those that failed last."""

from __future__ import annotations

import heapq
import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from opentelemetry import trace

from platform_http.telemetry.observer import ClientTelemetry

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from platform_http.call import Call, CallOutcome

KEPT: Final = 20
"""Calls of each kind that one client keeps."""

PERIOD: Final = 300.0
"""Seconds; the slowest calls are those of this period and of the one before."""

# Names are the application's own words, of any length.
_LONGEST: Final = 200


class RecordedCall(NamedTuple):
    """One call that has ended; nothing in it comes from a URL's path or query, header or body.

    Args:
        operation: As the application named it, ``""`` if it did not; cut after 200 characters,
            like *url_template*.
        method: Of the request.
        origin: Where it went last, ``""`` if it got to no hop.
        url_template: As the application said, ``""`` if it did not.
        outcome: How it ended.
        status: The final status, 0 without a response.
        error_type: The word of ``error.type``, ``""`` where nothing failed.
        attempts: Attempts of all hops.
        duration: Seconds from its start to its end.
        ended_at: Seconds since the epoch.
        trace_id: 32 hexadecimal digits, ``""`` without a trace.
    """

    operation: str
    method: str
    origin: str
    url_template: str
    outcome: CallOutcome
    status: int
    error_type: str
    attempts: int
    duration: float
    ended_at: float
    trace_id: str


class CallRecorder:
    """Keeps the last failed and the slowest calls of one client, in bounded memory."""

    def __init__(self) -> None:
        self._failed: deque[RecordedCall] = deque(maxlen=KEPT)
        # The number settles ties: calls are not compared.
        self._number = count()
        self._slowest: list[tuple[float, int, RecordedCall]] = []
        self._slowest_before: list[tuple[float, int, RecordedCall]] = []
        self._period_ends = 0.0

    @property
    def failed(self) -> tuple[RecordedCall, ...]:
        """Calls with the outcome ``error`` or ``rejected``, the last one first."""
        return tuple(reversed(self._failed))

    def slowest(self, now: float) -> tuple[RecordedCall, ...]:
        """Return the slowest calls of this period and the one before, slowest first.

        Args:
            now: Instant of the clock that calls are timed by, seconds.
        """
        self._turn(now)
        ranked = heapq.nlargest(KEPT, [*self._slowest, *self._slowest_before])
        return tuple(call for _, _, call in ranked)

    def record(self, call: Call) -> None:
        """Take note of *call*, which has ended."""
        self._turn(call.ended)
        duration = call.ended - call.started
        is_failed = call.outcome in ("error", "rejected")
        is_slow = len(self._slowest) < KEPT or duration > self._slowest[0][0]
        if not (is_failed or is_slow):
            return
        recorded = _recorded(call, duration)
        if is_failed:
            self._failed.append(recorded)
        if is_slow:
            entry = (duration, next(self._number), recorded)
            if len(self._slowest) < KEPT:
                heapq.heappush(self._slowest, entry)
            else:
                heapq.heapreplace(self._slowest, entry)

    def _turn(self, now: float) -> None:
        if now < self._period_ends:
            return
        # After a long silence the period before is as old as the one before that.
        is_next = now < self._period_ends + PERIOD
        self._slowest_before = self._slowest if is_next else []
        self._slowest = []
        self._period_ends = now + PERIOD


class RecordingTelemetry(ClientTelemetry):
    """Telemetry of a client whose calls the status page shows; arguments as its base."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.recorder = CallRecorder()

    def call_ended(self, call: Call) -> None:
        """End the call's span, sample the call, log its failure and keep what is of interest."""
        super().call_ended(call)
        try:
            self.recorder.record(call)
        except Exception as error:  # noqa: BLE001 - telemetry must not break a call, whatever fails
            self.hook_failed("call_ended", error)


def _recorded(call: Call, duration: float) -> RecordedCall:
    latest = call.latest
    origin = call.origin if latest is None else latest.origin
    assert call.outcome is not None
    return RecordedCall(
        operation=(call.options.operation or "")[:_LONGEST],
        method=call.method[:_LONGEST],
        origin="" if origin is None else str(origin),
        url_template=(call.options.url_template or "")[:_LONGEST],
        outcome=call.outcome,
        status=0 if latest is None else latest.status,
        error_type=call.error_type,
        attempts=call.attempts,
        duration=duration,
        ended_at=time.time(),
        trace_id=_trace_id(call),
    )


def _trace_id(call: Call) -> str:
    span: Span | None = None
    if call.identity is not None:
        span = cast("Span", call.identity)
    elif call.context is not None:
        span = trace.get_current_span(cast("Context", call.context))
    if call.latest is not None and isinstance(call.latest.span, trace.Span):
        # Without a call span and a surrounding one, each attempt is a trace of its own.
        span = call.latest.span
    if span is None or not span.get_span_context().is_valid:
        return ""
    return trace.format_trace_id(span.get_span_context().trace_id)

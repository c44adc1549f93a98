"""Watches one call through the eyes of its client's observer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from opentelemetry.trace import Span, format_trace_id

if TYPE_CHECKING:
    import aiohttp

    from platform_http.call import Attempt, Call, Client, Observer

    Waiting = Literal["rate_limit", "concurrency", "backoff"]


class Waited(NamedTuple):
    """A wait that ended; instants of the loop's clock."""

    name: Waiting
    start: float
    end: float


@dataclass(slots=True)
class Watched:
    """An attempt with what only its observer learns."""

    attempt: Attempt
    hop: int
    waits: list[Waited]
    """What came before it and after the attempt before it."""
    resend_reason: str | None
    body_ended: float = 0.0
    """0.0 while the body is not at its end."""


@dataclass(slots=True)
class Recording:
    """What is known of a call at any time."""

    call: Call | None = None
    attempts: list[Watched] = field(default_factory=list)
    waits: list[Waited] = field(default_factory=list)
    """What was waited for since the latest attempt began."""
    resend_reason: str | None = None
    """Why the attempt that begins now is made."""
    trace_id: str | None = None
    hedge: str | None = None


class Recorder:
    """An :class:`~platform_http.call.Observer` that records one call and passes everything on.

    Attempts keep their own times, whether or not spans are made or sampled, so nothing is measured
    a second time. Only the methods that add to that stand here; all others are those of the
    observer that it stands before.

    Args:
        client: Whose first call is recorded.
    """

    def __init__(self, client: Client) -> None:
        self.recording = Recording()
        self._observer = client.observer
        self._clock = client.loop.time
        # The rest of the protocol is there through __getattr__.
        client.observer = cast("Observer", self)

    def __getattr__(self, name: str) -> object:
        return getattr(self._observer, name)

    def call_started(self, call: Call) -> None:
        """Remember the call."""
        self._observer.call_started(call)
        if self.recording.call is None:
            self.recording.call = call

    def resent(self, attempt: Attempt, reason: str, delay: float) -> None:
        """Remember the backoff; the attempt that follows is announced next."""
        self._observer.resent(attempt, reason, delay)
        self.recording.resend_reason = reason
        # Limits are waited for after the backoff, and were told first.
        self.recording.waits.insert(0, Waited("backoff", attempt.ended, attempt.ended + delay))

    def rate_limit_waited(self, seconds: float) -> None:
        """Remember a wait that ended now."""
        self._observer.rate_limit_waited(seconds)
        self._waited("rate_limit", seconds)

    def concurrency_waited(self, seconds: float) -> None:
        """Remember a wait that ended now."""
        self._observer.concurrency_waited(seconds)
        self._waited("concurrency", seconds)

    def hedge_ended(self, result: str) -> None:
        """Remember what became of the hedge."""
        self._observer.hedge_ended(result)
        self.recording.hedge = result

    def attempt_started(self, attempt: Attempt, request: aiohttp.ClientRequest) -> None:
        """Remember the attempt and its trace."""
        self._observer.attempt_started(attempt, request)
        recording = self.recording
        if attempt.call is not recording.call:
            return
        waits, recording.waits = recording.waits, []
        reason, recording.resend_reason = recording.resend_reason, None
        recording.attempts.append(Watched(attempt, attempt.call.hops, waits, reason))
        if isinstance(attempt.span, Span):
            recording.trace_id = format_trace_id(attempt.span.get_span_context().trace_id)

    def attempt_ended(self, attempt: Attempt) -> None:
        """Wait for the end of its body, if it has one."""
        self._observer.attempt_ended(attempt)
        watched = next((each for each in self.recording.attempts if each.attempt is attempt), None)
        if watched is None or not attempt.status:
            return

        def body_ended(_: Attempt) -> None:
            watched.body_ended = self._clock()

        attempt.when_ended(body_ended)

    def _waited(self, name: Waiting, seconds: float) -> None:
        now = self._clock()
        self.recording.waits.append(Waited(name, now - seconds, now))

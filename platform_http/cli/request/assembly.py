"""Turns what was recorded into the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from platform_http.cli.printable import printable
from platform_http.cli.request.report import AttemptReport, Phase, Report, Wait
from platform_http.cli.request.shown import shown_headers
from platform_http.outcomes import error_type
from platform_http.telemetry.redaction import UrlRedaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_http.call import Attempt, Call, CallOutcome
    from platform_http.cli.request.arguments import Order
    from platform_http.cli.request.call import Exchange
    from platform_http.cli.request.recorder import Waited, Watched
    from platform_http.cli.request.report import PhaseName, WaitName
    from platform_http.settings import ClientSettings

# A gap that is shorter is the time that the code takes.
_NOTICEABLE = 0.005

# So late a timer may wake from a backoff on a busy machine; until then it is still the backoff.
_LATE = 0.05


class Assembly:
    """Puts the report of one call together.

    Args:
        order: What was to be sent.
        settings: Of the client.
        include: Whether the headers of the response are wanted.
    """

    def __init__(self, order: Order, settings: ClientSettings, *, include: bool) -> None:
        self._order = order
        self._settings = settings
        self._include = include
        self._redact = UrlRedaction(settings.telemetry.redact_query)

    def report(self, exchange: Exchange) -> Report:
        """Return all that is known of *exchange*, which may have been interrupted."""
        recording = exchange.recording
        call = recording.call
        start = call.started if call is not None else exchange.started
        end = (call.ended if call is not None else 0.0) or exchange.ended
        has_deadline = call is not None and call.deadline < math.inf
        error = exchange.error
        return Report(
            client=self._settings.name,
            method=self._order.method,
            url=self._url(exchange),
            trace_id=recording.trace_id,
            outcome=_outcome(exchange),
            status=(call.status if call is not None else exchange.status) or None,
            error_type=_error_type(call, error),
            error=None if error is None else _message(call, error),
            stop_reason=(call.stop_reason or None) if call is not None else None,
            duration=_rounded(end - start),
            deadline=_rounded(call.deadline - start) if call is not None and has_deadline else None,
            remaining=_rounded(max(0.0, call.deadline - end))
            if call is not None and has_deadline
            else None,
            request_bytes=0 if self._order.body is None else len(self._order.body),
            response_bytes=None if exchange.headers is None else exchange.received,
            headers=shown_headers(exchange.headers)
            if self._include and exchange.headers is not None
            else None,
            hedge=recording.hedge,
            attempts=[self._attempt(each, start, end) for each in recording.attempts],
            waits=list(_waits(exchange, start, end)),
        )

    def _url(self, exchange: Exchange) -> str:
        if exchange.recording.attempts:
            return printable(self._redact(exchange.recording.attempts[0].attempt.url))
        url = self._order.url
        if not url.absolute:
            # Joined as aiohttp would have, had it got that far.
            base = self._settings.base_url
            assert base is not None
            url = type(url)(base.get_secret_value()).join(url)
        return printable(self._redact(url))

    def _attempt(self, watched: Watched, start: float, call_end: float) -> AttemptReport:
        attempt = watched.attempt
        ended = attempt.ended or call_end
        failure = attempt.error_type or watched.attempt.body_error_type
        return AttemptReport(
            number=attempt.number,
            hop=watched.hop,
            resend_reason=watched.resend_reason,
            method=attempt.method,
            url=printable(self._redact(attempt.url)),
            start=_rounded(attempt.started - start),
            duration=_rounded(ended - attempt.started),
            status=attempt.status or None,
            error_type=failure or (str(attempt.status) if attempt.status >= 400 else None),
            cancelled=attempt.cancelled or not attempt.ended,
            reused=attempt.reused,
            peer=None if attempt.peer is None else _peer(*attempt.peer),
            protocol=attempt.protocol_version or None,
            phases=[
                Phase(name=name, start=_rounded(begin - start), duration=_rounded(until - begin))
                for name, begin, until in _phases(attempt, watched.body_ended, ended, call_end)
            ],
        )


def _phases(
    attempt: Attempt, body_ended: float, ended: float, call_end: float
) -> Iterator[tuple[PhaseName, float, float]]:
    """Yield the phases that took place; one that has no end lasted until the attempt's."""
    if attempt.queue_started:
        yield "queue", attempt.queue_started, attempt.queue_ended or ended
    connecting = attempt.connect_started
    if attempt.dns_started:
        dns_ended = attempt.dns_ended or ended
        yield "dns", attempt.dns_started, dns_ended
        connecting = max(connecting, dns_ended)
    connected = attempt.connect_ended
    if attempt.connect_started and (attempt.dns_ended or not attempt.dns_started):
        connected = connected or ended
        yield "connect", connecting, connected
    if attempt.sent_at:
        ready = max(connected, attempt.queue_ended, attempt.started)
        if attempt.sent_at - ready > _NOTICEABLE:
            yield "send", ready, attempt.sent_at
        yield "ttfb", attempt.sent_at, ended
    if attempt.status:
        yield "body", ended, body_ended or call_end


def _waits(exchange: Exchange, start: float, end: float) -> Iterator[Wait]:
    """Yield what lay between the attempts, and after the last one if another was to follow."""
    free = start
    for each in exchange.recording.attempts:
        yield from _between(each.waits, each.attempt.number, start, free, each.attempt.started)
        free = max(free, each.body_ended or each.attempt.ended or end)
    waits = exchange.recording.waits
    attempts = len(exchange.recording.attempts)
    for wait in waits:
        yield _wait(wait.name, attempts + 1, wait.start, wait.end, start)
        free = max(free, wait.end)
    if end - free > _NOTICEABLE:
        # Interrupted in a backoff, or refused after one; before the first attempt there is none.
        yield _wait("backoff" if attempts else "preparation", attempts + 1, free, end, start)


def _between(
    waits: list[Waited], number: int, start: float, free: float, begun: float
) -> Iterator[Wait]:
    for place, wait in enumerate(waits):
        if wait.start - free > _NOTICEABLE:
            yield _wait("preparation", number, free, wait.start, start)
        until = min(wait.end, begun)
        following = waits[place + 1].start if place + 1 < len(waits) else begun
        if wait.name == "backoff" and following - until < _LATE:
            until = following
        yield _wait(wait.name, number, min(wait.start, until), until, start)
        free = max(free, until)
    if begun - free > _NOTICEABLE:
        yield _wait("preparation", number, free, begun, start)


def _wait(name: WaitName, before: int, begin: float, until: float, start: float) -> Wait:
    return Wait(
        name=name, before=before, start=_rounded(begin - start), duration=_rounded(until - begin)
    )


def _outcome(exchange: Exchange) -> CallOutcome:
    call = exchange.recording.call
    if call is not None and call.outcome is not None:
        return call.outcome
    if exchange.error is None and not exchange.complete:
        return "cancelled"
    failed = exchange.error is not None or exchange.status >= 500 or exchange.status == 429
    return "error" if failed else "success"


def _error_type(call: Call | None, error: Exception | None) -> str | None:
    if call is not None and call.error_type:
        return call.error_type
    return None if error is None else error_type(error)


def _message(call: Call | None, error: Exception) -> str:
    if call is None:
        # Raised before any hook ran: aiohttp's text holds the URL as it was given.
        return type(error).__name__
    return printable(str(error) or type(error).__name__)


def _peer(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _rounded(seconds: float) -> float:
    """Return *seconds* to the microsecond: more digits are noise."""
    return round(seconds, 6)

"""Draws a report: one line per attempt, phase and wait, over the time of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.console import Group
from rich.text import Text

from platform_http.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from platform_http.cli.request.report import AttemptReport, Report

# The longest words that stand for an error fit; only redirects are longer, and have no bar.
_LABEL = 36
_FIGURE = 9
_NARROWEST = 10

_STYLES = {
    "queue": "yellow",
    "dns": "magenta",
    "connect": "cyan",
    "send": "blue",
    "ttfb": "green",
    "body": "blue",
}
_OUTCOMES = {"success": "bold green", "cancelled": "bold yellow"}

_WAITS = {
    "preparation": "prepare",
    "rate_limit": "wait for the rate limit",
    "concurrency": "wait for a permit",
    "backoff": "wait before resend",
}


class Marks(NamedTuple):
    """The characters of bars."""

    attempt: str
    phase: str
    wait: str


UNICODE = Marks("━", "━", "╌")
ASCII = Marks("=", "-", ".")


class _Line(NamedTuple):
    label: str
    start: float
    duration: float
    mark: str
    style: str
    note: str = ""


def waterfall(report: Report, *, width: int, marks: Marks) -> RenderableType:
    """Return the picture of *report*.

    Args:
        report: What to draw.
        width: Columns that there are.
        marks: Of the bars, :data:`ASCII` where nothing else can be printed.
    """
    lines = list(_lines(report, marks))
    drawn = [line for line in lines if line.mark]
    label = min(_LABEL, max((len(line.label) for line in drawn), default=0))
    note = max((len(line.note) + 1 for line in drawn if line.note), default=0)
    columns = max(_NARROWEST, width - label - _FIGURE - note - 1)
    parts = [_heading(report), _summary(report)]
    if not report.attempts and report.outcome == "success":
        parts.append(Text("every policy of this client is off, and nobody watches its calls"))
    if report.error is not None:
        parts.append(Text(report.error, style="red"))
    parts.append(Text())
    parts += [_drawn(line, report.duration, label, columns) for line in lines]
    if report.headers is not None:
        parts.append(Text())
        parts += [Text(f"{each.name}: {each.value}") for each in report.headers]
    return Group(*parts)


def _heading(report: Report) -> Text:
    trace = "" if report.trace_id is None else f", trace {report.trace_id}"
    text = Text(f"{report.method} {report.url}", style="bold")
    return text.append(f"  client {report.client}{trace}", style="not bold dim")


def _summary(report: Report) -> Text:
    text = Text(report.outcome, style=_OUTCOMES.get(report.outcome, "bold red"))
    if report.status is not None:
        text.append(f" {report.status}")
    if report.error_type is not None and report.error_type != str(report.status):
        text.append(f" {report.error_type}")
    number = len(report.attempts)
    text.append(f" after {number} {'attempt' if number == 1 else 'attempts'}", style="not bold")
    text.append(f" in {duration(report.duration)}", style="not bold")
    if report.stop_reason is not None:
        text.append(f", not resent: {report.stop_reason}", style="not bold")
    if report.hedge is not None:
        text.append(f", hedge {report.hedge}", style="not bold")
    if report.response_bytes is not None:
        text.append(f", {size(report.response_bytes)}", style="not bold")
    if report.remaining is not None and report.deadline is not None:
        left = f", {duration(report.remaining)} of {duration(report.deadline)} left"
        text.append(left, style="not bold")
    return text


def _lines(report: Report, marks: Marks) -> Iterator[_Line]:
    hop = 1
    for attempt in report.attempts:
        yield from _waits_before(report, attempt.number, marks)
        if attempt.hop != hop:
            hop = attempt.hop
            yield _Line(f"redirect to {attempt.url}", 0.0, 0.0, "", "dim")
        yield from _attempt(attempt, marks)
    yield from _waits_before(report, len(report.attempts) + 1, marks)


def _waits_before(report: Report, number: int, marks: Marks) -> Iterator[_Line]:
    reasons = {attempt.number: attempt.resend_reason for attempt in report.attempts}
    for wait in report.waits:
        if wait.before == number:
            reason = reasons.get(number)
            label = _WAITS[wait.name]
            note = f"after {reason}" if wait.name == "backoff" and reason else ""
            yield _Line(label, wait.start, wait.duration, marks.wait, "dim", note)


def _attempt(attempt: AttemptReport, marks: Marks) -> Iterator[_Line]:
    result = attempt.error_type or ("cancelled" if attempt.cancelled else attempt.status)
    style = "bold green" if attempt.error_type is None and not attempt.cancelled else "bold red"
    yield _Line(
        f"attempt {attempt.number}  {result}",
        attempt.start,
        attempt.duration,
        marks.attempt,
        style,
        "reused connection" if attempt.reused else "",
    )
    for phase in attempt.phases:
        yield _Line(
            f"  {phase.name}", phase.start, phase.duration, marks.phase, _STYLES[phase.name]
        )


def _drawn(line: _Line, total: float, label: int, columns: int) -> Text:
    if not line.mark:
        return Text(printable(line.label), style=line.style)
    scale = columns / total if total > 0 else 0.0
    # At least one character, and none beyond the end.
    before = min(int(line.start * scale), columns - 1)
    length = max(1, min(round(line.duration * scale), columns - before))
    text = Text(f"{line.label:{label}.{label}} ")
    text.append(" " * before)
    text.append(line.mark * length, style=line.style)
    text.append(" " * (columns - before - length))
    text.append(f"{duration(line.duration):>{_FIGURE}}")
    if line.note:
        text.append(f" {line.note}", style="dim")
    return text


def duration(seconds: float) -> str:
    """Return *seconds* with three digits that matter."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.3g} ms" if seconds >= 0.0001 else "0 ms"


def size(number: int) -> str:
    """Return a *number* of bytes in the largest unit that keeps a digit before the point."""
    amount, unit = float(number), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"

"""The picture of a report."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from platform_http.cli.request.report import AttemptReport, Phase, Report, Wait
from platform_http.cli.request.waterfall import ASCII, UNICODE, duration, size, waterfall


def _attempt(number: int, start: float, seconds: float, **fields: object) -> AttemptReport:
    usual = {
        "hop": 1,
        "resend_reason": None,
        "method": "GET",
        "url": "http://host:80/",
        "status": None,
        "error_type": None,
        "cancelled": False,
        "reused": False,
        "peer": None,
        "protocol": None,
        "phases": [],
    }
    times = {"number": number, "start": start, "duration": seconds}
    return AttemptReport.model_validate(usual | times | fields)


REPORT = Report(
    client="billing",
    method="GET",
    url="http://host:80/",
    trace_id=None,
    outcome="error",
    status=503,
    error_type="503",
    error=None,
    stop_reason="exhausted",
    duration=1.0,
    deadline=2.0,
    remaining=1.0,
    request_bytes=0,
    response_bytes=1234,
    headers=None,
    hedge=None,
    attempts=[
        _attempt(1, 0.0, 0.25, error_type="connection_error"),
        _attempt(
            2,
            0.5,
            0.5,
            status=503,
            error_type="503",
            resend_reason="connection_error",
            reused=True,
            phases=[Phase(name="ttfb", start=0.5, duration=0.5)],
        ),
    ],
    waits=[Wait(name="backoff", before=2, start=0.25, duration=0.25)],
)


def _drawn(report: Report, width: int, marks=ASCII) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(
        waterfall(report, width=width, marks=marks), soft_wrap=True
    )
    return text.getvalue().splitlines()


def test_bars_stand_where_their_time_was() -> None:
    lines = _drawn(REPORT, 100)
    first, backoff, second, ttfb = lines[3:7]
    assert first.startswith("attempt 1  connection_error")
    assert second.index("=") == ttfb.index("-")
    begin = first.index("=")
    width = len(second[begin:].split(" 500 ms")[0].rstrip())
    assert first.count("=") == pytest.approx(width / 4, abs=1)
    assert backoff.count(".") == pytest.approx(width / 4, abs=1)
    assert backoff.index(".") == pytest.approx(begin + width / 4, abs=1)
    assert second.index("=") == pytest.approx(begin + width / 2, abs=1)
    assert backoff.endswith("after connection_error")
    assert second.endswith("reused connection")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_bar_is_wider_than_the_terminal(width) -> None:
    bars = _drawn(REPORT, width)[3:]
    assert max(map(len, bars)) <= width


def test_a_narrow_terminal_keeps_the_words() -> None:
    lines = _drawn(REPORT, 20)
    assert lines[3].startswith("attempt 1  connection_error")
    assert lines[3].rstrip().endswith("250 ms")


def test_the_summary_says_how_it_ended_and_what_was_left() -> None:
    assert _drawn(REPORT, 200)[1] == (
        "error 503 after 2 attempts in 1 s, not resent: exhausted, 1.23 kB, 1 s of 2 s left"
    )


def test_a_call_that_took_no_time_can_be_drawn() -> None:
    instant = REPORT.model_copy(update={"duration": 0.0, "attempts": [_attempt(1, 0.0, 0.0)]})
    assert "attempt 1" in "\n".join(_drawn(instant, 80, UNICODE))


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.34, "12.3 s"), (0.0123, "12.3 ms"), (0.00001, "0 ms")]
)
def test_durations_have_three_digits(seconds, text) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2 GB")]
)
def test_sizes_have_three_digits(number, text) -> None:
    assert size(number) == text

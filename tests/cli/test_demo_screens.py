"""What a spectator sees, with and without a terminal."""

from __future__ import annotations

import io

import pytest
from prometheus_client import CollectorRegistry, Counter
from rich.console import Console
from yarl import URL

from platform_http.cli.demo.events import Event, Events
from platform_http.cli.demo.frame import Frame, clock
from platform_http.cli.demo.live import live_screen, picture
from platform_http.cli.demo.plain import PlainScreen
from platform_http.cli.demo.readings import Reading
from platform_http.cli.demo.script import DAY
from platform_http.cli.demo.summary import duration, summary, tokens
from platform_http.telemetry.metrics import Metrics

SERVER = ("127.0.0.1", "8001")
CIRCUITS = {"billing": "half_open", "inventory": "open", "search": "closed"}


def _reading(now: float, factor: int = 1, *, limits: bool = False) -> Reading:
    registry = CollectorRegistry()
    metrics = Metrics.of(registry)
    if limits:
        _limit(metrics)
    recovered = Counter("demo_recovered_calls", "-", ("client",), registry=registry)
    for script in DAY:
        name = script.client
        for outcome, count in (("success", 1234), ("error", 321), ("rejected", 987)):
            metrics.calls.labels(name, "op", outcome, "").inc(count * factor)
            for _ in range(factor):
                metrics.call_duration.labels(name, "op", outcome).observe(2.4)
        for state in ("closed", "half_open", "open"):
            current = CIRCUITS[name] == state
            metrics.circuit_state.labels(name, *SERVER, state).set(current)
        metrics.retry_stops.labels(name, "upstream_refused").inc(factor)
        recovered.labels(name).inc(456)
    return Reading.of(registry, now)


def _limit(metrics: Metrics) -> None:
    """Set everything that is only there where a policy is in use."""
    for number, script in enumerate(DAY):
        name = script.client
        metrics.retry_budget_tokens.labels(name, *SERVER).set(100 - 50 * number)
        metrics.concurrency_in_use.labels(name, *SERVER).set(100)
        metrics.concurrency_limit.labels(name, *SERVER).set(100)
    metrics.concurrency_wait.labels("inventory").observe(0.2)
    metrics.rate_limit_wait.labels("search").observe(8.0)
    metrics.hedges.labels("search", "won").inc(3)
    metrics.hedges.labels("search", "denied").inc(1)


def _frame(
    moment: float = 0.3, elapsed: float = 18.0, pages: int = 2, *, limits: bool = False
) -> Frame:
    total = _reading(elapsed, 2, limits=limits)
    texts = ["circuit half-open", "retries stopped: 35 circuit_open, 4 exhausted", "x" * 200]
    return Frame(
        elapsed=elapsed,
        duration=60.0,
        moment=moment,
        scripts=DAY,
        total=total,
        recent=total.since(_reading(elapsed - 3)),
        events=[Event(17.0, "inventory", text) for text in texts * 10],
        pages={
            name: URL("http://127.0.0.1:65535/metrics")
            for name in ("metrics", "prometheus")[:pages]
        },
    )


def _lines(renderable: object, width: int = 80) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.export_text().splitlines()


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("moment", [0.0, 0.3, 0.999])
def test_the_picture_fits_into_a_small_terminal(moment, limits):
    lines = _lines(picture(_frame(moment, limits=limits), 24))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if line.startswith("client"))
    for heading in ("calls/s", "ok %", "err %", "rej %", "recovered", "p50", "p95", "in flight"):
        assert heading in header


def test_the_picture_can_be_read_without_colours():
    text = "\n".join(_lines(picture(_frame(), 24)))
    assert "OPEN" in text
    assert "half-open" in text
    assert "dead: refuses connects" in text
    assert "billing     847.3   49    13    39       456 1.75 s 2.42 s" in text
    assert "2.42 s" in text
    assert "http://127.0.0.1:65535/metrics" in text
    assert "inventory  retries stopped: 35 circuit_open, 4 exhausted" in text
    # Only what was cut off is marked with a character that is not ASCII.
    assert text.replace("…", "").isascii()


def test_the_picture_shows_what_is_left_of_budgets_and_limits():
    lines = _lines(picture(_frame(limits=True), 24))
    assert "retry budget   billing 100   inventory 50   search 0" in map(str.rstrip, lines)
    (billing,) = [line for line in lines if line.startswith("billing     847.3")]
    assert billing.split()[-2:] == ["100/100", "half-open"]


def test_the_picture_shows_attempts_in_flight_where_there_is_no_limit():
    lines = _lines(picture(_frame(), 24))
    assert "retry budget   billing -   inventory -   search -" in map(str.rstrip, lines)
    (billing,) = [line for line in lines if line.startswith("billing     847.3")]
    assert billing.split()[-2:] == ["0", "half-open"]


def test_a_taller_terminal_shows_more_events():
    assert len(_lines(picture(_frame(), 40))) == 40


def test_before_the_first_call_there_are_dashes_for_figures():
    registry = CollectorRegistry()
    Metrics.of(registry)
    nothing = Reading.of(registry, 0.0)
    frame = Frame(0.0, 60.0, 0.0, DAY, total=nothing, recent=nothing.since(nothing))
    (line,) = [
        line for line in _lines(picture(frame)) if line.startswith("billing") and "0.0" in line
    ]
    assert line.split()[2:] == ["-", "-", "-", "0", "-", "-", "0", "-"]


def test_a_repeated_day_is_numbered():
    assert "day 3" in _lines(picture(_frame(elapsed=130.0)))[0]
    assert "day" not in _lines(picture(_frame()))[0]


def test_the_live_view_leaves_the_terminal_as_it_was():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=24)
    with live_screen(console) as screen:
        screen.show(_frame())
    written = file.getvalue()
    assert "inventory" in written
    assert written.index("\x1b[?1049h") < written.index("inventory") < written.index("\x1b[?1049l")


def test_plain_lines_tell_events_once_and_figures_now_and_then():
    console = Console(width=80, record=True, file=io.StringIO())
    events = Events(lambda: 7.0)
    screen = PlainScreen(console, events, interval=10.0)
    events.add("inventory", "circuit open")
    screen.show(_frame(elapsed=8.0))
    assert console.export_text() == "00:07  inventory  circuit open\n"
    screen.show(_frame(elapsed=11.0))
    screen.show(_frame(elapsed=12.0))
    lines = console.export_text().splitlines()
    assert [line.split()[1] for line in lines] == [script.client for script in DAY]
    assert "847.3 calls/s, 49 % ok, 456 recovered so far, p95 2.42 s" in lines[0]
    assert lines[0].endswith("circuit half-open, retry budget -")
    screen.show(_frame(elapsed=31.0, limits=True))
    assert console.export_text().splitlines()[1].endswith("circuit open, retry budget 50")


def test_the_summary_shows_every_figure_within_80_columns():
    lines = _lines(summary(_reading(60.0), [script.client for script in DAY]))
    assert max(map(len, lines)) <= 80
    rows = {line[:22].strip(): line[22:].split() for line in lines}
    assert rows["calls"] == ["2542", "2542", "2542", "7626"]
    assert rows["rejected"][-1] == "2961"
    assert rows["recovered by a retry"][-1] == "1368"
    assert rows["retry stops"] == ["1", "1", "1", "3"]
    assert rows["upstream refused"] == ["1", "1", "1", "3"]
    assert rows["amplification"] == ["0.00"] * 4
    assert rows["p99 of calls"][:2] == ["2.48", "s"]
    assert not {"hedges", "p95 of permit waits", "p95 of rate limit waits"} & rows.keys()


def test_the_summary_lists_hedges_and_waits_when_there_are_any():
    reading = _reading(60.0, limits=True)
    lines = _lines(summary(reading, [script.client for script in DAY]))
    assert max(map(len, lines)) <= 80
    rows = {line[:25].strip(): line[25:].split() for line in lines}
    assert rows["hedges"] == ["0", "0", "4", "4"]
    assert rows["won"] == ["0", "0", "3", "3"]
    assert rows["denied"] == ["0", "0", "1", "1"]
    assert "lost" not in rows
    assert rows["p95 of permit waits"] == ["-", "242", "ms", "-", "242", "ms"]
    assert rows["p95 of rate limit waits"] == ["-", "-", "9.88", "s", "9.88", "s"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.0123, "12 ms"), (0.99, "990 ms"), (1.5, "1.50 s")]
)
def test_durations_have_a_unit(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("left", "text"), [(None, "-"), (0.0, "0"), (9.9, "9"), (100.0, "100")])
def test_tokens_are_whole_ones(left, text):
    assert tokens(left) == text


def test_the_clock_shows_minutes_and_seconds():
    assert clock(125.9) == "02:05"

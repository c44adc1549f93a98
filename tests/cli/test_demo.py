"""The demo as its user runs it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
from rich.console import Console
from yarl import URL

from platform_http.cli.demo.run import DemoError, Options, run
from platform_http.cli.demo.script import DAY
from tests.servers import program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMMAND = (sys.executable, "-m", "platform_http", "demo")
_WITHIN = 20.0


class Summary(NamedTuple):
    """The rows of the table, and those that belong to a row above."""

    rows: dict[str, list[float]]
    reasons: dict[str, dict[str, list[float]]]

    @classmethod
    def of(cls, output: str) -> Summary:
        rows: dict[str, list[float]] = {}
        reasons: dict[str, dict[str, list[float]]] = {}
        heading = ""
        _, _, table = output.partition("from the metrics registry")
        for line in table.splitlines():
            found = re.match(r"^  (  )?(\S[\w ]*?)  +(\S.*)$", line)
            if found is None:
                continue
            indented, label, figures = found.groups()
            values = [float(figure) for figure in re.findall(r"[\d.]+", figures)]
            if indented:
                reasons[heading][label] = values
            else:
                heading = label
                rows[label] = values
                reasons[label] = {}
        return cls(rows, reasons)

    def all(self, label: str, reason: str | None = None) -> float:
        """The figure of all clients together."""
        return (self.rows[label] if reason is None else self.reasons[label][reason])[-1]


def test_one_short_day_ends_by_itself_with_figures_that_fit_together() -> None:
    result = subprocess.run(
        [*_COMMAND, "--once", "--duration", "4"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == 0
    summary = Summary.of(result.stdout)

    calls = summary.all("calls")
    assert calls > 40
    assert all(client > 5 for client in summary.rows["calls"])
    outcomes = summary.reasons["calls"]
    assert sum(row[-1] for row in outcomes.values()) == calls
    for row in (summary.rows["calls"], summary.rows["attempts"], *outcomes.values()):
        assert sum(row[:-1]) == row[-1]
    # What was not rejected was attempted; whoever was resent had one attempt more.
    assert summary.all("attempts") >= calls - outcomes["rejected"][-1]
    assert summary.all("attempts") <= calls + summary.all("resends")
    ratio = summary.all("attempts") / calls
    assert summary.all("amplification") == pytest.approx(ratio, abs=0.006)
    assert 0 < summary.all("recovered by a retry") <= summary.all("resends")
    assert summary.all("recovered by a retry") <= outcomes["success"][-1]
    for label in ("resends", "retry stops", "circuit transitions", "rejections"):
        assert sum(row[-1] for row in summary.reasons[label].values()) == summary.all(label)
    assert summary.all("circuit transitions", "open") >= 1
    assert summary.all("rejections", "circuit open") >= 1
    assert re.search(r"^00:0\d  inventory  circuit open$", result.stdout, re.MULTILINE)
    for script in DAY:
        for phase in script.phases[1:]:
            assert f"{script.client:<10} upstream: {phase.name}\n" in result.stdout


async def test_a_day_leaves_nothing_behind() -> None:
    file = io.StringIO()
    options = Options(duration=3.0, live=True, repeat=False, serve=False, port=0, seed=1)
    await run(options, Console(width=80, file=file))
    assert Summary.of(file.getvalue()).all("calls") > 0


async def test_a_demo_without_calls_says_that_it_does_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def idle(self: object, stop: asyncio.Event) -> None:
        await stop.wait()

    monkeypatch.setattr("platform_http.cli.demo.service.Service.run", idle)
    options = Options(duration=0.3, live=False, repeat=False, serve=False, port=0, seed=1)
    with pytest.raises(DemoError, match="no calls were made"):
        await run(options, Console(file=io.StringIO()))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [*_COMMAND, "--serve", "--once", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PATH": str(tmp_path)},
        )
    assert result.returncode == 1
    assert port in result.stderr
    assert "Traceback" not in result.stderr


def test_an_invalid_environment_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "c4nary")
    result = subprocess.run(
        [*_COMMAND, "--once"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert "PLATFORM_HTTP_TIMEOUT__TOTAL" in result.stderr
    assert "c4nary" not in result.stderr


class _Serving:
    """A demo that serves until it is told to stop."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._output: list[str] = []

    def read_until(self, pattern: str) -> str:
        """Read on to a line that begins with *pattern* and return its first group."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._output.append(line)
            found = re.match(pattern, line)
            if found is not None:
                return found[1]
        raise AssertionError(f"the demo ended:\n{''.join(self._output)}")

    def end(self, number: signal.Signals) -> str:
        """Send a signal and return all that was printed."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.process.wait(_WITHIN)
        return "".join(self._output) + rest


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], _Serving]]:
    started: list[subprocess.Popen[str]] = []

    def start(path: str) -> _Serving:
        process = subprocess.Popen(
            [*_COMMAND, "--serve", "--duration", "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        return _Serving(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=_WITHIN)


def _get(url: str, accept: str = "*/*") -> tuple[str, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read().decode(), response.headers["Content-Type"]


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())


def _listens(url: str) -> bool:
    address = URL(url)
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port)):
        return True
    return False


def test_prometheus_scrapes_a_served_demo_until_ctrl_c(
    serve: Callable[[str], _Serving], tmp_path: Path
) -> None:
    demo = serve(f"{os.environ['PATH']}:{Path(program('prometheus')).parent}")
    metrics = demo.read_until(r"metrics: (\S+)")
    server = demo.read_until(r"prometheus: (\S+)")
    query = f"{server}api/v1/query?query=sum(platform_http_calls_total)"

    def scraped() -> bool:
        with contextlib.suppress(OSError):
            result = json.loads(_get(query)[0])["data"]["result"]
            return bool(result) and float(result[0]["value"][1]) > 0
        return False

    _until(scraped)
    text, content_type = _get(metrics, "application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text")
    assert 'trace_id="' in text
    assert text.endswith("# EOF\n")
    (child,) = psutil.Process(demo.process.pid).children()
    assert child.name() == "prometheus"
    assert not _is_empty(tmp_path)

    output = demo.end(signal.SIGINT)

    assert demo.process.returncode == 0, output
    assert "Traceback" not in output
    assert Summary.of(output).all("calls") > 0
    assert not child.is_running()
    assert _is_empty(tmp_path)
    assert not _listens(metrics)
    assert not _listens(server)


def test_without_prometheus_the_page_is_served_until_sigterm(
    serve: Callable[[str], _Serving], tmp_path: Path
) -> None:
    demo = serve(str(tmp_path))
    metrics = demo.read_until(r"metrics: (\S+)")
    text, content_type = _get(metrics)
    assert content_type.startswith("text/plain")
    assert "platform_http_build_info" in text
    # The day begins anew.
    for _ in range(2):
        demo.read_until(r"\S+  (search) +upstream: throttling")
    output = demo.end(signal.SIGTERM)
    assert demo.process.returncode == 0, output
    assert "there is no prometheus on the PATH" in output
    assert Summary.of(output).all("calls") > 0


def test_spans_go_where_the_standard_variables_say() -> None:
    result = subprocess.run(
        [*_COMMAND, "--once", "--duration", "3"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OTEL_TRACES_EXPORTER": "console"},
    )
    assert result.returncode == 0
    assert '"name": "invoices.get"' in result.stdout
    assert '"name": "GET /invoices/{id}"' in result.stdout
    assert '"service.name": "platform-http-demo"' in result.stdout

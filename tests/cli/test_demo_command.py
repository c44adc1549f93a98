"""What the command line says, and what the exit code says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from platform_http.cli import build_app
from platform_http.cli.demo.command import can_redraw
from platform_http.cli.demo.run import DemoError, Options
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from click.testing import Result


class Run:
    """Stands for the demo itself."""

    def __init__(self) -> None:
        self.options: Options | None = None
        self.error: Exception | None = None

    async def __call__(self, options: Options, console: Console) -> None:
        self.options = options
        if self.error is not None:
            raise self.error


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr("platform_http.cli.demo.run.run", run)
    return run


def _demo(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), ["demo", *arguments])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), Options(60.0, live=False, repeat=False, serve=False, port=0, seed=1)),
        (("--once",), Options(8.0, live=False, repeat=False, serve=False, port=0, seed=1)),
        (
            ("--once", "--duration", "20", "--seed", "7"),
            Options(20.0, live=False, repeat=False, serve=False, port=0, seed=7),
        ),
        (
            ("--serve", "--port", "9464"),
            Options(60.0, live=False, repeat=True, serve=True, port=9464, seed=1),
        ),
        (
            ("--serve", "--once"),
            Options(8.0, live=False, repeat=False, serve=True, port=0, seed=1),
        ),
    ],
)
def test_options_say_how_the_day_goes(run: Run, arguments: tuple[str, ...], options: Options):
    result = _demo(*arguments)
    assert result.exit_code == 0, result.output
    assert run.options == options


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "term", "expected"),
    [
        (Terminal(), "xterm", True),
        (Terminal(), "dumb", False),
        (io.StringIO(), "xterm", False),
    ],
)
def test_the_view_is_live_in_a_terminal_that_can_redraw(
    monkeypatch: pytest.MonkeyPatch, file: io.StringIO, term: str, expected: bool
):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert can_redraw(Console(file=file)) is expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DemoError("no calls were made"), 1),
        (OSError(98, "address already in use"), 1),
        (ConfigurationError(["PLATFORM_HTTP_X is unknown"]), 2),
    ],
)
def test_what_fails_is_told_in_a_line_and_an_exit_code(run: Run, error: Exception, code: int):
    run.error = error
    result = _demo("--once")
    assert result.exit_code == code
    assert str(error) in result.stderr


def test_a_day_too_short_for_its_phases_is_wrong_usage(run: Run):
    assert _demo("--duration", "0.5").exit_code == 2
    assert run.options is None

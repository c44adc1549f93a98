"""What ``download`` and ``upload`` share: their progress, and how they end."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, NoReturn, TypeVar

import aiohttp
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from platform_http.errors import ConfigurationError, PlatformHttpError
from platform_http.outcomes import error_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

_Result = TypeVar("_Result")

_INTERRUPTED = 130

# Of lines in a log.
_SECONDS_BETWEEN_LINES = 5.0

# What is wrong with the path and not with the transfer.
_WRONG_PATHS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class Display:
    """Shows how far a transfer is, on standard error: a bar on a terminal, lines elsewhere.

    Args:
        name: What is transferred.
        clock: Current instant in seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        if sys.stderr.isatty() and not console.is_dumb_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(name, total=None)
        self._clock = clock
        self._started = self._shown = clock()
        self._first: int | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        """Take note of *done* of *total* bytes."""
        if self._first is None:
            self._begin(done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif self._clock() - self._shown >= _SECONDS_BETWEEN_LINES:
            self._shown = self._clock()
            whole = "" if total is None else f" of {decimal(total)}"
            typer.echo(f"{decimal(done)}{whole}", err=True)

    def _begin(self, done: int) -> None:
        self._first = done
        if done:
            note = f"going on after {decimal(done)}"
            if self._bar is None:
                typer.echo(note, err=True)
            else:
                self._bar.console.print(note)
                # Its speed is that of this call.
                self._bar.reset(self._task, completed=done)

    def summary(self, done: int) -> str:
        """Return *done* bytes, the seconds they took, and the speed."""
        seconds = max(self._clock() - self._started, 0.001)
        speed = decimal(int((done - (self._first or 0)) / seconds))
        return f"{decimal(done)} in {seconds:.1f} s, {speed}/s"


def finished(transfer: Callable[[], Awaitable[_Result]], interrupted: Callable[[], str]) -> _Result:
    """Run *transfer* to its end, or say why it has none and exit.

    Args:
        transfer: Makes it.
        interrupted: What to say after Ctrl-C.

    Raises:
        typer.Exit: With 1 if it failed, 2 for what is wrong with the usage, the configuration or
            the path, 130 after Ctrl-C.
    """
    try:
        return asyncio.run(_awaited(transfer))
    except KeyboardInterrupt:
        typer.echo(interrupted(), err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except (ConfigurationError, ValueError, TypeError, *_WRONG_PATHS) as error:
        if isinstance(error, aiohttp.ClientError):
            _fail(error, 1)
        _fail(error, 2)
    except (aiohttp.ClientError, PlatformHttpError, OSError, NotImplementedError) as error:
        _fail(error, 1)


async def _awaited(transfer: Callable[[], Awaitable[_Result]]) -> _Result:
    return await transfer()


def _fail(error: Exception, code: int) -> NoReturn:
    typer.echo(str(error) or error_type(error), err=True)
    for note in getattr(error, "__notes__", ()):
        typer.echo(note, err=True)
    raise typer.Exit(code) from None

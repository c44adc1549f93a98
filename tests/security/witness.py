"""Everything that a client tells the outside world, kept to be searched."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from prometheus_client.exposition import generate_latest as plain_page
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_page

from tests.functional.conftest import Observed

# The root logger alone would not make them talk.
_LOGGERS = ("platform_http", "aiohttp", "aiohttp.client", "asyncio", "opentelemetry")


class Witness(logging.Handler):
    """Keeps log records of every level, warnings, exceptions and whatever a test shows it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.observed = Observed()
        self.records: list[logging.LogRecord] = []
        self.errors: list[BaseException] = []
        self.warned: list[warnings.WarningMessage] = []
        self._shown: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def show(self, where: str, *things: object) -> None:
        """Keep the ``str`` and the ``repr`` of *things*."""
        self._shown += [(where, f"{thing!s} {thing!r}") for thing in things]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield all that was told, each with where it was told."""
        yield from self._shown
        for error in self.errors:
            yield from _of_error(error, "exception")
        for warning in self.warned:
            yield "warning", f"{warning.message!s} {warning.message!r} {warning.source!r}"
        for record in self.records:
            yield from _of_record(record)
        for span in self.observed.spans:
            yield "span", span.to_json()
        yield "metrics page", plain_page(self.observed.registry).decode()
        yield "OpenMetrics page", openmetrics_page(self.observed.registry).decode()


@contextmanager
def witness() -> Iterator[Witness]:
    """Listen to loggers, warnings and exceptions that nobody could catch."""
    made = Witness()
    with ExitStack() as stack:
        made.warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.enter_context(
            mock.patch.object(
                sys, "unraisablehook", lambda report: made.errors.append(report.exc_value)
            )
        )
        root = logging.getLogger()
        root.addHandler(made)
        stack.callback(root.removeHandler, made)
        for logger in map(logging.getLogger, _LOGGERS):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        yield made


def _of_error(error: BaseException, where: str) -> Iterator[tuple[str, str]]:
    yield f"traceback of {where}", "".join(traceback.format_exception(error))
    for each in _chain(error):
        name = f"{type(each).__name__} of {where}"
        notes = getattr(each, "__notes__", ())
        yield name, f"{each!s} {each!r} {each.args!r} {vars(each)!r} {notes!r}"
        yield f"attributes of {name}", repr([getattr(each, key, "") for key in _TELLING])
        # Not suppressed ones: what shows a context that "raise from None" hid is no formatter.


# What error trackers look at beside the text.
_TELLING = ("message", "request_info", "history", "headers", "host", "os_error", "strerror")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, None if each.__suppress_context__ else each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _of_record(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    where = f"log of {record.name}"
    yield where, f"{logging.Formatter().format(record)} {record.args!r} {vars(record)!r}"
    if record.exc_info and record.exc_info[1] is not None:
        yield from _of_error(record.exc_info[1], where)

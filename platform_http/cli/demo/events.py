"""What happened lately that is worth a line."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from platform_http.cli.demo.readings import Reading

_KEPT: Final = 50
_LOGGERS: Final = ("platform_http", "opentelemetry")


class Event(NamedTuple):
    """One line.

    Args:
        seconds: Since the demo began.
        client: Whom it is about; empty for all.
        text: What happened.
        style: How rich shows it.
    """

    seconds: float
    client: str
    text: str
    style: str = ""


class Events:
    """Collects events; the latest are kept.

    Args:
        elapsed: Seconds since the demo began.
    """

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._unread: deque[Event] = deque(maxlen=_KEPT)

    @property
    def latest(self) -> tuple[Event, ...]:
        """Oldest first."""
        return tuple(self._events)

    def unread(self) -> Iterator[Event]:
        """Yield, and forget, the events that this method has not yielded before."""
        while self._unread:
            yield self._unread.popleft()

    def add(self, client: str, text: str, style: str = "") -> None:
        """Add an event that happens now."""
        event = Event(self._elapsed(), client, text, style)
        self._events.append(event)
        self._unread.append(event)

    def add_retry_stops(self, increase: Reading) -> None:
        """Add an event for each client that gave up resending in the interval of *increase*."""
        clients = increase.by("client", "platform_http_retry_stops_total")
        for client in clients:
            reasons = increase.by("reason", "platform_http_retry_stops_total", client=client)
            stops = ", ".join(f"{count:.0f} {reason}" for reason, count in reasons.items())
            self.add(client, f"retries stopped: {stops}", "dim")

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn what the library and OpenTelemetry log into events, and keep it off the screen."""
        handler = _Listener(self)
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        propagated = [logger.propagate for logger in loggers]
        for logger in loggers:
            logger.propagate = False
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger, propagate in zip(loggers, propagated, strict=True):
                logger.removeHandler(handler)
                logger.propagate = propagate


class _Listener(logging.Handler):
    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        client = str(getattr(record, "client", ""))
        state = getattr(record, "current", None)
        if state is not None:
            self._circuit_changed(client, str(state))
        elif not hasattr(record, "error_type"):
            # Failed calls have that field; they are shown as figures, not one by one.
            self._events.add(client, record.getMessage(), "yellow")

    def _circuit_changed(self, client: str, state: str) -> None:
        style = {"open": "bold red", "closed": "green"}.get(state, "yellow")
        self._events.add(client, f"circuit {state.replace('_', '-')}", style)

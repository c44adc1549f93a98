"""The format of Server-Sent Events, without I/O.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from platform_http.streaming.errors import StreamFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE: Final = "text/event-stream"

MAX_EVENT: Final = 2**20
"""Bytes of an event that are accepted unless said otherwise."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_DIGITS = re.compile(r"[0-9]+")

# A server that asks for more than a day has made a mistake.
_MAX_RETRY = 86400.0


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    Args:
        data: Its lines, joined by newlines.
        event: Its type, ``message`` unless told.
        id: The last identifier that was told, by this event or one before; empty if none.
    """

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """Turns the bytes of an event stream into events.

    Args:
        max_event: Bytes of a line, and of the data of an event with its names, at most, >= 1.
            Comments of any number are no event: they keep a connection alive for weeks.
        last_event_id: Where an earlier connection ended.

    Attributes:
        last_event_id: What ``Last-Event-ID`` is to say when this connection ends.
        retry: Seconds that the server wants a client to wait before it connects again; ``None`` if
            it did not say.
    """

    def __init__(self, *, max_event: int = MAX_EVENT, last_event_id: str = "") -> None:
        if max_event < 1:
            raise ValueError(f"max_event must be >= 1 byte, got {max_event!r}")
        self.last_event_id = last_event_id
        self.retry: float | None = None
        self._max_event = max_event
        self._id = last_event_id
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        self._begun: list[bytes] = []
        self._begun_size = 0
        self._at_start = True
        self._after_cr = False

    def anew(self) -> EventParser:
        """Return a parser for the next connection, which knows where this one ended."""
        return EventParser(max_event=self._max_event, last_event_id=self.last_event_id)

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that *piece* completes; to be iterated to the end.

        Raises:
            StreamFormatError: If an event is larger than *max_event*.
        """
        if not piece:
            return
        if self._at_start:
            piece = b"".join((*self._begun, piece))
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._begun = [piece]
                return
            self._begun, self._at_start = [], False
            piece = piece.removeprefix(_BOM)
        if self._after_cr:
            # The line ended with the carriage return; this is the rest of its end.
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        start = 0
        for end in _LINE_END.finditer(piece):
            self._begun.append(piece[start : end.start()])
            line, self._begun, self._begun_size = b"".join(self._begun), [], 0
            start = end.end()
            event = self._line(line)
            if event is not None:
                yield event
        self._after_cr = piece.endswith(b"\r")
        self._begun.append(piece[start:])
        self._begun_size += len(piece) - start
        self._check(self._begun_size)

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        self._check(len(line) + 1)
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._size += len(line) + 1
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if _DIGITS.fullmatch(value):
                # int() refuses thousands of digits.
                self.retry = min(float(value) / 1000, _MAX_RETRY)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], "", 0
        self.last_event_id = self._id
        if not data:
            return None
        return ServerSentEvent("\n".join(data), kind or "message", self._id)

    def _check(self, more: int) -> None:
        if self._size + more > self._max_event:
            raise StreamFormatError(f"an event is larger than max_event, {self._max_event} bytes")

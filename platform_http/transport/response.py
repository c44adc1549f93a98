"""The response class: bounds and measures what is left of a body after its headers."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import hdrs
from aiohttp.client_reqrep import _CONNECTION_CLOSED_EXCEPTION
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from platform_http.call import CURRENT_CALL, DONE, BodyEnd
from platform_http.concealment import ShownHeaders, ShownRequestInfo, bare, conceal
from platform_http.errors import ResponseTooLargeError
from platform_http.outcomes import error_type

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType
    from typing import Self

    from aiohttp.connector import Connection

    from platform_http.call import Attempt, Call, Client
    from platform_http.pitfalls import Place
    from platform_http.transport.serializers import Serializer

# Apache's DeflateInflateRatioLimit, and how much may be decoded before it counts: what is small
# is no bomb, however well it was compressed.
_MAX_RATIO = 200
_RATIO_FROM = 4 * 2**20

_PLACES_AFTER_A_FINDING = 1024

# Python 3.11 finds a member of an enum by calling a function.
_COMPLETE = BodyEnd.COMPLETE


# As in the request class.
_Base = aiohttp.ClientResponse


class Reading:
    """How the responses of one client are read.

    Args:
        client: Whose responses these are.
        serializer: What ``json()`` decodes with; ``None`` is aiohttp's own default.
    """

    __slots__ = ("client", "max_body", "serializer", "silence", "small")

    def __init__(self, client: Client, serializer: Serializer | None) -> None:
        limit = client.settings.response.max_body
        self.client = client
        self.serializer = serializer
        self.silence = client.settings.timeout.read
        self.max_body = math.inf if limit is None else limit
        # Up to this size no limit has to be looked at.
        self.small = min(self.max_body, _RATIO_FROM)


class PlatformResponse(aiohttp.ClientResponse):
    """A ClientResponse that knows its attempt.

    From the headers on it carries the read timeout and the call's deadline, and it reports to the
    attempt how the body ended.
    """

    # Of its client, from start() on. A class for each client would cost what a request says of it.
    _reading: Reading
    attempt: Attempt | None = None
    _stream: StreamReader | None = None
    _call: Call | None = None
    _buffering = False
    # How the body ended, where the state of the stream does not tell it.
    _end: tuple[BodyEnd, str] | None = None

    @property
    def client_name(self) -> str:
        """Name of the client whose response it is."""
        return self._reading.client.name

    @property
    def request_info(self) -> aiohttp.RequestInfo:
        """What exceptions about this response tell of its request."""
        return ShownRequestInfo.of(self._request_info)

    def __repr__(self) -> str:
        # It is in the repr of every exception about it, so no headers and no query.
        return f"<ClientResponse({bare(self.url)}) [{self.status} {self.reason}]>"

    @property
    def content(self) -> StreamReader:
        """The body as a stream.

        Touching it outside of :meth:`read` takes the body out of our hands, or gives it up: the
        headers then decide how the server is judged.
        """
        if self.attempt is not None and not self._buffering:
            self.attempt.judge()
        return self._stream  # type: ignore[return-value] # None only before start(), as in aiohttp

    @content.setter
    def content(self, stream: StreamReader) -> None:
        self._stream = stream

    def start(self, connection: Connection) -> Coroutine[Any, Any, Self]:
        """Read the headers."""
        reading = self._reading = connection._connector.reading  # type: ignore[attr-defined] # noqa: SLF001 - ours, held by a canary
        call = CURRENT_CALL.get()
        if call is None or call.attempts or call.client is not reading.client:
            return _Base.start(self, connection)  # type: ignore[return-value] # aiohttp says less than Self
        return self._start_unwatched(call, connection)

    async def _start_unwatched(self, call: Call, connection: Connection) -> Self:
        # A request with ``middlewares=()`` has no attempt; its deadline holds all the same.
        async with call.within_deadline():
            await super().start(connection)
        call.status = self.status
        if self._connection is not None and self.status != 101:
            self._bound(call, self._connection)
        return self

    async def read(self) -> bytes:
        """Read the whole body."""
        if self._body is None:
            assert self._stream is not None
            stream = self._stream
            self._buffering = True
            try:
                if (
                    self._connection is None
                    and stream is not EMPTY_PAYLOAD
                    and stream.is_eof()
                    and stream.total_bytes <= self._reading.small
                ):
                    # All of it is here, and so little that no limit has to be looked at.
                    self._body = stream.read_nowait()
                else:
                    self._body = await self._read_bounded(stream)
                for trace in self._traces:
                    await trace.send_response_chunk_received(self.method, self.url, self._body)
            except BaseException as error:
                self._note(error)
                self.close()
                raise
        elif self._released:
            raise aiohttp.ClientConnectionError("Connection closed")
        if self._connection is not None:
            protocol = self._connection.protocol
            if protocol is None or not protocol.upgraded:
                await self._wait_released()
        return self._body

    async def _read_bounded(self, stream: StreamReader) -> bytes:
        if self._connection is not None:
            self._check_length()
        limit = self._reading.max_body
        size = 0
        pieces: list[bytes] = []
        while piece := await stream.readany():
            size += len(piece)
            if size > limit:
                raise self._too_large("is larger than")
            if size > _RATIO_FROM and limit != math.inf:
                self._check_ratio(stream, size)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_length(self) -> None:
        """Refuse before the first byte, where the length of what is decoded is told."""
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        if length is None or hdrs.CONTENT_ENCODING in self.headers:
            return
        # The parser has refused what is no number.
        if int(length) > self._reading.max_body:
            raise self._too_large("is announced to be larger than")

    def _check_ratio(self, stream: StreamReader, size: int) -> None:
        if size > _MAX_RATIO * stream.total_raw_bytes:
            raise self._too_large(
                f"expands to more than {_MAX_RATIO} times its size, and is not read up to"
            )

    def _too_large(self, what: str) -> ResponseTooLargeError:
        return ResponseTooLargeError(
            f"the body of the response {what} RESPONSE__MAX_BODY, "
            f"{self._reading.max_body:.0f} bytes; read "
            f"it in pieces from response.content, or change the setting for the client "
            f"{self.client_name!r}"
        )

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """Read the whole body and decode it."""
        try:
            return await super().text(encoding, errors)
        except UnicodeDecodeError as error:
            conceal(error)
            raise

    async def json(self, **options: Any) -> Any:
        """Read the whole body and decode it as JSON; takes the arguments of aiohttp's method."""
        if self._reading.serializer is not None:
            options.setdefault("loads", self._reading.serializer.loads)
        try:
            return await super().json(**options)
        except (aiohttp.ContentTypeError, UnicodeDecodeError) as error:
            conceal(error)
            raise

    def raise_for_status(self) -> None:
        """Raise a ClientResponseError if the status is 400 or higher."""
        try:
            super().raise_for_status()
        except aiohttp.ClientResponseError as error:
            conceal(error)
            raise

    def replace_header(self, name: str, value: str) -> None:
        """Let a header of the response have another *value*."""
        headers = CIMultiDict(self._headers)
        headers[name] = value
        self._show(CIMultiDictProxy(headers))

    def _show(self, headers: CIMultiDictProxy[str]) -> None:
        self._headers = headers
        # Where aiohttp keeps what its property was first asked for.
        self._cache["headers"] = headers

    async def drain(self, limit: float, seconds: float) -> bool:
        """Read what is left of a body that is given up, or close the response.

        Args:
            limit: Decoded bytes to hold at most; a later :meth:`read` returns them.
            seconds: How long it may take.

        Returns:
            Whether the body is held: the response can still be returned.
        """
        stream = self._stream
        assert stream is not None
        pieces: list[bytes] = []
        limit = min(limit, self._reading.max_body)
        try:
            async with asyncio.timeout(seconds):
                while sum(map(len, pieces)) <= limit and (piece := await stream.readany()):
                    pieces.append(piece)
        except BaseException as error:
            self._end = (BodyEnd.ABANDONED, "")
            self.close()
            if not isinstance(error, Exception):
                raise
            return False
        if stream.is_eof():
            self._body = b"".join(pieces)
            return True
        self.close()
        return False

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        """Release the response."""
        if self._closed and self._connection is None and self._writer is None:
            # The body has ended, and all is released but the response itself. What aiohttp does as
            # well, less two coroutines that find nothing to wait for.
            self._in_context = False
            if not self._released:
                self._released = True
                stream = self._stream
                if stream is not None and stream.exception() is None:
                    stream.set_exception(_CONNECTION_CLOSED_EXCEPTION)
            return DONE  # type: ignore[return-value] # less than a coroutine, and enough for await
        # Other exceptions are the caller's own business and say nothing of the body.
        if isinstance(exc_val, asyncio.CancelledError) or self._callers_timer_fired():
            self._note(exc_val)
        return super().__aexit__(exc_type, exc_val, exc_tb)

    def watch(self, attempt: Attempt) -> None:
        """Bind the response to *attempt*, which got its headers just now."""
        self.attempt = attempt
        call = attempt.call
        call.status = self.status
        if call.upgrade:
            # What ws_connect() raises about them is out of our sight.
            self._show(ShownHeaders(self._headers))
        connection = self._connection
        if connection is None or self.status == 101:
            # Complete already, or an upgrade: a call ends at its 101.
            self._measure(call)
            attempt.end(_COMPLETE)
        else:
            self._bound(call, connection)

    def _bound(self, call: Call, connection: Connection) -> None:
        protocol: Any = connection._protocol  # noqa: SLF001 - the property is one more call
        if protocol is None:
            # An application's middleware has given the connection away: it may serve others now.
            self._body_ended()
            return
        self._call = call
        connection.add_callback(self._body_ended)
        # The read timeout is armed here and not by the session's ``sock_read``, which would run
        # from the last byte of the request on, beside the attempt timeout.
        protocol.bound_body(self, self._reading.silence, call.deadline)
        client = call.client
        if client.places_to_note and call.deadline != math.inf:
            _note_place(call)

    def expire(self) -> None:
        """Close at the deadline, read or not: aiohttp never collects an unread response."""
        if self._call is not None and self._stream is not None:
            try:
                if not self._is_taken():
                    self._tell_unread(self._call)
            finally:
                # A later read must see the deadline, not "Connection closed".
                self._stream.set_exception(self._call.deadline_exceeded())
                self.close()

    def _is_taken(self) -> bool:
        """Tell whether somebody reads, or has; unknown of a request without middlewares."""
        return self._buffering or self.attempt is None or self.attempt.judged

    def _tell_unread(self, call: Call) -> None:
        from platform_http.pitfalls import UNREAD_RESPONSE, describe, found  # noqa: PLC0415 - as above

        place: Place | None = call.place  # type: ignore[assignment] # filled by _note_place()
        if place is None:
            # Looking for the line costs something, so it waits for a reason.
            call.client.places_to_note = _PLACES_AFTER_A_FINDING
        found(UNREAD_RESPONSE, place, call.client, of=describe(call))

    def _callers_timer_fired(self) -> bool:
        return bool(getattr(self._timer, "_cancelled", False))

    def _note(self, error: BaseException | None) -> None:
        """Remember what ended the body before it is closed, which looks the same for all."""
        if self._end is not None or error is _CONNECTION_CLOSED_EXCEPTION:
            return
        if self._callers_timer_fired():
            self._end = (BodyEnd.FAILED, error_type(TimeoutError()))
        elif isinstance(error, asyncio.CancelledError):
            self._end = (BodyEnd.CANCELLED, "")
        elif isinstance(error, Exception):
            self._end = (BodyEnd.FAILED, error_type(error))

    def _body_ended(self) -> None:
        """Report how the body ended; runs when the connection is released or closed."""
        if self._call is not None:
            protocol: Any = self._protocol
            protocol.release_body()
        attempt, stream = self.attempt, self._stream
        if attempt is None or stream is None:
            return
        self._measure(attempt.call)
        error = stream.exception()
        if stream.is_eof() and not isinstance(error, aiohttp.ClientPayloadError):
            attempt.end(_COMPLETE)
        elif self._end is not None:
            attempt.end(*self._end)
        elif error is None or error is _CONNECTION_CLOSED_EXCEPTION:
            attempt.end(BodyEnd.ABANDONED)
        else:
            attempt.end(BodyEnd.FAILED, error_type(error))

    def _measure(self, call: Call) -> None:
        stream = self._stream
        # aiohttp's empty stream has no total_raw_bytes.
        if stream is not None:
            call.response_body_size = 0 if stream is EMPTY_PAYLOAD else stream.total_raw_bytes


def _note_place(call: Call) -> None:
    # Whoever has a session has loaded it.
    from platform_http.pitfalls import calling_place  # noqa: PLC0415 - see above

    call.client.places_to_note -= 1
    call.place = calling_place()

"""The response class: bounds and measures what is left of a body after its headers."""

from __future__ import annotations

import asyncio
import math
import sys
import weakref
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_reqrep import _CONNECTION_CLOSED_EXCEPTION
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from platform_http.call import BodyEnd
from platform_http.outcomes import error_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from platform_http.call import Attempt


class PlatformResponse(aiohttp.ClientResponse):
    """A ClientResponse that knows its attempt.

    From the headers on it carries the read timeout and the call's deadline, and it reports to the
    attempt how the body ended.
    """

    attempt: Attempt | None = None
    _stream: StreamReader | None = None
    _buffering = False
    _deadline_timer: asyncio.TimerHandle | None = None

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

    async def read(self) -> bytes:
        """Read the whole body."""
        self._buffering = True
        return await super().read()

    def watch(self, attempt: Attempt) -> None:
        """Bind the response to *attempt*, which got its headers just now."""
        self.attempt = attempt
        connection = self.connection
        if connection is None or self.status == 101:
            # Complete already, or an upgrade: a call ends at its 101.
            self._measure()
            attempt.end(BodyEnd.COMPLETE)
            return
        call = attempt.call
        connection.add_callback(self._body_ended)
        protocol = connection.protocol
        if protocol is not None:
            # Armed here and not by the session's ``sock_read``, which would run from the last byte
            # of the request on, beside the attempt timeout.
            ours = call.client.settings.timeout.read
            timeout = min(ours, protocol.read_timeout or math.inf)
            protocol.read_timeout = None if timeout == math.inf else timeout
            protocol.start_timeout()
        if call.deadline != math.inf:
            # Weak: the timer must not keep a response alive that the caller has dropped.
            expire = weakref.WeakMethod(self._expire)
            self._deadline_timer = self._loop.call_at(call.deadline, _call_if_alive, expire)

    def _expire(self) -> None:
        """Close at the deadline, read or not: aiohttp never collects an unread response."""
        attempt, stream = self.attempt, self._stream
        if attempt is not None and stream is not None:
            # A later read must see the deadline, not "Connection closed".
            stream.set_exception(attempt.call.deadline_exceeded())
            self.close()

    def _body_ended(self) -> None:
        """Report how the body ended; runs when the connection is released or closed."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        attempt, stream = self.attempt, self._stream
        assert attempt is not None
        assert stream is not None
        self._measure()
        error = stream.exception()
        if stream.is_eof():
            attempt.end(BodyEnd.COMPLETE)
        elif isinstance(sys.exception(), asyncio.CancelledError):
            # We run inside the handler that lets the reader's cancellation pass.
            attempt.end(BodyEnd.CANCELLED)
        elif error is None or error is _CONNECTION_CLOSED_EXCEPTION:
            attempt.end(BodyEnd.ABANDONED)
        else:
            attempt.end(BodyEnd.FAILED, error_type(error))

    def _measure(self) -> None:
        stream = self._stream
        # aiohttp's empty stream has no total_raw_bytes.
        if self.attempt is not None and stream is not None:
            size = 0 if stream is EMPTY_PAYLOAD else stream.total_raw_bytes
            self.attempt.call.response_body_size = size


def _call_if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    bound = method()
    if bound is not None:
        bound()

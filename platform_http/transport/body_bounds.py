"""What bounds a body that is on its way: how long the peer may be silent, and its call's deadline.

aiohttp makes a timer for each chunk, and cancels the one before. Here each connection has a single
entry among the client's timers, which is the connection itself. It stays while bytes come, and
when it is due, the connection looks at what has become of the two.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    import asyncio

    from platform_http.call import Client


_NEVER: Final = math.inf


class Expirable(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """End it."""


class BoundedHandler(ResponseHandler):
    """A connection whose bodies are bounded.

    Args:
        loop: That it is made in.
        client: Whose timers these are.
    """

    # Slots, because an instance with thirty attributes or more loses its fast dictionary.
    __slots__ = ("_body", "_client", "_clock", "_deadline", "_silent_at", "_timers", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        super().__init__(loop)
        self._client = client
        self._clock = client.clock
        self._timers = client.timers
        self.when = _NEVER
        """The next instant to look at it; never while it is no timer's entry."""
        # When the read timeout expires; never while it does not run.
        self._silent_at = _NEVER
        # Of the body that is on its way, even after the connection was lost: it may lie unread.
        self._deadline = _NEVER
        # Weak, for a timer must not keep what its caller has dropped.
        self._body: weakref.ref[Expirable] | None = None

    def bound_body(self, body: Expirable, silence: float, deadline: float) -> None:
        """Let the read timeout run from now on, and expire *body* at *deadline*.

        Args:
            body: What comes over the connection until :meth:`release_body`.
            silence: Seconds that the read timeout is at most, > 0; infinite is none.
            deadline: An instant of the client's clock; infinite is none.
        """
        given = self._read_timeout
        if not given or given > silence:
            self._read_timeout = None if silence == _NEVER else silence
        # While nobody reads, aiohttp stops reading from the socket: no silence of the peer.
        if not (self._reading_paused or self._buffer_paused):
            self._reschedule_timeout()
        if deadline != _NEVER:
            self._body = weakref.ref(body)
            self._deadline = deadline
            if deadline < self.when:
                self._look_at(deadline)

    def release_body(self) -> None:
        """Forget the deadline: the body has ended."""
        self._deadline = _NEVER
        self._body = None
        if self._silent_at == _NEVER and self.when != _NEVER:
            self._look_no_more()

    def expire(self) -> None:
        """Look at what is due; bytes may have come since the instant was set."""
        due, self.when = self.when, _NEVER
        try:
            # Only one of the two: a body that is out of time is not also a silent one.
            if self._deadline <= due:
                self._run_out()
            elif self._silent_at <= due:
                self._on_read_timeout()
        finally:
            upcoming = min(self._silent_at, self._deadline)
            if upcoming < self.when:
                self._look_at(upcoming)

    def _run_out(self) -> None:
        body = None if self._body is None else self._body()
        self.release_body()
        if body is not None:
            body.expire()

    def _reschedule_timeout(self) -> None:
        patience = self._read_timeout
        if patience:
            self._silent_at = silent_at = self._clock() + patience
            if silent_at < self.when:
                self._look_at(silent_at)
        elif self._silent_at != _NEVER:
            self._drop_timeout()

    def _drop_timeout(self) -> None:
        self._silent_at = _NEVER
        if self._deadline == _NEVER and self.when != _NEVER:
            self._look_no_more()

    def _look_at(self, when: float) -> None:
        if self.when != _NEVER:
            self._timers.discard(self)
        self.when = when
        self._timers.add(self)

    def _look_no_more(self) -> None:
        self._timers.discard(self)
        self.when = _NEVER

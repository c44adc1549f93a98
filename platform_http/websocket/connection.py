"""The WebSocket as an application sees it, and the task that keeps it alive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from aiohttp import WSMsgType

from platform_http.call import DEFAULT_OPTIONS, context_without_deadline
from platform_http.errors import WebSocketClosedError
from platform_http.policies.heartbeat import Heartbeat
from platform_http.policies.reconnect import GiveUp
from platform_http.websocket import closing
from platform_http.websocket.handshake import Handshake
from platform_http.websocket.link import Leave, Link
from platform_http.websocket.queues import Frame, Inbox, Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import aiohttp
    from aiohttp import WSMessage
    from yarl import URL

    from platform_http.call import CallOptions, WebSocketLife
    from platform_http.policies.reconnect import ReconnectPolicy
    from platform_http.websocket.closing import Ending
    from platform_http.websocket.reconnection import Reconnect

_OK = 1000
_GOING_AWAY = 1001
_WINDOW_BITS = range(9, 16)

# What a hook sends goes ahead of the messages that wait.
_LANE: ContextVar[Outbox | None] = ContextVar("platform_http_websocket_lane", default=None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    heartbeat: float
    pong_timeout: float
    send_queue: int
    receive_queue: int
    close_timeout: float


@contextlib.asynccontextmanager
async def connect(
    session: aiohttp.ClientSession,
    url: str | URL,
    *,
    protocols: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    heartbeat: float | None = 20.0,
    pong_timeout: float = 10.0,
    max_message: int = 4 * 1024 * 1024,
    send_queue: int = 16,
    receive_queue: int = 16,
    close_timeout: float = 5.0,
    compress: int = 0,
    reconnect: Reconnect | None = None,
    options: CallOptions | None = None,
) -> AsyncIterator[WebSocket]:
    """Connect a WebSocket for the length of a block.

    Entering connects, with *reconnect* also again after failures that may pass. A surrounding
    :func:`platform_http.deadline` bounds that, and nothing of what comes after. Leaving the block
    sends what waits and says 1000; leaving it by an exception drops what waits and says 1001.

    Every message has to be received: while *receive_queue* messages wait, nothing is read, not
    even pings, and the peer has to wait too.

    Args:
        session: Any session. One that a factory made has its policies applied to each handshake
            and is seen in metrics and spans; for any other, its own timeouts apply.
        url: Where to, with a scheme of ``ws``, ``wss``, ``http`` or ``https``; or relative to the
            base URL of *session*.
        protocols: Subprotocols to offer, best first.
        headers: For the handshake, besides those of *session*.
        heartbeat: Seconds of silence after which the peer is asked whether it is there, > 0;
            ``None`` never asks.
        pong_timeout: Seconds that it may go on to be silent then, > 0; after that the connection
            counts as lost. It also bounds a message that a silent peer does not take; one that
            talks but does not read makes senders wait, as long as their *timeout*.
        max_message: Bytes of a message, decompressed, that are accepted, >= 1; a longer one ends
            the connection with 1009.
        send_queue: Messages that may wait to be sent, >= 1; more have to wait for room.
        receive_queue: Messages that may wait to be received, >= 1.
        close_timeout: Seconds for an end: sending what waits and the peer's answer, > 0.
        compress: Window bits of permessage-deflate to offer, 9 to 15; 0 does not offer it.
        reconnect: Whether and how it is connected anew; ``None`` ends with the first connection.
            Then messages that wait are kept, and each is sent at most once: what was being sent
            when the connection was lost is not sent again.
        options: Of the handshake, which is a call: its name, its template and its timeout.

    Yields:
        The WebSocket.

    Raises:
        aiohttp.WSServerHandshakeError: If the server does not agree.
        aiohttp.ClientError: If there is no connection, as for any call of *session*.
        TimeoutError: As for any call of *session*.
        ValueError: If a number is out of its range.
    """
    limits = _limits(heartbeat, pong_timeout, send_queue, receive_queue, close_timeout)
    _check_message(max_message, compress)
    handshake = Handshake(
        session,
        url,
        protocols=protocols,
        headers=dict(headers or {}),
        compress=compress,
        max_message=max_message,
        options=options or DEFAULT_OPTIONS,
    )
    policy = None if reconnect is None else reconnect.policy(asyncio.get_running_loop().time)
    socket, life = await handshake.make(policy)
    websocket = WebSocket(handshake, limits, reconnect, policy)
    websocket._start(socket, life)  # noqa: SLF001 - the two make up one thing
    try:
        yield websocket
    except BaseException as error:
        cancelled = isinstance(error, asyncio.CancelledError)
        await websocket._depart(_GOING_AWAY, "", flush=False, cancelled=cancelled)  # noqa: SLF001 - as above
        raise
    else:
        await websocket.close()


class WebSocket:
    """A connected WebSocket; made by :func:`connect`.

    Its methods may be called from any number of tasks of its loop. One task owns the socket: it
    alone reads and writes, whoever sends or receives talks to it through bounded queues.
    """

    def __init__(
        self,
        handshake: Handshake,
        limits: _Limits,
        reconnect: Reconnect | None,
        policy: ReconnectPolicy | None,
    ) -> None:
        self._handshake = handshake
        self._limits = limits
        self._reconnect = reconnect
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(limits.receive_queue, self._wake)
        self._outbox = Outbox(limits.send_queue, self._wake)
        self._lane: Outbox | None = None
        self._link: Link | None = None
        self._dialing: asyncio.Task[tuple[aiohttp.ClientWebSocketResponse, WebSocketLife]] | None
        self._dialing = None
        self._leave: Leave | None = None
        self._cancelled = False
        self._protocol: str | None = None
        self._ending: Ending | None = None
        self._cause: BaseException | None = None
        self._gave_up = ""
        self._reconnects = 0
        self._owner: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether it has ended for good."""
        return self._owner is None or self._owner.done()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; without one, messages wait."""
        return self._link is not None

    @property
    def close_code(self) -> int | None:
        """The close code of its end; ``None`` before."""
        return self._ending.code if self.closed and self._ending is not None else None

    @property
    def close_reason(self) -> str:
        """What was said about its end; the peer's words may be anything."""
        return self._ending.reason if self.closed and self._ending is not None else ""

    @property
    def protocol(self) -> str | None:
        """The subprotocol of its last connection, if one was agreed on."""
        return self._protocol

    @property
    def reconnects(self) -> int:
        """How often it has been connected anew."""
        return self._reconnects

    @property
    def queued(self) -> int:
        """Messages that wait to be sent; after the end, those that never were."""
        return len(self._outbox)

    async def send_text(self, text: str, *, timeout: float | None = None) -> None:
        """Queue a text message, as soon as there is room.

        Args:
            text: The message.
            timeout: Seconds to wait for room, >= 0; ``None`` waits as long as it takes.

        Raises:
            TimeoutError: If there was no room in time; the message is not queued then.
            WebSocketClosedError: If the WebSocket has ended or is being closed.
            ValueError: If *text* cannot be encoded in UTF-8.
        """
        await self._put(Frame(WSMsgType.TEXT, text.encode()), timeout)

    async def send_bytes(
        self, data: bytes | bytearray | memoryview, *, timeout: float | None = None
    ) -> None:
        """Queue a binary message, as :meth:`send_text` does."""
        # A copy: the caller may change its buffer while the message waits.
        await self._put(Frame(WSMsgType.BINARY, bytes(data)), timeout)

    async def send_json(
        self,
        value: object,
        *,
        timeout: float | None = None,
        dumps: Callable[[Any], str] | None = None,
    ) -> None:
        """Queue *value* as JSON in a text message, as :meth:`send_text` does.

        Args:
            value: What the serializer can write.
            timeout: As for :meth:`send_text`.
            dumps: Writes it; ``None`` takes the session's, which ``JSON__SERIALIZER`` chooses.

        Raises:
            TypeError: If *value* is nothing that it can write.
        """
        text = (dumps or self._handshake.json_serialize)(value)
        await self.send_text(text, timeout=timeout)

    async def receive(self, *, timeout: float | None = None) -> WSMessage:
        """Wait for the next message, of type ``TEXT`` or ``BINARY``; cancelled, none is lost.

        Args:
            timeout: Seconds to wait, >= 0; ``None`` waits as long as it takes.

        Raises:
            TimeoutError: If none came in time.
            WebSocketClosedError: If the WebSocket has ended and all messages are received.
        """
        timer = asyncio.timeout(timeout)
        try:
            async with timer:
                return await self._inbox.get()
        except TimeoutError:
            if not timer.expired():
                # Of a hook: an error like every other.
                raise
            raise TimeoutError(
                f"the WebSocket{self._handshake.name} had no message for {timeout:g} s"
            ) from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WSMessage:
        try:
            return await self._inbox.get()
        except WebSocketClosedError:
            if self._ending is not None and self._is_clean(self._ending):
                raise StopAsyncIteration from None
            raise

    async def close(self, code: int = _OK, reason: str = "") -> None:
        """Send what waits, take leave of the peer, and return when all is given back.

        Args:
            code: 1000 to 1003, 1007 to 1011, or 3000 to 4999.
            reason: At most 123 bytes in UTF-8.

        Raises:
            ValueError: If *code* or *reason* may not be sent.
        """
        closing.close_frame(code, reason)
        await self._depart(code, reason, flush=True)

    async def end(self, within: float) -> None:
        """Close with 1001, because the session is about to be closed.

        Args:
            within: Seconds, >= 0; no more than ``close_timeout`` are taken.
        """
        await self._depart(_GOING_AWAY, "", flush=True, within=within)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected" if self.connected else "reconnecting"
        return f"<WebSocket{self._handshake.name} {state}>"

    def _start(self, socket: aiohttp.ClientWebSocketResponse, life: WebSocketLife) -> None:
        link = self._new_link(socket, life)
        # Later handshakes are not bounded by the deadline of whoever made the first one.
        self._owner = self._loop.create_task(self._own(link), context=context_without_deadline())
        client = self._handshake.client
        if client is not None:
            client.long_lived.add(self)

    async def _put(self, frame: Frame, timeout: float | None) -> None:
        if self._leave is not None:
            raise self._error()
        lane = self._lane_of_hook()
        await (self._outbox if lane is None else lane).put(frame, timeout)

    def _lane_of_hook(self) -> Outbox | None:
        """Return where the running hook sends, if it is the hook that asks."""
        lane = _LANE.get()
        return lane if lane is self._lane else None

    def _wake(self) -> None:
        if self._link is not None:
            self._link.wake()

    async def _depart(
        self,
        code: int,
        reason: str,
        *,
        flush: bool,
        within: float = math.inf,
        cancelled: bool = False,
    ) -> None:
        owner = self._owner
        assert owner is not None
        self._cancelled = self._cancelled or cancelled
        if not owner.done():
            until = self._loop.time() + min(within, self._limits.close_timeout)
            if self._leave is None:
                self._leave = Leave(code, reason, until, flush)
            else:
                self._leave = self._leave._replace(until=min(until, self._leave.until))
            if self._link is not None:
                self._link.leave(self._leave)
            if self._dialing is not None:
                self._dialing.cancel()
        try:
            await asyncio.wait({owner})
        except asyncio.CancelledError:
            if self._link is not None:
                self._link.drop()
            if self._lane_of_hook() is None:
                # For a hook that closes, the owner is waiting itself.
                await asyncio.wait({owner})
            raise

    async def _own(self, link: Link) -> None:
        """Serve one connection after the other. This task alone touches their sockets."""
        try:
            while True:
                ending = await self._serve(link)
                if self._leave is not None or not self._wants_another(ending):
                    return
                assert self._reconnect is not None
                another = await self._another()
                if another is None:
                    return
                self._reconnects += 1
                link = self._new_link(*another)
                observer = self._handshake.observer
                if observer is not None:
                    observer.websocket_reconnected(ending.error_type or str(ending.code))
                self._restore(link, self._reconnect)
        except Exception as error:
            self._cause = error
            raise
        finally:
            self._finish()

    async def _serve(self, link: Link) -> Ending:
        life = link.life
        try:
            self._ending = ending = await link.run()
            life.close_code = ending.code
            life.cancelled = self._cancelled
            life.error_type = "" if self._cancelled else ending.error_type
        finally:
            self._link = None
            life.closed = self._loop.time()
            observer = self._handshake.observer
            if observer is not None:
                observer.websocket_closed(life)
        return ending

    def _wants_another(self, ending: Ending) -> bool:
        return (
            self._reconnect is not None
            and ending.failure is None
            and ending.code in self._reconnect.codes
        )

    async def _another(self) -> tuple[aiohttp.ClientWebSocketResponse, WebSocketLife] | None:
        """Return another connection, or ``None`` if there is none to be had or nobody wants one."""
        assert self._policy is not None
        decision = self._policy.decide()
        if isinstance(decision, GiveUp):
            self._gave_up = decision.reason
            return None
        self._dialing = self._loop.create_task(self._dial(decision.delay, self._policy))
        try:
            await asyncio.wait({self._dialing})
        finally:
            self._dialing.cancel()
            dialing, self._dialing = self._dialing, None
        if dialing.cancelled():
            return None
        self._cause = dialing.exception()
        if self._cause is not None:
            self._gave_up = "its handshake failed"
            return None
        return dialing.result()

    async def _dial(
        self, delay: float, policy: ReconnectPolicy
    ) -> tuple[aiohttp.ClientWebSocketResponse, WebSocketLife]:
        await asyncio.sleep(delay)
        return await self._handshake.make(policy, reconnects=self._reconnects + 1)

    def _new_link(self, socket: aiohttp.ClientWebSocketResponse, life: WebSocketLife) -> Link:
        limits = self._limits
        self._ending = None
        self._protocol = socket.protocol
        self._link = Link(
            socket,
            life,
            inbox=self._inbox,
            outbox=self._outbox,
            heartbeat=Heartbeat(
                interval=limits.heartbeat, timeout=limits.pong_timeout, clock=self._loop.time
            ),
            answer_within=limits.close_timeout,
        )
        if self._leave is not None:
            self._link.leave(self._leave)
        return self._link

    def _restore(self, link: Link, reconnect: Reconnect) -> None:
        hook = reconnect.on_reconnect
        if hook is None:
            return
        self._lane = lane = Outbox(self._limits.send_queue, self._wake)

        async def run() -> None:
            _LANE.set(lane)
            try:
                await hook(self)
            finally:
                # Another one may be running by now, where this one resisted its end.
                if self._lane is lane:
                    self._lane = None
                lane.end(self._error)

        link.restore(run, lane, reconnect.on_reconnect_timeout)

    def _finish(self) -> None:
        client = self._handshake.client
        if client is not None:
            client.long_lived.discard(self)
        self._outbox.end(self._error)
        self._inbox.end(self._last_error)

    def _is_clean(self, ending: Ending) -> bool:
        if ending.failure is not None:
            return False
        return self._leave is not None or (not self._gave_up and ending.clean)

    def _last_error(self) -> BaseException:
        return self._hook_failure() or self._error()

    def _hook_failure(self) -> BaseException | None:
        return None if self._ending is None else self._ending.failure

    def _error(self) -> WebSocketClosedError:
        ending = self._ending
        if ending is not None:
            code, what = ending.code, f"has ended with {ending.code}"
        elif self._leave is not None:
            code, what = self._leave.code, "is being closed"
        else:
            code, what = closing.LOST, "has ended by a fault of its own"
        error = WebSocketClosedError(
            f"the WebSocket{self._handshake.name} {what}",
            code=code,
            reason="" if ending is None else ending.reason,
        )
        error.__cause__ = self._cause or self._hook_failure()
        if self._gave_up:
            error.add_note(f"connected {self.reconnects} times anew; stopped: {self._gave_up}")
        return error


def _limits(
    heartbeat: float | None,
    pong_timeout: float,
    send_queue: int,
    receive_queue: int,
    close_timeout: float,
) -> _Limits:
    interval = math.inf if heartbeat is None else heartbeat
    for name, seconds in (
        ("heartbeat", interval),
        ("pong_timeout", pong_timeout),
        ("close_timeout", close_timeout),
    ):
        if not seconds > 0:
            raise ValueError(f"{name} must be > 0 seconds, got {seconds!r}")
    if close_timeout == math.inf:
        raise ValueError("close_timeout must be finite: a peer need not agree to an end")
    for name, count in (("send_queue", send_queue), ("receive_queue", receive_queue)):
        if count < 1:
            raise ValueError(f"{name} must be >= 1 message, got {count!r}")
    return _Limits(
        heartbeat=interval,
        pong_timeout=pong_timeout,
        send_queue=send_queue,
        receive_queue=receive_queue,
        close_timeout=close_timeout,
    )


def _check_message(max_message: int, compress: int) -> None:
    if max_message < 1:
        raise ValueError(f"max_message must be >= 1 byte, got {max_message!r}")
    if compress and compress not in _WINDOW_BITS:
        raise ValueError(f"compress must be 0 or 9 to 15 window bits, got {compress!r}")

"""One connection, from its handshake to its end: what the task that owns the socket does.

The socket is touched by that task alone, and by the two that it starts: at any time one that
receives, and one that sends what may have to wait for the peer. Each is left to come to its end as
long as the connection stands, so that neither loses a message by a cancellation, and a peer that
does not read cannot keep it from reading (two peers that both write before they read would wait for
each other for ever).
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from aiohttp import ClientError, WebSocketError, WSMsgType

from platform_http.policies.heartbeat import Beat
from platform_http.websocket import closing
from platform_http.websocket.closing import Ending
from platform_http.websocket.queues import Frame, Outbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import aiohttp
    from aiohttp import WSMessage

    from platform_http.call import WebSocketLife
    from platform_http.policies.heartbeat import Heartbeat
    from platform_http.websocket.queues import Inbox

_T = TypeVar("_T")

_CONTROL: Final = frozenset({WSMsgType.PING, WSMsgType.PONG})
# Up to here aiohttp compresses in the loop, and an empty buffer takes it without a pause.
_SMALL: Final = 16 * 1024


class Leave(NamedTuple):
    """This side wants the end.

    Args:
        code: The close code.
        reason: What to say about it.
        until: When the connection is dropped if the peer has not agreed, ``loop.time()``.
        flush: Whether the messages that wait are sent before.
    """

    code: int
    reason: str
    until: float
    flush: bool


class Link:
    """Moves messages between two queues and a socket until one side ends the connection.

    Args:
        socket: Connected, with aiohttp's own heartbeat, autoping and autoclose switched off.
        life: Counts what goes over it.
        inbox: Takes what comes. While it has no room nothing is read, and TCP holds the peer back.
        outbox: What is to be sent.
        heartbeat: Finds out whether a silent peer is still there.
        answer_within: Seconds for the answer to a peer's close frame, > 0.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        life: WebSocketLife,
        *,
        inbox: Inbox,
        outbox: Outbox,
        heartbeat: Heartbeat,
        answer_within: float,
    ) -> None:
        self._socket = socket
        self._response = socket._response  # noqa: SLF001 - no public way, a canary watches the name
        self._transport: asyncio.Transport | None = None
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            # Taken now: a response that aiohttp closes after a violation has forgotten it.
            self._transport = connection.transport
            # A large message that is on its way is no silence.
            connection.protocol._data_received_cb = heartbeat.heard  # noqa: SLF001 - as above
        self.life = life
        self._inbox = inbox
        self._outbox = outbox
        self._heartbeat = heartbeat
        self._answer_within = answer_within
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._again = False
        self._receiving: asyncio.Task[WSMessage | None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._restored: Outbox | None = None
        self._pong: bytes | None = None
        self._ping = False
        self._control_was_last = False
        self._leave: Leave | None = None
        self._ending: Ending | None = None
        self._dropped = False
        self._answer_until = math.inf
        self._owes_close = False
        self._close_sent = False
        self._left = False
        self._writable = True

    def wake(self) -> None:
        """Have the owner look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self, leave: Leave) -> None:
        """End the connection in an orderly way."""
        self._leave = leave
        self.wake()

    def drop(self) -> None:
        """End the connection at once."""
        self._dropped = True
        self.wake()

    def restore(self, hook: Callable[[], Awaitable[None]], lane: Outbox, within: float) -> None:
        """Run *hook*, and until it is done, send what it puts into *lane* and nothing else.

        Args:
            hook: What an application does at a new connection.
            lane: What it sends.
            within: Seconds that it gets, > 0.
        """

        async def bounded() -> None:
            async with asyncio.timeout(within) as timer:
                try:
                    await hook()
                except TimeoutError as error:
                    if not timer.expired():
                        # Not ours: an error like every other.
                        raise _HookFailedError(error) from error

        self._restored = lane
        self._restoring = self._begin(bounded())

    async def run(self) -> Ending:
        """Serve the socket until the connection has ended; it is released then, whatever ends it.

        Returns:
            How it ended.
        """
        graceful = False
        try:
            while (ending := await self._turn()) is None:
                await self._wait()
            graceful = ending.code != closing.LOST
        except asyncio.CancelledError:
            self.life.cancelled = True
            self.life.close_code = closing.LOST
            raise
        finally:
            await self._release(graceful=graceful)
        return ending

    async def _wait(self) -> None:
        if self._again:
            self._again = False
            # So that those who waited for room in the queue come in before it is looked at again.
            await asyncio.sleep(0)
            return
        self._waiter = self._loop.create_future()
        self._arm(min(self._heartbeat.due, self._until()))
        await self._waiter

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= due:
                # It comes early, and is set anew then: cheaper than to set it for each message.
                return
            self._timer.cancel()
        self._timer = None if due == math.inf else self._loop.call_at(due, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.wake()

    def _until(self) -> float:
        return min(self._answer_until, self._leave.until if self._leave else math.inf)

    async def _turn(self) -> Ending | None:
        """Take what has come, begin what can begin; return the ending once there is one."""
        self._take_received()
        self._take_sent()
        self._take_restored()
        if (ending := self._verdict()) is not None:
            return ending
        self._begin_receiving()
        await self._begin_sending()
        return None

    def _verdict(self) -> Ending | None:
        if self._dropped:
            return Ending(closing.LOST, by_peer=False)
        now = self._loop.time()
        if self._ending is not None:
            closed = self._close_sent and self._sending is None
            if closed or not self._owes_close or not self._writable or now >= self._until():
                return self._agreed(self._ending)
            return None
        if now >= self._until():
            error_type = "read_timeout" if self._writable else "response_ended"
            return Ending(closing.LOST, error_type=error_type, by_peer=self._leave is None)
        if self._leave is None:
            beat = self._heartbeat.beat()
            if beat is Beat.GIVE_UP:
                return closing.by_loss("read_timeout")
            self._ping = self._ping or beat is Beat.PING
        return None

    def _agreed(self, ending: Ending) -> Ending:
        if self._leave is None:
            return ending
        if self._left and self._owes_close:
            return Ending(self._leave.code, self._leave.reason, by_peer=False)
        return dataclasses.replace(ending, by_peer=False)

    def _end(self, ending: Ending, *, owes_close: bool = False) -> None:
        if self._ending is None:
            self._ending = ending
            self._owes_close = owes_close
            if owes_close:
                self._answer_until = self._loop.time() + self._answer_within

    def _begin_receiving(self) -> None:
        if self._receiving is not None or self._ending is not None:
            return
        # What is left of a broken connection is little, and whoever leaves wants the peer's answer.
        if self._inbox.has_room or not self._writable or self._leave is not None:
            self._heartbeat.resume()
            self._receiving = self._begin(self._receive())
        else:
            self._heartbeat.suspend()

    async def _receive(self) -> WSMessage | None:
        """Take messages in while there is room; return what is none, for the owner to judge."""
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.TEXT and message.type is not WSMsgType.BINARY:
                return message
            self.life.messages_received += 1
            self.life.bytes_received += _size(message.data)
            if self._leave is None or self._inbox.has_room:
                self._inbox.put(message)
            if not self._inbox.has_room or self._ending is not None:
                return None

    def _take_received(self) -> None:
        if self._receiving is None or not self._receiving.done():
            return
        received, self._receiving = self._receiving, None
        if received.cancelled() or received.exception() is not None:
            self._end(closing.by_loss())
            return
        message = received.result()
        if message is None:
            return
        kind = message.type
        if kind is WSMsgType.CLOSED or kind is WSMsgType.CLOSING:
            self._end(closing.by_loss())
        elif kind is WSMsgType.ERROR:
            # aiohttp has told the peer already.
            self._end(_of_error(message.data))
        elif kind is WSMsgType.CLOSE:
            self._end(closing.by_frame(message.data, message.extra or ""), owes_close=True)
        elif kind is WSMsgType.PING:
            # The last one is enough (RFC 6455, section 5.5.3), however fast they come.
            self._pong = message.data

    async def _begin_sending(self) -> None:
        if self._sending is not None or not self._writable:
            return
        frame = self._next_frame()
        if frame is None:
            return
        if frame.opcode is WSMsgType.CLOSE:
            self._close_sent = True
        elif frame.opcode in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.life.messages_sent += 1
            self.life.bytes_sent += len(frame.payload)
        sending = self._socket.send_frame(frame.payload, frame.opcode)
        transport = self._transport
        if (
            len(frame.payload) > _SMALL
            or transport is None
            or transport.get_write_buffer_size() > 0
        ):
            self._sending = self._begin(sending)
            return
        # It cannot wait for the peer, so that a task of its own would only cost time.
        try:
            await sending
        except Exception:  # noqa: BLE001 - whatever it is, nothing more can be sent
            self._broken()
        self._again = self._has_more_to_do()

    def _has_more_to_do(self) -> bool:
        """Whether another turn is due although nothing else happens."""
        ends = self._leave is not None or self._ending is not None or not self._writable
        answers = self._pong is not None or self._ping
        return ends or answers or self._restored is not None or len(self._outbox) > 0

    def _next_frame(self) -> Frame | None:
        if self._close_sent:
            return None
        if self._ending is not None:
            return Frame(WSMsgType.CLOSE, closing.reply_frame(self._ending))
        # By turns: a peer that pings without a pause keeps no message and no end from going out.
        if self._control_was_last:
            frame = self._next_own() or self._next_control()
        else:
            frame = self._next_control() or self._next_own()
        self._control_was_last = frame is not None and frame.opcode in _CONTROL
        return frame

    def _next_control(self) -> Frame | None:
        if self._pong is not None:
            payload, self._pong = self._pong, None
            return Frame(WSMsgType.PONG, payload)
        if self._ping:
            self._ping = False
            return Frame(WSMsgType.PING, b"")
        return None

    def _next_own(self) -> Frame | None:
        frame = self._next_message()
        if frame is None and self._leave is not None:
            self._left = True
            payload = closing.close_frame(self._leave.code, self._leave.reason)
            return Frame(WSMsgType.CLOSE, payload)
        return frame

    def _next_message(self) -> Frame | None:
        if self._leave is not None and not self._leave.flush:
            return None
        if self._restored is not None:
            frame = self._restored.next()
            if frame is not None or self._restoring is not None:
                return frame
            self._restored = None
        return self._outbox.next()

    def _take_sent(self) -> None:
        if self._sending is not None and self._sending.done():
            sent, self._sending = self._sending, None
            if sent.cancelled() or sent.exception() is not None:
                self._broken()

    def _broken(self) -> None:
        # What was received before the connection broke can still be read.
        self._writable = False
        self._answer_until = self._loop.time() + self._answer_within

    def _take_restored(self) -> None:
        if self._restoring is None or not self._restoring.done():
            return
        restored, self._restoring = self._restoring, None
        if self._ending is not None or self._leave is not None:
            # Looked at, so that asyncio does not report it as forgotten.
            _ = restored.cancelled() or restored.exception()
            return
        if restored.cancelled():
            # Not by us: something that the hook waited for. It has not done what it is for.
            self._end(closing.by_loss("_OTHER"))
            return
        error = restored.exception()
        if isinstance(error, TimeoutError):
            self._end(closing.by_loss("read_timeout"))
        elif error is not None:
            failure = error.failure if isinstance(error, _HookFailedError) else error
            ending = Ending(1001, error_type="_OTHER", by_peer=False, failure=failure)
            self._end(ending, owes_close=True)

    def _begin(self, operation: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = self._loop.create_task(operation)
        task.add_done_callback(lambda _: self.wake())
        return task

    async def _release(self, *, graceful: bool) -> None:
        """Give the connection back, with everything that is under way on it."""
        if self._timer is not None:
            self._timer.cancel()
        transport = self._transport
        if transport is not None and not (graceful and transport.get_write_buffer_size() == 0):
            # A close would wait until the peer has read all, which it may never do.
            transport.abort()
        self._response.close()
        under_way: list[asyncio.Task[Any]] = [
            each for each in (self._receiving, self._sending, self._restoring) if each is not None
        ]
        for each in under_way:
            # A send ends with its connection; cancelled, aiohttp would leave its compression alone.
            if each is not self._sending:
                each.cancel()
        if under_way:
            # The socket's are over soon; a hook is the application's and may resist.
            done, rest = await asyncio.wait(under_way, timeout=self._answer_within)
            for each in rest:
                each.cancel()
            for each in done:
                # Looked at, so that asyncio does not report it as forgotten.
                _ = each.cancelled() or each.exception()


class _HookFailedError(Exception):
    """A hook raised a timeout of its own."""

    def __init__(self, failure: TimeoutError) -> None:
        self.failure = failure


def _of_error(error: object) -> Ending:
    if isinstance(error, WebSocketError):
        return closing.by_violation(int(error.code))
    if isinstance(error, OSError | ClientError):
        return closing.by_loss()
    # What a compressed message holds could not be decompressed.
    return closing.by_violation(1007)


def _size(data: str | bytes) -> int:
    # Of most texts it is known without a look at each character.
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())

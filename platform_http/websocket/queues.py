"""The two bounded queues between an application and the task that owns its socket."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import WSMessage, WSMsgType


class Frame(NamedTuple):
    """What is to be sent."""

    opcode: WSMsgType
    payload: bytes


class Outbox:
    """Frames that wait to be sent, first in, first out; also those who wait for room.

    Args:
        limit: Frames that may wait, >= 1.
        changed: Called for each frame that is put in.
    """

    def __init__(self, limit: int, changed: Callable[[], None]) -> None:
        self._limit = limit
        self._changed = changed
        self._room = asyncio.Semaphore(limit)
        self._frames: deque[Frame] = deque()
        self._error: Callable[[], Exception] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    async def put(self, frame: Frame, timeout: float | None) -> None:
        """Put *frame* in, as soon as there is room; if cancelled, it is not in.

        Raises:
            TimeoutError: If there was no room for *timeout* seconds.
            Exception: What :meth:`end` was told, once it was called.
        """
        self._check()
        try:
            async with asyncio.timeout(timeout):
                await self._room.acquire()
        except TimeoutError:
            raise TimeoutError(
                f"the send queue of {self._limit} messages had no room for {timeout:g} s"
            ) from None
        try:
            self._check()
        except Exception:
            # Each that is refused lets the next one in, to be refused.
            self._room.release()
            raise
        self._frames.append(frame)
        self._changed()

    def next(self) -> Frame | None:
        """Take the first frame out, or return ``None`` if there is none."""
        if not self._frames:
            return None
        self._room.release()
        return self._frames.popleft()

    def end(self, error: Callable[[], Exception]) -> None:
        """Refuse what comes, and what waits for room, with what *error* makes."""
        self._error = error
        self._room.release()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error()


class Inbox:
    """Messages that were received and not yet asked for.

    Args:
        limit: Messages that may wait, >= 1.
        changed: Called for each message that is taken out.
    """

    def __init__(self, limit: int, changed: Callable[[], None]) -> None:
        self._limit = limit
        self._changed = changed
        self._ready = asyncio.Semaphore(0)
        self._messages: deque[WSMessage] = deque()
        self._error: Callable[[], BaseException] | None = None

    @property
    def has_room(self) -> bool:
        """Whether the next message should be read."""
        return len(self._messages) < self._limit

    def put(self, message: WSMessage) -> None:
        """Put a message in, also where there is no room: it has been read."""
        self._messages.append(message)
        self._ready.release()

    async def get(self) -> WSMessage:
        """Wait for the next message; if cancelled, it stays in.

        Raises:
            BaseException: What :meth:`end` was told, once it was called and no message is left.
        """
        await self._ready.acquire()
        if self._messages:
            self._changed()
            return self._messages.popleft()
        self._ready.release()
        assert self._error is not None
        raise self._error()

    def end(self, error: Callable[[], BaseException]) -> None:
        """Let everybody who asks once all messages are taken get what *error* makes."""
        self._error = error
        self._ready.release()

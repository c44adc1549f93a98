"""Blocking work off the loop, and never left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")

BLOCK: Final = 2**20
"""Bytes that are gathered for a write, and read at a time."""


async def off_loop(function: Callable[[], _Result]) -> _Result:
    """Run *function* in a thread and come back when it is done, cancelled or not.

    A thread cannot be interrupted: whoever went on without it would close the file under it.

    Raises:
        asyncio.CancelledError: After *function* is done, if the task was cancelled meanwhile.
    """
    return await settled(asyncio.get_running_loop().run_in_executor(None, function))


async def settled(work: asyncio.Future[_Result]) -> _Result:
    """Return the result of *work*, which runs in a thread, and outlive a cancellation until then.

    Raises:
        asyncio.CancelledError: As :func:`off_loop`; what *work* raised goes with it.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Looked at, so that asyncio does not report it as forgotten.
        work.exception()
        try:
            raise cancelled
        finally:
            del cancelled
    return work.result()


class Spool:
    """Writes blocks one after the other while the next one arrives.

    A thread per block of :data:`BLOCK` bytes costs a few thousandths of what moving it costs. What
    arrives slowly is written as it comes, what arrives fast is gathered, and whoever is faster
    than the disk waits: two blocks are held at most, besides what aiohttp buffers.

    Args:
        write: Writes pieces; called in a thread, never twice at a time.
    """

    def __init__(self, write: Callable[[list[bytes]], None]) -> None:
        self._write = write
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    async def put(self, piece: bytes) -> None:
        """Take *piece*, and wait while there is too much to write.

        Raises:
            OSError: If an earlier piece could not be written.
        """
        self._waiting.append(piece)
        self._size += len(piece)
        if self._writing is None or self._writing.done() or self._size >= BLOCK:
            await self._settle()
            self._start()

    async def drain(self) -> None:
        """Write what is left, unless something before it could not be written.

        Raises:
            OSError: If it cannot be written.
        """
        await self._settle()
        self._start()
        await self._settle()

    def _start(self) -> None:
        if self._waiting:
            pieces, self._waiting, self._size = self._waiting, [], 0
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, self._write, pieces)

    async def _settle(self) -> None:
        if self._writing is None:
            return
        try:
            await settled(self._writing)
        finally:
            failed = self._writing.exception() is not None
            self._writing = None
            if failed:
                # What comes after a gap is not a part of the file.
                self._waiting, self._size = [], 0

"""The body of an upload: counted, and given up when nobody takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp.payload import Payload

from platform_http.errors import AttemptTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

# What is handed over at a time: a buffer of the transport's size, so that progress is no leap.
_PIECE = 65536


class UploadBody(Payload):
    """Another payload, watched while it is written. It does not close what it did not open.

    aiohttp bounds no upload but by a total timeout, and a large file needs as long as it needs.
    What bounds it here is that bytes keep leaving.

    Args:
        inner: What is sent.
        silence: Seconds in which at least one byte must leave, > 0.
        progress: Called with the bytes handed over in this attempt and the total or ``None``.
    """

    # There is nothing to close.
    _autoclose = True

    def __init__(
        self,
        inner: Payload,
        silence: float,
        progress: Callable[[int, int | None], object] | None,
    ) -> None:
        super().__init__(inner)
        self._inner = inner
        self._silence = silence
        self._progress = progress

    @property
    def size(self) -> int | None:
        """Bytes of the body; ``None`` if it is not known, and it is sent in chunks."""
        return self._inner.size

    @property
    def headers(self) -> CIMultiDict[str]:
        """Content type and the like."""
        return self._inner.headers

    @property
    def consumed(self) -> bool:
        """Whether it cannot be sent again."""
        return self._inner.consumed

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text; blocks."""
        return self._inner.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the body as bytes."""
        return await self._inner.as_bytes(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Send *content_length* bytes of the body, or all of it.

        Raises:
            AttemptTimeoutError: If the peer takes nothing for too long.
            OSError: If a file is shorter than it was.
        """
        expected = self.size if content_length is None else content_length
        watched = _WatchedWriter(writer, self._silence, self._report)
        timer = asyncio.timeout(None)
        try:
            async with timer:
                watched.watch(timer)
                try:
                    await self._inner.write_with_length(
                        watched,  # type: ignore[arg-type] # a proxy of the one method that is used
                        content_length,
                    )
                finally:
                    watched.unwatch()
        except TimeoutError as error:
            if not timer.expired() or type(error) is not TimeoutError:
                raise
            raise AttemptTimeoutError(
                f"the server took nothing of the upload for {self._silence:.3g} s, "
                f"after {watched.written} bytes"
            ) from None
        if expected is not None and watched.written < expected:
            # The server would wait for the rest until it loses patience.
            raise OSError(
                f"the body ended {expected - watched.written} bytes early: "
                "was the file changed while it was sent?"
            )

    def _report(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self.size)


class _WatchedWriter:
    """Stands between a payload and aiohttp's writer."""

    def __init__(
        self, writer: AbstractStreamWriter, silence: float, report: Callable[[int], None]
    ) -> None:
        self.written = 0
        self._writer = writer
        self._silence = silence
        self._report = report
        self._waiting = False
        self._left = 0
        self._timer: asyncio.Timeout | None = None
        self._check: asyncio.TimerHandle | None = None

    async def write(self, chunk: Any, **options: Any) -> None:
        """Hand *chunk* over in pieces, each as soon as the one before is taken."""
        view = memoryview(chunk).cast("B")
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            self._left = self._unsent()
            self._waiting = True
            try:
                await self._writer.write(piece, **options)
            finally:
                self._waiting = False
            self.written += len(piece)
            self._report(self.written)

    def watch(self, timer: asyncio.Timeout) -> None:
        """Let *timer* expire when nothing leaves."""
        self._timer = timer
        loop = asyncio.get_running_loop()
        self._check = loop.call_later(self._silence, self._look, self.written)

    def unwatch(self) -> None:
        """Stop looking."""
        if self._check is not None:
            self._check.cancel()

    def _look(self, before: int) -> None:
        """Compare with the last look: the same piece, and nothing of it gone."""
        assert self._timer is not None
        loop = asyncio.get_running_loop()
        left = self._unsent()
        if self._waiting and self.written == before and left >= self._left:
            self._timer.reschedule(loop.time())
            return
        self._left = left
        self._check = loop.call_later(self._silence, self._look, self.written)

    def _unsent(self) -> int:
        transport = getattr(self._writer, "transport", None)
        return 0 if transport is None else transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

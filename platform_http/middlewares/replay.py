"""Makes small one-shot bodies replayable before their first attempt."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp.payload import AsyncIterablePayload, BytesPayload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

MAX_BYTES = 65536
"""Bodies up to this size are held in memory so that they can be sent again."""

# A producer that is slower than this is a stream; the first attempt must not wait for its end.
MAX_SECONDS = 0.1


async def make_replayable(request: aiohttp.ClientRequest) -> asyncio.Future[bytes] | None:
    """Read the one-shot body of *request* ahead, and replace it by bytes if it ends in time.

    A body that is larger than :data:`MAX_BYTES` or not complete after :data:`MAX_SECONDS` stays
    one-shot: what was read ahead is sent first, then the rest as it comes.

    Returns:
        What is still being read, for whoever never sends the body to cancel; ``None`` otherwise.
    """
    body = request.body
    if not isinstance(body, AsyncIterablePayload) or body.consumed:
        return None
    iterator = body._iter  # noqa: SLF001 - asking the value for another one could lose its start
    if iterator is None:
        return None
    pieces: list[bytes] = []
    pending = await _read_ahead(iterator, pieces)
    if pending is None:
        if not request.compress:
            # The length is known now; a compressed body stays chunked.
            request.chunked = None
            request.headers.pop("Transfer-Encoding", None)
        await request.update_body(BytesPayload(b"".join(pieces), content_type=body.content_type))
        return None
    length = request.headers.get("Content-Length")
    rest = _chain(pieces, pending, iterator)
    await request.update_body(AsyncIterablePayload(rest, content_type=body.content_type))
    if length is not None:
        # aiohttp drops the caller's length when a body is replaced.
        request.chunked = None
        request.headers.pop("Transfer-Encoding", None)
        request.headers["Content-Length"] = length
    return pending


async def _read_ahead(
    iterator: AsyncIterator[bytes], pieces: list[bytes]
) -> asyncio.Future[bytes] | None:
    """Fill *pieces*; return what is still being awaited, or ``None`` at the end of the body."""
    loop = asyncio.get_running_loop()
    until = loop.time() + MAX_SECONDS
    size = 0
    while True:
        # Its own task, and only ever waited for: cancelling it would break the generator.
        pull = asyncio.ensure_future(_next(iterator))
        try:
            await asyncio.wait({pull}, timeout=max(0.0, until - loop.time()))
        except asyncio.CancelledError:
            # The caller is gone, and with it whoever would have consumed the rest.
            pull.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await pull
            raise
        if size > MAX_BYTES or not pull.done():
            return pull
        try:
            piece = pull.result()
        except StopAsyncIteration:
            return None
        pieces.append(piece)
        size += len(piece)


async def _next(iterator: AsyncIterator[bytes]) -> bytes:
    return await anext(iterator)


async def _chain(
    pieces: list[bytes], pending: asyncio.Future[bytes], iterator: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    with contextlib.suppress(StopAsyncIteration):
        yield await pending
        async for piece in iterator:
            yield piece

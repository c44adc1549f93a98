"""Downloads of any size to a file, which is there as a whole or not at all."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from platform_http.concealment import bare, conceal
from platform_http.errors import DeadlineExceededError, ResponseTooLargeError
from platform_http.outcomes import error_type
from platform_http.streaming import ranges
from platform_http.streaming.bounds import Bounds
from platform_http.streaming.checksum import Checksum
from platform_http.streaming.disk import Spool, off_loop
from platform_http.streaming.errors import ChecksumError
from platform_http.streaming.part_file import Origin, PartFile
from platform_http.streaming.resumption import Resumption

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from platform_http.call import CallOptions
    from platform_http.streaming.checksum import Hasher

_LOGGER = logging.getLogger("platform_http")

_OWN_HEADERS: tuple[str, ...] = (hdrs.RANGE, hdrs.IF_RANGE)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A file that was downloaded.

    Args:
        path: Where it is.
        size: Bytes of it.
        received: Bytes that this call received; less than *size* if it went on with a part, more if
            a part turned out to be of no use.
        resumed_from: Bytes that an earlier call had left and this one kept.
        requests: Calls that it took.
        etag: Entity tag of the last response; ``None`` if it had none.
        last_modified: Its ``Last-Modified``, likewise.
        checksum: ``algorithm:hex`` if one was asked for.
    """

    path: Path
    size: int
    received: int
    resumed_from: int
    requests: int
    etag: str | None
    last_modified: str | None
    checksum: str | None


async def download(
    session: aiohttp.ClientSession,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    max_size: int | None = None,
    resume: bool = True,
    progress: Callable[[int, int | None], object] | None = None,
    options: CallOptions | None = None,
    **request: Any,
) -> DownloadResult:
    """Get *url* and put its body into the file *path*.

    The bytes go to ``path.part`` and take their place, synced, when they are complete and the
    checksum is right: whoever looks at *path* sees the old file or the new one. What fails, is
    cancelled or killed leaves ``path.part`` and ``path.part.json`` where the server said how to
    continue, and the next call with the same URL does: with ``Range``, and with ``If-Range`` so
    that a file that has changed meanwhile is fetched anew. A body that is cut is asked for again
    inside the call, as far as attempts, retry budget and deadline allow; see
    :class:`~platform_http.streaming.resumption.Resumption`.

    Memory does not grow with the body: when the disk is slower than the network, the server waits.
    There is no total timeout unless *options* or ``deadline()`` sets one; ``TIMEOUT__READ`` bounds
    silence.

    Args:
        session: Of a factory, or any other one.
        url: What to get.
        path: Where to; its folder must exist, and be one where nobody writes whom you do not trust.
            An existing file is replaced and leaves its permissions to the new one; a link is
            replaced, not followed.
        checksum: ``"sha256:…"`` to compare with, or ``"sha256"`` to compute only; any algorithm of
            ``hashlib``.
        max_size: Bytes that are accepted at most, >= 0, told or received.
        resume: Whether to go on with the part of an earlier call.
        progress: Called on the event loop with the bytes that are written, those of an earlier call
            included, and the total or ``None``. What it raises ends the download.
        options: As for any call; ``timeout`` is that of the whole download.
        **request: More arguments for ``session.get()``: ``headers``, ``params``, ``ssl`` and so on.
            ``Accept-Encoding`` is ``identity`` unless given: ranges count encoded bytes. That a
            compressed body is complete is checked with sessions of a factory only, or by
            *checksum*.

    Returns:
        What was downloaded.

    Raises:
        aiohttp.ClientResponseError: If the status is neither 200 nor that of a range.
        ResponseTooLargeError: If it is larger than *max_size*. Nothing is left.
        ChecksumError: If the checksum is another one. Nothing is left.
        DownloadInProgressError: If another download to *path* is running.
        aiohttp.ClientError: As any call; for a body that stays incomplete, its last error.
        OSError: If the file cannot be written.
        ValueError: If *checksum*, *max_size* or *request* makes no sense.
        NotImplementedError: If the platform has no POSIX file locks.
    """
    if max_size is not None and max_size < 0:
        raise ValueError(f"max_size must be >= 0 bytes, got {max_size!r}")
    headers = CIMultiDict(request.pop("headers", None) or {})
    for header in _OWN_HEADERS:
        if header in headers:
            raise ValueError(f"download() sets the header {header} itself; leave it out")
    for argument in ("trace_request_ctx", "raise_for_status", "timeout"):
        if argument in request:
            raise ValueError(f"download() takes options= and judges the status; not {argument}=")
    headers.setdefault(hdrs.ACCEPT_ENCODING, "identity")
    check = None if checksum is None else Checksum.parse(checksum)
    part = PartFile(Path(path))
    transfer = _Transfer(
        session, URL(url), part, Bounds(session, options), {**request, "headers": headers}
    )
    transfer.check, transfer.max_size, transfer.progress = check, max_size, progress
    try:
        await off_loop(part.open)
        await transfer.prepare(resume=resume)
        return await transfer.run()
    except (ChecksumError, ResponseTooLargeError):
        await off_loop(part.discard)
        raise
    except BaseException as error:
        await off_loop(transfer.leave)
        if transfer.kept and isinstance(error, Exception):
            error.add_note(
                f"{transfer.kept} bytes are kept in {part.path}; the same download goes on there"
            )
        raise
    finally:
        part.close()


class _CutError(Exception):
    """A body that ended before its end; the cause says how."""

    def __init__(self, error: Exception, url: URL) -> None:
        super().__init__()
        self.error = error
        self.url = url


class _Transfer:
    """One download, over as many requests as it takes."""

    check: Checksum | None = None
    max_size: int | None = None
    progress: Callable[[int, int | None], object] | None = None

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        part: PartFile,
        bounds: Bounds,
        request: dict[str, Any],
    ) -> None:
        self._session = session
        self._url = url
        self._part = part
        self._bounds = bounds
        self._request = request
        self._identity = _identity(session, url, request.get("params"))
        self._origin: Origin | None = None
        self._hasher: Hasher | None = None
        self._total: int | None = None
        # Where the range ends that the response says it has.
        self._end: float = math.inf
        self._done = 0
        self._reported = -1
        self._received = 0
        self._requests = 0
        self._resumed_from = 0
        self._begun = False
        self._last: CIMultiDict[str] = CIMultiDict()
        self.kept = 0

    async def prepare(self, *, resume: bool) -> None:
        """Find what an earlier call has left."""
        if self.check is not None:
            self._hasher = self.check.hasher()
        if not resume:
            return
        origin = await off_loop(self._part.load)
        if origin is None or origin.url != self._identity:
            return
        size = await off_loop(lambda: self._part.size)
        if origin.total is not None and size > origin.total:
            return
        if self._hasher is not None:
            before, after = -1, 0
            while after > before:
                before, after = (
                    after,
                    await off_loop(functools.partial(self._part.hash_into, self._hasher, after)),
                )
        self._origin, self._total = origin, origin.total
        self._done = self._resumed_from = size

    async def run(self) -> DownloadResult:
        """Get what is missing, and put the file in its place."""
        resumption = Resumption(
            self._bounds.client,
            self._bounds.options,
            random.Random(),  # noqa: S311 - jitter, not cryptography
        )
        furthest = self._done
        while True:
            try:
                complete = await self._request_rest()
            except _CutError as cut:
                if self._origin is None:
                    # The next response begins at its beginning: nothing is gained.
                    self._done = 0
                delay = resumption.delay(
                    cut.url,
                    gained=self._done - furthest,
                    remaining=self._bounds.remaining,
                    timed_out=isinstance(cut.error, TimeoutError),
                )
                furthest = max(furthest, self._done)
                if delay is None:
                    cut.error.add_note(
                        f"{self._requests} requests; stopped: {resumption.stop_reason}"
                    )
                    raise cut.error from cut.error.__cause__
                self._announce(cut, delay)
                await asyncio.sleep(delay)
            else:
                if complete:
                    resumption.helped()
                    return await self._finish()

    def leave(self) -> None:
        """Keep the part if it can be continued or is none of ours, else remove it; blocks."""
        if not self._part.is_open:
            return
        size = self._part.size
        if self._origin is not None:
            self.kept = size
        if size and (self._origin is not None or not self._begun):
            self._part.close()
        else:
            self._part.discard()

    async def _request_rest(self) -> bool:
        """Make one request; return whether the part is complete now."""
        arguments = self._request | self._bounds.of_request()
        offset = self._done
        # Where nothing may be missing, the last byte is asked for again: a 416 could not say of
        # which version it speaks, and aiohttp's own server sends one without looking at If-Range.
        again = 1 if offset and self._total in (None, offset) else 0
        if offset:
            assert self._origin is not None
            arguments["headers"] = CIMultiDict(arguments["headers"])
            arguments["headers"][hdrs.RANGE] = f"bytes={offset - again}-"
            arguments["headers"][hdrs.IF_RANGE] = self._origin.validator
        self._requests += 1
        async with self._session.get(self._url, raise_for_status=False, **arguments) as response:
            status, headers = response.status, response.headers
            if status == 206 and offset:
                if not self._continues(headers, offset - again):
                    await self._forget()
                    return False
            elif status == 416 and offset:
                await self._forget()
                return False
            elif status in (200, 203):
                await self._begin(response)
                again = 0
            else:
                _refuse(response)
            self._note(headers)
            await self._receive(response, again)
        return True

    def _continues(self, headers: Any, offset: int) -> bool:
        """Tell whether a 206 is the rest of what the part holds."""
        origin, rest = self._origin, ranges.content_range(headers)
        assert origin is not None
        if rest is None or rest.first != offset or rest.last is None or ranges.is_encoded(headers):
            return False
        if self._total is not None and rest.total not in (None, self._total):
            return False
        total = self._total if rest.total is None else rest.total
        if total is None or rest.last >= total or not ranges.is_of(headers, origin.validator):
            # Without a total nobody could tell when it is complete.
            return False
        self._total, self._end = total, rest.last + 1
        self._check_size(total)
        return True

    async def _begin(self, response: aiohttp.ClientResponse) -> None:
        """Start at the beginning: there was nothing, or it is of another version."""
        headers = response.headers
        self._total, validator = None, None
        self._last.clear()
        if not ranges.is_encoded(headers):
            length = headers.get(hdrs.CONTENT_LENGTH)
            self._total = None if length is None else int(length)
            validator = ranges.validator(headers)
        self._end = math.inf if self._total is None else self._total
        self._check_size(self._total or 0)
        origin = None
        if validator is not None:
            origin = Origin(self._identity, validator, self._total)
        await self._restart(origin)

    async def _forget(self) -> None:
        """Give up what there is: the server cannot or does not continue it."""
        self._total = None
        await self._restart(None)

    async def _restart(self, origin: Origin | None) -> None:
        self._begun = True
        self._origin = None
        await off_loop(lambda: self._part.begin(origin))
        self._origin = origin
        self._done = self._resumed_from = 0
        if self.check is not None:
            self._hasher = self.check.hasher()

    async def _receive(self, response: aiohttp.ClientResponse, again: int) -> None:
        """Write the body but its first *again* bytes, which are there.

        Raises:
            _CutError: If it ends too early.
        """
        spool = Spool(self._append)
        stream = response.content
        # Where the next piece belongs.
        taken = self._done - again
        self._report()
        try:
            while True:
                try:
                    piece = await stream.readany()
                except DeadlineExceededError:
                    raise
                except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as error:
                    for piece in self._unread(stream):
                        taken = self._accept(piece, taken)
                        await spool.put(piece[again:])
                        again = 0
                    raise _CutError(error, response.url) from None
                if not piece:
                    break
                taken = self._accept(piece, taken)
                await spool.put(piece[again:])
                again = 0
                self._report()
        finally:
            await spool.drain()
        self._report()
        if self._total is not None and self._done < self._total:
            missing = self._total - self._done
            early = aiohttp.ClientPayloadError(f"the body ended {missing} bytes before its end")
            raise _CutError(early, response.url)

    def _accept(self, piece: bytes, taken: int) -> int:
        """Return where *piece* ends that begins at *taken*, if that is not too far."""
        self._received += len(piece)
        taken += len(piece)
        self._check_size(taken)
        if taken > self._end:
            # Whatever was received, it is not the beginning of the file.
            self._origin = None
            raise aiohttp.ClientPayloadError("the body has more bytes than announced")
        return taken

    def _unread(self, stream: aiohttp.StreamReader) -> list[bytes]:
        """Return what came before the cut and was not read yet, which aiohttp does not give out.

        Where a connection lasts for less than a buffer, it is all there is.
        """
        if self._origin is None:
            return []
        pieces = list(stream._buffer)  # noqa: SLF001 - held by a canary in tests/contract
        if pieces:
            pieces[0] = pieces[0][stream._buffer_offset :]  # noqa: SLF001 - as above
        return pieces

    def _append(self, pieces: list[bytes]) -> None:
        self._part.append(pieces, self._hasher)
        self._done += sum(map(len, pieces))

    def _report(self) -> None:
        if self.progress is not None and self._done != self._reported:
            self._reported = self._done
            self.progress(self._done, self._total)

    def _check_size(self, size: int) -> None:
        if self.max_size is not None and size > self.max_size:
            raise ResponseTooLargeError(
                f"the body is larger than max_size, {self.max_size} bytes; nothing is kept of it"
            )

    def _note(self, headers: Any) -> None:
        for name in (hdrs.ETAG, hdrs.LAST_MODIFIED):
            if name in headers:
                self._last[name] = headers[name]

    def _announce(self, cut: _CutError, delay: float) -> None:
        client = self._bounds.client
        _LOGGER.info(
            "download from %s goes on after %d bytes in %.2f s: %s",
            bare(cut.url),
            self._done,
            delay,
            error_type(cut.error),
            extra={"client": client.name if client is not None else ""},
        )

    async def _finish(self) -> DownloadResult:
        found: str | None = None
        if self.check is not None and self._hasher is not None:
            found = f"{self.check.algorithm}:{self._hasher.hexdigest()}"
            if self.check.digest and found != str(self.check):
                raise ChecksumError(str(self.check), found)
        await off_loop(self._part.finish)
        return DownloadResult(
            path=self._part.target,
            size=self._done,
            received=self._received,
            resumed_from=self._resumed_from,
            requests=self._requests,
            etag=self._last.get(hdrs.ETAG),
            last_modified=self._last.get(hdrs.LAST_MODIFIED),
            checksum=found,
        )


def _refuse(response: aiohttp.ClientResponse) -> None:
    """Raise what a status says that brings no file."""
    response.raise_for_status()
    error = aiohttp.ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message="a download needs a 200",
        headers=response.headers,
    )
    conceal(error)
    raise error


def _identity(session: aiohttp.ClientSession, url: URL, params: Any) -> str:
    """Return a hash that is the same for the same file: the URL holds secrets, the hash does not.

    The query is a part of it, as it may tell files apart.
    """
    # A relative URL is another file under another base.
    base = session._base_url  # noqa: SLF001 - no public view; held by a canary in tests/contract
    whole = url if base is None else base.join(url)
    if params:
        whole = whole.extend_query(params)
    text = str(whole.with_fragment(None))
    return hashlib.sha256(text.encode()).hexdigest()

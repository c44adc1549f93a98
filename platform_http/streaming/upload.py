"""Uploads of any size, replayed where they can be."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import aiohttp
from aiohttp.payload import PAYLOAD_REGISTRY
from aiohttp.payload import LookupError as NoPayloadError
from yarl import URL

from platform_http.streaming.bounds import Bounds
from platform_http.streaming.disk import off_loop
from platform_http.streaming.upload_body import UploadBody

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from platform_http.call import CallOptions

Source: TypeAlias = (
    "str | os.PathLike[str] | BinaryIO | bytes | bytearray | AsyncIterable[bytes] | "
    "aiohttp.FormData"
)

# Of a session that no factory made: how long nothing may leave or come.
_SILENCE = 60.0


@contextlib.asynccontextmanager
async def upload(
    session: aiohttp.ClientSession,
    url: str | URL,
    source: Source,
    *,
    method: str = "PUT",
    progress: Callable[[int, int | None], object] | None = None,
    options: CallOptions | None = None,
    **request: Any,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send *source* as the body of a request, and yield the response.

    ::

        async with upload(session, "/backups/1", Path("backup.tar")) as response:
            response.raise_for_status()

    Memory does not grow with the body. There is no total timeout unless *options* or
    ``deadline()`` sets one, and ``TIMEOUT__ATTEMPT`` does not bound the upload as a whole: it
    bounds how long the server may take nothing of it, and then how long it may think before its
    headers.

    A path, bytes and a file that can be sought are sent again where a resend is permitted: PUT is
    idempotent, a POST needs ``CallOptions(idempotency_key=True)``. An async generator is sent once.

    Args:
        session: Of a factory, or any other one.
        url: Where to.
        source: A path (a ``str`` is one too), an open binary file from where it stands, bytes, an
            async iterable of bytes, or a form. What the caller opened the caller closes.
        method: Of the request.
        progress: Called on the event loop with the bytes handed to the network and the total or
            ``None``; it begins anew with each attempt. What it raises fails the upload.
        options: As for any call; ``attempt_timeout`` is the silence described above.
        **request: More arguments for ``session.request()``.

    Yields:
        The response; released at the end of the block.

    Raises:
        AttemptTimeoutError: If the server took nothing for too long.
        aiohttp.ClientError: As any call. What reading *source* raised is its cause.
        OSError: If the file cannot be opened.
        ValueError: If *request* has an argument that upload() sets itself.
        TypeError: If *source* is nothing that can be sent.
    """
    for argument in ("data", "json", "timeout", "trace_request_ctx", "upload_tracker"):
        if argument in request:
            raise ValueError(f"upload() takes source=, options= and progress=; not {argument}=")
    bounds = Bounds(session, options)
    silence = bounds.options.attempt_timeout or _SILENCE
    if bounds.options.attempt_timeout is None and bounds.client is not None:
        silence = bounds.client.settings.timeout.attempt
    async with contextlib.AsyncExitStack() as opened:
        body = UploadBody(await _payload(source, opened), silence, progress)
        arguments = request | bounds.of_request() | _patience(bounds, silence)
        response = await opened.enter_async_context(
            session.request(method, URL(url), data=body, **arguments)
        )
        yield response


def _patience(bounds: Bounds, silence: float) -> dict[str, Any]:
    """Return the arguments that let silence bound an attempt, instead of its length.

    aiohttp arms ``sock_read`` when the body is sent.
    """
    remaining = bounds.remaining
    limit = None if silence == math.inf else silence
    total = None if remaining == math.inf or bounds.client is not None else remaining
    options = dataclasses.replace(bounds.options, timeout=remaining, attempt_timeout=math.inf)
    return {
        "trace_request_ctx": options,
        "timeout": aiohttp.ClientTimeout(total=total, connect=limit, sock_read=limit),
    }


async def _payload(source: Source, opened: contextlib.AsyncExitStack) -> Any:
    if isinstance(source, aiohttp.FormData):
        return source()
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        file = await off_loop(lambda: path.open("rb"))
        opened.push_async_callback(off_loop, file.close)
        return PAYLOAD_REGISTRY.get(file, disposition=None)
    if isinstance(source, bytes | bytearray | memoryview):
        # Written in pieces, which bytes of their own are not.
        return PAYLOAD_REGISTRY.get(io.BytesIO(source), disposition=None)
    try:
        return PAYLOAD_REGISTRY.get(source, disposition=None)
    except NoPayloadError:
        kind = type(source).__name__
        raise TypeError(
            f"source must be a path, a binary file, bytes, an async iterable or a FormData, "
            f"not {kind}"
        ) from None

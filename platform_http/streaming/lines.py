"""Responses line by line, however many lines there are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from platform_http.streaming.errors import StreamFormatError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

MAX_LINE = 2**20
"""Bytes of a line that are accepted unless said otherwise."""


async def iter_lines(
    response: aiohttp.ClientResponse, *, max_line: int = MAX_LINE, encoding: str | None = None
) -> AsyncIterator[str]:
    r"""Yield the lines of a response as they arrive, without their ends.

    A line ends in ``\n`` or ``\r\n``; what follows the last end is a line unless it is empty.

    Args:
        response: Still unread; released by its ``async with``.
        max_line: Bytes of a line at most, decompressed and without its end, >= 1.
        encoding: Of the text; ``None`` is the response's own ``charset``, else UTF-8.

    Raises:
        StreamFormatError: If a line is longer, is no text of that encoding, or the encoding is one
            in which a line end is more than its one byte, such as UTF-16.
        LookupError: If there is no such encoding.
        ValueError: If *max_line* is not positive.
        aiohttp.ClientError: As any reading of a body.
    """
    codec = encoding or response.charset or "utf-8"
    _check_codec(codec)
    number = 0
    async for line in _raw_lines(response, max_line):
        number += 1
        try:
            text = line.decode(codec)
        except UnicodeDecodeError:
            raise StreamFormatError(f"line {number} is no {codec}", line=number) from None
        yield text


async def iter_json_lines(
    response: aiohttp.ClientResponse,
    *,
    max_line: int = MAX_LINE,
    loads: Callable[[bytes], Any] = json.loads,
) -> AsyncIterator[Any]:
    """Yield the value of each line of a response in JSON Lines (NDJSON); empty lines are skipped.

    Args:
        response: Still unread; released by its ``async with``.
        max_line: Bytes of a line at most, >= 1.
        loads: Decodes a line, UTF-8 in bytes; it says with a ``ValueError`` that it cannot.

    Raises:
        StreamFormatError: If a line is longer, or is no JSON.
        ValueError: If *max_line* is not positive.
        aiohttp.ClientError: As any reading of a body.
    """
    number = 0
    async for line in _raw_lines(response, max_line):
        number += 1
        if not line.strip():
            continue
        try:
            value = loads(line)
        except (ValueError, RecursionError):
            # Its error quotes the line.
            raise StreamFormatError(f"line {number} is no JSON", line=number) from None
        yield value


async def _raw_lines(response: aiohttp.ClientResponse, max_line: int) -> AsyncIterator[bytes]:
    if max_line < 1:
        raise ValueError(f"max_line must be >= 1 byte, got {max_line!r}")
    number = 1
    # The unfinished line, in the pieces that it came in: joining them each time is quadratic.
    begun: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join((*begun, end)).removesuffix(b"\r")
            begun, size = [], 0
            _check(len(line), max_line, number)
            yield line
            number += 1
        begun.append(rest)
        size += len(rest)
        # The carriage return of a line that just fits may be the last byte that came.
        _check(size - 1, max_line, number)
    if size:
        line = b"".join(begun)
        _check(len(line), max_line, number)
        yield line


def _check_codec(codec: str) -> None:
    try:
        splits = b"\r\n".decode(codec) == "\r\n"
    except UnicodeError:
        splits = False
    if not splits:
        raise StreamFormatError(
            f"lines in {codec} cannot be told apart by their bytes; read response.text() instead"
        )


def _check(size: int, max_line: int, number: int) -> None:
    if size > max_line:
        raise StreamFormatError(
            f"line {number} is longer than max_line, {max_line} bytes", line=number
        )

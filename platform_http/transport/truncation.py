"""Compressed bodies that end too early: an error, where aiohttp would return what there is.

aiohttp checks that a body has its full length on the wire, and of the codecs only deflate for its
own end. A gzip stream that was cut before it was framed is a short body with status 200.

Its decompressing buffer is made inside of the C parser and cannot be replaced or reached, so the
one method that sees the end is wrapped: once per process, and only the connections of this library
take another way through it.
"""

from __future__ import annotations

from typing import Any, Final

import aiohttp
from aiohttp.http_parser import DeflateBuffer

# What an untouched decompressor takes for a complete stream of no bytes, and one that is in the
# middle of another stream does not.
_EMPTY_GZIP: Final = bytes.fromhex("1f8b080000000000000303000000000000000000")
_EMPTY_ZSTD: Final = bytes.fromhex("28b52ffd2000010000")

_feed_eof = DeflateBuffer.feed_eof


class Watched:
    """Marks the connections whose compressed bodies must be complete."""


def watch_for_truncation() -> None:
    """Make a compressed body that ends too early a failed one; may be called any number of times.

    Its reader gets an ``aiohttp.ClientPayloadError``.
    """
    DeflateBuffer.feed_eof = _checked_feed_eof  # type: ignore[assignment,method-assign] # see above


def _checked_feed_eof(buffer: DeflateBuffer) -> None:
    out = buffer.out
    if (
        buffer.size > 0
        and isinstance(out._protocol, Watched)  # noqa: SLF001 - held by a canary in tests/contract
        and not is_complete(buffer.decompressor, buffer.encoding)
    ):
        out.set_exception(
            aiohttp.ClientPayloadError(f"the {buffer.encoding} body ends before its end")
        )
    else:
        _feed_eof(buffer)


def is_complete(decompressor: Any, encoding: str | None) -> bool:
    """Tell whether *decompressor* has reached the end of every stream that it began.

    It is of no use afterwards.
    """
    if encoding == "br":
        return bool(decompressor._obj.is_finished())  # noqa: SLF001 - held by a canary
    # aiohttp takes a new one after each member, so the last one is complete or untouched.
    codec = decompressor._decompressor  # noqa: SLF001 - held by a canary in tests/contract
    if codec.eof:
        return True
    if encoding == "deflate":
        return False
    try:
        nothing = codec.decompress(_EMPTY_ZSTD if encoding == "zstd" else _EMPTY_GZIP)
    except Exception:  # noqa: BLE001 - each codec has its own; the empty stream made no sense here
        return False
    return not nothing and bool(codec.eof)

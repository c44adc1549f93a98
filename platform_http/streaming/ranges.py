"""What a response says about continuing it: validators and ranges of RFC 9110."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A ``Content-Range`` in bytes.

    Args:
        first: Offset of the first byte; ``None`` in the answer to a range that there is not.
        last: Offset of the last byte, likewise.
        total: Bytes of the whole; ``None`` if not told.
    """

    first: int | None
    last: int | None
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return the ``Content-Range`` of *headers*; ``None`` if there is none that makes sense."""
    match = _CONTENT_RANGE.fullmatch(headers.get(hdrs.CONTENT_RANGE, "").strip())
    if match is None:
        return None
    first, last = (None if each is None else int(each) for each in match.group(1, 2))
    total = None if match[3] == "*" else int(match[3])
    if first is not None and last is not None:
        if last < first or (total is not None and last >= total):
            return None
    elif total is None:
        return None
    return ContentRange(first, last, total)


def validator(headers: Mapping[str, str]) -> str | None:
    """Return what ``If-Range`` may say about a response with *headers*.

    That is its entity tag if it is a strong one. A date is taken only where there is no tag at
    all, and only if the file was a second old when it was sent: one that is written twice within
    a second has the same date twice.

    Source: RFC 9110, sections 13.1.5 and 8.8.2.2.
    """
    etag = headers.get(hdrs.ETAG)
    if etag is not None:
        return etag if _STRONG.fullmatch(etag) else None
    modified, sent = headers.get(hdrs.LAST_MODIFIED), headers.get(hdrs.DATE)
    if modified is None or sent is None:
        return None
    try:
        age = parsedate_to_datetime(sent) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= 1 else None


def is_of(headers: Mapping[str, str], known: str) -> bool:
    """Tell whether a 206 with *headers* is of the version with the validator *known*.

    Not every server understands ``If-Range``, so that is looked at here too. A 206 repeats the
    entity tag of its 200. It may leave out the date, and it may hold several ranges, where the body
    is none of them.

    Source: RFC 9110, section 15.3.7.
    """
    if headers.get(hdrs.CONTENT_TYPE, "").strip().lower().startswith("multipart/byteranges"):
        return False
    if known.startswith('"'):
        return headers.get(hdrs.ETAG) == known
    return headers.get(hdrs.LAST_MODIFIED, known) == known


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Tell whether the body is not sent as it is stored: aiohttp decodes it, and ranges do not."""
    return headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ("", "identity")

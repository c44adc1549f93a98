"""Framing headers of callers: refused where they contradict the body or the route.

A length that is not the body's leaves the peer waiting, or takes what follows on the connection
for another request: request smuggling (RFC 9112, section 11.2). aiohttp sends such headers as they
are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import CIMultiDict
    from yarl import URL

_DIGITS = re.compile(r"[0-9]+", re.ASCII)

_NO_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")

_CONNECTION_OPTIONS = frozenset({"close", "keep-alive"})

# As gateways to CGI and WSGI read them.
_DISGUISED = frozenset({"content_length", "transfer_encoding"})


def contradicts_route(headers: CIMultiDict[str], url: URL) -> str | None:
    """Return what is wrong with headers that say how to handle the connection, or ``None``.

    Args:
        headers: As the caller and the settings gave them.
        url: Where the request goes.
    """
    names = "".join(headers)
    if _NO_TOKEN.search(names) is not None or "" in headers:
        return "the name of a header is no token (RFC 9110, section 5.6.2); correct it"
    if "_" in names and any(name.lower() in _DISGUISED for name in headers):
        return "a framing header is spelt with an underscore; remove it"
    if hdrs.TRANSFER_ENCODING in headers:
        return "Transfer-Encoding is the library's to set; pass chunked=True instead"
    if hdrs.HOST in headers and any(
        not _is_authority(value, url) for value in headers.getall(hdrs.HOST)
    ):
        return "Host differs from the host of the URL; put the host that is meant into the URL"
    wants_upgrade = hdrs.UPGRADE in headers
    if hdrs.CONNECTION in headers or wants_upgrade:
        options = _tokens(headers.getall(hdrs.CONNECTION, ()))
        if wants_upgrade != ("upgrade" in options):
            return "Upgrade and Connection: upgrade need each other; set both or neither"
        if not options <= _CONNECTION_OPTIONS | {"upgrade"}:
            return "Connection may say close, keep-alive or upgrade; remove what else it says"
    return None


def contradicts_body(headers: CIMultiDict[str], request: aiohttp.ClientRequest) -> str | None:
    """Return what is wrong with headers that describe the body of *request*, or ``None``.

    The length of a generator is not known here, so a caller may well tell it.
    """
    body = request.body
    if hdrs.UPGRADE in headers and body:
        return "Upgrade does not go together with a body; send the body without it"
    if hdrs.CONTENT_LENGTH not in headers:
        return None
    values = headers.getall(hdrs.CONTENT_LENGTH)
    size = body.size if body else 0
    if (
        len(values) != 1
        or _DIGITS.fullmatch(values[0]) is None
        or (size is not None and int(values[0]) != size)
    ):
        return "Content-Length differs from the length of the body; remove it"
    return None


def miscounts(body: aiohttp.Payload) -> bool:
    """Tell whether the size of *body* is not the number of bytes that it becomes.

    aiohttp takes the size of a file in text mode from the disk, and writes it decoded and encoded
    again: line ends, byte-order marks and other encodings than UTF-8 change it.
    """
    if isinstance(body, aiohttp.MultipartWriter):
        return any(miscounts(part) for part, _, _ in body)
    return isinstance(body, aiohttp.TextIOPayload)


def may_fall_short(request: aiohttp.ClientRequest) -> bool:
    """Tell whether only the end of the body will show if its length was told right.

    The server takes what is missing from the next request on the connection, so there must be none.
    """
    body = request.body
    if not body:
        return False
    # The retry policy may have read a generator by now, and then its length is known.
    length = request.headers.get(hdrs.CONTENT_LENGTH)
    return length is not None and length != str(body.size)


def _tokens(values: Iterable[str]) -> set[str]:
    return {token.strip().lower() for value in values for token in value.split(",")} - {""}


def _is_authority(value: str, url: URL) -> bool:
    host = url.host_subcomponent or ""
    accepted = {f"{host}:{url.port}".lower()}
    if url.is_default_port():
        accepted.add(host.lower())
    return value.strip().lower() in accepted

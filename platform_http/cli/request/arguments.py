"""The arguments of ``platform-http request``, checked before anything is sent."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer
from multidict import CIMultiDict
from yarl import URL

from platform_http.call import CallOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platform_http.settings import ClientSettings

# RFC 9110, section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Of a key that is to be made up.
AUTO = "auto"

_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")


class Order(NamedTuple):
    """What is to be sent."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None
    options: CallOptions


def method_of(text: str) -> str:
    """Return an HTTP method in upper case.

    Raises:
        typer.BadParameter: If it is none.
    """
    if not _TOKEN.fullmatch(text):
        raise typer.BadParameter("METHOD is a word such as GET or POST")
    return text.upper()


def url_of(text: str, settings: ClientSettings) -> URL:
    """Return where the call goes; a relative URL joins the client's ``BASE_URL``.

    Raises:
        typer.BadParameter: If it cannot be called. The text is not repeated: it may hold a secret.
    """
    try:
        url = URL(text)
        _ = url.port
    except ValueError:
        raise typer.BadParameter("URL cannot be parsed; percent-encode what it holds") from None
    if url.absolute or url.scheme:
        if url.scheme not in {"http", "https"}:
            raise typer.BadParameter(
                "URL begins with neither http:// nor https://; "
                "a relative one with a colon in its first segment begins with ./"
            )
        if not url.absolute:
            raise typer.BadParameter("URL names no host")
    elif settings.base_url is None:
        raise typer.BadParameter(
            f"URL is relative, and client {settings.name} has no BASE_URL; "
            "begin it with https:// or name another --client"
        )
    return url


def headers_of(texts: Iterable[str], content_type: str | None) -> CIMultiDict[str]:
    """Return the headers that ``--header`` and ``--content-type`` ask for.

    Raises:
        typer.BadParameter: If a line is no header or a file cannot be read. Values are not
            repeated.
    """
    headers: CIMultiDict[str] = CIMultiDict()
    for text in texts:
        if text.startswith("@"):
            lines = _read(text[1:], "--header").decode("utf-8", "replace").splitlines()
            place = f"a line of {text[1:]}"
        else:
            lines, place = [text], "--header"
        for line in filter(str.strip, lines):
            name, colon, value = line.partition(":")
            if not colon or not _TOKEN.fullmatch(name.strip()) or not value.isprintable():
                raise typer.BadParameter(f"{place} is not NAME:VALUE in printable characters")
            headers.add(name.strip(), value.strip())
    if content_type is not None:
        headers["Content-Type"] = content_type
    return headers


def body_of(text: str | None) -> bytes | None:
    """Return the body that ``--data`` asks for: the text, ``@FILE``, or ``-`` for standard input.

    Raises:
        typer.BadParameter: If a file cannot be read.
    """
    if text is None:
        return None
    if text in {"-", "@-"}:
        return sys.stdin.buffer.read()
    # What is no text was decoded by Python with surrogates, and goes out as the bytes that it was.
    return _read(text[1:], "--data") if text.startswith("@") else os.fsencode(text)


def options_of(
    timeout: float | None, attempts: int | None, idempotency_key: str | None
) -> CallOptions:
    """Return the choices for this one call.

    Raises:
        typer.BadParameter: If one is out of its range.
    """
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise typer.BadParameter("--idempotency-key is one or more printable ASCII characters")
    try:
        return CallOptions(
            timeout=timeout,
            max_attempts=attempts,
            idempotency_key=True if idempotency_key == AUTO else idempotency_key,
        )
    except ValueError as error:
        message = str(error).replace("CallOptions.max_", "--").replace("CallOptions.", "--")
        raise typer.BadParameter(message) from None


def _read(name: str, option: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{option}: {name}: {error.strerror}") from None

"""What may be shown of a server's answer on a terminal, in a log of CI, in a ticket."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from platform_http.cli.printable import printable
from platform_http.cli.request.report import Header
from platform_http.telemetry.redaction import REDACTED

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

# The first two lists are never captured on spans either; the rest are customs of many APIs.
_SECRET_HEADERS = re.compile(
    r"authorization|cookie|set-cookie|proxy-.*|.*(token|secret|password|api-?key|credential"
    r"|session|signature).*",
    re.IGNORECASE,
)

# Headers that hold URLs, whose queries may be signed.
_QUERY = re.compile(r"([?#])[^\s<>;,\"']+")
_USERINFO = re.compile(r"//[^/?#\s]*@")
_HOLDS_URLS = frozenset({"content-location", "link", "location", "refresh"})


def shown_headers(headers: CIMultiDictProxy[str]) -> list[Header]:
    """Return *headers* in their order, with the values of those that may be secret redacted."""
    return [
        Header(name=printable(name), value=_value(name, value)) for name, value in headers.items()
    ]


def _value(name: str, value: str) -> str:
    if _SECRET_HEADERS.fullmatch(name):
        return REDACTED
    if name.lower() in _HOLDS_URLS:
        value = _USERINFO.sub("//", _QUERY.sub(rf"\1{REDACTED}", value))
    return printable(value)

"""What aiohttp's exceptions may show: no userinfo, query, header value, body or password.

Types, statuses and the attributes that code looks at stay. What is shown of an exception, its
text, its ``repr`` and its arguments, is made from them, so those lose what must not be seen.
"""

from __future__ import annotations

from http.cookies import CookieError
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey


class ShownHeaders(CIMultiDictProxy[str]):
    """Headers that show their names alone."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


class ShownRequestInfo(aiohttp.RequestInfo):
    """What an exception tells of its request.

    ``url``, ``method`` and ``headers`` are complete, for code. ``real_url``, which aiohttp puts
    into texts, is without userinfo, query and fragment.
    """

    @classmethod
    def of(cls, info: aiohttp.RequestInfo) -> ShownRequestInfo:
        """Return *info* in this form."""
        return cls(info.url, info.method, info.headers, info.url)

    @property
    def real_url(self) -> URL:
        """The URL as it may be shown."""
        return bare(self.url)

    def __repr__(self) -> str:
        return f"<{self.method} {self.real_url}>"


def bare(url: URL) -> URL:
    """Return *url* without userinfo, query and fragment."""
    shown = url.with_query(None).with_fragment(None)
    return shown.with_user(None) if shown.raw_user or shown.raw_password else shown


def conceal(error: BaseException) -> None:
    """Take from *error*, an exception of aiohttp, what it must not show."""
    if isinstance(error, aiohttp.ClientResponseError):
        _conceal_response_error(error)
    elif isinstance(error, aiohttp.InvalidURL):
        error._url = _bare_text(error.url)  # noqa: SLF001 - there is no public way
        error.args = (error.url, error.description) if error.description else (error.url,)
        # The parser quotes what it could not parse.
        error.__cause__ = error.__context__ = None
    elif isinstance(error, aiohttp.NonHttpUrlClientError):
        error.args = tuple(map(_bare_text, error.args))
    elif isinstance(error, aiohttp.ClientConnectorError):
        key = error._conn_key  # noqa: SLF001 - there is no public way
        if key.proxy is not None:
            error._conn_key = _bare_key(key)  # noqa: SLF001 - there is no public way
            error.args = (error._conn_key, *error.args[1:])  # noqa: SLF001 - as above
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        if not isinstance(error.message, str):
            error.message = "Server disconnected in the middle of its headers"
            error.args = (error.message,)
    elif type(error) in _UPLOAD_TEXTS:
        _conceal_upload_error(error)
    elif isinstance(error, HttpProcessingError):
        _without_the_servers_bytes(error)
    elif isinstance(error, TypeError):
        # aiohttp quotes the header that is no string, and every TypeError passes here.
        if str(error).startswith(_NOT_SERIALIZABLE):
            error.args = ("a header name or value is no string",)
    elif isinstance(error, CookieError):
        # It quotes the name.
        error.args = ()
    elif isinstance(error, UnicodeDecodeError):
        error.object = b""
        error.args = (error.encoding, b"", error.start, error.end, error.reason)


_NOT_SERIALIZABLE = "Cannot serialize non-str key"

_UPLOAD_TEXTS: dict[type[BaseException], str] = {
    aiohttp.ClientOSError: "Can not write request body",
    aiohttp.ClientConnectionError: "Failed to send bytes into the underlying connection",
}


def _conceal_upload_error(error: BaseException) -> None:
    """Keep the fixed beginning of a text that goes on with the URL or with the connection."""
    text = _UPLOAD_TEXTS[type(error)]
    if not str(error.args[-1] if error.args else "").startswith(text):
        return
    error.args = (*error.args[:-1], text)
    if isinstance(error, OSError):
        error.strerror = text


def _conceal_response_error(error: aiohttp.ClientResponseError) -> None:
    # An application may have made it from anything.
    if isinstance(error.request_info, aiohttp.RequestInfo):
        error.request_info = ShownRequestInfo.of(error.request_info)
    if isinstance(error.headers, CIMultiDict | CIMultiDictProxy):
        error.headers = ShownHeaders(error.headers)
    if isinstance(error, aiohttp.ContentTypeError):
        error.message = "the response is not of the content type that was asked for; see headers"
    if isinstance(error.__cause__, HttpProcessingError):
        error.message = _without_the_servers_bytes(error.__cause__)
    error.args = (error.request_info, error.history)


def _without_the_servers_bytes(cause: BaseException | None) -> str:
    """Empty the parser's messages, which quote what was received, and name what went wrong."""
    kind = ""
    while isinstance(cause, HttpProcessingError):
        kind = type(cause).__name__
        cause.message = kind
        cause.args = (cause.code, kind)
        cause = cause.__cause__
    return f"malformed response: {kind}"


def _bare_text(location: object) -> str:
    try:
        return str(bare(URL(str(location))))
    except ValueError:
        return "the URL"


def _bare_key(key: ConnectionKey) -> ConnectionKey:
    changes: dict[str, Any] = {"proxy": bare(key.proxy) if key.proxy else None, "proxy_auth": None}
    return key._replace(**changes)

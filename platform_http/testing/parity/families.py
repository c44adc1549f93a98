"""Errors of different libraries that mean the same to an application."""

from __future__ import annotations

import urllib.error

import aiohttp

from platform_http.errors import RequestRejectedError
from platform_http.outcomes import is_malformed_response, is_raised_status

# Parts of the names of an exception's classes, by which no library has to be imported.
_BROKEN = (
    "badstatusline",
    "connect",
    "contentlength",
    "decodingerror",
    "encodingerror",
    "gaierror",
    "httpexception",
    "incompleteread",
    "networkerror",
    "payloaderror",
    "protocolerror",
    "readerror",
    "sslerror",
    "writeerror",
)


def family(error: BaseException) -> str:
    """Return the family of *error*; never anything of its message.

    Returns:
        ``timeout``, ``connection error`` (the connection, or what came over it, was no good),
        ``too many redirects``, ``status <n> raised``, ``refused by a policy``, or ``other error``
        with the name of its class.
    """
    # urllib wraps what happened.
    reason = getattr(error, "reason", None)
    error = reason if isinstance(reason, BaseException) else error
    if isinstance(error, aiohttp.ClientResponseError) and is_raised_status(error):
        return f"status {error.status} raised"
    names = [kind.__name__.lower() for kind in type(error).__mro__]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, urllib.error.HTTPError):
        status = error.code
    if isinstance(error, RequestRejectedError):
        return "refused by a policy"
    if isinstance(error, TimeoutError) or any("timeout" in name for name in names):
        return "timeout"
    if any("toomanyredirects" in name for name in names):
        return "too many redirects"
    if isinstance(status, int):
        return f"status {status} raised"
    if isinstance(error, aiohttp.ClientResponseError) and is_malformed_response(error):
        return "connection error"
    # Files are OSErrors too, and whatever requests raises is one.
    if type(error) is OSError or any(word in name for word in _BROKEN for name in names):
        return "connection error"
    return f"other error ({type(error).__name__})"

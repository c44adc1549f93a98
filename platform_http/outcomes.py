"""What an exception of a request means: its ``error.type``, its outcome, its public form."""

from __future__ import annotations

import asyncio
import errno
import ssl
from http.cookies import CookieError
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from platform_http.concealment import bare, conceal
from platform_http.errors import PlatformHttpError, PoolTimeoutError, RequestRejectedError
from platform_http.policies.outcome import Health, Kind, Outcome

if TYPE_CHECKING:
    from yarl import URL

# Ours, not the server's: a resend at once would fail the same way.
_LOCAL_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
)

_HTTP_STACK = frozenset(
    {
        "aiohttp",
        "aiohappyeyeballs",
        "asyncio",
        "encodings",
        "http.cookies",
        "multidict",
        "platform_http",
        "ssl",
        "yarl",
    }
)

# The first match wins, so subclasses stand before their bases.
_ERROR_TYPES: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "name_resolution_error"),
    (aiohttp.ClientProxyConnectionError, "proxy_error"),
    (aiohttp.ClientHttpProxyError, "proxy_error"),
    (aiohttp.ClientSSLError, "secure_connection_error"),
    (aiohttp.ServerFingerprintMismatch, "secure_connection_error"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ServerTimeoutError, "read_timeout"),
    (aiohttp.ServerDisconnectedError, "response_ended"),
    (aiohttp.ClientConnectionError, "connection_error"),
    (aiohttp.TooManyRedirects, "too_many_redirects"),
    (aiohttp.ClientPayloadError, "payload_error"),
    # What is left of TimeoutError is the caller's own per-request ``timeout=``.
    (TimeoutError, "deadline_exceeded"),
)

# What the body of a request raises arrives as one of these, with the cause attached.
_BODY_FAILURES = frozenset({aiohttp.ClientConnectionError, aiohttp.ClientOSError})

_TRANSIENT = frozenset(
    {
        "attempt_timeout",
        "connect_timeout",
        "connection_error",
        "proxy_error",
        "read_timeout",
        "response_ended",
    }
)
_SERVER_FAULTS = frozenset(
    {
        "deadline_exceeded",
        "invalid_response",
        "payload_error",
        "secure_connection_error",
    }
)


def error_type(error: BaseException) -> str:
    """Return the ``error.type`` word of *error*: the same on span, metric and log."""
    if isinstance(error, PlatformHttpError):
        return error.error_type
    if _is_tls_alert(error):
        return "secure_connection_error"
    if _is_callers_body(error):
        return "_OTHER"
    for kind, word in _ERROR_TYPES:
        if isinstance(error, kind):
            return word
    if isinstance(error, aiohttp.ClientResponseError):
        return "invalid_response" if is_malformed_response(error) else str(error.status)
    return "_OTHER"


def _is_tls_alert(error: BaseException) -> bool:
    """Tell whether the server refused after our side of the handshake was complete.

    TLS 1.3 lets it look at the client certificate only then, so that this is a lost connection.
    """
    cause = error.__cause__
    return (
        isinstance(error, aiohttp.ClientOSError)
        and isinstance(cause, ssl.SSLError)
        and "_ALERT_" in (cause.reason or "")
    )


def _is_callers_body(error: BaseException) -> bool:
    """Tell whether the caller's own body raised, which aiohttp reports as a lost connection."""
    cause = error.__cause__
    return (
        type(error) in _BODY_FAILURES
        and cause is not None
        and cause.__traceback__ is not None
        and not was_raised_by_aiohttp(cause)
    )


def is_malformed_response(error: aiohttp.ClientResponseError) -> bool:
    """Tell a response that could not be parsed from a status that was raised.

    aiohttp reports both as ``ClientResponseError``, the former with status 400.
    """
    return isinstance(error.__cause__, HttpProcessingError)


def is_raised_status(error: BaseException) -> bool:
    """Tell whether *error* only says what status a sound response has (``raise_for_status``)."""
    return (
        isinstance(error, aiohttp.ClientResponseError)
        and not isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.TooManyRedirects)
        and not is_malformed_response(error)
    )


def was_raised_by_aiohttp(error: BaseException) -> bool:
    """Tell what escaped from inside the HTTP stack from what the application's hooks raised."""
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    module = str(traceback.tb_frame.f_globals.get("__name__", ""))
    return module in _HTTP_STACK or module.partition(".")[0] in _HTTP_STACK


def of_exception(error: BaseException) -> Outcome:
    """Classify the failure of an attempt.

    Source: resilience.md, "Outcome first": a certificate, a protocol violation and a refusal are
    not worth a resend; local shortages are not the server's fault.
    """
    if isinstance(error, asyncio.CancelledError):
        return Outcome(Kind.NEUTRAL, Health.NEUTRAL)
    reason = error_type(error)
    if isinstance(error, PoolTimeoutError):
        return Outcome(Kind.TRANSIENT, Health.NEUTRAL, reason)
    if isinstance(error, RequestRejectedError):
        return Outcome(Kind.PERMANENT, Health.NEUTRAL, reason)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status in (502, 503, 504):
            return Outcome(Kind.TRANSIENT, Health.FAILED, reason)
        return Outcome(Kind.PERMANENT, Health.NEUTRAL, reason)
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRNOS:
        return Outcome(Kind.PERMANENT, Health.NEUTRAL, reason)
    if reason == "name_resolution_error":
        return Outcome(Kind.TRANSIENT, Health.FAILED, reason, once=True)
    if reason in _TRANSIENT:
        return Outcome(Kind.TRANSIENT, Health.FAILED, reason)
    if reason in _SERVER_FAULTS:
        return Outcome(Kind.PERMANENT, Health.FAILED, reason)
    return Outcome(Kind.PERMANENT, Health.NEUTRAL, reason)


def is_public(error: BaseException) -> bool:
    """Tell whether callers can rely on *error* as it is: one of ours that is a client's error."""
    return isinstance(error, PlatformHttpError) and isinstance(error, aiohttp.ClientError)


def translate(error: Exception, url: URL) -> Exception:
    """Return *error* in the form that callers can rely on; often the same object.

    aiohttp lets some failures escape that are no ``ClientError``, and wraps our own refusals that
    are ``TimeoutError`` in its ``ConnectionTimeoutError``.

    Args:
        error: What the request raised.
        url: Where the request went; only its origin and path appear in messages.
    """
    if is_public(error):
        return error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        # aiohttp's text holds the whole URL with its query; it stays in the context of its cause.
        error.args = (f"Connection timeout to host {url.origin()}",)
        return error.__cause__ if isinstance(error.__cause__, PlatformHttpError) else error
    conceal(error)
    if isinstance(error, aiohttp.ClientError):
        return error
    if isinstance(error, LineTooLong):
        return _caused(aiohttp.ClientPayloadError("a line of the response is too long"), error)
    if isinstance(error, CookieError):
        return _caused(aiohttp.ClientError("the name of a cookie is no token; correct it"), error)
    if isinstance(error, AssertionError | ValueError):
        return _caused(aiohttp.InvalidURL(bare(url), str(error) or "is not a valid URL"), error)
    if isinstance(error, RuntimeError | IndexError):
        return _caused(aiohttp.ClientConnectionError(f"cannot connect to {url.host}"), error)
    return error


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error

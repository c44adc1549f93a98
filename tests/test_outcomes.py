"""What exceptions mean."""

from __future__ import annotations

import asyncio
import errno
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from platform_http import errors, outcomes
from platform_http.policies.outcome import Health, Kind

KEY = ConnectionKey("api.test", 443, True, True, None, None, None)
URL_WITH_SECRETS = URL("https://user:pw@api.test/path?token=geheim#part")


def _response_error(
    kind: type[aiohttp.ClientResponseError] = aiohttp.ClientResponseError,
    status: int = 400,
    cause: Exception | None = None,
) -> aiohttp.ClientResponseError:
    headers = CIMultiDictProxy(CIMultiDict[str]())
    info = aiohttp.RequestInfo(URL("https://api.test/"), "GET", headers)
    error = kind(info, (), status=status)
    error.__cause__ = cause
    return error


def _os(code: int) -> OSError:
    return OSError(code, "text")


CASES = [
    # error, error.type, kind, health
    (asyncio.CancelledError(), "_OTHER", Kind.NEUTRAL, Health.NEUTRAL),
    (
        aiohttp.ClientConnectorDNSError(KEY, _os(-2)),
        "name_resolution_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (
        aiohttp.ClientConnectorError(KEY, _os(errno.ECONNREFUSED)),
        "connection_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (
        aiohttp.ClientConnectorError(KEY, _os(errno.EMFILE)),
        "connection_error",
        Kind.PERMANENT,
        Health.NEUTRAL,
    ),
    (
        aiohttp.ClientOSError(errno.EADDRNOTAVAIL, "text"),
        "connection_error",
        Kind.PERMANENT,
        Health.NEUTRAL,
    ),
    (
        aiohttp.ClientOSError(errno.ECONNRESET, "text"),
        "connection_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (
        aiohttp.ClientConnectionResetError("closing"),
        "connection_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (aiohttp.ServerDisconnectedError(), "response_ended", Kind.TRANSIENT, Health.FAILED),
    (aiohttp.ConnectionTimeoutError(), "connect_timeout", Kind.TRANSIENT, Health.FAILED),
    (aiohttp.SocketTimeoutError(), "read_timeout", Kind.TRANSIENT, Health.FAILED),
    (
        aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("bad")),
        "secure_connection_error",
        Kind.PERMANENT,
        Health.FAILED,
    ),
    (
        aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("bad")),
        "secure_connection_error",
        Kind.PERMANENT,
        Health.FAILED,
    ),
    (
        aiohttp.ClientProxyConnectionError(KEY, _os(errno.ECONNREFUSED)),
        "proxy_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (
        _response_error(aiohttp.ClientHttpProxyError, 407),
        "proxy_error",
        Kind.PERMANENT,
        Health.NEUTRAL,
    ),
    (
        _response_error(aiohttp.ClientHttpProxyError, 503),
        "proxy_error",
        Kind.TRANSIENT,
        Health.FAILED,
    ),
    (
        _response_error(cause=BadHttpMessage("bad")),
        "invalid_response",
        Kind.PERMANENT,
        Health.FAILED,
    ),
    (_response_error(status=404), "404", Kind.PERMANENT, Health.NEUTRAL),
    (
        _response_error(aiohttp.TooManyRedirects, 302),
        "too_many_redirects",
        Kind.PERMANENT,
        Health.NEUTRAL,
    ),
    (aiohttp.ClientPayloadError("cut"), "payload_error", Kind.PERMANENT, Health.FAILED),
    (TimeoutError(), "deadline_exceeded", Kind.PERMANENT, Health.FAILED),
    (aiohttp.InvalidURL("x"), "_OTHER", Kind.PERMANENT, Health.NEUTRAL),
    (KeyError("x"), "_OTHER", Kind.PERMANENT, Health.NEUTRAL),
    (errors.AttemptTimeoutError("x"), "attempt_timeout", Kind.TRANSIENT, Health.FAILED),
    (errors.DeadlineExceededError("x"), "deadline_exceeded", Kind.PERMANENT, Health.FAILED),
    (errors.PoolTimeoutError("x"), "pool_timeout", Kind.TRANSIENT, Health.NEUTRAL),
    (errors.CircuitOpenError("x", retry_after=1), "circuit_open", Kind.PERMANENT, Health.NEUTRAL),
    (errors.ConcurrencyLimitError("x"), "concurrency_limited", Kind.PERMANENT, Health.NEUTRAL),
    (errors.RateLimitedError("x", retry_after=1), "rate_limited", Kind.PERMANENT, Health.NEUTRAL),
    (errors.ThrottledError("x"), "throttled", Kind.PERMANENT, Health.NEUTRAL),
    (errors.EgressDeniedError("x", reason="r"), "egress_denied", Kind.PERMANENT, Health.NEUTRAL),
    (errors.AuthenticationError("x"), "auth_error", Kind.PERMANENT, Health.NEUTRAL),
    (errors.ResponseTooLargeError("x"), "response_too_large", Kind.PERMANENT, Health.NEUTRAL),
]


@pytest.mark.parametrize(("error", "word", "kind", "health"), CASES, ids=repr)
def test_every_failure_has_a_word_and_a_meaning(
    error: BaseException, word: str, kind: Kind, health: Health
) -> None:
    assert outcomes.error_type(error) == word
    outcome = outcomes.of_exception(error)
    assert (outcome.kind, outcome.health) == (kind, health)
    assert outcome.reason == ("" if kind is Kind.NEUTRAL else word)


def test_a_failed_look_up_is_worth_one_resend() -> None:
    assert outcomes.of_exception(aiohttp.ClientConnectorDNSError(KEY, _os(-2))).once


@pytest.mark.parametrize(
    ("error", "public"),
    [
        (AssertionError(), aiohttp.InvalidURL),
        (ValueError("bad port"), aiohttp.InvalidURL),
        (RuntimeError("empty"), aiohttp.ClientConnectionError),
        (IndexError(), aiohttp.ClientConnectionError),
        (LineTooLong(b"line", 1), aiohttp.ClientPayloadError),
    ],
)
def test_what_escapes_aiohttp_becomes_a_client_error(
    error: Exception, public: type[Exception]
) -> None:
    translated = outcomes.translate(error, URL_WITH_SECRETS)
    assert type(translated) is public
    assert translated.__cause__ is error
    assert "geheim" not in str(translated) + repr(translated)
    assert "pw" not in str(translated) + repr(translated)


@pytest.mark.parametrize("error", [aiohttp.ClientOSError(1, "x"), TimeoutError(), KeyError("x")])
def test_what_callers_can_rely_on_passes_unchanged(error: Exception) -> None:
    assert outcomes.translate(error, URL_WITH_SECRETS) is error


def test_a_refusal_that_aiohttp_wrapped_is_unwrapped() -> None:
    refusal = errors.PoolTimeoutError("full")
    wrapped = aiohttp.ConnectionTimeoutError("Connection timeout to host")
    wrapped.__cause__ = refusal
    assert outcomes.translate(wrapped, URL_WITH_SECRETS) is refusal


def test_a_connection_timeout_loses_the_query() -> None:
    error = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {URL_WITH_SECRETS}")
    assert "geheim" not in str(outcomes.translate(error, URL_WITH_SECRETS))


def test_only_aiohttps_own_errors_are_told_from_the_applications() -> None:
    with pytest.raises(ValueError) as ours:  # noqa: PT011 - any ValueError of this file will do
        raise ValueError("application")
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 - whatever yarl says
        URL("http://[")
    assert not outcomes.was_raised_by_aiohttp(ours.value)
    assert outcomes.was_raised_by_aiohttp(theirs.value)
    assert not outcomes.was_raised_by_aiohttp(ValueError("never raised"))

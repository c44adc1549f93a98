"""Which exception a caller gets."""

from __future__ import annotations

import asyncio
import traceback
from http.cookies import CookieError

import aiohttp
import pytest

from platform_http import errors
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, drip, raw, respond, response_bytes, sequence
from tests.functional.conftest import Observed


def test_no_error_of_ours_is_one_that_aiohttp_resends_on() -> None:
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.PlatformHttpError):
            assert not issubclass(kind, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.ConfigurationError, ValueError),
        (errors.RequestRejectedError, aiohttp.ClientConnectionError),
        (errors.CircuitOpenError, errors.RequestRejectedError),
        (errors.ConcurrencyLimitError, errors.RequestRejectedError),
        (errors.RateLimitedError, errors.RequestRejectedError),
        (errors.ThrottledError, errors.RequestRejectedError),
        (errors.PoolTimeoutError, TimeoutError),
        (errors.EgressDeniedError, errors.RequestRejectedError),
        (errors.FactoryClosedError, errors.RequestRejectedError),
        (errors.AuthenticationError, aiohttp.ClientError),
        (errors.DeadlineExceededError, aiohttp.ServerTimeoutError),
        (errors.AttemptTimeoutError, aiohttp.ServerTimeoutError),
        (errors.ResponseTooLargeError, aiohttp.ClientPayloadError),
        (errors.WebSocketClosedError, aiohttp.ClientConnectionError),
    ],
)
def test_existing_except_clauses_keep_working(kind: type, also: type) -> None:
    assert issubclass(kind, also)
    assert issubclass(kind, errors.PlatformHttpError)


@pytest.mark.parametrize("url", ["//host/?token=geheim", "http:///path"])
async def test_a_url_without_a_host_is_an_invalid_url(observed: Observed, url: str) -> None:
    async with observed.session() as session:
        with pytest.raises(aiohttp.InvalidURL) as caught:
            await session.get(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
async def test_a_cookie_with_an_impossible_name_is_a_client_error(
    observed: Observed, options: dict[str, object]
) -> None:
    async with observed.session() as session:
        with pytest.raises(aiohttp.ClientError, match="name of a cookie") as caught:
            await session.get("http://127.0.0.1:1/", cookies={"ge heim": "x"}, **options)
    assert isinstance(caught.value.__cause__, CookieError)
    assert "ge heim" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_what_fails_before_any_hook_passes_unchanged(observed: Observed) -> None:
    async with observed.session() as session:
        with pytest.raises(aiohttp.NonHttpUrlClientError):
            await session.get("ftp://host/file")
    assert observed.value("platform_http_calls_total") == 0


async def test_a_method_that_is_no_token_is_a_client_error(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        with pytest.raises(aiohttp.InvalidURL, match="token"):
            await session.request("BAD METHOD", server.url)
    assert observed.value("platform_http_calls_total", outcome="error") == 1


async def test_a_caller_mistake_in_the_arguments_stays_a_value_error(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        with pytest.raises(ValueError, match="chunked"):
            await session.post(server.url, data=b"x", chunked=True, headers={"Content-Length": "1"})
    assert server.requests == []


async def test_an_error_of_the_applications_own_middleware_passes_unchanged(
    observed: Observed,
) -> None:
    async def picky(request, handler):
        raise RuntimeError("not today")

    async with FaultServer() as server, observed.factory(middlewares=(picky,)) as factory:
        with pytest.raises(RuntimeError, match="not today"):
            await factory.session().get(server.url)
    assert observed.value("platform_http_calls_total", outcome="error") == 1


async def test_a_redirect_to_nowhere_is_aiohttps_own_error(observed: Observed) -> None:
    async with FaultServer([respond(302, headers={"Location": "ftp://x/"})]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.NonHttpUrlRedirectClientError):
                await session.get(server.url)
    observed.assert_quiet()


async def test_a_redirect_loop_ends(observed: Observed) -> None:
    async with FaultServer([respond(302, headers={"Location": "/"})]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.TooManyRedirects):
                await session.get(server.url)
    # REDIRECTS__MAX is 5.
    assert len(server.requests) == 6
    assert observed.value("platform_http_calls_total", error_type="too_many_redirects") == 1
    observed.assert_quiet()


async def test_a_response_line_that_is_too_long_is_a_client_error(observed: Observed) -> None:
    head = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"
    async with FaultServer([raw(head, then="close")]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url)
    assert len(server.requests) == 1
    assert observed.value("platform_http_calls_total", error_type="invalid_response") == 1


async def test_what_a_server_sent_is_not_in_the_error_about_it(observed: Observed) -> None:
    async with FaultServer([raw(b"geheim\r\n\r\n", then="close")]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientResponseError, match="BadStatusLine") as caught:
                await session.get(server.url)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


async def test_a_bad_chunk_ends_the_body_at_once(observed: Observed) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    broken = sequence(raw(head), delay(0.02, raw(b"not a chunk\r\n", then="hang")))
    async with FaultServer([broken]) as server:
        async with observed.session(timeout={"total": 5, "read": 2}) as session:
            loop = asyncio.get_running_loop()
            before = loop.time()
            with pytest.raises(aiohttp.ClientPayloadError):
                async with session.get(server.url) as response:
                    await response.read()
            assert loop.time() - before < 1
    assert observed.value("platform_http_calls_total", error_type="payload_error") == 1


async def test_headers_that_drip_are_bounded_by_the_attempt_timeout(observed: Observed) -> None:
    slow = drip(response_bytes(200), interval=0.05)
    async with FaultServer([slow]) as server:
        settings = {"timeout": {"attempt": 0.2}, "retry": {"enabled": False}}
        async with observed.session(**settings) as session:
            with pytest.raises(errors.AttemptTimeoutError):
                await session.get(server.url)


async def test_a_note_says_how_often_and_why_it_stopped(observed: Observed) -> None:
    async with FaultServer(aborted_accepts=float("inf")) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientError) as caught:
                await session.get(server.url.with_query(token="geheim"))
    assert caught.value.__notes__ == [caught.value.__notes__[0]]
    assert caught.value.__notes__[0].startswith("3 attempts in 0.")
    assert "geheim" not in caught.value.__notes__[0]

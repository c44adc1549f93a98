"""What aiohttp's own exceptions show when a session raises them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import LineTooLong
from multidict import CIMultiDict
from yarl import URL

from platform_http.concealment import ShownHeaders, ShownRequestInfo, conceal
from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, close, raw, reset, respond
from tests.functional.conftest import Observed
from tests.servers import free_port

SECRET_HEADERS = {"X-Api-Key": "geheim", "Authorization": "geheim"}


def shown(error: BaseException) -> str:
    """All that tools print of an exception."""
    parts = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args)]
        seen = seen.__cause__
    history = getattr(error, "history", ())
    return " ".join([*parts, repr(history), repr(getattr(error, "request_info", ""))])


async def caught(request: object) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011 - its type is the test's to judge
        await request  # type: ignore[misc]
    return info.value


def secretive(url: URL) -> URL:
    return url.with_query(token="geheim")


class TestAStatusThatIsRaised:
    @pytest.mark.parametrize("by", ["option", "method"])
    @pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
    async def test_shows_where_and_what(
        self, observed: Observed, by: str, options: dict[str, object]
    ) -> None:
        answers = [
            respond(302, headers={"Location": "/next?token=geheim", "Set-Cookie": "a=geheim"}),
            respond(404, headers={"Set-Cookie": "a=geheim"}, body=b"geheim"),
        ]
        async with FaultServer(answers) as server, observed.session() as session:
            url = secretive(server.url).with_user("me").with_password("geheim")
            headers = {"X-Api-Key": "geheim"}
            if by == "option":
                error = await caught(
                    session.get(url, headers=headers, raise_for_status=True, **options)
                )
            else:
                async with session.get(url, headers=headers, **options) as response:
                    with pytest.raises(aiohttp.ClientResponseError) as info:
                        response.raise_for_status()
                    error = info.value

        assert type(error) is aiohttp.ClientResponseError
        assert "geheim" not in shown(error)
        assert str(error) == f"404, message='Not Found', url='{server.url / 'next'}'"
        # For code, all is there.
        assert error.request_info.url == secretive(server.url / "next")
        assert error.request_info.headers["X-Api-Key"] == "geheim"
        assert error.headers["Set-Cookie"] == "a=geheim"


async def test_json_of_another_type_shows_no_header(observed: Observed) -> None:
    answer = respond(headers={"Content-Type": "text/geheim", "Set-Cookie": "geheim"}, body=b"{}")
    async with FaultServer([answer]) as server, observed.session() as session:
        async with session.get(secretive(server.url), headers=SECRET_HEADERS) as response:
            error = await caught(response.json())

    assert isinstance(error, aiohttp.ContentTypeError)
    assert "geheim" not in shown(error)
    assert error.headers["Content-Type"] == "text/geheim"


@pytest.mark.parametrize("verb", ["text", "json"])
async def test_text_that_cannot_be_decoded_is_not_shown(observed: Observed, verb: str) -> None:
    answer = respond(headers={"Content-Type": "application/json"}, body=b'"geheim \xff"')
    async with FaultServer([answer]) as server, observed.session() as session:
        async with session.get(server.url) as response:
            error = await caught(getattr(response, verb)())

    assert isinstance(error, UnicodeDecodeError)
    assert "geheim" not in shown(error)


async def test_json_that_is_none_does_not_show_the_body(observed: Observed) -> None:
    answer = respond(headers={"Content-Type": "application/json"}, body=b"geheim")
    async with FaultServer([answer]) as server, observed.session() as session:
        async with session.get(server.url) as response:
            assert "geheim" not in shown(await caught(response.json()))


async def test_a_refused_handshake_shows_no_secret(observed: Observed) -> None:
    answer = respond(403, headers={"Set-Cookie": "geheim"})
    async with FaultServer([answer]) as server, observed.session() as session:
        error = await caught(session.ws_connect(secretive(server.url), headers=SECRET_HEADERS))

    assert isinstance(error, aiohttp.WSServerHandshakeError)
    assert "geheim" not in shown(error)
    assert error.headers["Set-Cookie"] == "geheim"


@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
@pytest.mark.parametrize(
    "location",
    [
        "ftp://me:geheim@host/?geheim#geheim",
        "http://me:geheim@[host/?geheim",
        "http://me:geheim@host:99999/?geheim",
        "http://me:geheim@/?geheim",
        "http://?geheim",
    ],
)
async def test_a_redirect_to_nowhere_shows_no_secret(
    observed: Observed, location: str, options: dict[str, object]
) -> None:
    async with FaultServer([respond(302, headers={"Location": location})]) as server:
        async with observed.session() as session:
            error = await caught(session.get(server.url, **options))

    assert isinstance(error, aiohttp.RedirectClientError)
    assert "geheim" not in shown(error)


@pytest.mark.parametrize(
    "answer",
    [close(), reset(), raw(b"HTTP/1.1 200 OK\r\nX-Token: geheim\r\n", then="close")],
    ids=["closed", "reset", "cut headers"],
)
@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
async def test_a_lost_connection_shows_no_secret(
    observed: Observed, answer: Action, options: dict[str, object]
) -> None:
    async with FaultServer([answer]) as server, observed.session() as session:
        error = await caught(
            session.post(secretive(server.url), headers=SECRET_HEADERS, data=b"geheim", **options)
        )

    assert isinstance(error, aiohttp.ClientError)
    assert "geheim" not in shown(error)


async def test_a_body_that_raises_does_not_show_the_connection(observed: Observed) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("my own words")

    async with FaultServer() as server, observed.session() as session:
        error = await caught(session.post(secretive(server.url), data=broken()))

    assert str(error) == "Failed to send bytes into the underlying connection"
    assert str(error.__cause__) == "my own words"


async def test_a_proxy_that_is_not_there_does_not_show_its_password(observed: Observed) -> None:
    proxy = URL.build(
        scheme="http", user="me", password="geheim", host="127.0.0.1", port=free_port()
    )
    async with observed.session(proxy={"url": str(proxy)}) as session:
        error = await caught(session.get("http://127.0.0.1:1/?geheim", headers=SECRET_HEADERS))

    assert isinstance(error, aiohttp.ClientProxyConnectionError)
    assert "geheim" not in shown(error)


async def test_a_proxy_that_refuses_shows_no_password(observed: Observed) -> None:
    async with FaultServer([respond(407, headers={"X-Token": "geheim"})]) as proxy:
        url = proxy.url.with_user("me").with_password("geheim")
        async with observed.session(proxy={"url": str(url)}) as session:
            error = await caught(session.get("https://127.0.0.1:1/?geheim"))

    assert isinstance(error, aiohttp.ClientHttpProxyError)
    assert "geheim" not in shown(error)


def test_a_response_of_ours_shows_no_header_and_no_query_anywhere() -> None:
    async def main() -> str:
        observed = Observed()
        answer = respond(headers={"Set-Cookie": "geheim"})
        async with FaultServer([answer]) as server, observed.session() as session:
            async with session.get(secretive(server.url)) as response:
                assert response.url.query == response.real_url.query == {"token": "geheim"}
                return repr(response)

    assert asyncio.run(main()).endswith("/) [200 OK]>")


def test_a_request_whose_connection_broke_while_it_was_written_does_not_show_its_url() -> None:
    error = aiohttp.ClientOSError(32, "Can not write request body for http://host/?geheim")
    conceal(error)
    assert "geheim" not in shown(error)
    assert error.errno == 32


def test_errors_that_show_nothing_stay_as_they_are() -> None:
    errors = [
        aiohttp.ClientOSError(32, "Broken pipe"),
        aiohttp.ClientConnectionError("Connection closed"),
        aiohttp.ClientConnectionError(),
        aiohttp.ServerDisconnectedError(),
        aiohttp.InvalidURL("http://host/", "no good"),
        ValueError("anything"),
    ]
    before = [repr(error) for error in errors]
    for error in errors:
        conceal(error)
    assert [repr(error) for error in errors] == before


def test_the_key_of_a_direct_connection_is_left_alone() -> None:
    key = ConnectionKey("host", 80, False, True, None, None, None)
    error = aiohttp.ClientConnectorError(key, OSError(111, "refused"))
    conceal(error)
    assert error.args[0] is key


def test_the_key_of_a_proxied_connection_shows_no_password() -> None:
    proxy = URL("http://me:geheim@proxy.test:3128/")
    key = ConnectionKey("host", 443, True, True, proxy, ("me", "geheim"), None)  # type: ignore[arg-type] # BasicAuth is deprecated
    error = aiohttp.ClientConnectorError(key, OSError(111, "refused"))
    conceal(error)
    assert "geheim" not in shown(error)
    assert (error.host, error.port) == ("host", 443)


def test_what_a_url_parser_quotes_is_not_shown() -> None:
    location = "http://me:geheim@host\u2100.test/"
    with pytest.raises(aiohttp.InvalidURL) as caught:
        try:
            URL(location)
        except ValueError as error:
            raise aiohttp.InvalidUrlRedirectClientError(location, "no URL") from error
    conceal(caught.value)
    assert "geheim" not in shown(caught.value)
    assert str(caught.value) == "the URL - no URL"


def test_headers_are_shown_by_name() -> None:
    headers = ShownHeaders(CIMultiDict({"X-Api-Key": "geheim"}))
    info = aiohttp.RequestInfo(URL("http://me:x@host/a?b#c"), "GET", headers, URL())
    assert repr(ShownRequestInfo.of(info)) == "<GET http://host/a>"
    assert repr(headers) == "<headers X-Api-Key>"


def test_an_error_that_an_application_made_up_is_no_trouble() -> None:
    error = aiohttp.ClientResponseError(None, (), status=500, headers={"A": "b"})  # type: ignore[arg-type] # as seen in tests
    conceal(error)
    assert (error.request_info, error.headers) == (None, {"A": "b"})


def test_the_bytes_that_a_parser_quotes_are_not_shown() -> None:
    error = LineTooLong(b"geheim", 10)
    conceal(error)
    assert "geheim" not in shown(error)


async def test_a_header_that_is_no_string_is_not_shown(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        error = await caught(session.get(server.url, headers={"X-Api-Key": b"geheim"}))

    assert isinstance(error, TypeError)
    assert "geheim" not in shown(error)


async def test_logs_of_these_errors_hold_no_secret(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FaultServer([respond(500)]) as server, observed.session() as session:
        with contextlib.suppress(aiohttp.ClientError):
            await session.get(secretive(server.url), headers=SECRET_HEADERS, raise_for_status=True)
    assert "geheim" not in caplog.text

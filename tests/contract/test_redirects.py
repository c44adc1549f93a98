import ssl

import aiohttp
import pytest
import trustme
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from platform_http.testing import FaultServer, ReceivedRequest
from platform_http.testing.actions import Action, respond


def to(location: object, status: int = 302) -> Action:
    return respond(status, headers={"Location": str(location)})


@pytest.mark.parametrize("maximum", [1, 3])
async def test_max_redirects_follows_one_less(session: aiohttp.ClientSession, maximum: int) -> None:
    async with FaultServer([to("/again")]) as server:
        with pytest.raises(aiohttp.TooManyRedirects):
            await session.get(server.url, max_redirects=maximum)
        assert len(server.requests) - 1 == maximum - 1


async def test_max_redirects_of_zero_is_unlimited(session: aiohttp.ClientSession) -> None:
    async with FaultServer([*[to("/again")] * 25, respond()]) as server:
        async with session.get(server.url, max_redirects=0) as response:
            assert response.status == 200
        assert len(server.requests) == 26


async def test_only_three_headers_are_stripped_for_another_origin(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as other, FaultServer([to(other.url)]) as server:
        await session.get(
            server.url,
            headers={
                "Authorization": "secret",
                "Cookie": "secret=1",
                "Proxy-Authorization": "secret",
                "X-Api-Key": "secret",
                "Private-Token": "secret",
            },
        )
        sent = other.requests[0].headers
    assert sent.keys().isdisjoint({"Authorization", "Cookie", "Proxy-Authorization"})
    assert (sent["X-Api-Key"], sent["Private-Token"]) == ("secret", "secret")


@pytest.mark.parametrize(
    ("status", "method", "sent"),
    [
        (307, "POST", ("POST", b"body")),
        (308, "PUT", ("PUT", b"body")),
        (302, "POST", ("GET", b"")),
        (302, "PUT", ("PUT", b"body")),
        (303, "PUT", ("GET", b"")),
    ],
)
async def test_a_redirect_keeps_or_drops_method_and_body_by_its_status(
    session: aiohttp.ClientSession, status: int, method: str, sent: tuple[str, bytes]
) -> None:
    async with FaultServer() as other, FaultServer([to(other.url, status)]) as server:
        await session.request(method, server.url, data=b"body")
        (request,) = other.requests
        assert (request.method, request.body) == sent


async def test_a_consumed_body_is_not_redirected(session: aiohttp.ClientSession) -> None:
    async def pieces():
        yield b"precious"

    async with FaultServer([to("/next", 307)]) as server:
        with pytest.raises(aiohttp.ClientPayloadError, match="consumed request body"):
            await session.post(server.url, data=pieces())
        assert len(server.requests) == 1


async def test_https_is_redirected_to_http_without_asking(
    session: aiohttp.ClientSession,
) -> None:
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issuer.configure_trust(trusting)
    async with (
        FaultServer() as plain,
        FaultServer([to(plain.url)], ssl_context=context) as server,
        session.get(server.url, ssl=trusting) as response,
    ):
        assert response.url.scheme == "http"


async def test_the_client_certificate_is_shown_to_the_origin_of_a_redirect(
    session: aiohttp.ClientSession,
) -> None:
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    issuer.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issuer.configure_trust(client)
    issuer.issue_cert("client.test").configure_cert(client)
    async with (
        FaultServer(ssl_context=context) as other,
        FaultServer([to(other.url)], ssl_context=context) as server,
        session.get(server.url, ssl=client) as response,
    ):
        assert response.status == 200
        assert len(other.requests) == 1


async def test_the_request_class_is_made_once_per_hop_even_without_middlewares() -> None:
    made = []

    class Watching(aiohttp.ClientRequest):
        def __init__(self, method: str, url: URL, **options) -> None:
            made.append((method, url.path, options.keys()))
            super().__init__(method, url, **options)

    async with (
        FaultServer([to("/next"), respond()]) as server,
        aiohttp.ClientSession(request_class=Watching) as session,
    ):
        await session.get(server.url, middlewares=())
    assert [hop[:2] for hop in made] == [("GET", "/"), ("GET", "/next")]
    assert made[0][2] == {
        "params",
        "headers",
        "skip_auto_headers",
        "data",
        "cookies",
        "auth",
        "version",
        "compress",
        "chunked",
        "expect100",
        "loop",
        "response_class",
        "proxy",
        "proxy_auth",
        "timer",
        "session",
        "ssl",
        "server_hostname",
        "proxy_headers",
        "traces",
        "trust_env",
    }


async def test_an_exception_of_the_request_class_reaches_the_caller_and_the_exception_hook() -> (
    None
):
    class RefusedError(aiohttp.ClientConnectionError):
        pass

    class Refusing(aiohttp.ClientRequest):
        def __init__(self, method: str, url: URL, **options) -> None:
            if url.path == "/next":
                raise RefusedError
            super().__init__(method, url, **options)

    seen = []

    async def note(session, context, parameters) -> None:
        seen.append(type(parameters.exception))

    config = aiohttp.TraceConfig()
    config.on_request_exception.append(note)
    async with (
        FaultServer([to("/next")]) as server,
        aiohttp.ClientSession(request_class=Refusing, trace_configs=[config]) as session,
    ):
        with pytest.raises(RefusedError):
            await session.get(server.url)
    assert seen == [RefusedError]


async def test_headers_taken_off_in_the_request_class_come_back_on_the_next_hop() -> None:
    class Stripping(aiohttp.ClientRequest):
        def __init__(self, method: str, url: URL, **options) -> None:
            super().__init__(method, url, **options)
            if url.path == "/b":
                del self.headers["X-Api-Key"]

    async with (
        FaultServer([to("/b"), to("/a"), respond()]) as server,
        aiohttp.ClientSession(request_class=Stripping) as session,
    ):
        await session.get(server.url / "a", headers={"X-Api-Key": "secret"})
        sent = ["X-Api-Key" in request.headers for request in server.requests]
    # A taint must be remembered by us.
    assert sent == [True, False, True]


async def test_userinfo_in_a_location_next_to_an_authorization_header_is_a_value_error(
    session: aiohttp.ClientSession,
) -> None:
    def back(request: ReceivedRequest) -> Action:
        return to(server.url.with_user("eve").with_path("/next"))

    async with FaultServer(back) as server:
        with pytest.raises(ValueError, match="AUTHORIZATION") as caught:
            await session.get(server.url, headers={"Authorization": "secret"})
    assert not isinstance(caught.value, aiohttp.ClientError)


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("ftp://127.0.0.1/", aiohttp.NonHttpUrlRedirectClientError),
        ("http://", aiohttp.InvalidUrlRedirectClientError),
        ("http://127.0.0.1:99999/", aiohttp.InvalidUrlRedirectClientError),
    ],
)
async def test_a_location_that_is_no_http_url_is_an_error_of_its_own(
    session: aiohttp.ClientSession, location: str, error: type[Exception]
) -> None:
    async with FaultServer([to(location)]) as server:
        with pytest.raises(error):
            await session.get(server.url)


async def test_the_redirect_hook_runs_before_the_location_is_read() -> None:
    async def elsewhere(session, context, parameters) -> None:
        headers = CIMultiDict(parameters.response.headers)
        headers["Location"] = "/changed"
        # What the property was first asked for.
        parameters.response._cache["headers"] = CIMultiDictProxy(headers)

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(elsewhere)
    async with (
        FaultServer([to("/next"), respond()]) as server,
        aiohttp.ClientSession(trace_configs=[config]) as session,
    ):
        await session.get(server.url)
        assert [request.target for request in server.requests] == ["/", "/changed"]


async def test_the_request_class_gets_a_body_to_send_again_as_a_payload() -> None:
    bodies = []

    class Watching(aiohttp.ClientRequest):
        def __init__(self, method: str, url: URL, **options) -> None:
            bodies.append(options["data"])
            super().__init__(method, url, **options)

    async with (
        FaultServer([to("/a", 307), to("/b", 303), respond()]) as server,
        aiohttp.ClientSession(request_class=Watching) as session,
    ):
        await session.post(server.url, data=b"body")
    assert bodies[0] == b"body"
    assert bodies[1].size == 4
    assert bodies[2] is None


async def test_a_url_that_cannot_be_parsed_is_shown_before_any_hook_could_prevent_it(
    session: aiohttp.ClientSession,
) -> None:
    for url in ("http://me:geheim@[host/", "ftp://host/?geheim"):
        with pytest.raises(aiohttp.ClientError, match="geheim"):
            await session.get(url)

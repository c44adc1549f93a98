import ssl
import warnings

import aiohttp
import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import respond


def credentials(login: str = "user", password: str = "secret") -> aiohttp.BasicAuth:
    return tuple.__new__(aiohttp.BasicAuth, (login, password, "utf-8"))


def with_proxy(proxy: FaultServer, auth: aiohttp.BasicAuth | None = None):
    """A request class that chooses the proxy of each hop, as aiohttp would from its arguments."""

    class Proxied(aiohttp.ClientRequest):
        def update_proxy(self, url, proxy_auth, proxy_headers) -> None:
            super().update_proxy(proxy.url, auth, None)

    return Proxied


REFUSED = respond(502)


async def test_a_proxy_of_the_session_gets_the_sessions_default_headers_in_connect() -> None:
    async with (
        FaultServer([REFUSED]) as proxy,
        aiohttp.ClientSession(proxy=proxy.url, headers={"X-Api-Key": "secret"}) as session,
    ):
        with pytest.raises(aiohttp.ClientHttpProxyError):
            await session.get("https://name.test/")
        (connect,) = proxy.requests
        assert (connect.method, connect.target) == ("CONNECT", "name.test:443")
        assert connect.headers["X-Api-Key"] == "secret"


async def test_a_proxy_of_the_request_class_gets_nothing_but_host_and_its_credentials() -> None:
    async with FaultServer([REFUSED]) as proxy:
        async with aiohttp.ClientSession(
            request_class=with_proxy(proxy, credentials()),
            headers={"X-Api-Key": "secret", "Authorization": "secret"},
        ) as session:
            with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
                await session.get("https://name.test/")
        (connect,) = proxy.requests
    assert caught.value.status == 502
    assert connect.headers["Proxy-Authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert connect.headers["Host"] == "name.test"
    assert connect.headers.keys() == {
        "Host",
        "Proxy-Authorization",
        "Accept",
        "Accept-Encoding",
        "User-Agent",
    }


async def test_an_http_target_is_asked_for_by_its_full_url_with_the_proxy_credentials() -> None:
    async with FaultServer() as proxy:
        async with aiohttp.ClientSession(request_class=with_proxy(proxy, credentials())) as session:
            await session.get("http://name.test/path?q=1")
        (request,) = proxy.requests
    assert request.target == "http://name.test/path?q=1"
    assert request.headers["Proxy-Authorization"] == "Basic dXNlcjpzZWNyZXQ="


async def test_proxy_headers_are_not_sent_for_http_targets(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as proxy:
        await session.get("http://name.test/", proxy=proxy.url, proxy_headers={"X-For-Proxy": "1"})
        assert "X-For-Proxy" not in proxy.requests[0].headers


async def test_a_session_takes_no_proxy_headers_whatever_the_documentation_says() -> None:
    with pytest.raises(TypeError, match="proxy_headers"):
        aiohttp.ClientSession(proxy_headers={"X": "1"})


async def test_basic_auth_is_deprecated_unless_it_is_made_as_the_tuple_it_is() -> None:
    with pytest.warns(DeprecationWarning, match="BasicAuth"):
        aiohttp.BasicAuth("user", "secret")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auth = credentials()
    assert auth.encode() == "Basic dXNlcjpzZWNyZXQ="
    assert isinstance(auth, aiohttp.BasicAuth)


async def test_auth_and_proxy_auth_are_deprecated_as_arguments() -> None:
    with pytest.warns(DeprecationWarning, match="'auth' parameter"):
        await aiohttp.ClientSession(auth=credentials()).close()
    with pytest.warns(DeprecationWarning, match="'proxy_auth' parameter"):
        await aiohttp.ClientSession(proxy_auth=credentials()).close()


async def test_the_proxy_and_its_credentials_are_part_of_the_pool_key() -> None:
    keys = []

    class Watching(aiohttp.ClientRequest):
        @property
        def connection_key(self):
            key = super().connection_key
            keys.append(key)
            return key

    async with FaultServer() as proxy, aiohttp.ClientSession(request_class=Watching) as session:
        await session.get("http://name.test/", proxy=proxy.url)
        await session.get("http://name.test/", proxy=proxy.url / "other")
        assert proxy.connections == 2
    assert {key.proxy for key in keys} == {proxy.url, proxy.url / "other"}
    assert keys[0]._fields == (
        "host",
        "port",
        "is_ssl",
        "ssl",
        "proxy",
        "proxy_auth",
        "proxy_headers_hash",
        "server_hostname",
    )


async def test_the_request_to_the_proxy_carries_the_ssl_choice_of_the_target() -> None:
    built = []

    class Watching(aiohttp.TCPConnector):
        def _update_proxy_auth_header_and_build_proxy_req(self, req):
            proxy_request = super()._update_proxy_auth_header_and_build_proxy_req(req)
            built.append(proxy_request)
            return proxy_request

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with (
        FaultServer([REFUSED]) as proxy,
        aiohttp.ClientSession(connector=Watching()) as session,
    ):
        with pytest.raises(aiohttp.ClientHttpProxyError):
            await session.get("https://name.test/", proxy=proxy.url, ssl=context)
    assert len(built) == 1
    assert built[0].ssl is context
    # Where the connector puts the proxy's own context.
    assert built[0]._ssl is context


async def test_an_unreachable_proxy_has_an_error_of_its_own(
    session: aiohttp.ClientSession,
) -> None:
    with pytest.raises(aiohttp.ClientProxyConnectionError):
        await session.get("http://name.test/", proxy="http://127.0.0.1:1/")


async def test_the_environment_is_not_trusted_by_default(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    assert session.trust_env is False
    async with FaultServer() as server, session.get(server.url) as response:
        assert response.status == 200


@pytest.mark.parametrize("variable", ["ALL_PROXY", "NO_PROXY"])
async def test_a_trusted_environment_is_read_too_narrowly(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with FaultServer([respond(203)]) as proxy, FaultServer() as server:
        if variable == "ALL_PROXY":
            # Ignored, so the request goes direct.
            monkeypatch.setenv("ALL_PROXY", str(proxy.url))
            expected = 200
        else:
            # A CIDR does not match, so the request goes through the proxy.
            monkeypatch.setenv("HTTP_PROXY", str(proxy.url))
            monkeypatch.setenv("http_proxy", str(proxy.url))
            monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
            expected = 203
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.get(server.url) as response,
        ):
            assert response.status == expected

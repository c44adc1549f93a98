from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http.errors import ConfigurationError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from tests.certificates import Certificates
from tests.servers import (
    SocksServer,
    free_port,
    recording_proxy,
    socks_server,
    squid,
    tinyproxy,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator

    from multidict import CIMultiDict

    from tests.functional.conftest import Observed

LOGIN = ("proxy-user", "proxy-pass")
USERINFO = "proxy-user:proxy-pass@"
PROGRAMS = {"squid": squid, "tinyproxy": tinyproxy}


@dataclass
class Upstream:
    """A target that keeps the headers of its requests."""

    scheme: str
    port: int = 0
    requests: list[CIMultiDict[str]] = field(default_factory=list)
    location: str | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.headers.copy())
        if self.location is not None:
            raise web.HTTPFound(self.location)
        return web.Response(text="hello")

    def url(self, host: str = "localhost") -> str:
        return f"{self.scheme}://{host}:{self.port}/"


@contextlib.asynccontextmanager
async def upstream(tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    target = Upstream("http" if tls is None else "https")
    application = web.Application()
    application.router.add_get("/", target.answer)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(ssl=tls)
    target.port = server.port or 0
    yield target
    await server.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trust(certificates: Certificates) -> dict[str, object]:
    return {"trust": "file", "ca_file": certificates.ca_file}


@pytest.fixture(scope="module", params=PROGRAMS)
def open_proxy(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a proxy that is open to everyone."""
    with PROGRAMS[request.param]() as proxy:
        yield proxy.port


@pytest.fixture(scope="module", params=PROGRAMS)
def guarded_proxy(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a proxy that wants a login."""
    with PROGRAMS[request.param](login=LOGIN) as proxy:
        yield proxy.port


@pytest.fixture(scope="module")
def tls_proxy(certificates: Certificates) -> Iterator[int]:
    """The port of a proxy that speaks TLS to its clients."""
    with squid(tls=certificates.files("localhost")) as proxy:
        yield proxy.port


@pytest.fixture
async def plain() -> AsyncIterator[Upstream]:
    async with upstream() as target:
        yield target


@pytest.fixture
async def secure(certificates: Certificates) -> AsyncIterator[Upstream]:
    async with upstream(certificates.server("localhost")) as target:
        yield target


async def body(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as response:
        return response.status, await response.text()


class TestAnHttpProxy:
    async def test_forwards_http(
        self, observed: Observed, open_proxy: int, plain: Upstream
    ) -> None:
        async with observed.session(proxy={"url": f"http://127.0.0.1:{open_proxy}"}) as session:
            assert await body(session, plain.url()) == (200, "hello")

        assert "Via" in plain.requests[0]

    async def test_tunnels_https(
        self, observed: Observed, open_proxy: int, secure: Upstream, trust: dict[str, object]
    ) -> None:
        proxy = {"url": f"http://127.0.0.1:{open_proxy}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            assert await body(session, secure.url()) == (200, "hello")

        assert "Via" not in secure.requests[0]

    async def test_verifies_the_target_inside_the_tunnel(
        self, observed: Observed, open_proxy: int, secure: Upstream
    ) -> None:
        async with observed.session(proxy={"url": f"http://127.0.0.1:{open_proxy}"}) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await body(session, secure.url())

        assert secure.requests == []

    async def test_takes_the_login_of_the_url(
        self,
        observed: Observed,
        guarded_proxy: int,
        plain: Upstream,
        secure: Upstream,
        trust: dict[str, object],
    ) -> None:
        proxy = {"url": f"http://{USERINFO}127.0.0.1:{guarded_proxy}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            assert await body(session, plain.url()) == (200, "hello")
            assert await body(session, secure.url()) == (200, "hello")

        for headers in [*plain.requests, *secure.requests]:
            assert "Proxy-Authorization" not in headers

    async def test_takes_the_login_of_the_settings(
        self, observed: Observed, guarded_proxy: int, plain: Upstream
    ) -> None:
        proxy = {
            "url": f"http://127.0.0.1:{guarded_proxy}",
            "username": LOGIN[0],
            "password": LOGIN[1],
        }
        async with observed.session(proxy=proxy) as session:
            assert await body(session, plain.url()) == (200, "hello")

    @pytest.mark.parametrize("userinfo", ["", "proxy-user:wrong@"], ids=["missing", "wrong"])
    async def test_answers_407_itself_to_http_without_a_login(
        self, observed: Observed, guarded_proxy: int, plain: Upstream, userinfo: str
    ) -> None:
        proxy = {"url": f"http://{userinfo}127.0.0.1:{guarded_proxy}"}
        async with observed.session(proxy=proxy) as session:
            status, _ = await body(session, plain.url())

        # tinyproxy tells apart who sends no login (407) and who sends a wrong one (401).
        assert status in {401, 407}
        assert plain.requests == []

    @pytest.mark.parametrize("userinfo", ["", "proxy-user:wrong@"], ids=["missing", "wrong"])
    async def test_refuses_a_tunnel_without_a_login(
        self,
        observed: Observed,
        guarded_proxy: int,
        secure: Upstream,
        trust: dict[str, object],
        userinfo: str,
    ) -> None:
        proxy = {"url": f"http://{userinfo}127.0.0.1:{guarded_proxy}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
                await body(session, secure.url())

        assert caught.value.status in {401, 407}
        assert "wrong" not in str(caught.value)
        assert secure.requests == []
        observed.assert_quiet()

    async def test_that_nobody_runs_is_never_gone_around(
        self, observed: Observed, plain: Upstream, secure: Upstream, trust: dict[str, object]
    ) -> None:
        proxy = {"url": f"http://127.0.0.1:{free_port()}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            for target in (plain, secure):
                with pytest.raises(aiohttp.ClientProxyConnectionError):
                    await body(session, target.url())

        assert plain.requests == secure.requests == []
        observed.assert_quiet()

    async def test_is_not_used_for_exceptions(self, observed: Observed, plain: Upstream) -> None:
        proxy = {
            "url": f"http://{USERINFO}127.0.0.1:{free_port()}",
            "no_proxy": [f"localhost:{plain.port}"],
        }
        async with observed.session(proxy=proxy) as session:
            assert await body(session, plain.url()) == (200, "hello")
            with pytest.raises(aiohttp.ClientProxyConnectionError):
                await body(session, plain.url("127.0.0.1"))

        assert "Proxy-Authorization" not in plain.requests[0]

    async def test_is_chosen_for_each_redirect_hop(
        self, observed: Observed, plain: Upstream
    ) -> None:
        async with recording_proxy() as recorder, upstream() as first:
            first.location = plain.url("127.0.0.1")
            proxy = {"url": f"http://127.0.0.1:{recorder.port}", "no_proxy": ["localhost"]}
            async with observed.session(proxy=proxy) as session:
                assert await body(session, first.url("localhost")) == (200, "hello")

            assert [head.split()[1] for head in recorder.heads] == [plain.url("127.0.0.1")]

    async def test_may_come_from_the_environment(
        self, observed: Observed, plain: Upstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("no_proxy", "")
        async with recording_proxy() as recorder:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{recorder.port}")
            async with observed.session() as session:
                await body(session, plain.url())
            assert recorder.heads == []
            async with observed.session(proxy={"from_env": True}) as session:
                await body(session, plain.url())
            assert len(recorder.heads) == 1


class TestWhatTheProxySees:
    async def test_is_a_connect_without_the_headers_of_the_request(
        self, observed: Observed, secure: Upstream, trust: dict[str, object]
    ) -> None:
        async with recording_proxy() as recorder:
            proxy = {"url": f"http://{USERINFO}127.0.0.1:{recorder.port}"}
            headers = {"X-Api-Key": "canary-key", "User-Agent": "canary-agent"}
            async with observed.session(proxy=proxy, tls=trust, headers=headers) as session:
                response = await session.get(
                    secure.url(), headers={"Authorization": "canary-token"}
                )
                await response.read()

            (head,) = recorder.heads
            lines = head.split("\r\n")
            names = {line.partition(":")[0].lower() for line in lines[1:] if line}
            assert lines[0] == f"CONNECT localhost:{secure.port} HTTP/1.1"
            assert "canary" not in head
            assert names <= _OF_A_CONNECT
            assert {"host", "proxy-authorization"} <= names
        assert secure.requests[0]["X-Api-Key"] == "canary-key"
        assert "Proxy-Authorization" not in secure.requests[0]

    @pytest.mark.parametrize("is_configured", [True, False], ids=["configured", "another"])
    @pytest.mark.parametrize("method", ["get", "ws_connect"])
    async def test_is_no_default_header_where_a_request_names_the_proxy(
        self,
        observed: Observed,
        secure: Upstream,
        trust: dict[str, object],
        method: str,
        is_configured: bool,
    ) -> None:
        headers = {"X-Api-Key": "canary-key", "Authorization": "Bearer canary-token"}
        async with recording_proxy() as recorder:
            url = f"http://127.0.0.1:{recorder.port}"
            proxy = {"url": url} if is_configured else {}
            async with observed.session(proxy=proxy, tls=trust, headers=headers) as session:
                with contextlib.suppress(aiohttp.WSServerHandshakeError):
                    await getattr(session, method)(
                        secure.url(), proxy=url, proxy_headers={"X-Own": "mine"}
                    )

        (head,) = recorder.heads
        assert head.startswith("CONNECT ")
        assert "X-Own: mine" in head
        assert "canary" not in head
        assert "Proxy-Authorization" not in head
        assert secure.requests[0]["Authorization"] == "Bearer canary-token"

    async def test_is_no_login_made_of_the_default_authorization(
        self, observed: Observed, plain: Upstream
    ) -> None:
        async with recording_proxy() as recorder:
            async with observed.session(headers={"Authorization": "Bearer canary"}) as session:
                url = plain.url("127.0.0.1")
                await session.get(url, proxy=f"http://127.0.0.1:{recorder.port}")

        assert "Proxy-Authorization" not in recorder.heads[0]

    async def test_is_one_connect_for_a_connection_that_is_kept_alive(
        self, observed: Observed, secure: Upstream, trust: dict[str, object]
    ) -> None:
        async with recording_proxy() as recorder:
            proxy = {"url": f"http://{USERINFO}127.0.0.1:{recorder.port}"}
            async with observed.session(proxy=proxy, tls=trust) as session:
                await body(session, secure.url())
                await body(session, secure.url())

            assert len(recorder.heads) == 1
        assert len(secure.requests) == 2

    async def test_is_its_login_on_every_http_request(
        self, observed: Observed, plain: Upstream
    ) -> None:
        async with recording_proxy() as recorder:
            proxy = {"url": f"http://{USERINFO}127.0.0.1:{recorder.port}"}
            async with observed.session(proxy=proxy) as session:
                await body(session, plain.url())

            expected = aiohttp.encode_basic_auth(*LOGIN)
            assert f"Proxy-Authorization: {expected}\r\n" in recorder.heads[0]


# What aiohttp sends by itself on every request; none of it says anything about the caller.
_OF_A_CONNECT = {"host", "proxy-authorization", "accept", "accept-encoding", "user-agent"}


class TestATlsProxy:
    async def test_forwards_http(
        self, observed: Observed, tls_proxy: int, plain: Upstream, trust: dict[str, object]
    ) -> None:
        proxy = {"url": f"https://localhost:{tls_proxy}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            assert await body(session, plain.url()) == (200, "hello")

        assert "Via" in plain.requests[0]

    async def test_tunnels_https(
        self, observed: Observed, tls_proxy: int, secure: Upstream, trust: dict[str, object]
    ) -> None:
        proxy = {"url": f"https://localhost:{tls_proxy}"}
        async with observed.session(proxy=proxy, tls=trust) as session:
            assert await body(session, secure.url()) == (200, "hello")

    async def test_is_verified_itself(
        self, observed: Observed, tls_proxy: int, plain: Upstream
    ) -> None:
        proxy = {"url": f"https://localhost:{tls_proxy}"}
        async with observed.session(proxy=proxy) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await body(session, plain.url())

        assert plain.requests == []

    async def test_is_not_shown_the_client_certificate_that_the_target_is(
        self, observed: Observed, certificates: Certificates, trust: dict[str, object]
    ) -> None:
        ours = certificates.files("client")
        tls = trust | {"cert_file": ours.cert, "key_file": ours.key}
        proxy_side = certificates.server("localhost", client_ca=True)
        target_side = certificates.server("localhost", client_ca=True)
        async with recording_proxy(proxy_side) as recorder, upstream(target_side) as target:
            proxy = {"url": f"https://localhost:{recorder.port}"}
            async with observed.session(proxy=proxy, tls=tls) as session:
                assert await body(session, target.url()) == (200, "hello")

            assert recorder.certificates == [None]


class TestASocksProxy:
    async def test_carries_http_and_https_to_names_that_it_resolves(
        self,
        observed: Observed,
        certificates: Certificates,
        plain: Upstream,
        trust: dict[str, object],
    ) -> None:
        name = "only-the-proxy-knows.test"
        server = SocksServer(login=LOGIN, addresses={name: "127.0.0.1"})
        async with socks_server(server), upstream(certificates.server(name)) as secure:
            proxy = {"url": f"socks5://{USERINFO}127.0.0.1:{server.port}"}
            async with observed.session(proxy=proxy, tls=trust) as session:
                assert await body(session, plain.url(name)) == (200, "hello")
                assert await body(session, secure.url(name)) == (200, "hello")

        assert server.destinations == [(name, plain.port), (name, secure.port)]

    async def test_that_refuses_is_never_gone_around(
        self, observed: Observed, plain: Upstream
    ) -> None:
        async with socks_server(SocksServer(reply=2)) as server:
            proxy = {"url": f"socks5://127.0.0.1:{server.port}"}
            async with observed.session(proxy=proxy) as session:
                with pytest.raises(aiohttp.ClientProxyConnectionError):
                    await body(session, plain.url())

        assert plain.requests == []
        observed.assert_quiet()

    async def test_that_stalls_is_given_up(self, observed: Observed, plain: Upstream) -> None:
        async with socks_server(SocksServer(silent=True)) as server:
            proxy = {"url": f"socks5://127.0.0.1:{server.port}"}
            timeout = {"connect": 0.05}
            async with observed.session(
                proxy=proxy, timeout=timeout, retry={"enabled": False}
            ) as session:
                with pytest.raises(TimeoutError) as caught:
                    await body(session, plain.url())

        assert isinstance(caught.value, aiohttp.ClientError)
        observed.assert_quiet()


async def test_a_proxy_that_cannot_be_used_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://canary@proxy.test")
    factory = SessionFactory(HttpSettings(proxy={"from_env": True}))

    with pytest.raises(ConfigurationError, match="ALL_PROXY: an unsupported kind") as caught:
        async with factory:
            pass

    assert "canary" not in str(caught.value)

"""Which SSL context a hop gets: who is shown the client certificate, and what ``ssl=`` may do."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http.errors import EgressDeniedError
from platform_http.settings.plain import PLAIN
from platform_http.testing.fast_settings import merged
from tests.certificates import Certificates
from tests.functional.conftest import Observed
from tests.servers import free_port


@dataclass
class Target:
    """Asks for a client certificate, and redirects where its query says."""

    port: int = 0
    identified: list[bool] = field(default_factory=list)

    def url(self, to: str | None = None, *, scheme: str = "https") -> str:
        url = f"{scheme}://localhost:{self.port}/"
        return url if to is None else f"{url}?to={to}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.identified.append(bool(request.transport.get_extra_info("peercert")))
        if "to" in request.query:
            raise web.HTTPFound(request.query_string.removeprefix("to="))
        if "Upgrade" in request.headers:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.close()
            return socket
        return web.Response(text="hello")


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[Target]:
    target = Target()
    application = web.Application()
    application.router.add_get("/", target.answer)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(ssl=context)
    target.port = server.port or 0
    yield target
    await server.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def tls(certificates: Certificates) -> dict[str, object]:
    files = certificates.files("client")
    return {"ca_file": certificates.ca_file, "cert_file": files.cert, "key_file": files.key}


def asking(certificates: Certificates) -> ssl.SSLContext:
    context = certificates.server("localhost", client_ca=True)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture
async def first(certificates: Certificates) -> AsyncIterator[Target]:
    async with serving(asking(certificates)) as target:
        yield target


@pytest.fixture
async def second(certificates: Certificates) -> AsyncIterator[Target]:
    async with serving(asking(certificates)) as target:
        yield target


async def body(session: aiohttp.ClientSession, url: str, **options: object) -> str:
    async with session.get(url, **options) as response:
        return await response.text()


class TestTheClientCertificate:
    async def test_is_shown_to_the_first_origin_of_a_call_and_its_redirects_to_itself(
        self, observed: Observed, tls: dict[str, object], first: Target
    ) -> None:
        async with observed.session(tls=tls) as session:
            await body(session, first.url(to=first.url()))

        assert first.identified == [True, True]

    async def test_is_not_shown_to_another_origin_nor_after_it(
        self, observed: Observed, tls: dict[str, object], first: Target, second: Target
    ) -> None:
        async with observed.session(tls=tls) as session:
            await body(session, first.url(to=second.url(to=first.url())))

        assert first.identified == [True, False]
        assert second.identified == [False]

    async def test_is_not_shown_by_a_connection_that_another_call_left_in_the_pool(
        self, observed: Observed, tls: dict[str, object], first: Target, second: Target
    ) -> None:
        async with observed.session(tls=tls) as session:
            await body(session, first.url())
            await body(session, second.url(to=first.url()))
            await body(session, first.url())

        assert first.identified == [True, False, True]

    async def test_is_shown_to_the_origin_of_the_base_url_alone(
        self, observed: Observed, tls: dict[str, object], first: Target, second: Target
    ) -> None:
        async with observed.session(tls=tls, base_url=first.url()) as session:
            await body(session, "/")
            await body(session, second.url())
            await session.ws_connect(first.url(scheme="wss"))

        assert first.identified == [True, True]
        assert second.identified == [False]

    async def test_is_not_shown_to_another_origin_where_every_policy_but_redirects_is_off(
        self, observed: Observed, tls: dict[str, object], first: Target, second: Target
    ) -> None:
        settings = merged(PLAIN, {"tls": tls, "redirects": {"mode": "safe"}})

        async with observed.session(**settings) as session:
            await body(session, first.url(to=second.url()))

        assert (first.identified, second.identified) == ([True], [False])

    async def test_goes_where_aiohttp_shows_it_when_redirects_follow_aiohttps_rule(
        self, observed: Observed, tls: dict[str, object], first: Target, second: Target
    ) -> None:
        async with observed.session(tls=tls, redirects={"mode": "follow"}) as session:
            await body(session, first.url(to=second.url()))

        assert (first.identified, second.identified) == ([True], [True])


class TestTheContextOfASingleRequest:
    async def test_is_used_when_it_verifies(
        self, observed: Observed, certificates: Certificates, first: Target
    ) -> None:
        callers = ssl.create_default_context(cafile=certificates.ca_file)

        async with observed.session() as session:
            assert await body(session, first.url(), ssl=callers) == "hello"

    async def test_is_not_used_for_another_origin(
        self,
        observed: Observed,
        certificates: Certificates,
        tls: dict[str, object],
        first: Target,
        second: Target,
    ) -> None:
        callers = ssl.create_default_context(cafile=certificates.ca_file)
        callers.load_cert_chain(tls["cert_file"], tls["key_file"])

        async with observed.session(tls={"ca_file": certificates.ca_file}) as session:
            await body(session, first.url(to=second.url()), ssl=callers)

        assert (first.identified, second.identified) == ([True], [False])

    @pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
    @pytest.mark.parametrize(
        "kind", ["False", "a fingerprint", "no verification", "no check of the name"]
    )
    async def test_is_refused_when_it_checks_less_than_the_settings(
        self, observed: Observed, first: Target, kind: str, options: dict[str, object]
    ) -> None:
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        nameless = ssl.create_default_context()
        nameless.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        asked = {
            "False": False,
            "a fingerprint": aiohttp.Fingerprint(bytes(32)),
            "no verification": unverified,
            "no check of the name": nameless,
        }[kind]

        async with observed.session() as session:
            with pytest.raises(EgressDeniedError, match="TLS__ALLOW_INSECURE") as caught:
                await body(session, first.url(), ssl=asked, **options)

        assert caught.value.reason == "tls_unverified"
        assert caught.value.attempts == 0
        assert first.identified == []
        assert observed.value("platform_http_egress_denied_total", reason="tls_unverified") == 1
        assert observed.value("platform_http_calls_total", outcome="rejected") == 1
        observed.assert_quiet()

    async def test_is_refused_for_websockets_too(self, observed: Observed, first: Target) -> None:
        async with observed.session() as session:
            with pytest.raises(EgressDeniedError):
                await session.ws_connect(first.url(), ssl=False)

    async def test_may_check_nothing_where_a_setting_says_so_which_is_announced(
        self, observed: Observed, first: Target, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with observed.session(tls={"allow_insecure": True}) as session:
            assert await body(session, first.url(), ssl=False) == "hello"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await body(session, first.url())

        setting = "TLS__ALLOW_INSECURE"
        assert observed.value("platform_http_insecure_settings", setting=setting) == 1
        assert f"client default runs with the insecure setting {setting}" in caplog.messages

    async def test_does_not_matter_where_nothing_is_encrypted(self, observed: Observed) -> None:
        async with serving(None) as plain, observed.session() as session:
            assert await body(session, plain.url(scheme="http"), ssl=False) == "hello"


async def test_no_message_shows_the_address_of_a_context_in_memory(observed: Observed) -> None:
    url = f"https://127.0.0.1:{free_port()}/"

    async with observed.session(retry={"enabled": False}) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="ssl:default") as caught:
            await body(session, url)

    assert "0x" not in repr(caught.value)

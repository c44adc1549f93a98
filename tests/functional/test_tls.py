from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http.errors import ConfigurationError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.transport import tls
from tests.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.functional.conftest import Observed


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trust(certificates: Certificates) -> dict[str, object]:
    return {"trust": "file", "ca_file": certificates.ca_file}


@contextlib.asynccontextmanager
async def serving(server_side: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL of a server that answers every GET."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", answer)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(ssl=server_side)
    yield f"https://localhost:{server.port}/"
    await server.close()


async def body(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


async def test_a_good_certificate_is_accepted(
    observed: Observed, certificates: Certificates, trust: dict[str, object]
) -> None:
    async with (
        serving(certificates.server("localhost")) as url,
        observed.session(tls=trust) as session,
    ):
        assert await body(session, url) == "hello"


@pytest.mark.parametrize("kind", ["expired", "wrong host", "unknown authority"])
async def test_a_bad_certificate_is_refused_at_the_first_attempt(
    observed: Observed, certificates: Certificates, trust: dict[str, object], kind: str
) -> None:
    name = "other.test" if kind == "wrong host" else "localhost"
    server_side = certificates.server(name, expired=kind == "expired")
    settings = {} if kind == "unknown authority" else trust

    async with serving(server_side) as url, observed.session(tls=settings) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await body(session, url)

    assert len(observed.attempts) == 1
    observed.assert_quiet()


async def test_a_bad_certificate_is_accepted_only_where_two_settings_say_so(
    observed: Observed, certificates: Certificates
) -> None:
    insecure = {"verify": False, "allow_insecure": True}
    server_side = certificates.server("other.test", expired=True)

    async with serving(server_side) as url, observed.session(tls=insecure) as session:
        assert await body(session, url) == "hello"


async def test_a_client_certificate_opens_what_asks_for_one(
    observed: Observed, certificates: Certificates, trust: dict[str, object]
) -> None:
    files = certificates.files("client", password="key-password")
    ours = {"cert_file": files.cert, "key_file": files.key, "key_password": "key-password"}

    async with serving(certificates.server("localhost", client_ca=True)) as url:
        async with observed.session(tls=trust | ours) as session:
            assert await body(session, url) == "hello"
        async with observed.session(tls=trust) as session:
            with pytest.raises(aiohttp.ClientError):
                await body(session, url)

    observed.assert_quiet()


async def test_an_older_version_than_the_minimum_is_refused(
    observed: Observed, certificates: Certificates, trust: dict[str, object]
) -> None:
    server_side = certificates.server("localhost")
    server_side.maximum_version = ssl.TLSVersion.TLSv1_2

    async with serving(server_side) as url:
        async with observed.session(tls=trust) as session:
            assert await body(session, url) == "hello"
        async with observed.session(tls=trust | {"min_version": "1.3"}) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await body(session, url)


async def test_sessions_with_equal_settings_build_no_second_context(
    observed: Observed, trust: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed.session(tls=trust):
        pass

    def build(profile: tls.TlsProfile) -> ssl.SSLContext:
        raise AssertionError("built again")

    monkeypatch.setattr(tls, "build_context", build)

    async with observed.factory(tls=trust) as factory:
        assert factory.session("one") is not factory.session("two")


async def test_files_that_cannot_be_used_refuse_to_start_and_are_all_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    settings = HttpSettings(
        tls={"trust": "file", "ca_file": missing},
        clients={"billing": {"tls": {"cert_file": missing, "key_file": missing}}},
    )

    with pytest.raises(ConfigurationError) as caught:
        async with SessionFactory(settings):
            pass

    text = str(caught.value)
    for variable in ("TLS__CA_FILE", "TLS__CERT_FILE", "TLS__KEY_FILE"):
        assert f"{variable}: the file does not exist" in text

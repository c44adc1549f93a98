"""What goes wrong between the connection and the first encrypted byte."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest

from platform_http.testing import FaultProxy
from platform_http.testing.toxics import Timeout
from tests.certificates import Certificates
from tests.faults.scene import Scene, scene
from tests.faults.tls_server import tls_server

CERTIFICATE = aiohttp.ClientConnectorCertificateError


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> dict[str, object]:
    return {"trust": "file", "ca_file": certificates.ca_file}


async def _refused(made: Scene, context: ssl.SSLContext | None, error: type[Exception]) -> None:
    """A server with *context* is given up at once: a resend would not mend a certificate."""
    with tls_server(context) as server:
        result = await made.call(server.url)
        made.expect(attempts=1, requests=0)
        assert isinstance(result.error, error), repr(result)
        assert server.connections == 1, repr(result.error.__cause__)
    assert made.observed.value("platform_http_calls_total", error_type="secure_connection_error")


async def test_a_stall_in_the_handshake(certificates: Certificates, tls) -> None:
    async with scene(tls=tls) as made:
        async with (
            made.server(ssl_context=certificates.server("localhost")) as server,
            FaultProxy("127.0.0.1", server.port) as proxy,
        ):
            stalled = proxy.add(Timeout())
            url = proxy.url.with_scheme("https").with_host("localhost")
            result = await made.call(url)
            made.expect(attempts=3, requests=0)
            assert isinstance(result.error, aiohttp.ConnectionTimeoutError)
            proxy.remove(stalled)
            result = await made.call(url / "clean")
            made.expect(attempts=1, requests=1)
            assert result.body == b"clean"


async def test_an_expired_certificate(certificates: Certificates, tls) -> None:
    async with scene(tls=tls) as made:
        await _refused(made, certificates.server("localhost", expired=True), CERTIFICATE)


async def test_a_certificate_for_another_host(certificates: Certificates, tls) -> None:
    async with scene(tls=tls) as made:
        await _refused(made, certificates.server("elsewhere.test"), CERTIFICATE)


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path, tls) -> None:
    async with scene(tls=tls) as made:
        await _refused(made, Certificates(tmp_path).server("localhost"), CERTIFICATE)


async def test_a_version_that_is_too_old(certificates: Certificates, tls) -> None:
    context = certificates.server("localhost")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with scene(tls=tls | {"min_version": "1.3"}) as made:
        await _refused(made, context, aiohttp.ClientConnectorSSLError)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
async def test_a_client_certificate_that_is_missing(
    certificates: Certificates, tls, version: ssl.TLSVersion
) -> None:
    context = certificates.server("localhost", client_ca=True)
    context.minimum_version = context.maximum_version = version
    async with scene(tls=tls) as made:
        # Under 1.3 the server says so only after our side of the handshake is complete.
        await _refused(made, context, aiohttp.ClientOSError)


async def test_a_server_that_does_not_speak_tls(tls) -> None:
    async with scene(tls=tls) as made:
        await _refused(made, None, aiohttp.ClientConnectorSSLError)

"""What aiohttp, asyncio and ssl show of a TLS connection, and what the transport leans on."""

import asyncio
import ssl
import sys
import weakref

import aiohttp
import pytest
import trustme
from yarl import URL

from platform_http.testing import FaultServer


@pytest.fixture
def issuer() -> trustme.CA:
    return trustme.CA()


def server_side(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_side(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issuer.configure_trust(context)
    return context


async def test_a_transport_tells_its_context_and_the_verified_chain(issuer: trustme.CA) -> None:
    intermediate = issuer.create_child_ca()
    context = client_side(issuer)
    async with FaultServer(ssl_context=server_side(intermediate)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        assert writer.get_extra_info("sslcontext") is context
        leaf = tls.getpeercert(binary_form=True)
        if sys.version_info >= (3, 13):
            chain = tls.get_verified_chain()
        else:
            chain = [each.public_bytes(2) for each in tls._sslobj.get_verified_chain()]
        writer.transport.abort()
    root = ssl.PEM_cert_to_DER_cert(issuer.cert_pem.bytes().decode())
    assert len(chain) == 3
    assert (chain[0], chain[-1]) == (leaf, root)


async def test_without_verification_the_chain_is_whatever_the_server_sent(
    issuer: trustme.CA,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with FaultServer(ssl_context=server_side(issuer.create_child_ca())) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        assert tls.getpeercert() == {}
        assert tls.getpeercert(binary_form=True)
        if sys.version_info < (3, 13):
            assert len(tls._sslobj.get_verified_chain()) > 1
        writer.transport.abort()


def test_the_module_of_wrap_bio_tells_who_verifies() -> None:
    import truststore

    assert ssl.SSLContext.wrap_bio.__module__ == "ssl"
    assert truststore.SSLContext.wrap_bio.__module__.startswith("truststore")


def test_a_context_checks_names_only_while_it_verifies_chains() -> None:
    context = ssl.create_default_context()
    with pytest.raises(ValueError, match="check_hostname"):
        context.verify_mode = ssl.CERT_NONE
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.check_hostname = True
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_context_can_be_referred_to_weakly() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert weakref.ref(context)() is context


async def test_idle_connections_lie_under_the_context_of_their_request(issuer: trustme.CA) -> None:
    context = client_side(issuer)
    async with FaultServer(ssl_context=server_side(issuer)) as server:
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url, ssl=context) as response:
                await response.read()
            connector = session.connector
            ((key, idle),) = connector._conns.items()
            assert key.ssl is context
            ((protocol, _),) = idle
            # Taken out as a whole they are not missed.
            connector._conns.pop(key)
            protocol.abort()
            async with session.get(server.url, ssl=context) as response:
                assert response.status == 200


async def test_the_context_of_a_request_can_be_changed_until_it_is_connected() -> None:
    request = aiohttp.ClientRequest(
        "GET", URL("https://127.0.0.1/"), loop=asyncio.get_running_loop()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    request._ssl = context
    assert request.ssl is context
    assert request.connection_key.ssl is context


async def test_the_context_is_part_of_the_messages_of_a_failed_connection() -> None:
    class Named(ssl.SSLContext):
        def __repr__(self) -> str:
            return "its name"

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="ssl:its name"):
            await session.get("https://127.0.0.1:1/", ssl=Named(ssl.PROTOCOL_TLS_CLIENT))


async def test_a_certificate_error_shows_the_arguments_of_its_cause(issuer: trustme.CA) -> None:
    async with FaultServer(ssl_context=server_side(issuer)) as server:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
                await session.get(server.url, ssl=client_side(trustme.CA()))
    cause = caught.value.certificate_error
    assert cause.verify_code in {18, 19, 20, 21}
    cause.args = (*cause.args[:-1], "what we say")
    assert "what we say" in str(caught.value)

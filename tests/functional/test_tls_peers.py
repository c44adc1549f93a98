"""What is checked and reported of a server's certificate once the handshake is done."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import Certificates
from tests.functional.conftest import Observed
from tests.servers import SocksServer, free_port, program, recording_proxy, running, socks_server

EXPIRY = "platform_http_tls_certificate_expiry_timestamp_seconds"
NOBODYS = "sha256/" + base64.b64encode(bytes(32)).decode()


def pin_of(pem: bytes) -> str:
    """The pin of the first certificate in *pem*, by a library that is not ours."""
    key = x509.load_pem_x509_certificate(pem).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256/" + base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Chain:
    """A root, an authority below it, and what that one issued for ``localhost``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._root = trustme.CA()
        self._intermediate = self._root.create_child_ca()
        self._leaf = self._intermediate.issue_cert("localhost")
        self.root_pem = self._root.cert_pem.bytes()
        self.pins = {
            "its own": pin_of(self._leaf.cert_chain_pems[0].bytes()),
            "an authority's": pin_of(self._intermediate.cert_pem.bytes()),
            "the root's": pin_of(self.root_pem),
        }
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self.root_pem)

    def server(self, *, shown_besides: bytes = b"") -> ssl.SSLContext:
        """A server that shows its chain, and whatever else it likes."""
        shown = self._directory / "shown.pem"
        pems = [*(pem.bytes() for pem in self._leaf.cert_chain_pems), shown_besides]
        shown.write_bytes(b"".join([*pems, self._leaf.private_key_pem.bytes()]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown)
        return context

    def trust(self, *pins: str) -> dict[str, object]:
        return {"trust": "file", "ca_file": self.ca_file, "pins": pins}


@dataclass
class Target:
    port: int = 0
    requests: int = 0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/"

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        return web.Response(text="hello")


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[Target]:
    target = Target()
    application = web.Application()
    application.router.add_get("/", target.answer)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(ssl=context)
    target.port = server.port or 0
    yield target
    await server.close()


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "chain")


@pytest.fixture
def strangers(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "strangers")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def body(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


async def is_refused(observed: Observed, target: Target, **settings: object) -> str:
    """The message of the one attempt that was made; no request arrived."""
    async with observed.session(**settings) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await body(session, target.url)
    assert target.requests == 0
    assert len(observed.attempts) == 1
    observed.assert_quiet()
    name = "http_client_request_duration_seconds_count"
    assert observed.value(name, error_type="secure_connection_error") == 1
    return str(caught.value)


class TestAPin:
    @pytest.mark.parametrize("whose", ["its own", "an authority's", "the root's"])
    async def test_admits_a_server_whose_chain_holds_its_key(
        self, observed: Observed, chain: Chain, whose: str
    ) -> None:
        tls = chain.trust(chain.pins[whose])

        async with serving(chain.server()) as target, observed.session(tls=tls) as session:
            assert await body(session, target.url) == "hello"

    async def test_admits_nobody_else_and_the_error_tells_the_key_that_was_seen(
        self, observed: Observed, chain: Chain
    ) -> None:
        async with serving(chain.server()) as target:
            message = await is_refused(observed, target, tls=chain.trust(NOBODYS))

        assert "no certificate of localhost matches TLS__PINS" in message
        assert chain.pins["its own"] in message

    async def test_that_is_missed_ends_the_connection_at_once_and_in_silence(
        self, observed: Observed, chain: Chain
    ) -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                heard.set_result(await reader.read())
            except ConnectionError:
                heard.set_result(b"")
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=chain.server())
        async with server, observed.session(tls=chain.trust(NOBODYS)) as session:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await body(session, f"https://localhost:{port}/")
            async with asyncio.timeout(5):
                assert await heard == b""

    async def test_is_rotated_by_listing_two(self, observed: Observed, chain: Chain) -> None:
        tls = chain.trust(NOBODYS, chain.pins["its own"].removeprefix("sha256/"))

        async with serving(chain.server()) as target, observed.session(tls=tls) as session:
            assert await body(session, target.url) == "hello"

    async def test_does_not_replace_verification(
        self, observed: Observed, chain: Chain, strangers: Chain
    ) -> None:
        tls = strangers.trust(chain.pins["its own"])

        async with serving(chain.server()) as target:
            message = await is_refused(observed, target, tls=tls)

        assert "TLS__PINS" not in message

    async def test_is_not_met_by_a_certificate_that_is_only_shown_along(
        self, observed: Observed, chain: Chain, strangers: Chain
    ) -> None:
        server_side = chain.server(shown_besides=strangers.root_pem)

        async with serving(server_side) as target:
            await is_refused(observed, target, tls=chain.trust(strangers.pins["the root's"]))

    async def test_is_met_by_the_servers_own_key_alone_where_nothing_is_verified(
        self, observed: Observed, chain: Chain, strangers: Chain
    ) -> None:
        server_side = chain.server(shown_besides=strangers.root_pem)
        insecure = {"verify": False, "allow_insecure": True}

        async with serving(server_side) as target:
            for pin in (chain.pins["an authority's"], strangers.pins["the root's"]):
                observed = Observed()
                await is_refused(observed, target, tls=insecure | {"pins": [pin]})
            pins = [chain.pins["its own"]]
            async with observed.session(tls=insecure | {"pins": pins}) as session:
                assert await body(session, target.url) == "hello"

    async def test_holds_for_the_context_of_a_single_request_too(
        self, observed: Observed, chain: Chain
    ) -> None:
        callers = ssl.create_default_context(cafile=chain.ca_file)

        async with (
            serving(chain.server()) as target,
            observed.session(tls=chain.trust(NOBODYS)) as session,
        ):
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match="TLS__PINS"):
                await session.get(target.url, ssl=callers)

        assert target.requests == 0

    async def test_holds_for_websockets(self, observed: Observed, chain: Chain) -> None:
        async with (
            serving(chain.server()) as target,
            observed.session(tls=chain.trust(NOBODYS)) as session,
        ):
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match="TLS__PINS"):
                await session.ws_connect(target.url)

        assert target.requests == 0

    async def test_holds_inside_the_tunnel_of_a_proxy(
        self, observed: Observed, chain: Chain
    ) -> None:
        async with recording_proxy() as proxy, serving(chain.server()) as target:
            url = {"url": f"http://127.0.0.1:{proxy.port}"}
            await is_refused(observed, target, proxy=url, tls=chain.trust(NOBODYS))
            tls = chain.trust(chain.pins["its own"])
            async with observed.session(proxy=url, tls=tls) as session:
                assert await body(session, target.url) == "hello"

    async def test_holds_behind_a_socks_proxy(self, observed: Observed, chain: Chain) -> None:
        pytest.importorskip("python_socks")
        async with socks_server(SocksServer()) as proxy, serving(chain.server()) as target:
            url = {"url": f"socks5://127.0.0.1:{proxy.port}"}
            await is_refused(observed, target, proxy=url, tls=chain.trust(NOBODYS))
            tls = chain.trust(chain.pins["its own"])
            async with observed.session(proxy=url, tls=tls) as session:
                assert await body(session, target.url) == "hello"

    async def test_is_not_asked_of_a_proxy(
        self, observed: Observed, chain: Chain, certificates: Certificates, tmp_path: Path
    ) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(chain.root_pem + certificates.ca_pem)
        tls = chain.trust(chain.pins["its own"]) | {"ca_file": both}

        async with (
            recording_proxy(certificates.server("localhost")) as proxy,
            serving(chain.server()) as target,
            observed.session(proxy={"url": f"https://localhost:{proxy.port}"}, tls=tls) as session,
        ):
            assert await body(session, target.url) == "hello"


class TestTheEndOfACertificate:
    @pytest.mark.parametrize(
        "insecure",
        [{}, {"verify": False, "allow_insecure": True}],
        ids=["verified", "not verified"],
    )
    async def test_of_a_server_is_shown_at_its_first_connection(
        self, observed: Observed, chain: Chain, insecure: dict[str, object]
    ) -> None:
        expected = datetime(3000, 1, 1, tzinfo=UTC).timestamp()
        async with (
            serving(chain.server()) as target,
            observed.session(tls=chain.trust() | insecure) as session,
        ):
            await body(session, target.url)
            labels = {"server_address": "localhost", "side": "peer"}
            assert observed.value(EXPIRY, **labels) == expected

    async def test_of_our_own_is_shown_from_the_start_and_warned_of_when_it_is_past(
        self, observed: Observed, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        good, expired = certificates.files("good"), certificates.files("bad", expired=True)
        clients = {
            name: {"tls": {"cert_file": files.cert, "key_file": files.key}}
            for name, files in (("good", good), ("bad", expired))
        }
        with caplog.at_level(logging.WARNING, "platform_http"):
            async with observed.factory(clients=clients) as factory:
                for name in clients:
                    factory.session(name)

        own = {"side": "client", "server_address": ""}
        assert observed.value(EXPIRY, client="good", **own) > datetime.now(UTC).timestamp()
        end = datetime(2020, 1, 2, tzinfo=UTC)
        assert observed.value(EXPIRY, client="bad", **own) == end.timestamp()
        assert [message for message in caplog.messages if "CERT_FILE" in message] == [
            f"client bad: TLS__CERT_FILE: the certificate expired on {end.isoformat()}; renew it"
        ]


class TestACertificateThatIsRefused:
    async def test_says_that_it_expired(
        self, observed: Observed, certificates: Certificates
    ) -> None:
        tls = {"ca_file": certificates.ca_file}

        async with serving(certificates.server("localhost", expired=True)) as target:
            message = await is_refused(observed, target, tls=tls)

        assert "has expired" in message
        assert "has to renew it" in message

    async def test_says_that_it_is_for_another_name(
        self, observed: Observed, certificates: Certificates
    ) -> None:
        tls = {"ca_file": certificates.ca_file}

        async with serving(certificates.server("other.test")) as target:
            message = await is_refused(observed, target, tls=tls)

        assert "Hostname mismatch" in message
        assert "BASE_URL" in message

    @pytest.mark.parametrize(
        ("trust", "remedy"),
        [
            ("file", "add its authority to TLS__CA_FILE"),
            ("certifi", "certifi does not know its authority; name that in TLS__CA_FILE"),
            ("system", "add its authority to the system's, or name it in TLS__CA_FILE"),
        ],
    )
    async def test_says_where_to_add_an_unknown_authority(
        self,
        observed: Observed,
        chain: Chain,
        certificates: Certificates,
        trust: str,
        remedy: str,
    ) -> None:
        tls = {"trust": trust, "ca_file": chain.ca_file if trust == "file" else None}

        async with serving(certificates.server("localhost")) as target:
            message = await is_refused(observed, target, tls=tls)

        assert remedy in message

    async def test_of_the_client_is_a_tls_error_that_is_not_retried(
        self, observed: Observed, certificates: Certificates, tmp_path: Path
    ) -> None:
        # asyncio's server hangs up without the alert that says why.
        files = certificates.files("localhost")
        port = free_port()
        command = [program("openssl"), "s_server", "-accept", str(port), "-www", "-Verify", "1"]
        command += ["-cert", str(files.cert), "-key", str(files.key)]
        with running(command, port=port, log=tmp_path / "log"):
            async with observed.session(tls={"ca_file": certificates.ca_file}) as session:
                with pytest.raises(aiohttp.ClientOSError, match="certificate required"):
                    await body(session, f"https://localhost:{port}/")

        assert len(observed.attempts) == 1
        name = "http_client_request_duration_seconds_count"
        assert observed.value(name, error_type="secure_connection_error") == 1

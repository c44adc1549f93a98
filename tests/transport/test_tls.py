from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
from pathlib import Path

import aiohttp
import certifi
import pytest
import truststore
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from platform_http.errors import ConfigurationError
from platform_http.settings import TlsSettings
from platform_http.transport import tls
from platform_http.transport.tls import FileVersion, TlsProfile, build_context, load_contexts
from tests.certificates import Certificates

PASSWORD = "canary-key-password"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_CACHE", tls._ContextCache())


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of every build, in order."""
    threads: list[str] = []

    def build(profile: TlsProfile) -> ssl.SSLContext:
        threads.append(threading.current_thread().name)
        return build_context(profile)

    monkeypatch.setattr(tls, "build_context", build)
    return threads


def profile(**values: object) -> TlsProfile:
    return TlsProfile.of(TlsSettings.model_validate(values))


def trusting(certificates: Certificates, **values: object) -> TlsProfile:
    return profile(trust="file", ca_file=certificates.ca_file, **values)


def context_of(loaded: TlsProfile) -> ssl.SSLContext:
    return tls.load([loaded])[loaded].context


def violations(refused: TlsProfile) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        build_context(refused)
    return caught.value.violations


async def status_of(context: ssl.SSLContext, server_side: ssl.SSLContext, host: str) -> int:
    """GET from a real TLS server under *host*, which resolves to loopback."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    application.router.add_get("/", handler)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(ssl=server_side)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"https://{host}:{server.port}/") as response,
        ):
            return response.status
    finally:
        await server.close()


class TestTheContext:
    def test_verifies_names_and_chains_and_speaks_only_http_1_1(self) -> None:
        context = build_context(profile())

        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname is True
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2

    def test_does_not_write_session_keys_where_the_environment_says(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))

        assert build_context(profile()).keylog_filename is None

    def test_honours_the_minimum_version(self) -> None:
        context = build_context(profile(min_version="1.3"))

        assert context.minimum_version is ssl.TLSVersion.TLSv1_3

    def test_trusts_the_bundle_that_the_environment_names_for_openssl(
        self, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

        assert build_context(profile()).cert_store_stats()["x509_ca"] == 1

    def test_falls_back_to_the_first_bundle_of_a_distribution_that_can_be_read(
        self, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
        garbage = tmp_path / "garbage.pem"
        garbage.write_text("no certificate")
        bundles = (str(tmp_path / "missing.pem"), str(garbage), str(certificates.ca_file))
        monkeypatch.setattr(tls, "_BUNDLES", bundles)

        assert build_context(profile()).cert_store_stats()["x509_ca"] == 1

    def test_is_content_with_a_directory_of_hashed_certificates(
        self, monkeypatch: pytest.MonkeyPatch, certificates: Certificates, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        monkeypatch.setattr(tls, "_BUNDLES", ())
        shutil.copy(certificates.ca_file, tmp_path / "0a1b2c3d.0")

        assert build_context(profile()).verify_mode is ssl.CERT_REQUIRED

    def test_is_refused_where_the_system_has_no_certificates(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        monkeypatch.setattr(tls, "_BUNDLES", (str(tmp_path / "missing.pem"),))

        (violation,) = violations(profile())

        assert violation.startswith("TLS__TRUST: system")
        assert "TLS__TRUST=certifi" in violation

    def test_leaves_the_verdict_to_the_platform_where_it_gives_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tls, "_HAS_PLATFORM_VERIFIER", True)

        context = build_context(profile(min_version="1.3"))

        assert isinstance(context, truststore.SSLContext)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.check_hostname is True

    def test_does_not_ask_the_platform_about_another_trust(
        self, monkeypatch: pytest.MonkeyPatch, certificates: Certificates
    ) -> None:
        monkeypatch.setattr(tls, "_HAS_PLATFORM_VERIFIER", True)

        context = build_context(trusting(certificates))

        assert not isinstance(context, truststore.SSLContext)
        assert context.cert_store_stats()["x509_ca"] == 1

    def test_trusts_what_certifi_ships_when_told_to(self) -> None:
        expected = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        expected.load_verify_locations(cafile=certifi.where())

        context = build_context(profile(trust="certifi"))

        assert context.cert_store_stats() == expected.cert_store_stats()

    def test_verifies_nothing_when_told_not_to(self) -> None:
        context = build_context(profile(verify=False, allow_insecure=True))

        assert context.verify_mode is ssl.CERT_NONE
        assert context.check_hostname is False
        assert context.cert_store_stats()["x509"] == 0


class TestAHandshake:
    async def test_succeeds_with_a_good_certificate(self, certificates: Certificates) -> None:
        context = build_context(trusting(certificates))

        assert await status_of(context, certificates.server("localhost"), "localhost") == 200

    async def test_succeeds_under_an_address_that_the_certificate_names(
        self, certificates: Certificates
    ) -> None:
        context = build_context(trusting(certificates))

        assert await status_of(context, certificates.server("127.0.0.1"), "127.0.0.1") == 200

    async def test_fails_with_an_expired_certificate(self, certificates: Certificates) -> None:
        context = build_context(trusting(certificates))
        server_side = certificates.server("localhost", expired=True)

        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="expired"):
            await status_of(context, server_side, "localhost")

    async def test_fails_with_a_certificate_for_another_name(
        self, certificates: Certificates
    ) -> None:
        context = build_context(trusting(certificates))

        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Hostname mismatch"):
            await status_of(context, certificates.server("other.test"), "localhost")

    @pytest.mark.parametrize("trust", ["system", "certifi", "file"])
    async def test_fails_with_a_certificate_of_an_unknown_authority(
        self, certificates: Certificates, strangers: Certificates, trust: str
    ) -> None:
        ca_file = certificates.ca_file if trust == "file" else None
        context = build_context(profile(trust=trust, ca_file=ca_file))

        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="verify failed"):
            await status_of(context, strangers.server("localhost"), "localhost")

    async def test_succeeds_with_any_certificate_when_nothing_is_verified(
        self, strangers: Certificates
    ) -> None:
        context = build_context(profile(verify=False, allow_insecure=True))
        server_side = strangers.server("other.test", expired=True)

        assert await status_of(context, server_side, "localhost") == 200

    async def test_fails_below_the_minimum_version(self, certificates: Certificates) -> None:
        server_side = certificates.server("localhost")
        server_side.maximum_version = ssl.TLSVersion.TLSv1_2

        modern = build_context(trusting(certificates, min_version="1.3"))
        # asyncio's server hangs up without the alert that would make it a ClientConnectorSSLError.
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(modern, server_side, "localhost")

        default = build_context(trusting(certificates))
        assert await status_of(default, server_side, "localhost") == 200

    async def test_offers_http_1_1_and_nothing_else(self, certificates: Certificates) -> None:
        server_side = certificates.server("localhost")
        server_side.set_alpn_protocols(["h2", "http/1.1"])
        context = build_context(trusting(certificates))

        def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server_side)
        async with server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("localhost", port, ssl=context)
            chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            writer.close()
            await writer.wait_closed()

        assert chosen == "http/1.1"


class TestAClientCertificate:
    @pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain key", "encrypted key"])
    async def test_is_shown_to_a_server_that_demands_one(
        self, certificates: Certificates, password: str | None
    ) -> None:
        files = certificates.files("client", password=password)
        context = build_context(
            trusting(
                certificates,
                cert_file=files.cert,
                key_file=files.key,
                key_password=None if password is None else SecretStr(password),
            )
        )
        server_side = certificates.server("localhost", client_ca=True)

        assert await status_of(context, server_side, "localhost") == 200

    async def test_may_share_a_file_with_its_key(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        files = certificates.files("client")
        both = tmp_path / "both.pem"
        both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        context = build_context(trusting(certificates, cert_file=both))
        server_side = certificates.server("localhost", client_ca=True)

        assert await status_of(context, server_side, "localhost") == 200

    async def test_is_missed_by_a_server_that_demands_one(self, certificates: Certificates) -> None:
        context = build_context(trusting(certificates))
        server_side = certificates.server("localhost", client_ca=True)

        # TLS 1.3 ends the client's handshake before the server has looked for a certificate.
        with pytest.raises(aiohttp.ClientError):
            await status_of(context, server_side, "localhost")

    async def test_is_kept_from_peers_that_must_not_see_it(
        self, certificates: Certificates
    ) -> None:
        files = certificates.files("client")
        settings = TlsSettings(
            trust="file",
            ca_file=certificates.ca_file,
            cert_file=files.cert,
            key_file=files.key,
        )
        without = TlsProfile.of(settings, client_certificate=False)
        server_side = certificates.server("localhost", client_ca=True)

        assert without == trusting(certificates)
        with pytest.raises(aiohttp.ClientError):
            await status_of(build_context(without), server_side, "localhost")


class TestAFileThatCannotBeUsed:
    def test_is_named_when_the_ca_file_is_missing(self, tmp_path: Path) -> None:
        refused = profile(trust="file", ca_file=tmp_path / "missing.pem")

        assert violations(refused) == ("TLS__CA_FILE: the file does not exist",)

    def test_is_named_when_it_was_never_set(self) -> None:
        (violation,) = violations(TlsProfile(verify=True, trust="file", min_version="1.2"))

        assert violation.startswith("TLS__CA_FILE: not set")

    def test_is_named_when_the_ca_file_is_a_directory(self, tmp_path: Path) -> None:
        refused = profile(trust="file", ca_file=tmp_path)

        assert violations(refused) == ("TLS__CA_FILE: a directory, not a file",)

    @pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx"])
    def test_is_named_when_the_ca_file_is_not_pem(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "ca.pem"
        path.write_text(content)

        assert violations(profile(trust="file", ca_file=path)) == (
            "TLS__CA_FILE: the file holds no readable PEM certificate",
        )

    def test_is_named_when_it_may_not_be_read(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        # The user of the tests may be root, whom no file mode stops.
        monkeypatch.setattr(Path, "open", denied)

        assert violations(trusting(certificates)) == (
            "TLS__CA_FILE: the file may not be read by this user",
        )

    def test_is_named_when_reading_it_fails_in_another_way(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "open", broken)

        assert violations(trusting(certificates)) == (
            "TLS__CA_FILE: the file cannot be read (Input/output error)",
        )

    def test_is_named_together_with_all_others(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing.pem"
        refused = profile(trust="file", ca_file=missing, cert_file=missing, key_file=missing)

        assert violations(refused) == (
            "TLS__CA_FILE: the file does not exist",
            "TLS__CERT_FILE: the file does not exist",
            "TLS__KEY_FILE: the file does not exist",
        )

    def test_is_named_when_the_key_belongs_to_another_certificate(
        self, certificates: Certificates
    ) -> None:
        one, other = certificates.files("one"), certificates.files("other")

        assert violations(trusting(certificates, cert_file=one.cert, key_file=other.key)) == (
            "TLS__KEY_FILE: the private key does not belong to TLS__CERT_FILE",
        )

    def test_is_named_when_the_certificate_is_not_pem(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        der = tmp_path / "client.der"
        files = certificates.files("client")
        der.write_bytes(ssl.PEM_cert_to_DER_cert(files.cert.read_text()))

        assert violations(trusting(certificates, cert_file=der, key_file=files.key)) == (
            "TLS__CERT_FILE: the file holds no PEM certificate",
        )

    def test_is_named_when_the_key_is_not_pem(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        garbage = tmp_path / "client.key"
        garbage.write_text("no key")
        files = certificates.files("client")

        assert violations(trusting(certificates, cert_file=files.cert, key_file=garbage)) == (
            "TLS__KEY_FILE: the file holds no readable PEM private key",
        )

    def test_is_named_when_a_shared_file_lacks_the_key(self, certificates: Certificates) -> None:
        files = certificates.files("client")

        assert violations(trusting(certificates, cert_file=files.cert)) == (
            "TLS__CERT_FILE: the file holds no readable PEM private key",
        )

    def test_is_named_when_the_key_is_encrypted_and_nobody_gave_a_password(
        self, certificates: Certificates
    ) -> None:
        files = certificates.files("client", password=PASSWORD)

        assert violations(trusting(certificates, cert_file=files.cert, key_file=files.key)) == (
            "TLS__KEY_PASSWORD: not set, but the key in TLS__KEY_FILE is encrypted",
        )

    @pytest.mark.parametrize(
        ("password", "violation"),
        [
            ("canary-wrong", "TLS__KEY_PASSWORD: does not decrypt the key in TLS__KEY_FILE"),
            ("c" * 1025, "TLS__KEY_PASSWORD: too long, OpenSSL takes at most 1024 bytes"),
        ],
    )
    def test_is_named_when_the_password_is_wrong_which_is_not_repeated(
        self, certificates: Certificates, password: str, violation: str
    ) -> None:
        files = certificates.files("client", password=PASSWORD)
        refused = trusting(
            certificates,
            cert_file=files.cert,
            key_file=files.key,
            key_password=SecretStr(password),
        )

        assert violations(refused) == (violation,)
        assert password not in repr(refused)


class TestAProfile:
    def test_changes_when_its_file_is_rewritten(self, certificates: Certificates) -> None:
        before = trusting(certificates)
        certificates.ca_file.write_bytes(certificates.ca_file.read_bytes() + b"\n")

        assert trusting(certificates) != before

    def test_changes_when_a_symbolic_link_turns_to_a_twin(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        link = tmp_path / "ca.pem"
        twin = tmp_path / "twin.pem"
        shutil.copy2(certificates.ca_file, twin)
        link.symlink_to(certificates.ca_file)
        before = FileVersion.of(link)
        link.unlink()
        link.symlink_to(twin)

        assert FileVersion.of(link) != before

    def test_stays_the_same_while_its_files_do(self, certificates: Certificates) -> None:
        files = certificates.files("client")
        values = {
            "cert_file": files.cert,
            "key_file": files.key,
            "key_password": SecretStr(PASSWORD),
        }

        assert trusting(certificates, **values) == trusting(certificates, **values)
        assert hash(trusting(certificates, **values)) == hash(trusting(certificates, **values))


class TestSharing:
    async def test_gives_equal_settings_the_same_context(
        self, certificates: Certificates, builds: list[str]
    ) -> None:
        await load_contexts([trusting(certificates), trusting(certificates)])

        assert context_of(trusting(certificates)) is context_of(trusting(certificates))
        assert len(builds) == 1

    async def test_builds_off_the_event_loop(
        self, certificates: Certificates, builds: list[str]
    ) -> None:
        await load_contexts([trusting(certificates)])

        assert builds != [threading.current_thread().name]

    async def test_builds_nothing_twice(
        self, certificates: Certificates, builds: list[str]
    ) -> None:
        await load_contexts([trusting(certificates)])
        await load_contexts([trusting(certificates), profile(trust="certifi")])
        await load_contexts([trusting(certificates)])

        assert len(builds) == 2

    async def test_gives_a_changed_file_a_new_context(self, certificates: Certificates) -> None:
        before = context_of(trusting(certificates))
        certificates.ca_file.write_bytes(certificates.ca_file.read_bytes() + b"\n")

        assert context_of(trusting(certificates)) is not before

    async def test_reports_the_problems_of_all_profiles_once(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        missing = tmp_path / "missing.pem"
        first = profile(trust="file", ca_file=missing)
        second = profile(trust="file", ca_file=missing, min_version="1.3")
        third = trusting(certificates, cert_file=missing)

        with pytest.raises(ConfigurationError) as caught:
            await load_contexts([first, second, third])

        assert caught.value.violations == (
            "TLS__CA_FILE: the file does not exist",
            "TLS__CERT_FILE: the file does not exist",
        )

    async def test_tries_again_after_a_failure(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        path = tmp_path / "ca.pem"
        with pytest.raises(ConfigurationError):
            await load_contexts([profile(trust="file", ca_file=path)])
        shutil.copy(certificates.ca_file, path)

        assert context_of(profile(trust="file", ca_file=path)).cert_store_stats()["x509_ca"] == 1

    async def test_builds_once_for_threads_that_ask_at_the_same_time(
        self, certificates: Certificates, builds: list[str]
    ) -> None:
        together = threading.Barrier(4)

        def ask() -> ssl.SSLContext:
            together.wait(5)
            return context_of(trusting(certificates))

        contexts = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))

        assert len(set(map(id, contexts))) == 1
        assert len(builds) == 1

    def test_answers_from_the_cache_while_another_context_is_being_built(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = context_of(trusting(certificates))
        building, go_on = threading.Event(), threading.Event()

        def slow(unknown: TlsProfile) -> ssl.SSLContext:
            building.set()
            assert go_on.wait(5)
            return build_context(unknown)

        monkeypatch.setattr(tls, "build_context", slow)
        thread = threading.Thread(target=context_of, args=[profile(trust="certifi")])
        thread.start()
        assert building.wait(5)

        assert context_of(trusting(certificates)) is known

        go_on.set()
        thread.join()

    def test_forgets_the_least_recently_used_beyond_its_bound(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tls, "_CACHE_SIZE", 2)
        oldest, middle, newest = (
            trusting(certificates),
            trusting(certificates, min_version="1.3"),
            profile(verify=False, allow_insecure=True),
        )
        kept, forgotten = context_of(oldest), context_of(middle)
        context_of(oldest)
        context_of(newest)

        assert context_of(oldest) is kept
        assert context_of(middle) is not forgotten

    def test_a_file_that_is_swapped_while_it_is_read_is_not_kept_as_what_it_was(
        self,
        certificates: Certificates,
        strangers: Certificates,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(certificates.ca_pem)
        seen = TlsProfile.of(TlsSettings(trust="file", ca_file=ca_file))
        build = tls.build_context

        def swap_and_build(profile: TlsProfile) -> ssl.SSLContext:
            ca_file.rename(tmp_path / "away")
            ca_file.write_bytes(strangers.ca_pem)
            return build(profile)

        with monkeypatch.context() as racing:
            racing.setattr(tls, "build_context", swap_and_build)
            with pytest.raises(ConfigurationError) as caught:
                context_of(seen)
        assert caught.value.violations == (
            "TLS__CA_FILE: the file is being written; try again when it is complete",
        )
        (tmp_path / "away").replace(ca_file)

        (anchor,) = context_of(seen).get_ca_certs(binary_form=True)
        assert ssl.DER_cert_to_PEM_cert(anchor).split() == certificates.ca_pem.decode().split()

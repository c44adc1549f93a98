from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import shutil
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from platform_http.settings import TlsSettings
from platform_http.transport import tls
from platform_http.transport.certificates import Certificate
from platform_http.transport.client_tls import ClientTls, Profiles
from platform_http.transport.pins import Pins, pin
from platform_http.transport.tls_rotation import FileWatch, TlsRotation
from tests.certificates import Certificates


def version(number: int) -> Profiles:
    """The profiles of a client whose file is at its version *number*."""
    file = tls.FileVersion(Path("/tls/ca.pem"), number, number, 1)
    profile = tls.TlsProfile(verify=True, trust="file", min_version="1.2", ca_file=file)
    return Profiles(profile, profile)


class TestChangedFiles:
    def test_are_read_once_two_looks_in_a_row_see_the_same(self) -> None:
        watch = FileWatch(version(1))

        assert [watch.look(version(2)) for _ in range(2)] == [False, True]
        watch.taken_over()
        assert [watch.look(version(2)) for _ in range(2)] == [False, False]

    def test_are_read_again_until_they_are_in_use(self) -> None:
        watch = FileWatch(version(1))

        assert [watch.look(version(2)) for _ in range(4)] == [False, True, True, True]

    def test_are_complained_of_once_per_version_and_problem(self) -> None:
        watch = FileWatch(version(1))
        watch.look(version(2))

        assert [watch.is_news("missing"), watch.is_news("missing")] == [True, False]
        assert [watch.is_news("broken"), watch.is_news("broken")] == [True, False]
        watch.look(version(3))
        assert watch.is_news("broken")
        watch.look(version(1))
        watch.look(version(3))
        assert watch.is_news("broken")

    def test_are_left_alone_while_they_go_on_changing(self) -> None:
        watch = FileWatch(version(1))

        assert not any(watch.look(version(number)) for number in range(2, 9))
        assert watch.look(version(8))

    def test_that_are_as_they_were_are_not_read(self) -> None:
        watch = FileWatch(version(1))

        assert not any(watch.look(version(number)) for number in (1, 1, 2, 1, 1))

    def test_that_went_back_after_another_version_was_read_are_read_again(self) -> None:
        watch = FileWatch(version(1))
        for _ in range(2):
            watch.look(version(2))
        watch.taken_over()

        assert [watch.look(version(1)) for _ in range(2)] == [False, True]


@dataclass
class Witness:
    """A pool and an observer that keep what they are told."""

    retired: list[tuple[set[ssl.SSLContext], set[ssl.SSLContext]]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    certificates: list[tuple[str, str]] = field(default_factory=list)

    def retire(self, old: object, new: object) -> None:
        self.retired.append((set(old), set(new)))

    def tls_reloaded(self, result: str) -> None:
        self.results.append(result)

    def certificate_seen(self, address: str, side: str, expires: float) -> None:
        self.certificates.append((address, side))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def entered(settings: TlsSettings) -> tuple[ClientTls, TlsRotation, Witness]:
    client, witness = ClientTls("billing", settings), Witness()
    profiles = client.profiles()
    client.use(profiles, await tls.load_contexts(profiles))
    client.serve(witness, witness)
    return client, TlsRotation([(client, profiles)]), witness


async def looks(rotation: TlsRotation, client: ClientTls, count: int = 2) -> None:
    for _ in range(count):
        await rotation.look(client)


class TestARotation:
    async def test_replaces_only_the_contexts_whose_files_changed(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        files = certificates.files("client")
        settings = TlsSettings(
            trust="file",
            ca_file=certificates.ca_file,
            cert_file=files.cert,
            key_file=files.key,
        )
        client, rotation, witness = await entered(settings)
        own, other = client.own, client.other
        certificates.files("client")

        await looks(rotation, client)

        assert client.own is not own
        assert client.other is other
        assert witness.retired == [({own, other}, {client.own, other})]
        assert witness.results == ["success"]
        assert witness.certificates == [("", "client")] * 2

    async def test_survives_a_file_that_went_away_and_came_back(
        self, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "mounted.pem"
        shutil.copy(certificates.ca_file, path)
        client, rotation, witness = await entered(TlsSettings(trust="file", ca_file=path))
        path.unlink()

        await looks(rotation, client, 4)
        shutil.copy(certificates.ca_file, path)
        await looks(rotation, client, 4)

        assert witness.results == ["failure", "success"]
        assert [record.getMessage() for record in caplog.records if record.levelno > 20] == [
            "client billing keeps its previous TLS files: TLS__CA_FILE: the file does not exist"
        ]

    async def test_names_every_problem_and_no_content(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = certificates.files("client", password="canary-password")
        settings = TlsSettings(
            trust="file",
            ca_file=certificates.ca_file,
            cert_file=files.cert,
            key_file=files.key,
            key_password="canary-password",
        )
        client, rotation, _ = await entered(settings)
        certificates.ca_file.write_text("canary-ca")
        certificates.files("client", password="canary-other-password")

        await looks(rotation, client)

        (message,) = caplog.messages
        assert "TLS__CA_FILE: the file holds no readable PEM certificate" in message
        assert "TLS__KEY_PASSWORD: does not decrypt the key in TLS__KEY_FILE" in message
        assert "canary" not in caplog.text

    async def test_goes_on_after_a_failure_that_nobody_foresaw(
        self,
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        client, rotation, witness = await entered(
            TlsSettings(trust="file", ca_file=certificates.ca_file)
        )

        def broken(_: ClientTls) -> Profiles:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as broken_for_a_while:
            broken_for_a_while.setattr(ClientTls, "profiles", broken)
            await looks(rotation, client)
        certificates.ca_file.write_bytes(certificates.ca_pem * 2)
        await looks(rotation, client)

        assert witness.results == ["success"]
        assert "cannot look at TLS files: RuntimeError" in caplog.messages

    @pytest.mark.parametrize(
        "failure",
        [OSError(24, "Too many open files"), RuntimeError("can't start new thread")],
        ids=["descriptors", "threads"],
    )
    async def test_takes_over_files_that_could_not_be_read_for_a_while(
        self,
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        failure: Exception,
    ) -> None:
        client, rotation, witness = await entered(
            TlsSettings(trust="file", ca_file=certificates.ca_file)
        )
        certificates.ca_file.write_bytes(certificates.ca_pem * 2)

        async def broken(_: object) -> None:
            raise failure

        with monkeypatch.context() as broken_for_a_while:
            broken_for_a_while.setattr(tls, "load_contexts", broken)
            await looks(rotation, client, 4)
        assert witness.results == []
        await looks(rotation, client, 3)

        assert witness.results == ["success"]
        assert [each for each in caplog.messages if "cannot look" in each] == [
            f"cannot look at TLS files: {type(failure).__name__}"
        ]

    async def test_takes_over_files_whose_permissions_were_repaired(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client, rotation, witness = await entered(
            TlsSettings(trust="file", ca_file=certificates.ca_file)
        )
        certificates.ca_file.write_bytes(certificates.ca_pem * 2)

        with monkeypatch.context() as forbidden:
            forbidden.setattr(tls, "_unreadable", lambda _: "the file may not be read by this user")
            await looks(rotation, client, 4)
        await looks(rotation, client)

        assert witness.results == ["failure", "success"]

    async def test_looks_twice_per_interval_of_each_client(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[tuple[float, str]] = []
        now = 0.0
        over = asyncio.Event()

        class Clock:
            def time(self) -> float:
                return now

            def create_task(self, coroutine: object, **options: object) -> asyncio.Task[None]:
                return asyncio.ensure_future(coroutine)

        async def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds
            if now > 120:
                over.set()
                await asyncio.Event().wait()

        async def look(self: TlsRotation, client: ClientTls) -> None:
            looked.append((now, client._client))

        clients = [
            ClientTls(name, TlsSettings(ca_file=certificates.ca_file, reload_interval=interval))
            for name, interval in (("slow", 60), ("quick", 50))
        ]
        rotation = TlsRotation([(client, client.profiles()) for client in clients])
        monkeypatch.setattr(TlsRotation, "look", look)
        monkeypatch.setattr("platform_http.transport.tls_rotation.asyncio", _Asyncio(Clock, sleep))
        rotation.start()
        await over.wait()
        monkeypatch.undo()
        await rotation.stop()

        assert [when for when, name in looked if name == "slow"] == [30, 60, 90, 120]
        assert [when for when, name in looked if name == "quick"] == [25, 50, 75, 100]

    async def test_that_was_never_started_can_be_stopped(self) -> None:
        await TlsRotation([]).stop()


class _Asyncio:
    """The part of asyncio that a rotation uses, with a clock of the test's."""

    def __init__(self, clock: type, sleep: object) -> None:
        self._clock = clock()
        self.sleep = sleep

    def get_running_loop(self) -> object:
        return self._clock


class TestTheOwnCertificate:
    async def test_that_has_expired_is_warned_of_when_it_is_taken_over_too(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        files = certificates.files("client")
        client, rotation, _ = await entered(
            TlsSettings(cert_file=files.cert, key_file=files.key, trust="certifi")
        )
        assert not caplog.messages
        certificates.files("client", expired=True)

        with caplog.at_level(logging.WARNING, "platform_http"):
            await looks(rotation, client)

        (message,) = caplog.messages
        assert message.startswith("client billing: TLS__CERT_FILE: the certificate expired on 2020")

    def test_of_a_kind_that_is_not_understood_has_no_end(self, tmp_path: Path) -> None:
        leaf = trustme.CA().issue_cert("client")
        path = tmp_path / "client.pem"
        pem = leaf.private_key_and_cert_chain_pem.bytes()
        path.write_bytes(pem.replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-"))
        profile = tls.TlsProfile.of(TlsSettings(trust="certifi", cert_file=path))

        assert tls.load([profile])[profile].expires is None

    def test_is_only_looked_for_where_there_is_one(self, certificates: Certificates) -> None:
        profile = tls.TlsProfile.of(TlsSettings(trust="file", ca_file=certificates.ca_file))

        assert tls.load([profile])[profile].expires is None


class TestPins:
    def test_match_by_the_key_with_or_without_their_prefix(self) -> None:
        der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
        seen = pin(Certificate.of(der))

        assert Pins([seen]).match([der])
        assert Pins([seen.removeprefix("sha256/")]).match([der])

    def test_do_not_match_what_is_no_certificate(self) -> None:
        nothing = base64.b64encode(hashlib.sha256(b"").digest()).decode()

        assert not Pins([nothing]).match([b"", b"\x30\x00"])

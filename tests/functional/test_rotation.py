"""Files of TLS settings that change while calls run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.transport.tls_rotation import TlsRotation
from tests.certificates import Certificates, PemFiles
from tests.functional.conftest import Observed
from tests.servers import recording_proxy

INTERVAL = 0.2


class Mount:
    """Files as Kubernetes mounts them: links into a directory that is swapped as a whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._versions = itertools.count()
        directory.mkdir()

    def publish(self, **files: bytes) -> None:
        """Replace all files at once; ``ca`` becomes ``ca.pem``."""
        version = self._directory / f"..{next(self._versions)}"
        version.mkdir()
        for name, content in files.items():
            (version / f"{name}.pem").write_bytes(content)
            link = self[name]
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}.pem")
        self._point_to(version.name)

    def go_back(self) -> None:
        """Replace all files by their first version."""
        self._point_to("..0")

    def _point_to(self, version: str) -> None:
        new = self._directory / "..data_new"
        new.symlink_to(version)
        new.replace(self._directory / "..data")

    def __getitem__(self, name: str) -> Path:
        return self._directory / f"{name}.pem"


@dataclass
class Server:
    """Answers with the serial number of the client certificate, and keeps when it saw which."""

    context: ssl.SSLContext
    url: str = ""
    seen: dict[str, float] = field(default_factory=dict)
    connections: set[object] = field(default_factory=set)
    resume: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.add(request.transport)
        certificate = request.transport.get_extra_info("peercert") or {}
        serial = str(certificate.get("serialNumber", ""))
        self.seen.setdefault(serial, asyncio.get_running_loop().time())
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(serial.encode())
        if request.path == "/slow":
            await self.resume.wait()
        await response.write_eof()
        return response


@contextlib.asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[Server]:
    server = Server(context)
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    runner = TestServer(application, host="127.0.0.1")
    await runner.start_server(ssl=context)
    server.url = f"https://localhost:{runner.port}/"
    yield server
    server.resume.set()
    await runner.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return authority(tmp_path / "old")


@pytest.fixture
def renewed(tmp_path: Path) -> Certificates:
    return authority(tmp_path / "new")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "mount")


def authority(directory: Path) -> Certificates:
    directory.mkdir()
    return Certificates(directory)


def identity(files: PemFiles) -> dict[str, bytes]:
    return {"cert": files.cert.read_bytes(), "key": files.key.read_bytes()}


def settings(mount: Mount, *, client: bool = True, interval: float = INTERVAL) -> dict[str, object]:
    ours = {"cert_file": mount["cert"], "key_file": mount["key"]} if client else {}
    return {"ca_file": mount["ca"], "trust": "file", "reload_interval": interval, **ours}


async def body(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a server and a metric set no event
            await asyncio.sleep(0.005)


def reloads(observed: Observed, result: str) -> float:
    return observed.value("platform_http_tls_reloads_total", result=result)


async def test_ca_and_client_certificate_rotate_under_load_without_one_failed_call(
    observed: Observed, certificates: Certificates, renewed: Certificates, mount: Mount
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    renewed.trust(server_side)
    first, second = identity(certificates.files("a")), identity(renewed.files("b"))
    old_ca, new_ca = certificates.ca_pem, renewed.ca_pem
    mount.publish(ca=old_ca, **first)
    failures: list[BaseException] = []
    answered = 0

    async def call(session: aiohttp.ClientSession, url: str) -> None:
        nonlocal answered
        try:
            await body(session, url)
            answered += 1
        except Exception as error:
            failures.append(error)

    async def load(session: aiohttp.ClientSession, url: str) -> None:
        """200 calls per second."""
        async with asyncio.TaskGroup() as calls:
            while not done.is_set():
                calls.create_task(call(session, url))
                await asyncio.sleep(0.005)

    async def some_calls_later(condition: Callable[[], bool]) -> None:
        await until(condition)
        enough = answered + 50
        await until(lambda: answered >= enough or bool(failures))

    done = asyncio.Event()
    clock = asyncio.get_running_loop().time
    async with (
        serving(server_side) as server,
        observed.session(tls=settings(mount), retry={"enabled": False}) as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(load(session, server.url))
        await some_calls_later(lambda: len(server.seen) == 1)

        mount.publish(ca=old_ca, **second)
        published = clock()
        await some_calls_later(lambda: len(server.seen) == 2)
        took = max(server.seen.values()) - published

        mount.publish(ca=old_ca + new_ca, **second)
        await some_calls_later(lambda: reloads(observed, "success") == 2)
        renewed.renew(server_side, "localhost")
        mount.publish(ca=old_ca + new_ca, **{**second, "key": first["key"]})
        await some_calls_later(lambda: reloads(observed, "failure") == 1)
        mount.publish(ca=new_ca, **second)
        await some_calls_later(lambda: reloads(observed, "success") == 3)
        done.set()

    assert failures == []
    # When a look is due is decided on a fake clock elsewhere; here a busy machine may be slow.
    assert took < INTERVAL + 2
    observed.assert_quiet()


async def test_an_idle_connection_of_the_old_identity_serves_no_more_calls(
    observed: Observed, certificates: Certificates, renewed: Certificates, mount: Mount
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    first, second = identity(certificates.files("a")), identity(certificates.files("b"))
    mount.publish(ca=certificates.ca_pem, **first)

    async with serving(server_side) as server, observed.session(tls=settings(mount)) as session:
        before = await body(session, server.url)
        assert await body(session, server.url) == before
        assert len(server.connections) == 1

        mount.publish(ca=certificates.ca_pem, **second)
        await until(lambda: reloads(observed, "success") == 1)
        await until(lambda: observed.value("http_client_open_connections") == 0)

        assert await body(session, server.url) != before
        assert len(server.connections) == 2

        mount.publish(ca=renewed.ca_pem, **second)
        await until(lambda: reloads(observed, "success") == 2)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await body(session, server.url)


async def test_an_idle_connection_to_a_proxy_that_was_verified_by_the_old_authority_is_closed(
    observed: Observed, certificates: Certificates, mount: Mount
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", answer)
    plain = TestServer(application, host="127.0.0.1")
    await plain.start_server()
    mount.publish(ca=certificates.ca_pem)

    async with recording_proxy(certificates.server("localhost")) as proxy:
        url = {"url": f"https://localhost:{proxy.port}"}
        async with observed.session(tls=settings(mount, client=False), proxy=url) as session:
            assert await body(session, f"http://127.0.0.1:{plain.port}/") == "hello"
            open_connections = "http_client_open_connections"
            assert observed.value(open_connections, http_connection_state="idle") == 1
            mount.publish(ca=certificates.ca_pem * 2)
            await until(lambda: observed.value(open_connections) == 0)

    await plain.close()


async def test_a_running_request_finishes_and_its_connection_is_not_used_again(
    observed: Observed, certificates: Certificates, mount: Mount
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    first, second = identity(certificates.files("a")), identity(certificates.files("b"))
    mount.publish(ca=certificates.ca_pem, **first)

    async with serving(server_side) as server, observed.session(tls=settings(mount)) as session:
        async with session.get(f"{server.url}slow") as response:
            mount.publish(ca=certificates.ca_pem, **second)
            await until(lambda: reloads(observed, "success") == 1)
            server.resume.set()
            before = await response.text()

        assert observed.value("http_client_open_connections", http_connection_state="idle") == 0
        assert await body(session, server.url) not in {"", before}


async def test_files_that_went_back_are_in_use_as_if_they_had_never_changed(
    observed: Observed, certificates: Certificates, mount: Mount
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    first, second = identity(certificates.files("a")), identity(certificates.files("b"))
    mount.publish(ca=certificates.ca_pem, **first)

    async with serving(server_side) as server, observed.session(tls=settings(mount)) as session:
        before = await body(session, server.url)
        mount.publish(ca=certificates.ca_pem, **second)
        await until(lambda: reloads(observed, "success") == 1)
        await body(session, server.url)
        mount.go_back()
        await until(lambda: reloads(observed, "success") == 2)
        server.connections.clear()

        assert [await body(session, server.url) for _ in range(3)] == [before] * 3
        assert len(server.connections) == 1


async def test_a_request_that_is_resent_after_a_rotation_goes_out_with_the_new_identity(
    observed: Observed, certificates: Certificates, mount: Mount
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    first, second = identity(certificates.files("a")), identity(certificates.files("b"))
    mount.publish(ca=certificates.ca_pem, **first)

    async def rotate_in_between(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        await response.read()
        mount.publish(ca=certificates.ca_pem, **second)
        await until(lambda: reloads(observed, "success") == 1)
        return await handler(request)

    async with (
        serving(server_side) as server,
        observed.factory(tls=settings(mount), middlewares=(rotate_in_between,)) as factory,
    ):
        await body(factory.session(), server.url)

    assert len(server.seen) == 2


async def test_files_that_cannot_be_used_leave_the_old_ones_in_use_and_are_told_once(
    observed: Observed,
    certificates: Certificates,
    mount: Mount,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server_side = certificates.server("localhost", client_ca=True)
    first, second = identity(certificates.files("a")), identity(certificates.files("b"))
    mount.publish(ca=certificates.ca_pem, **first)

    async with serving(server_side) as server, observed.session(tls=settings(mount)) as session:
        before = await body(session, server.url)
        with caplog.at_level(logging.INFO, "platform_http"):
            mount.publish(ca=certificates.ca_pem, cert=second["cert"], key=first["key"])
            await until(lambda: reloads(observed, "failure") == 1)
            await asyncio.sleep(2 * INTERVAL)
            told = [
                record.getMessage()
                for record in caplog.records
                if record.levelno == logging.WARNING
            ]
            assert await body(session, server.url) == before
            assert len(server.connections) == 1

            mount.publish(ca=certificates.ca_pem, **second)
            await until(lambda: reloads(observed, "success") == 1)
            assert await body(session, server.url) != before

    problem = "TLS__KEY_FILE: the private key does not belong to TLS__CERT_FILE"
    assert told == [f"client default keeps its previous TLS files: {problem}"]
    assert "client default took over changed TLS files" in caplog.messages
    assert reloads(observed, "failure") == 1


async def test_every_client_is_rotated_by_its_own_settings_and_unnamed_ones_by_the_default(
    observed: Observed, certificates: Certificates, mount: Mount, tmp_path: Path
) -> None:
    other = Mount(tmp_path / "other")
    mount.publish(ca=certificates.ca_pem)
    other.publish(ca=certificates.ca_pem)
    never = {"tls": settings(other, client=False, interval=float("inf"))}

    async with observed.factory(
        tls=settings(mount, client=False), clients={"steady": never}
    ) as factory:
        for name in ("steady", "unnamed"):
            factory.session(name)
        mount.publish(ca=certificates.ca_pem + b"\n")
        other.publish(ca=certificates.ca_pem + b"\n")
        await until(lambda: reloads(observed, "success") == 1)
        await asyncio.sleep(INTERVAL)

    name = "platform_http_tls_reloads_total"
    assert observed.value(name, client="unnamed") == 1
    assert observed.value(name, client="steady") == 0


@pytest.mark.parametrize("tls", [{}, {"trust": "certifi"}], ids=["the system's trust", "certifi"])
async def test_without_files_nothing_is_looked_at(tls: dict[str, object]) -> None:
    async with SessionFactory(HttpSettings(tls=tls)):
        assert "platform_http-tls-rotation" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_the_task_sees_nothing_of_the_context_that_entered_the_factory(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextvars import ContextVar

    looked = asyncio.Event()
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen = []

    async def look(self: TlsRotation, client: object) -> None:
        seen.append(variable.get())
        looked.set()

    monkeypatch.setattr(TlsRotation, "look", look)
    variable.set("the caller's")
    tls = {"ca_file": certificates.ca_file, "reload_interval": 0.1}
    async with SessionFactory(HttpSettings(tls=tls)):
        async with asyncio.timeout(5):
            await looked.wait()

    assert set(seen) == {"nothing"}

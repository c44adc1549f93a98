"""Real servers on loopback, each on a free port and ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from tests.certificates import PemFiles

    _Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_READY_WITHIN = 15.0
_LOOPBACK = "127.0.0.1"
# Of the programs that another package than their namesake brings.
_PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def program(name: str) -> str:
    """Return the path of a Debian program, or skip the test; with REQUIRE_ALL=1 fail it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed (apt-get install {_PACKAGES.get(name, name)})"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], *, port: int, log: Path) -> Iterator[None]:
    """Run *command* in the foreground from when it accepts on *port* until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_accepting(process, port, log)
        yield
    finally:
        # Not terminate(): squid takes two seconds over it, and there is nothing to save.
        process.kill()
        process.wait()


def _wait_until_accepting(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + _READY_WITHIN
    while time.monotonic() < give_up:
        if process.poll() is not None:
            pytest.fail(f"exited with {process.returncode}: {log.read_text(errors='replace')}")
        with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"not ready: {log.read_text(errors='replace')}")


@dataclass(frozen=True)
class ExternalProxy:
    """A running proxy program."""

    port: int
    access_log: Path

    def requests(self) -> list[str]:
        """Return the lines of the access log."""
        return self.access_log.read_text().splitlines() if self.access_log.exists() else []


@contextlib.contextmanager
def squid(
    *, login: tuple[str, str] | None = None, tls: PemFiles | None = None
) -> Iterator[ExternalProxy]:
    """Run squid for HTTP and CONNECT to any port.

    With *login* it answers 407 to everyone else; with *tls* it speaks TLS to its clients.
    """
    executable = program("squid")
    with _directory() as directory:
        port = free_port()
        access_log = directory / "access.log"
        lines = [
            f"http_port {_LOOPBACK}:{port}",
            f"pid_filename {directory}/squid.pid",
            f"cache_log {directory}/cache.log",
            f"access_log stdio:{access_log}",
            f"coredump_dir {directory}",
            "cache deny all",
            "visible_hostname localhost",
            "shutdown_lifetime 0 seconds",
            "pinger_enable off",
        ]
        if tls is not None:
            chain = [shutil.copy(path, directory) for path in tls]
            lines[0] = f"https_port {_LOOPBACK}:{port} tls-cert={chain[0]} tls-key={chain[1]}"
        if login is not None:
            helper = directory / "check_login"
            helper.write_text(_SQUID_LOGIN_CHECK.format(*login))
            helper.chmod(0o755)
            lines += [
                f"auth_param basic program {helper}",
                "auth_param basic children 1 startup=1",
                "acl known proxy_auth REQUIRED",
                "http_access allow known",
                "http_access deny all",
            ]
        else:
            lines.append("http_access allow all")
        if os.geteuid() == 0:
            lines.append("cache_effective_user proxy")
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, "proxy")
        configuration = directory / "squid.conf"
        configuration.write_text("\n".join(lines) + "\n")
        command = [executable, "-N", "-f", str(configuration)]
        with running(command, port=port, log=directory / "output.log"):
            yield ExternalProxy(port, access_log)


_SQUID_LOGIN_CHECK = """#!/bin/sh
while read -r login; do
    if [ "$login" = "{} {}" ]; then echo OK; else echo ERR; fi
done
"""


@contextlib.contextmanager
def tinyproxy(*, login: tuple[str, str] | None = None) -> Iterator[ExternalProxy]:
    """Run tinyproxy for HTTP and CONNECT to any port; with *login* it answers 407 without it."""
    executable = program("tinyproxy")
    with _directory() as directory:
        port = free_port()
        access_log = directory / "tinyproxy.log"
        lines = [
            f"Port {port}",
            f"Listen {_LOOPBACK}",
            "Timeout 60",
            "LogLevel Connect",
            f'LogFile "{access_log}"',
            f'PidFile "{directory}/tinyproxy.pid"',
        ]
        if login is not None:
            lines.append(f"BasicAuth {login[0]} {login[1]}")
        configuration = directory / "tinyproxy.conf"
        configuration.write_text("\n".join(lines) + "\n")
        command = [executable, "-d", "-c", str(configuration)]
        with running(command, port=port, log=directory / "output.log"):
            yield ExternalProxy(port, access_log)


@contextlib.contextmanager
def dnsmasq(addresses: dict[str, str], *, without_address: Sequence[str] = ()) -> Iterator[int]:
    """Serve *addresses* below ``.test`` and yield the port.

    Names in *without_address* exist and have no address; all other names do not exist.
    """
    executable = program("dnsmasq")
    with _directory() as directory:
        port = free_port()
        command = [
            executable,
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--no-resolv",
            "--no-hosts",
            "--local=/test/",
            f"--port={port}",
            f"--listen-address={_LOOPBACK}",
            "--bind-interfaces",
            *(f"--host-record={name},{address}" for name, address in addresses.items()),
            *(f"--txt-record={name},nothing" for name in without_address),
        ]
        if os.geteuid() == 0:
            command.append("--user=root")
        with running(command, port=port, log=directory / "output.log"):
            yield port


@contextlib.contextmanager
def prometheus(configuration: Mapping[str, object], *, data: Path | None = None) -> Iterator[int]:
    """Run Prometheus with exemplar storage and yield the port of its API.

    Args:
        configuration: What its configuration file says.
        data: Folder of its samples, where blocks may lie already; by default an empty one.
    """
    executable = program("prometheus")
    with _directory() as directory:
        port = free_port()
        command = [
            executable,
            f"--config.file={_configuration(directory, configuration)}",
            f"--storage.tsdb.path={data or directory / 'data'}",
            f"--web.listen-address={_LOOPBACK}:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]
        log = directory / "output.log"
        with running(command, port=port, log=log):
            _wait_until_ready(port, log)
            yield port


@contextlib.contextmanager
def alertmanager(configuration: Mapping[str, object]) -> Iterator[int]:
    """Run an Alertmanager without peers and yield the port of its API.

    Args:
        configuration: What its configuration file says.
    """
    executable = program("prometheus-alertmanager")
    with _directory() as directory:
        port = free_port()
        command = [
            executable,
            f"--config.file={_configuration(directory, configuration)}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address={_LOOPBACK}:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        log = directory / "output.log"
        with running(command, port=port, log=log):
            _wait_until_ready(port, log)
            yield port


def _configuration(directory: Path, content: Mapping[str, object]) -> Path:
    path = directory / "configuration.yaml"
    # JSON is YAML too.
    path.write_text(json.dumps(content))
    return path


def _wait_until_ready(port: int, log: Path) -> None:
    """Wait for what accepts connections before it answers queries."""
    give_up = time.monotonic() + _READY_WITHIN
    while time.monotonic() < give_up:
        connection = http.client.HTTPConnection(_LOOPBACK, port, timeout=1)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/-/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.02)
    pytest.fail(f"not ready: {log.read_text(errors='replace')}")


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="platform-http-") as name:
        yield Path(name)


@dataclass
class RecordingProxy:
    """An HTTP proxy that keeps what clients show it: request heads and TLS certificates."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    certificates: list[object] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tunnel a CONNECT, or forward one request and its response."""
        if (tls := writer.get_extra_info("ssl_object")) is not None:
            self.certificates.append(tls.getpeercert())
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode("latin-1"))
        method, target, _ = head.split(b" ", 2)
        tunnel = method == b"CONNECT"
        authority = target.decode() if tunnel else target.decode().split("/")[2]
        host, _, port = authority.rpartition(":")
        upstream, upstream_writer = await asyncio.open_connection(host, int(port))
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream_writer.write(head)
        await _relay(reader, writer, upstream, upstream_writer)


@contextlib.asynccontextmanager
async def recording_proxy(tls: ssl.SSLContext | None = None) -> AsyncIterator[RecordingProxy]:
    """Run a :class:`RecordingProxy`; with *tls* it asks its clients for a certificate too."""
    if tls is not None:
        tls.verify_mode = ssl.CERT_OPTIONAL
    proxy = RecordingProxy()
    async with _listening(proxy.serve, tls) as proxy.port:
        yield proxy


@dataclass
class SocksServer:
    """A SOCKS5 server (RFC 1928, RFC 1929) that keeps which destinations were asked for.

    Args:
        login: The only user name and password that it takes; ``None`` asks for neither.
        reply: What it answers to a CONNECT, 0 is granted.
        silent: Whether it never answers at all.
        addresses: What names resolve to here, so that a test sees who resolved.
    """

    login: tuple[str, str] | None = None
    reply: int = 0
    silent: bool = False
    addresses: dict[str, str] = field(default_factory=dict)
    port: int = 0
    destinations: list[tuple[str, int]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Negotiate, then relay."""
        if self.silent:
            await reader.read()
            return
        _, count = await reader.readexactly(2)
        offered = await reader.readexactly(count)
        wanted = 0 if self.login is None else 2
        if wanted not in offered:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes([5, wanted]))
        if self.login is not None:
            await reader.readexactly(1)
            login = (await self._string(reader), await self._string(reader))
            writer.write(bytes([1, login != self.login]))
            if login != self.login:
                return
        host, port = await self._destination(reader)
        self.destinations.append((host, port))
        writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.reply == 0:
            upstream = await asyncio.open_connection(self.addresses.get(host, host), port)
            await _relay(reader, writer, *upstream)

    async def _destination(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        *_, kind = await reader.readexactly(4)
        if kind == 3:
            host = await self._string(reader)
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, await reader.readexactly(size))
        return host, int.from_bytes(await reader.readexactly(2), "big")

    async def _string(self, reader: asyncio.StreamReader) -> str:
        (size,) = await reader.readexactly(1)
        return (await reader.readexactly(size)).decode()


@contextlib.asynccontextmanager
async def socks_server(server: SocksServer) -> AsyncIterator[SocksServer]:
    """Run *server* on a free port."""
    async with _listening(server.serve, None) as server.port:
        yield server


@contextlib.asynccontextmanager
async def _listening(serve: _Handler, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Run *serve* for every connection, and end with the last of them."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client went away, or the server is being closed.
        finally:
            handlers.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, _LOOPBACK, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers)


async def _relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: asyncio.StreamReader,
    upstream_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until either side ends."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

    directions = {
        asyncio.create_task(copy(reader, upstream_writer)),
        asyncio.create_task(copy(upstream, writer)),
    }
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Before anything is awaited: the server may be closed, and this task cancelled, meanwhile.
        upstream_writer.close()
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        with contextlib.suppress(OSError):
            await upstream_writer.wait_closed()

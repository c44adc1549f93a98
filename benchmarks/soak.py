"""Hours in minutes: calls, cancels, factories and rotations, and what is left afterwards.

``make soak`` runs it whole: 1 000 000 calls, 20 000 cancels, 100 factories, 50 rotations. With
``--scale 0.1`` it is a tenth of each. Every part prints its figures as it ends; the process exits
with 1 if anything was left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import trustme
from prometheus_client import CollectorRegistry

from benchmarks import load
from platform_http import HttpSettings, SessionFactory

_HELD_MB = 5.0
_INTERVAL = 0.5
_RATE = 200


class Verdict:
    """What was promised and not kept."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def expect(self, what: str, *, kept: bool) -> None:
        if not kept:
            self.broken.append(what)
            print(f"  BROKEN: {what}", flush=True)


async def _calls(calls: int, cancels: int, verdict: Verdict) -> None:
    report = await load.load(calls, cancels, concurrency=50, seed=1)
    for key, figure in report.items():
        print(f"  {key}: {figure}", flush=True)
    for key in ("left", "tasks", "left_after_cancels", "tasks_after_cancels", "permits"):
        verdict.expect(f"{key} is {report[key]}", kept=report[key] == 0)
    verdict.expect("a series was added", kept=report["series_growth"] == 0)
    verdict.expect("descriptors were left", kept=report["descriptors"] == 0)
    growth = report["rss_growth_mb"]
    assert isinstance(growth, float)
    verdict.expect(f"memory grew by {growth} MB", kept=growth < _HELD_MB)


async def _factories(count: int, verdict: Verdict) -> None:
    """Open and close factories, each with two sessions and calls that fail and succeed."""
    before, tasks = load.descriptors(), len(asyncio.all_tasks())
    memory = 0.0
    registry = CollectorRegistry()
    ended: Counter[str] = Counter()
    began = time.perf_counter()
    async with load.serving(load.Upstream()) as url:
        for number in range(count):
            settings = HttpSettings(**load.SETTINGS, clients={"other": {"pool": {"limit": 5}}})
            async with SessionFactory(settings, registry=registry) as factory:
                for name in ("default", "other"):
                    session = factory.session(name)
                    for _ in range(10):
                        ended[await load.call(session, url)] += 1
            if number == count // 10:
                memory = load.resident()
    growth = load.resident() - memory
    await asyncio.sleep(0.1)
    print(f"  {count} in {time.perf_counter() - began:.1f} s, calls ended {dict(ended)}")
    print(f"  memory grew by {growth:.2f} MB after the first tenth", flush=True)
    verdict.expect("factories left descriptors", kept=load.descriptors() == before)
    verdict.expect("factories left tasks", kept=len(asyncio.all_tasks()) == tasks)
    verdict.expect(f"factories left {growth:.2f} MB", kept=growth < _HELD_MB)


class _Mount:
    """Files as Kubernetes mounts them: replaced all at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._version = 0

    def publish(self, authority: trustme.CA) -> None:
        leaf = authority.issue_cert("client.test")
        self._version += 1
        version = self._directory / f"..{self._version}"
        version.mkdir()
        (version / "ca.pem").write_bytes(authority.cert_pem.bytes())
        (version / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        (version / "key.pem").write_bytes(leaf.private_key_pem.bytes())
        new = self._directory / "..new"
        new.symlink_to(version.name)
        new.replace(self._directory / "..data")

    def path(self, name: str) -> Path:
        return self._directory / "..data" / name


@contextlib.asynccontextmanager
async def _secured(authority: trustme.CA, seen: Counter[str]) -> AsyncIterator[str]:
    """Serve TLS to holders of a certificate of *authority*, counting whose it was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                seen[certificate["serialNumber"]] += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"


async def _rotations(count: int, verdict: Verdict) -> None:
    """Replace client certificate and key under load; every call must succeed."""
    authority = trustme.CA()
    seen: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    memory = 0.0
    with tempfile.TemporaryDirectory() as directory:
        mount = _Mount(Path(directory))
        mount.publish(authority)
        settings = {
            "trust": "file",
            "ca_file": mount.path("ca.pem"),
            "cert_file": mount.path("cert.pem"),
            "key_file": mount.path("key.pem"),
            "reload_interval": _INTERVAL,
        }
        over = asyncio.Event()
        async with (
            _secured(authority, seen) as url,
            SessionFactory(HttpSettings(tls=settings), registry=CollectorRegistry()) as factory,
        ):
            session = factory.session()

            async def one() -> None:
                try:
                    async with session.get(url) as response:
                        await response.read()
                        ended[str(response.status)] += 1
                except Exception as error:  # noqa: BLE001 - every end is counted
                    ended[type(error).__name__] += 1

            async def steadily() -> None:
                async with asyncio.TaskGroup() as calls:
                    while not over.is_set():
                        calls.create_task(one())
                        await asyncio.sleep(1 / _RATE)

            load_task = asyncio.create_task(steadily())
            for number in range(count):
                await asyncio.sleep(2 * _INTERVAL)
                await asyncio.to_thread(mount.publish, authority)
                if number == count // 10:
                    memory = load.resident()
            await asyncio.sleep(2 * _INTERVAL)
            over.set()
            await load_task
            growth = load.resident() - memory
    print(f"  {count} rotations, {len(seen)} identities seen, calls ended {dict(ended)}")
    print(f"  memory grew by {growth:.2f} MB after the first tenth", flush=True)
    verdict.expect("a call failed", kept=set(ended) == {"200"})
    verdict.expect("an identity was never used", kept=len(seen) == count + 1)
    verdict.expect(f"rotations left {growth:.2f} MB", kept=growth < _HELD_MB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args().scale
    logging.getLogger("platform_http").setLevel(logging.CRITICAL)
    random.seed(1)
    verdict = Verdict()

    def scaled(count: int) -> int:
        return max(10, round(count * scale))

    parts = {
        "calls and cancels": lambda: _calls(scaled(1_000_000), scaled(20_000), verdict),
        "factories": lambda: _factories(scaled(100), verdict),
        "rotations": lambda: _rotations(scaled(50), verdict),
    }
    for name, part in parts.items():
        print(name, flush=True)
        asyncio.run(part())
    sys.exit(1 if verdict.broken else 0)


if __name__ == "__main__":
    main()

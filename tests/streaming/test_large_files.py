"""Two gibibytes in constant memory, there, back, and after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.streaming.conftest import MIB
from tests.streaming.large_client import memory

SIZE = 2048 * MIB
MAX_GROWTH = 64 * MIB

# Its length divides no power of two: a block in the wrong place has another checksum.
_BLOCK = random.Random(7).randbytes(MIB - 1)


def _pieces(first: int) -> Iterator[memoryview]:
    """What is left of the file from *first* on."""
    while first < SIZE:
        start = first % len(_BLOCK)
        piece = memoryview(_BLOCK)[start : start + SIZE - first]
        yield piece
        first += len(piece)


def _checksum() -> str:
    digest = hashlib.sha256()
    for piece in _pieces(0):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


class _Handler(socketserver.StreamRequestHandler):
    """Serves the file, and compares what it is sent with it. Threads copy less than a loop."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._answer():
                pass

    def _answer(self) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return False
            head += line
        if head.startswith(b"PUT"):
            assert b"Content-Length: %d" % SIZE in head
            self._send("200 OK", b"equal" if self._is_the_file() else b"different")
        elif b"/large" in head:
            wanted = re.search(rb"(?i)range: bytes=(\d+)-", head)
            first = int(wanted[1]) if wanted else 0
            ranged = f"206 P\r\nContent-Range: bytes {first}-{SIZE - 1}/{SIZE}"
            self._send(ranged if wanted else "200 OK", *_pieces(first), size=SIZE - first)
        else:
            self._send("200 OK", b"small")
        return True

    def _send(self, status: str, *pieces: bytes | memoryview, size: int | None = None) -> None:
        length = len(pieces[0]) if size is None else size
        self.wfile.write(
            f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {length}\r\n\r\n'.encode()
        )
        for piece in pieces:
            self.wfile.write(piece)

    def _is_the_file(self) -> bool:
        got = bytearray(len(_BLOCK))
        for piece in _pieces(0):
            part = memoryview(got)[: len(piece)]
            if self.rfile.readinto(part) < len(piece) or part != piece:
                return False
        return True


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def _start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.streaming.large_client", *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


def _outcome(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    outcome: dict[str, Any] = json.loads(output.splitlines()[-1])
    return outcome


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "large"
    for each in tmp_path.iterdir():
        # pytest keeps the folders of its last runs.
        each.unlink()


def test_a_large_file_takes_no_memory_and_survives_a_kill_and_comes_back(target: Path) -> None:
    part = target.with_name("large.part")
    with _server() as url, ThreadPoolExecutor(1) as pool:
        # Meanwhile: it takes as long as the first half of the download.
        checksum = pool.submit(_checksum)
        process = _start("download", url, target)
        while process.poll() is None and _size(part) < SIZE // 2:
            time.sleep(0.02)
        peak = memory("VmHWM", process.pid)
        process.kill()
        before, _ = process.communicate()
        left = _size(part)
        assert SIZE // 2 <= left < SIZE
        assert peak - int(before) < MAX_GROWTH

        outcome = _outcome(_start("download", url, target, checksum.result()))
        assert (outcome["size"], outcome["resumed_from"]) == (SIZE, left)
        assert outcome["growth"] < MAX_GROWTH

        outcome = _outcome(_start("upload", url, target))
        assert outcome["answer"] == "equal"
        assert outcome["growth"] < MAX_GROWTH

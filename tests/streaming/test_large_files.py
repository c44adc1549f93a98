"""Two gibibytes in constant memory, there, back, and after a kill."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
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


async def _is_the_file(reader: asyncio.StreamReader) -> bool:
    position = 0
    while position < SIZE:
        start = position % len(_BLOCK)
        piece = await reader.read(min(len(_BLOCK) - start, SIZE - position))
        if not piece or piece != memoryview(_BLOCK)[start : start + len(piece)]:
            return False
        position += len(piece)
    return True


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
            body = b"small"
            if head.startswith("PUT"):
                assert f"Content-Length: {SIZE}" in head
                body = b"equal" if await _is_the_file(reader) else b"different"
            elif "/large" in head:
                wanted = re.search(r"(?i)range: bytes=(\d+)-", head)
                first = int(wanted[1]) if wanted else 0
                status = f"206 P\r\nContent-Range: bytes {first}-{SIZE - 1}/{SIZE}"
                writer.write(
                    f'HTTP/1.1 {status if wanted else "200 OK"}\r\nETag: "1"\r\n'
                    f"Content-Length: {SIZE - first}\r\n\r\n".encode()
                )
                for piece in _pieces(first):
                    writer.write(piece)
                    await writer.drain()
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    except (OSError, asyncio.IncompleteReadError):
        pass  # The client is gone.
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=4 * MIB)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def _start(*arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.streaming.large_client",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )


async def _outcome(process: asyncio.subprocess.Process) -> dict[str, Any]:
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "large"
    yield path
    for each in tmp_path.iterdir():
        # pytest keeps the folders of its last runs.
        each.unlink()


async def test_a_large_file_takes_no_memory_and_survives_a_kill_and_comes_back(
    target: Path,
) -> None:
    part = target.with_name("large.part")
    async with _server() as url:
        process = await _start("download", url, target)
        while process.returncode is None and _size(part) < SIZE // 2:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        peak = memory("VmHWM", process.pid)
        process.kill()
        before, _ = await process.communicate()
        left = _size(part)
        assert SIZE // 2 <= left < SIZE
        assert peak - int(before) < MAX_GROWTH

        checksum = await asyncio.to_thread(_checksum)
        outcome = await _outcome(await _start("download", url, target, checksum))
        assert (outcome["size"], outcome["resumed_from"]) == (SIZE, left)
        assert outcome["growth"] < MAX_GROWTH

        outcome = await _outcome(await _start("upload", url, target))
        assert outcome["answer"] == "equal"
        assert outcome["growth"] < MAX_GROWTH

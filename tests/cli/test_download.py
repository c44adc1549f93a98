"""``platform-http download`` against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest

from platform_http.cli import transfer
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.cli.in_thread import run
from tests.streaming.conftest import MIB, FileServer

BODY = bytes(range(256)) * 8192
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def content(path: Path) -> bytes:
    return path.read_bytes()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_file_is_downloaded_and_its_checksum_told(target: Path) -> None:
    async with FaultServer(FileServer(BODY)) as server:
        result = await run(
            "download", server.url, target, "--checksum", SHA, "--header", "X-Key: secret"
        )
    assert result.exit_code == 0, result.output
    assert content(target) == BODY
    assert result.stdout.splitlines()[0].startswith(f"{target}: 2.1 MB in ")
    assert result.stdout.splitlines()[1] == SHA
    assert server.requests[0].headers["X-Key"] == "secret"


async def test_a_relative_url_is_the_named_clients(target: Path, monkeypatch) -> None:
    async with FaultServer(FileServer(BODY)) as server:
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__STORE__BASE_URL", f"{server.url}files/")
        result = await run("download", "a?b=c", target, "--client", "store")
    assert result.exit_code == 0, result.output
    assert server.requests[0].target == "/files/a?b=c"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--checksum", "sha256:" + "0" * 64], "it was removed"),
        (["--max-size", "10"], "larger than max_size, 10 bytes"),
    ],
)
async def test_what_is_not_wanted_fails_and_is_not_kept(target: Path, arguments, says) -> None:
    async with FaultServer(FileServer(BODY)) as server:
        result = await run("download", server.url, target, *arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert names(target.parent) == []


async def test_an_error_status_fails_and_hides_the_query(target: Path) -> None:
    async with FaultServer([respond(404)]) as server:
        result = await run("download", f"{server.url}?token=canary", target)
    assert result.exit_code == 1
    assert "404" in result.stderr
    assert "canary" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["http://127.0.0.1:9/", "no/such/folder"], "no/such/folder"),
        (["http://127.0.0.1:9/", "."], "folder"),
        (["http://127.0.0.1:9/", "/dev/null"], "name another target"),
        (["http://127.0.0.1:9/", "f", "--checksum", "crc:1"], "checksum needs an algorithm"),
        (["http://127.0.0.1:9/", "f", "--client", "No!"], "client"),
        (["relative", "f"], "BASE_URL"),
        (["http://127.0.0.1:9/", "f", "--header", "none"], "--header"),
    ],
)
async def test_wrong_usage_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = await run("download", *arguments)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert names(tmp_path) == []


async def _interrupted(*arguments: object, at: Path) -> tuple[int | None, str]:
    """Run ``platform-http download`` and interrupt it once *at* has something in it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "platform_http", "download", *map(str, arguments)),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ
        | {"PLATFORM_HTTP_TIMEOUT__READ": "60", "PLATFORM_HTTP_TIMEOUT__TOTAL": "60"},
    )
    try:
        async with asyncio.timeout(30):
            while not size(at):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, errors.decode()


async def test_an_interrupted_download_says_how_to_go_on_and_does(target: Path) -> None:
    part = target.with_name("file.bin.part")
    async with FaultServer(FileServer(BODY, cuts=[MIB], then="hang")) as server:
        code, errors = await _interrupted(server.url, target, at=part)
        assert code == 130, errors
        assert f"{part} holds what has arrived" in errors
        assert "Traceback" not in errors
        assert size(part) > 0

        result = await run("download", server.url, target)
        assert result.exit_code == 0, result.output
        assert "going on after " in result.stderr
        assert content(target) == BODY


async def test_no_resume_begins_anew(target: Path) -> None:
    part = target.with_name("file.bin.part")
    async with FaultServer(FileServer(BODY, cuts=[MIB], then="hang")) as server:
        await _interrupted(server.url, target, at=part)
        result = await run("download", server.url, target, "--no-resume")
    assert result.exit_code == 0, result.output
    assert "going on" not in result.stderr
    assert "Range" not in server.requests[-1].headers


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with transfer.Display("file", clock=lambda: now) as display:
        for second in range(12):
            now = float(second)
            display(second * 1000, 12_000)
        display(12_000, None)
    assert capsys.readouterr().err.splitlines() == ["5.0 kB of 12.0 kB", "10.0 kB of 12.0 kB"]
    assert display.summary(12_000) == "12.0 kB in 11.0 s, 1.1 kB/s"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", terminal)
        with transfer.Display("file.bin") as display:
            display(1000, 4000)
            display(3000, 4000)
    received = b""
    # Linux reports the end of a terminal that nobody writes to any more as an error.
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as reader:
        while piece := reader.read(4096):
            received += piece
    shown = received.decode()
    assert "going on after 1.0 kB" in shown
    assert "file.bin" in shown
    assert "3.0/4.0 kB" in shown

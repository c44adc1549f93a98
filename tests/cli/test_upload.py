"""``platform-http upload`` against real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import reset, respond
from tests.cli.in_thread import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "backup.tar"
    path.write_bytes(b"x" * 100_000)
    return path


async def test_a_file_is_uploaded(source: Path) -> None:
    async with FaultServer([respond(201)]) as server:
        result = await run("upload", source, server.url, "--header", "X-Key: secret")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{source}: 100.0 kB in ")
    assert result.stdout.endswith(", answered 201\n")
    (request,) = server.requests
    assert (request.method, len(request.body)) == ("PUT", 100_000)
    assert request.headers["X-Key"] == "secret"
    assert request.headers["Content-Type"] == "application/x-tar"


async def test_a_post_with_a_key_is_sent_again(source: Path) -> None:
    options = ("--method", "post", "--idempotency-key", "auto", "--content-type", "a/b")
    async with FaultServer([reset(), respond()]) as server:
        result = await run("upload", source, server.url, *options)
    assert result.exit_code == 0, result.output
    assert [(request.method, len(request.body)) for request in server.requests] == [
        ("POST", 100_000)
    ] * 2
    assert {request.headers["Content-Type"] for request in server.requests} == {"a/b"}
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 1


async def test_an_answer_that_is_an_error_fails(source: Path) -> None:
    async with FaultServer([respond(413)]) as server:
        result = await run("upload", source, f"{server.url}?token=canary")
    assert result.exit_code == 1
    assert "413" in result.stderr
    assert "canary" not in result.output


async def test_a_server_that_is_not_there_fails(source: Path) -> None:
    async with FaultServer() as server:
        url = server.url
    result = await run("upload", source, url)
    assert result.exit_code == 1
    assert "Cannot connect" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no/such/file", "http://127.0.0.1:9/"], "no/such/file"),
        ([".", "http://127.0.0.1:9/"], "directory"),
        (["f", "ftp://127.0.0.1/"], "http"),
        (["f", "http://127.0.0.1:9/", "--method", "a b"], "METHOD"),
        (["f", "http://127.0.0.1:9/", "--client", "No!"], "client"),
    ],
)
async def test_wrong_usage_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = await run("upload", *arguments)
    assert result.exit_code == 2, result.output
    assert says in " ".join(result.stderr.replace("│", " ").split())

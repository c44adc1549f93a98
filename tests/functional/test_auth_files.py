"""A bearer token in a file that changes under load."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from platform_http.auth import token_file
from platform_http.errors import ConfigurationError
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed

REFRESHES = "platform_http_token_refreshes_total"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def _auth(path: Path) -> dict[str, object]:
    return {"scheme": "bearer", "token_file": str(path)}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _swap(path: Path, text: str) -> None:
    replacement = path.with_suffix(".new")
    replacement.write_text(text)
    replacement.replace(path)


def _remove(path: Path) -> None:
    path.unlink()


async def _until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - metrics have no event to wait for
            await asyncio.sleep(0.02)


async def test_rotation_under_load_fails_no_call_and_is_done_within_the_interval(
    observed: Observed, path: Path
) -> None:
    valid = {"Bearer first"}
    seen: list[str] = []

    def api(request):
        seen.append(request.headers["Authorization"])
        return respond(200 if seen[-1] in valid else 401)

    loop = asyncio.get_running_loop()
    statuses: list[int] = []

    async def call(session, url) -> None:
        async with session.get(url) as response:
            statuses.append(response.status)

    async with FaultServer(api) as server, observed.session(auth=_auth(path)) as session:
        async with asyncio.TaskGroup() as calls:
            started = loop.time()
            for number in range(300):
                calls.create_task(call(session, server.url))
                if number == 60:
                    # As Kubernetes does it: what the name leads to is replaced at once.
                    _swap(path, "second\n")
                    valid.add("Bearer second")
                    rotated, before = loop.time(), len(seen)
                await asyncio.sleep(max(0, started + number / 200 - loop.time()))
        assert loop.time() - rotated < 3
    assert statuses == [200] * 300
    late = seen.index("Bearer second") - before
    assert late < 1.5 * 200
    assert observed.value(REFRESHES, result="success") == 1
    assert observed.value(REFRESHES, result="failure") == 0


async def test_a_401_has_the_file_looked_at_at_once(
    observed: Observed, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "INTERVAL", 60)
    looks = []
    read = token_file.read_token
    monkeypatch.setattr(token_file, "read_token", lambda *args: looks.append(1) or read(*args))

    def api(request):
        return respond(200 if request.headers["Authorization"] == expected else 401)

    expected = "Bearer first"
    async with FaultServer(api) as server, observed.session(auth=_auth(path)) as session:
        async with session.post(server.url, data=b"x") as response:
            assert response.status == 200
        _write(path, b"second")
        expected = "Bearer second"
        async with session.post(server.url, data=b"x") as response:
            assert response.status == 200
        assert len(server.requests) == 3
        # A file that has not changed has nothing better to offer.
        expected = "Bearer third"
        async with session.post(server.url, data=b"x") as response:
            assert response.status == 401
        assert len(server.requests) == 4
        count = len(looks)
        expected = "Bearer second"
        await session.get(server.url)
        assert len(looks) == count


async def test_no_request_looks_at_the_file(
    observed: Observed, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    read = token_file.read_token
    monkeypatch.setattr(token_file, "read_token", lambda *args: looks.append(1) or read(*args))
    async with FaultServer() as server, observed.session(auth=_auth(path)) as session:
        for _ in range(50):
            await session.get(server.url)
    # At the start of the factory and of the session.
    assert len(looks) <= 3


@pytest.mark.parametrize("damage", ["removed", "empty", "odd", "huge"])
async def test_the_previous_token_is_kept_while_the_file_cannot_be_used(
    observed: Observed,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    monkeypatch.setattr(token_file, "INTERVAL", 0.02)
    async with FaultServer() as server, observed.session(auth=_auth(path)) as session:
        await session.get(server.url)
        if damage == "removed":
            _remove(path)
        else:
            content = {"empty": b"", "odd": b"canary \xff token", "huge": b"x" * 70_000}
            _write(path, content[damage])
        await _until(lambda: observed.value(REFRESHES, result="failure"))
        await asyncio.sleep(0.1)
        await session.get(server.url)
        _write(path, b"second")
        await _until(lambda: observed.value(REFRESHES, result="success"))
        await session.get(server.url)
        _remove(path)
        await _until(lambda: observed.value(REFRESHES, result="failure") == 2)
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer first", "Bearer second"]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert f"keeps its previous token: AUTH__TOKEN_FILE {path} cannot be" in caplog.text
    assert "canary" not in caplog.text


async def test_a_file_that_cannot_be_used_refuses_to_start_once_for_all_clients(
    observed: Observed, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigurationError) as caught:
        async with observed.factory(auth=_auth(missing), clients={"a": {"timeout": {"total": 3}}}):
            pass
    (line,) = caught.value.violations
    assert line.startswith(f"AUTH__TOKEN_FILE {missing} cannot be read: No such file")


async def test_a_client_without_settings_of_its_own_has_the_token_of_the_default(
    observed: Observed, path: Path
) -> None:
    async with FaultServer() as server, observed.factory(auth=_auth(path)) as factory:
        _write(path, b"second")
        session = factory.session("reports")
        await _until(lambda: observed.value(REFRESHES, client="reports"))
        await session.get(server.url)
    assert server.requests[0].headers["Authorization"] == "Bearer second"


async def test_a_file_that_is_written_anew_with_the_same_token_is_no_news(
    observed: Observed, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "INTERVAL", 0.02)
    async with observed.session(auth=_auth(path)):
        _write(path, b"first")
        await asyncio.sleep(0.1)
        assert observed.value(REFRESHES) == 0
        _write(path, b"second")
        await _until(lambda: observed.value(REFRESHES, result="success") == 1)


async def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_look(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = token_file.read_token(path)
    assert token_file.read_token(path, known) is known
    versions = iter([(1, 1, 1), (1, 2, 1)])
    monkeypatch.setattr(token_file, "_version", lambda _: next(versions))
    with pytest.raises(ValueError, match="being written"):
        token_file.read_token(path, known)


def test_what_is_no_file_is_named(path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        token_file.load_tokens({"a": path})


def test_the_version_of_a_token_shows_no_token(path: Path) -> None:
    assert "first" not in repr(token_file.read_token(path))

"""Uploads: what is sent, how often, and for how long."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from platform_http import (
    AttemptTimeoutError,
    CallOptions,
    DeadlineExceededError,
    HttpSettings,
    SessionFactory,
)
from platform_http.streaming import upload
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang, reset, respond, stall
from tests.streaming.conftest import MIB, SETTINGS

BODY = random.Random(2).randbytes(MIB + 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "backup.tar"
    path.write_bytes(BODY)
    return path


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(BODY), 100_000):
        yield BODY[start : start + 100_000]


def opened(path: Path, at: int = 0):
    file = path.open("rb")
    file.seek(at)
    return file


async def test_a_path_is_sent_with_its_length_and_type(session, source: Path) -> None:
    async with FaultServer() as server:
        async with upload(session, server.url, source) as response:
            assert response.status == 200
    (request,) = server.requests
    assert (request.method, request.body) == ("PUT", BODY)
    assert request.headers["Content-Length"] == str(len(BODY))
    assert request.headers["Content-Type"] == "application/x-tar"


async def test_text_is_a_path(session, source: Path) -> None:
    async with FaultServer() as server:
        async with upload(session, server.url, str(source), method="POST"):
            pass
    assert (server.requests[0].method, server.requests[0].body) == ("POST", BODY)


async def test_an_open_file_is_sent_from_where_it_stands_and_stays_open(session, source) -> None:
    async with FaultServer([respond(503), respond()]) as server:
        with opened(source, 1000) as file:
            async with upload(session, server.url, file) as response:
                assert response.status == 200
            assert not file.closed
    assert [request.body for request in server.requests] == [BODY[1000:]] * 2


async def test_bytes_are_sent(session) -> None:
    async with FaultServer() as server:
        async with upload(session, server.url, BODY, headers={"Content-Type": "a/b"}):
            pass
    assert server.requests[0].body == BODY
    assert server.requests[0].headers["Content-Type"] == "a/b"


async def test_a_generator_is_sent_in_chunks(session) -> None:
    seen = []
    async with FaultServer() as server:
        async with upload(session, server.url, pieces(), progress=lambda *each: seen.append(each)):
            pass
    assert server.requests[0].body == BODY
    assert server.requests[0].headers["Transfer-Encoding"] == "chunked"
    assert seen[-1] == (len(BODY), None)


async def test_a_form_is_sent_with_its_files(session, source: Path) -> None:
    form = aiohttp.FormData()
    form.add_field("name", "value")
    with opened(source) as file:
        form.add_field("file", file, filename="f.bin")
        async with FaultServer() as server:
            async with upload(session, server.url, form, method="POST"):
                pass
    (request,) = server.requests
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert BODY in request.body
    assert b'filename="f.bin"' in request.body


@pytest.mark.parametrize("fault", [respond(503), reset()])
async def test_a_path_is_sent_again_where_a_resend_is_permitted(
    session, source: Path, fault
) -> None:
    seen: list[tuple[int, int | None]] = []
    async with FaultServer([fault, respond()]) as server:
        async with upload(
            session, server.url, source, progress=lambda *each: seen.append(each)
        ) as response:
            assert response.status == 200
    assert [request.body for request in server.requests] == [BODY, BODY]
    done = [each[0] for each in seen]
    # Each attempt begins anew.
    assert done.count(len(BODY)) == 2
    assert {total for _, total in seen} == {len(BODY)}


@pytest.mark.parametrize(("key", "requests"), [(None, 1), (True, 2)])
async def test_a_post_is_sent_again_with_a_key_only(session, source, key, requests) -> None:
    options = CallOptions(idempotency_key=key)
    async with FaultServer([respond(503), respond()]) as server:
        async with upload(session, server.url, source, method="POST", options=options) as response:
            assert response.status == (503 if key is None else 200)
    assert len(server.requests) == requests


async def test_a_generator_is_never_sent_twice(session) -> None:
    async with FaultServer([respond(503), respond()]) as server:
        async with upload(session, server.url, pieces()) as response:
            assert response.status == 503
    assert len(server.requests) == 1


async def test_what_the_generator_raises_is_the_cause(session) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("mine")

    async with FaultServer() as server:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            async with upload(session, server.url, broken()):
                pass
    assert isinstance(caught.value.__cause__, LookupError)
    assert server.requests == []


async def test_an_error_of_the_callback_fails_the_upload(session, source: Path) -> None:
    def fail(done: int, total: int | None) -> None:
        raise LookupError("mine")

    async with FaultServer() as server:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            async with upload(session, server.url, source, progress=fail):
                pass
    assert isinstance(caught.value.__cause__, LookupError)


async def test_an_upload_may_last_longer_than_an_attempt(registry) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(6):
            await asyncio.sleep(0.05)
            yield b"x"

    timeout = {"total": 0.3, "attempt": 0.2, "connect": 0.05, "pool": 0.05}
    settings = HttpSettings(**{**SETTINGS, "timeout": timeout})
    async with FaultServer() as server, SessionFactory(settings, registry=registry) as factory:
        async with upload(factory.session(), server.url, slowly()) as response:
            assert response.status == 200
    assert server.requests[0].body == b"x" * 6


async def test_a_server_that_takes_nothing_is_given_up(session, tmp_path: Path) -> None:
    # More than the buffers of two sockets hold.
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * MIB)
    options = CallOptions(attempt_timeout=0.2, max_attempts=1)
    async with FaultServer([stall()], read_body=False) as server:
        with pytest.raises(aiohttp.ClientError) as caught:
            async with upload(session, server.url, large, options=options):
                pass
    assert isinstance(caught.value, AttemptTimeoutError) or isinstance(
        caught.value.__cause__, AttemptTimeoutError
    )


async def test_a_server_that_does_not_answer_is_given_up(session, source: Path) -> None:
    options = CallOptions(attempt_timeout=0.1, max_attempts=1)
    async with FaultServer([hang()]) as server:
        with pytest.raises(aiohttp.ServerTimeoutError):
            async with upload(session, server.url, source, options=options):
                pass
    assert server.requests[0].body == BODY


async def test_a_deadline_bounds_the_whole_upload(session) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    async with FaultServer() as server:
        with pytest.raises(DeadlineExceededError):
            async with upload(session, server.url, endless(), options=CallOptions(timeout=0.15)):
                pass


async def test_a_file_that_becomes_shorter_fails(session, tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * 4 * MIB)

    def shrink(done: int, total: int | None) -> None:
        with path.open("r+b") as file:
            file.truncate(MIB)

    async with FaultServer() as server:
        with pytest.raises(aiohttp.ClientOSError) as caught:
            async with upload(
                session, server.url, path, progress=shrink, options=CallOptions(max_attempts=1)
            ):
                pass
    assert "bytes early" in f"{caught.value.__cause__}"


async def test_any_session_will_do(source: Path) -> None:
    async with FaultServer() as server, aiohttp.ClientSession() as session:
        async with upload(session, server.url, source) as response:
            assert response.status == 200
    assert server.requests[0].body == BODY


@pytest.mark.parametrize("moment", range(5))
async def test_a_cancelled_upload_leaves_nothing(session, source: Path, moment: int) -> None:
    """The leak detector looks after connections, descriptors and tasks."""

    async def send() -> None:
        async with upload(session, server.url, source):
            pass

    async with FaultServer([hang()]) as server:
        task = asyncio.create_task(send())
        for _ in range(moment * 4):
            await asyncio.sleep(0.0005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("name", ["data", "json", "timeout", "trace_request_ctx"])
async def test_arguments_of_its_own_are_refused(session, source: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"not {name}="):
        async with upload(session, "http://127.0.0.1:9/", source, **{name: None}):
            pass


async def test_a_source_that_is_none_is_refused(session, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"source must be a path.*not int"):
        async with upload(session, "http://127.0.0.1:9/", 5):
            pass
    with pytest.raises(FileNotFoundError):
        async with upload(session, "http://127.0.0.1:9/", tmp_path / "none"):
            pass


async def test_a_file_in_memory_is_sent_again_from_where_it_stood(session) -> None:
    file = io.BytesIO(BODY)
    file.seek(5)
    async with FaultServer([respond(503), respond()]) as server:
        async with upload(session, server.url, file):
            pass
    assert [request.body for request in server.requests] == [BODY[5:]] * 2

"""Downloads: whole or not at all, and continued where the server allows it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import random
import time
from pathlib import Path

import aiohttp
import pytest

from platform_http import (
    CallOptions,
    DeadlineExceededError,
    HttpSettings,
    ResponseTooLargeError,
    SessionFactory,
    deadline,
)
from platform_http.streaming import ChecksumError, DownloadInProgressError, download
from platform_http.testing import FaultServer
from platform_http.testing.actions import chunked, partial_body, raw, respond
from tests.streaming.conftest import MIB, SETTINGS, FileServer

BODY = random.Random(1).randbytes(3 * MIB + 17)
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
STALLED = partial_body(BODY[:MIB], content_length=len(BODY), headers={"ETag": '"1"'}, then="hang")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def content(path: Path) -> bytes:
    return path.read_bytes()


async def leave_a_part(session, url, target: Path, size: int = MIB) -> None:
    """Cancel a download once *size* bytes are written."""
    task = asyncio.current_task()
    assert task is not None

    def stop(done: int, total: int | None) -> None:
        if done >= size:
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await download(session, url, target, progress=stop)
    task.uncancel()


async def test_a_file_arrives_whole_with_its_facts(session, target: Path) -> None:
    headers = {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    async with FaultServer(FileServer(BODY, headers=headers)) as server:
        result = await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY
    assert (result.path, result.size, result.received) == (target, len(BODY), len(BODY))
    assert (result.resumed_from, result.requests, result.checksum) == (0, 1, SHA)
    assert (result.etag, result.last_modified) == ('"1"', headers["Last-Modified"])
    assert files(target) == ["file.bin"]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


async def test_progress_ends_at_the_total_and_never_goes_back(session, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB])) as server:
        await download(
            session, server.url, target, progress=lambda done, total: seen.append((done, total))
        )
    assert seen == sorted(seen)
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))


async def test_what_came_with_the_cut_is_not_lost(session, target: Path) -> None:
    """Here the body and the end of its connection are there before anybody reads."""

    async with FaultServer(FileServer(BODY, cuts=[100_000] * 2)) as server:
        async with session.get(server.url) as response:
            await asyncio.sleep(0.05)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.readany()
        await download(session, server.url, target, progress=lambda *_: time.sleep(0.02))
    assert server.requests[2].headers["Range"] == "bytes=100000-"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_body_that_is_cut_goes_on_where_it_ended(session, target: Path, then: str) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB + 5, 7], then=then)) as server:
        result = await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY
    assert result.requests == 3
    if then == "close":
        # A reset may take with it what was sent before, all of it.
        ranges = [each.headers["Range"] for each in server.requests[1:]]
        assert ranges == [f"bytes={MIB + 5}-", f"bytes={MIB + 12}-"]
        assert {each.headers["If-Range"] for each in server.requests[1:]} == {'"1"'}


async def test_a_body_that_falls_silent_goes_on(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB], then="hang")) as server:
        result = await download(session, server.url, target)
    assert (content(target), result.requests) == (BODY, 2)


async def test_a_part_of_an_earlier_call_goes_on(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB], then="hang")) as server:
        await leave_a_part(session, server.url, target)
        assert files(target) == ["file.bin.part", "file.bin.part.json"]
        left = target.with_name("file.bin.part").stat().st_size
        result = await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY
    assert (result.resumed_from, result.received) == (left, len(BODY) - left)
    assert files(target) == ["file.bin"]


async def test_no_part_of_another_url_is_continued(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB], then="hang")) as server:
        await leave_a_part(session, server.url / "a", target)
        result = await download(session, server.url / "b", target)
    assert (result.resumed_from, "Range" in server.requests[-1].headers) == (0, False)


async def test_a_part_tells_no_url(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB], then="hang")) as server:
        await leave_a_part(session, server.url.with_query(token="canary"), target)
    sidecar = target.with_name("file.bin.part.json").read_text()
    assert "canary" not in sidecar
    assert str(server.port) not in sidecar


async def test_resume_can_be_declined(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB], then="hang")) as server:
        await leave_a_part(session, server.url, target)
        result = await download(session, server.url, target, resume=False)
    assert (result.resumed_from, "Range" in server.requests[-1].headers) == (0, False)


async def test_a_file_that_changed_meanwhile_is_fetched_anew(session, target: Path) -> None:
    old = FileServer(BODY, cuts=[2 * MIB], then="hang")
    async with FaultServer(old) as server:
        await leave_a_part(session, server.url, target)
        old.body, old.headers = BODY[::-1], {"ETag": '"2"'}
        result = await download(session, server.url, target)
    assert content(target) == BODY[::-1]
    assert (result.resumed_from, result.received, result.etag) == (0, len(BODY), '"2"')
    # Its If-Range told the server, so that no range came that had to be thrown away.
    assert result.requests == 1


async def test_a_server_that_ignores_ranges_gets_another_chance(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB], ranges=False)) as server:
        result = await download(session, server.url, target, checksum=SHA)
    assert (content(target), result.requests) == (BODY, 2)


async def test_a_server_that_only_ever_sends_the_beginning_is_given_up(
    session, target: Path
) -> None:
    script = FileServer(BODY, cuts=[2 * MIB] * 20, ranges=False)
    async with FaultServer(script) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await download(session, server.url, target)
    # The first one brought something new, the three after it did not.
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 5-{len(BODY) - 1}/{len(BODY)}",
        "bytes 5-9/10",
        "bytes */10",
        "items 1-2/3",
        "bytes 9-5/10",
        "",
        "bytes 1-0/*",
    ],
)
async def test_a_wrong_range_is_not_appended(session, target: Path, content_range: str) -> None:
    def answer(request):
        if "Range" not in request.headers:
            return script(request)
        headers = {"ETag": '"1"', "Content-Range": content_range}
        return respond(206, headers=headers, body=b"not the rest")

    script = FileServer(BODY, cuts=[MIB])
    async with FaultServer(answer) as server:
        await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY


@pytest.mark.parametrize(
    ("headers", "total"),
    [
        ({"ETag": '"2"'}, len(BODY)),
        # RFC 9110 wants the tag repeated; a server that leaves it out may have ignored If-Range.
        ({}, len(BODY)),
        ({"ETag": 'W/"1"'}, len(BODY)),
        ({"ETag": '"1"'}, len(BODY) + 1),
        ({"ETag": '"1"', "Content-Encoding": "gzip"}, len(BODY)),
        ({"ETag": '"1"', "Content-Type": "multipart/byteranges; boundary=x"}, len(BODY)),
    ],
)
async def test_a_range_of_another_version_is_not_appended(
    session, target: Path, headers: dict[str, str], total: int
) -> None:
    def answer(request):
        if "Range" not in request.headers:
            return script(request)
        first = int(request.headers["Range"][6:-1])
        ranged = {**headers, "Content-Range": f"bytes {first}-{total - 1}/{total}"}
        return respond(206, headers=ranged, body=b"x" * (total - first))

    script = FileServer(BODY, cuts=[MIB])
    async with FaultServer(answer) as server:
        await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY


async def test_a_part_that_was_complete_already_is_put_in_its_place(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[2 * MIB], then="hang")) as server:
        await leave_a_part(session, server.url, target)
        target.with_name("file.bin.part").write_bytes(BODY)
        result = await download(session, server.url, target, checksum=SHA)
    # The last byte, which came with the tag that a 416 need not have.
    assert (content(target), result.received, result.size) == (BODY, 1, len(BODY))


async def test_a_range_that_there_is_not_starts_anew(session, target: Path) -> None:
    script = FileServer(BODY, cuts=[2 * MIB], then="hang")
    async with FaultServer(script) as server:
        await leave_a_part(session, server.url, target)
        script.body = BODY[:10]
        result = await download(session, server.url, target)
    assert (content(target), result.requests) == (BODY[:10], 2)


async def test_a_weak_tag_is_no_validator(session, target: Path) -> None:
    headers = {"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    async with FaultServer(FileServer(BODY, cuts=[MIB], headers=headers)) as server:
        await download(session, server.url, target, checksum=SHA)
    assert "Range" not in server.requests[1].headers


async def test_a_date_is_a_validator_once_it_is_a_second_old(session, target: Path) -> None:
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    headers = {"Last-Modified": modified, "Date": "Mon, 01 Jan 2024 00:00:01 GMT"}
    async with FaultServer(FileServer(BODY, cuts=[MIB], headers=headers)) as server:
        await download(session, server.url, target, checksum=SHA)
    assert server.requests[1].headers["If-Range"] == modified


async def test_a_compressed_body_is_stored_decoded_and_not_continued(session, target) -> None:
    body = gzip.compress(BODY)
    headers = {"ETag": '"1"', "Content-Encoding": "gzip"}
    async with FaultServer(FileServer(body, cuts=[MIB], headers=headers)) as server:
        seen = []
        await download(
            session, server.url, target, checksum=SHA, progress=lambda *each: seen.append(each)
        )
    assert seen[-1] == (len(BODY), None)
    assert "Range" not in server.requests[1].headers


async def test_a_body_without_a_length_is_taken_to_its_end(session, target: Path) -> None:
    pieces = [BODY[start : start + 65536] for start in range(0, len(BODY), 65536)]
    async with FaultServer([chunked(pieces)]) as server:
        await download(session, server.url, target, checksum=SHA)
    assert files(target) == ["file.bin"]


async def test_chunks_that_end_too_early_are_an_error(session, target: Path) -> None:
    async with FaultServer([chunked([b"x" * 100], complete=False, then="close")]) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await download(session, server.url, target)
    assert files(target) == []


async def test_a_range_that_is_shorter_than_the_rest_is_followed_by_another(
    session, target
) -> None:
    def answer(request):
        first = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if not first:
            return script(request)
        last = min(first + MIB, len(BODY)) - 1
        headers = {"ETag": '"1"', "Content-Range": f"bytes {first}-{last}/{len(BODY)}"}
        return respond(206, headers=headers, body=BODY[first : last + 1])

    script = FileServer(BODY, cuts=[MIB])
    async with FaultServer(answer) as server:
        await download(session, server.url, target, checksum=SHA)
    assert content(target) == BODY


async def test_what_is_too_large_by_its_length_is_not_begun(session, target: Path) -> None:
    seen: list[int] = []
    async with FaultServer(FileServer(BODY)) as server:
        with pytest.raises(ResponseTooLargeError, match="max_size"):
            await download(
                session,
                server.url,
                target,
                max_size=len(BODY) - 1,
                progress=lambda done, total: seen.append(done),
            )
        assert (files(target), seen) == ([], [])
        await download(session, server.url, target, max_size=len(BODY))


async def test_what_turns_out_to_be_too_large_is_removed(session, target: Path) -> None:
    async with FaultServer([chunked([b"x" * 1000] * 3)]) as server:
        with pytest.raises(ResponseTooLargeError):
            await download(session, server.url, target, max_size=2999)
    assert files(target) == []


async def test_a_wrong_checksum_leaves_the_old_file_and_nothing_else(session, target: Path) -> None:
    await asyncio.to_thread(target.write_bytes, b"old")
    wrong = "sha256:" + "0" * 64
    async with FaultServer(FileServer(BODY)) as server:
        with pytest.raises(ChecksumError) as caught:
            await download(session, server.url, target, checksum=wrong)
    assert (caught.value.expected, caught.value.actual) == (wrong, SHA)
    assert (files(target), content(target)) == (["file.bin"], b"old")


async def test_a_checksum_can_be_asked_for_without_one_to_compare(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY)) as server:
        result = await download(session, server.url, target, checksum="md5")
    assert result.checksum == f"md5:{hashlib.md5(BODY).hexdigest()}"


@pytest.mark.parametrize("checksum", ["sha256:12", "crc:00", "sha256:", "", "sha256:" + "g" * 64])
async def test_a_checksum_that_is_none_is_refused(session, target: Path, checksum: str) -> None:
    with pytest.raises(ValueError, match=r"algorithm|hexadecimal"):
        await download(session, "http://127.0.0.1:9/", target, checksum=checksum)


async def test_two_downloads_to_one_path_are_refused_and_the_first_goes_on(session, target) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB], then="hang")) as server:
        first = asyncio.create_task(download(session, server.url, target, checksum=SHA))
        await server.wait_until(lambda: server.requests)
        with pytest.raises(DownloadInProgressError, match="another download"):
            await download(session, server.url, target)
        await first
        assert content(target) == BODY


async def test_a_status_that_is_an_error_leaves_nothing(session, target: Path) -> None:
    async with FaultServer([respond(404)]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await download(session, server.url.with_query(token="canary"), target)
    assert caught.value.status == 404
    assert "canary" not in f"{caught.value} {caught.value!r}"
    assert files(target) == []


@pytest.mark.parametrize("status", [204, 206, 304])
async def test_a_status_without_the_file_is_an_error(session, target: Path, status: int) -> None:
    async with FaultServer([respond(status)]) as server:
        with pytest.raises(aiohttp.ClientResponseError):
            await download(session, server.url, target)
    assert files(target) == []


async def test_a_part_survives_a_call_that_gets_no_response(session, target: Path) -> None:
    script = FileServer(BODY, cuts=[2 * MIB], then="hang")
    async with FaultServer(script) as server:
        await leave_a_part(session, server.url, target)
    for resume in (True, False):
        with pytest.raises(aiohttp.ClientConnectionError):
            await download(session, server.url, target, resume=resume)
        assert files(target) == ["file.bin.part", "file.bin.part.json"]


async def test_a_full_disk_is_an_error_that_keeps_the_part(
    session, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, MIB

    def fill(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            # From here on there is room again, which must not leave a gap.
            room = 100 * MIB
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    async with FaultServer(FileServer(BODY)) as server:
        with monkeypatch.context() as patched:
            patched.setattr("platform_http.streaming.part_file.os.write", fill)
            with pytest.raises(OSError, match="No space") as caught:
                await download(session, server.url, target)
        assert f"{MIB} bytes are kept" in caught.value.__notes__[0]
        result = await download(session, server.url, target, checksum=SHA)
    assert result.resumed_from == MIB


async def test_an_error_of_the_callback_is_the_callers(session, target: Path) -> None:
    def fail(done: int, total: int | None) -> None:
        if done:
            raise LookupError("mine")

    async with FaultServer(FileServer(BODY)) as server:
        with pytest.raises(LookupError, match="mine"):
            await download(session, server.url, target, progress=fail)
        assert (await download(session, server.url, target)).resumed_from > 0


@pytest.mark.parametrize("bounded_by", ["options", "deadline"])
async def test_a_deadline_bounds_the_whole_download(session, target: Path, bounded_by) -> None:
    options = CallOptions(timeout=0.1) if bounded_by == "options" else None
    async with FaultServer([STALLED]) as server:
        with pytest.raises(DeadlineExceededError), deadline(0.1 if options is None else 60):
            await download(session, server.url, target, options=options)
    assert files(target) == ["file.bin.part", "file.bin.part.json"]


async def test_the_total_of_the_client_does_not_bound_it(target: Path, registry) -> None:
    timeout = {"total": 0.2, "attempt": 0.1, "connect": 0.02, "pool": 0.02, "read": 0.2}
    settings = HttpSettings(**{**SETTINGS, "timeout": timeout})
    pieces = [b"x"] * 5
    async with FaultServer([chunked(pieces, interval=0.08)]) as server:
        async with SessionFactory(settings, registry=registry) as factory:
            result = await download(factory.session(), server.url, target)
    assert result.size == 5


async def test_a_deadline_bounds_a_download_of_any_session(target: Path) -> None:
    async with FaultServer([STALLED]) as server, aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError), deadline(0.1):
            await download(session, server.url, target)
    assert files(target) == ["file.bin.part", "file.bin.part.json"]


async def test_facts_of_a_version_that_is_gone_are_not_told(session, target: Path) -> None:
    script = FileServer(BODY, cuts=[MIB])

    def answer(request):
        return respond(body=b"new") if "Range" in request.headers else script(request)

    async with FaultServer(answer) as server:
        result = await download(session, server.url, target)
    assert (content(target), result.etag) == (b"new", None)


async def test_what_is_past_the_end_of_a_range_is_never_continued_from(
    session, target: Path
) -> None:
    """Its connection ends too early and holds too much, at once."""

    def answer(request):
        if request.headers.get("Range") != f"bytes={MIB}-":
            return script(request)
        span = f"bytes {MIB}-{MIB + 9}/{len(BODY)}"
        return partial_body(
            b"x" * 20, status=206, content_length=99, headers={"ETag": '"1"', "Content-Range": span}
        )

    script = FileServer(BODY, cuts=[MIB])
    async with FaultServer(answer) as server:
        with pytest.raises(aiohttp.ClientPayloadError, match="more bytes than announced"):
            await download(session, server.url, target)
    assert files(target) == []


async def test_any_session_will_do(target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB])) as server:
        async with aiohttp.ClientSession(server.url) as session:
            result = await download(session, "a?b=c", target, params={"d": "e"}, checksum=SHA)
    assert result.requests == 2


@pytest.mark.parametrize("cause", ["options", "settings"])
async def test_retries_that_are_off_are_off_here_too(target: Path, registry, cause: str) -> None:
    options = CallOptions(max_attempts=1) if cause == "options" else None
    retry = {**SETTINGS["retry"], "enabled": cause == "options"}
    settings = HttpSettings(**{**SETTINGS, "retry": retry})
    async with FaultServer(FileServer(BODY, cuts=[MIB])) as server:
        async with SessionFactory(settings, registry=registry) as factory:
            with pytest.raises(aiohttp.ClientPayloadError) as caught:
                await download(factory.session(), server.url, target, options=options)
    assert len(server.requests) == 1
    assert caught.value.__notes__[0] == "1 requests; stopped: attempts"


async def test_resumptions_are_paid_for_and_given_back(target: Path, registry) -> None:
    budget = {"capacity": 20, "cost": 10, "cost_timeout": 10, "trickle": 0}
    settings = HttpSettings(**{**SETTINGS, "retry": {**SETTINGS["retry"], "budget": budget}})
    async with FaultServer(FileServer(BODY, cuts=[MIB, MIB, 5, 5, 5, 5])) as server:
        async with SessionFactory(settings, registry=registry) as factory:
            with pytest.raises(aiohttp.ClientPayloadError) as caught:
                await download(
                    factory.session(), server.url, target, options=CallOptions(max_attempts=5)
                )
    assert "stopped: budget" in caught.value.__notes__[0]
    # The first two brought a MiB each, so that only the last two resumptions were paid for good.
    assert len(server.requests) == 4
    labels = {"client": "default", "server_address": "127.0.0.1", "server_port": str(server.port)}
    assert registry.get_sample_value("platform_http_retry_budget_tokens", labels) < 10


@pytest.mark.parametrize("moment", range(6))
async def test_a_cancelled_download_leaves_its_part_and_nothing_else(
    session, target: Path, moment: int
) -> None:
    """The leak detector of every test looks after connections, descriptors and tasks."""
    async with FaultServer([STALLED]) as server:
        task = asyncio.create_task(download(session, server.url, target))
        for _ in range(moment * 4):
            await asyncio.sleep(0.0005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
    left = files(target)
    assert left in ([], ["file.bin.part", "file.bin.part.json"])
    if left:
        assert target.with_name("file.bin.part").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"headers": {"range": "bytes=1-"}}, "Range"),
        ({"trace_request_ctx": CallOptions()}, "options="),
        ({"raise_for_status": True}, "judges the status"),
        ({"timeout": aiohttp.ClientTimeout(total=1)}, "options="),
        ({"max_size": -1}, "max_size"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(session, target, arguments, says) -> None:
    with pytest.raises(ValueError, match=says):
        await download(session, "http://127.0.0.1:9/", target, **arguments)


async def test_a_folder_is_no_target(session, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="name a file"):
        await download(session, "http://127.0.0.1:9/", tmp_path)
    with pytest.raises(FileNotFoundError):
        await download(session, "http://127.0.0.1:9/", tmp_path / "no" / "file")
    assert files(tmp_path / "any") == []


async def test_a_link_in_place_of_the_part_is_not_followed(session, target: Path) -> None:
    victim = target.with_name("victim")
    victim.write_bytes(b"mine")
    target.with_name("file.bin.part").symlink_to(victim)
    with pytest.raises(OSError, match=r"file\.bin\.part"):
        await download(session, "http://127.0.0.1:9/", target)
    assert content(victim) == b"mine"


async def test_a_sidecar_that_makes_no_sense_is_as_good_as_none(session, target: Path) -> None:
    target.with_name("file.bin.part").write_bytes(b"whatever")
    async with FaultServer(FileServer(BODY)) as server:
        for text in ("", "[]", "{}", '{"version": 1, "url": 1, "validator": 2, "total": 3}'):
            target.with_name("file.bin.part.json").write_text(text)
            result = await download(session, server.url, target, checksum=SHA)
            assert result.resumed_from == 0


async def test_a_redirect_to_another_origin_is_continued_too(session, target: Path) -> None:
    async with FaultServer(FileServer(BODY, cuts=[MIB])) as far:
        async with FaultServer([respond(302, headers={"Location": str(far.url)})]) as near:
            result = await download(session, near.url, target, checksum=SHA)
    assert (result.requests, len(near.requests)) == (2, 2)
    assert "Range" in far.requests[1].headers


async def test_more_than_was_announced_is_no_file(session, target: Path) -> None:
    def answer(request):
        if "Range" not in request.headers:
            return script(request)
        total = len(BODY)
        first = int(request.headers["Range"][6:-1])
        span = f"bytes {first}-{total - 1}/{total}"
        head = f'HTTP/1.1 206 P\r\nETag: "1"\r\nContent-Range: {span}\r\n\r\n'
        return raw(head.encode() + b"x" * (total - first + 1), then="close")

    script = FileServer(BODY, cuts=[MIB])
    async with FaultServer(answer) as server:
        with pytest.raises(aiohttp.ClientPayloadError, match="more bytes than announced"):
            await download(session, server.url, target)
    assert files(target) == []


async def test_nothing_is_a_file_too(session, target: Path) -> None:
    async with FaultServer([respond(200)]) as server:
        result = await download(session, server.url, target)
    assert (content(target), result.size) == (b"", 0)

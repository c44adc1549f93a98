"""No byte of one version beside a byte of another, wherever a small body is cut."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import pytest
from aiohttp import web

from platform_http import CallOptions, HttpSettings, SessionFactory
from platform_http.streaming import download
from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, chunked, partial_body, respond
from platform_http.testing.wire import ReceivedRequest
from tests.streaming.conftest import SETTINGS

OLD = b"abcd"
NEW = [b"ABCD", b"ABCDE", b"AB"]
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"

Kind = Literal["good", "deaf", "mute", "endless", "dated"]


@dataclass
class Changing:
    """A file that is cut once, and is another one from the second request on.

    Args:
        cut: Bytes of the first response that are sent.
        new: What it is then; ``None`` if it stays what it is.
        kind: ``good`` follows RFC 9110; ``deaf`` does not hear ``If-Range``, as aiohttp's own
            server does not hear tags; ``mute`` is deaf and names no tag in a 206; ``endless``
            tells no total; ``dated`` is deaf and has dates for tags.
        framed: Whether the first response has a length, or is in chunks.
    """

    cut: int
    new: bytes | None
    kind: Kind
    framed: bool
    requests: int = 0

    def __call__(self, request: ReceivedRequest) -> Action:
        self.requests += 1
        if self.requests == 1:
            return self._first()
        body, version = (OLD, 1) if self.new is None else (self.new, 2)
        headers = self._headers(version)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") == f'"{version}"'
        if wanted is None or (self.kind == "good" and not same):
            return respond(headers=headers, body=body)
        first, total = int(wanted[1]), len(body)
        if first >= total:
            # It says nothing of its version, as many servers do not.
            return respond(416, headers={"Content-Range": f"bytes */{total}"})
        told = "*" if self.kind == "endless" else total
        headers["Content-Range"] = f"bytes {first}-{total - 1}/{told}"
        if self.kind == "mute":
            del headers["ETag"]
        return respond(206, headers=headers, body=body[first:])

    def _first(self) -> Action:
        headers = self._headers(1)
        if self.framed:
            return partial_body(OLD[: self.cut], content_length=len(OLD), headers=headers)
        pieces = [OLD[: self.cut]] if self.cut else []
        return chunked(pieces, headers=headers, complete=False, then="close")

    def _headers(self, version: int) -> dict[str, str]:
        if self.kind == "dated":
            modified = DATE.replace("2024", f"202{version}")
            return {"Last-Modified": modified, "Date": "Mon, 01 Jan 2025 00:00:00 GMT"}
        return {"ETag": f'"{version}"'}


@pytest.fixture
async def session(registry):
    """One that pays nothing for a resumption: here they are many."""
    retry = {**SETTINGS["retry"], "budget": {"cost": 0, "cost_timeout": 0}}
    settings = HttpSettings(**{**SETTINGS, "retry": retry, "circuit_breaker": {"mode": "off"}})
    async with SessionFactory(settings, registry=registry) as factory:
        yield factory.session()


@pytest.mark.parametrize("call", ["same", "next"])
@pytest.mark.parametrize("kind", ["good", "deaf", "mute", "endless", "dated"])
async def test_a_file_is_of_one_version_wherever_it_is_cut(
    session, tmp_path: Path, kind: Kind, call: str
) -> None:
    target = tmp_path / "target"
    scripts: list[Changing] = []

    def answer(request: ReceivedRequest) -> Action:
        return scripts[-1](request)

    async with FaultServer(answer) as server:
        for new, framed, cut in itertools.product([None, *NEW], (True, False), range(len(OLD) + 1)):
            if framed and cut == len(OLD):
                continue
            scripts.append(Changing(cut, new, kind, framed))
            if call == "next":
                options = CallOptions(max_attempts=1)
                with pytest.raises(aiohttp.ClientPayloadError):
                    await download(session, server.url, target, options=options)
            result = await download(session, server.url, target)
            whole = OLD if new is None else new
            assert (target.read_bytes(), result.size) == (whole, len(whole))
            target.unlink()
            if kind in ("good", "deaf") and new is None and cut:
                # What was there was used; without a length its last byte came again.
                assert scripts[-1].requests == 2
                assert result.resumed_from == (cut if call == "next" else 0)
                rest = len(OLD) - cut + (not framed)
                assert result.received == rest + (cut if call == "same" else 0)
            assert not target.with_name("target.part.json").exists()


async def test_a_complete_part_of_a_file_that_changed_is_none_for_aiohttps_server(
    session, tmp_path: Path
) -> None:
    """It answers a range that there is not with a 416 and looks at no tag."""
    served = tmp_path / "served"
    served.write_bytes(OLD)
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/served"
    target = tmp_path / "target"

    def stop(done: int, total: int | None) -> None:
        if done == len(OLD):
            raise LookupError

    with pytest.raises(LookupError):
        await download(session, url, target, progress=stop)
    served.write_bytes(NEW[0])
    os.utime(served, (1e9, 1e9))
    result = await download(session, url, target)
    await runner.cleanup()
    assert (target.read_bytes(), result.resumed_from) == (NEW[0], 0)

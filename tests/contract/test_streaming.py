"""What the streaming functions rely on."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.payload import PAYLOAD_REGISTRY
from aiohttp.payload import LookupError as NoPayloadError
from yarl import URL

from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body


async def test_a_session_tells_its_base_url() -> None:
    async with aiohttp.ClientSession("http://host.test/a/") as session:
        assert session._base_url == URL("http://host.test/a/")
    async with aiohttp.ClientSession() as session:
        assert session._base_url is None


async def test_a_body_that_was_cut_gives_nothing_out_and_holds_what_came() -> None:
    script = [partial_body(b"begun", content_length=9)]
    async with FaultServer(script) as server, aiohttp.ClientSession() as session:
        async with session.get(server.url) as response:
            stream = response.content
            while stream.exception() is None:  # noqa: ASYNC110 - reading is what must not happen
                await asyncio.sleep(0)
            with pytest.raises(aiohttp.ClientPayloadError):
                await stream.readany()
            assert (list(stream._buffer), stream._buffer_offset) == ([b"begun"], 0)


def test_what_is_no_body_is_told_by_an_exception_of_its_own() -> None:
    with pytest.raises(NoPayloadError):
        PAYLOAD_REGISTRY.get(5, disposition=None)

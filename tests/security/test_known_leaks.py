"""What is told in spite of us, each with its reason. SECURITY.md lists the same.

When one of these fails, aiohttp has become more discreet: remove it here and there.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed
from tests.security.canaries import CANARIES

SECRET = CANARIES["query"]


@pytest.mark.parametrize("url", ["ftp://me:{0}@host/?{0}", "http://me:{0}@[host/?{0}"])
async def test_aiohttp_quotes_a_url_that_it_refuses_before_any_hook(
    observed: Observed, url: str
) -> None:
    async with observed.session() as session:
        with pytest.raises((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)) as caught:
            await session.get(url.format(SECRET))
    assert SECRET in str(caught.value)


async def test_a_stream_quotes_a_line_that_is_too_long(observed: Observed) -> None:
    # The stream is aiohttp's own, and what reads it is the caller.
    body = f"{SECRET}{'x' * 1000}\n".encode()
    async with FaultServer([respond(body=body)]) as server, observed.session() as session:
        async with session.get(server.url) as response:
            with pytest.raises(Exception, match=SECRET):
                await response.content.readline(max_line_length=100)


async def test_aiohttp_logs_the_name_of_a_cookie_that_it_refuses(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cookie = {"Set-Cookie": f'{SECRET}"=value'}
    async with FaultServer([respond(headers=cookie)]) as server:
        async with observed.session(cookies={"enabled": True, "unsafe": True}) as session:
            async with session.get(server.url) as response:
                await response.read()
                assert not response.cookies
    assert SECRET in caplog.text


async def test_headers_are_there_for_code_and_show_their_values(observed: Observed) -> None:
    # They are a plain multidict, which code compares, copies and passes on.
    answer = respond(headers={"X-Answer": SECRET})
    async with FaultServer([answer]) as server, observed.session() as session:
        async with session.get(server.url) as response:
            assert SECRET in repr(response.headers)


async def test_an_unlisted_query_key_is_on_the_span_unless_all_are_hidden() -> None:
    # So say the semantic conventions; TELEMETRY__REDACT_QUERY=* hides every value.
    for settings, shown in (({}, True), ({"telemetry": {"redact_query": ["*"]}}, False)):
        observed = Observed()
        async with FaultServer() as server, observed.session(**settings) as session:
            async with session.get(server.url.with_query(page=SECRET)) as response:
                await response.read()
        assert (SECRET in observed.spans[0].to_json()) is shown


async def test_asyncio_in_debug_mode_logs_what_a_task_of_the_caller_returns(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0

    async def body(session: aiohttp.ClientSession, server: FaultServer) -> str:
        async with session.get(server.url) as response:
            return await response.text()

    async with FaultServer([respond(body=SECRET.encode())]) as server:
        async with observed.session() as session:
            await asyncio.create_task(body(session, server))
    assert SECRET in caplog.text

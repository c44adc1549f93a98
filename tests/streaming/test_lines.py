"""Lines and JSON Lines, however they are cut on the wire."""

from __future__ import annotations

import gzip
import json

import pytest

from platform_http.streaming import StreamFormatError, iter_json_lines, iter_lines
from platform_http.testing import FaultServer
from platform_http.testing.actions import chunked, respond
from tests.streaming.conftest import MIB


async def lines_of(session, *chunks: bytes, headers=None, **options) -> list[str]:
    async with FaultServer([chunked(chunks, headers=headers)]) as server:
        async with session.get(server.url) as response:
            return [line async for line in iter_lines(response, **options)]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a\r\nb"], ["a", "b"]),
        ([b"a\r", b"\nb\r", b"\n"], ["a", "b"]),
        ([b"\n\na"], ["", "", "a"]),
        ([b"a\rb\n"], ["a\rb"]),
        ([b"\xc3", b"\xa4\n"], ["ä"]),
        ([b"x" for _ in range(50)], ["x" * 50]),
    ],
)
async def test_lines_are_found_across_pieces(session, chunks, lines) -> None:
    assert await lines_of(session, *chunks) == lines


async def test_an_empty_body_has_no_lines(session) -> None:
    async with FaultServer([respond()]) as server, session.get(server.url) as response:
        assert [line async for line in iter_lines(response)] == []


async def test_a_line_may_be_just_as_long_as_allowed(session) -> None:
    assert await lines_of(session, b"12345\r", b"\n12345", max_line=5) == ["12345", "12345"]


@pytest.mark.parametrize("chunks", [[b"1\n123456\n"], [b"1\n1234567"], [b"1\n", b"123456"]])
async def test_a_longer_line_is_an_error_that_tells_its_number(session, chunks) -> None:
    with pytest.raises(
        StreamFormatError, match="line 2 is longer than max_line, 5 bytes"
    ) as caught:
        await lines_of(session, *chunks, max_line=5)
    assert caught.value.line == 2


async def test_a_bomb_is_noticed_by_what_it_unpacks_to(session) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    with pytest.raises(StreamFormatError):
        await lines_of(session, bomb, headers={"Content-Encoding": "gzip"})


async def test_the_encoding_is_the_responses_own_or_the_callers(session) -> None:
    headers = {"Content-Type": "text/plain; charset=latin-1"}
    assert await lines_of(session, b"\xe4", headers=headers) == ["ä"]
    assert await lines_of(session, b"\xe4", encoding="cp1252") == ["ä"]
    with pytest.raises(StreamFormatError, match="line 1 is no utf-8"):
        await lines_of(session, b"\xe4")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32", "cp037"])
async def test_an_encoding_whose_line_ends_are_other_bytes_is_refused(session, codec: str) -> None:
    with pytest.raises(StreamFormatError, match=f"lines in {codec}"):
        await lines_of(session, "a\nb\n".encode(codec), encoding=codec)


async def test_a_mark_of_the_byte_order_may_be_taken_away(session) -> None:
    assert await lines_of(session, b"\xef\xbb\xbfa\nb", encoding="utf-8-sig") == ["a", "b"]


async def test_a_limit_that_allows_nothing_is_refused(session) -> None:
    with pytest.raises(ValueError, match="max_line"):
        await lines_of(session, b"x", max_line=0)


async def test_json_lines_are_decoded_and_empty_ones_skipped(session) -> None:
    chunks = [b'{"a": 1}\n\n[2', b']\r\n"\xc3\xa4"\n  \nnull']
    async with FaultServer([chunked(chunks)]) as server, session.get(server.url) as response:
        values = [value async for value in iter_json_lines(response)]
    assert values == [{"a": 1}, [2], "ä", None]


async def test_json_can_be_decoded_by_another_library(session) -> None:
    async with FaultServer([chunked([b"1.5\n"])]) as server, session.get(server.url) as response:
        values = [
            value
            async for value in iter_json_lines(
                response, loads=lambda line: json.loads(line, parse_float=str)
            )
        ]
    assert values == ["1.5"]


@pytest.mark.parametrize("bad", [b"{canary", b"\xff\xfecanary", b"[" * 100_000])
async def test_a_line_that_is_no_json_is_an_error_that_does_not_quote_it(session, bad) -> None:
    seen = []
    async with FaultServer([chunked([b"1\n" + bad])]) as server:
        async with session.get(server.url) as response:
            with pytest.raises(StreamFormatError, match="line 2 is no JSON") as caught:
                async for value in iter_json_lines(response):
                    seen += [value]
    assert seen == [1]
    assert caught.value.__cause__ is None
    assert "canary" not in repr(caught.value)

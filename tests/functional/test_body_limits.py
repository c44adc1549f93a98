"""Bodies that are cut, that are no good, or that are too much."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib

import aiohttp
import pytest

from platform_http.errors import ResponseTooLargeError
from platform_http.testing import FaultServer
from platform_http.testing.actions import (
    Action,
    chunked,
    drip,
    partial_body,
    respond,
    response_bytes,
)
from tests.functional.conftest import Observed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = bytes(range(256)) * 4000


def raw_deflate(data: bytes) -> bytes:
    codec = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return codec.compress(data) + codec.flush()


CODECS = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
}
EVERY_CODEC = pytest.mark.parametrize("codec", CODECS)


def encoded(codec: str, data: bytes = TEXT) -> tuple[dict[str, str], bytes]:
    name, compress = CODECS[codec]
    return {"Content-Encoding": name}, compress(data)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    return await response.read()


async def _iterate(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in response.content.iter_any()])


BOTH_WAYS = pytest.mark.parametrize("consume", [_read, _iterate])


class TestACompressedBody:
    @BOTH_WAYS
    @EVERY_CODEC
    @pytest.mark.parametrize("cut", ["by a byte", "in half", "after a byte"])
    async def test_that_ends_too_early_is_an_error(
        self, observed: Observed, codec: str, cut: str, consume
    ) -> None:
        headers, body = encoded(codec)
        body = {"by a byte": body[:-1], "in half": body[: len(body) // 2]}.get(cut, body[:1])
        async with FaultServer([respond(headers=headers, body=body)]) as server:
            async with observed.session() as session:
                with pytest.raises(aiohttp.ClientPayloadError, match="ends before its end"):
                    async with session.get(server.url) as response:
                        await consume(response)

        calls = "platform_http_calls_total"
        assert observed.value(calls, outcome="error", error_type="payload_error") == 1
        observed.assert_quiet()

    @EVERY_CODEC
    async def test_that_ends_too_early_after_its_headers_is_an_error(
        self, observed: Observed, codec: str
    ) -> None:
        headers, body = encoded(codec)
        slow = drip(response_bytes(headers=headers, body=body[:-1]), interval=0.01, size=1000)
        async with FaultServer([slow]) as server, observed.session() as session:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with session.get(server.url) as response:
                    await response.read()

    async def test_that_ends_too_early_in_chunks_is_an_error(self, observed: Observed) -> None:
        headers, body = encoded("gzip")
        async with FaultServer([chunked([body[:100]], headers=headers)]) as server:
            async with observed.session() as session:
                with pytest.raises(aiohttp.ClientPayloadError):
                    async with session.get(server.url) as response:
                        await response.read()

    async def test_that_ends_too_early_opens_the_circuit(self, observed: Observed) -> None:
        headers, body = encoded("gzip")
        settings = {"circuit_breaker": {"minimum_calls": 2}}
        async with FaultServer([respond(headers=headers, body=body[:-1])]) as server:
            async with observed.session(**settings) as session:
                for _ in range(2):
                    with pytest.raises(aiohttp.ClientPayloadError):
                        async with session.get(server.url) as response:
                            await response.read()

        assert observed.value("platform_http_circuit_transitions_total", to="open") == 1

    @BOTH_WAYS
    @EVERY_CODEC
    async def test_that_is_complete_is_decoded(
        self, observed: Observed, codec: str, consume
    ) -> None:
        headers, body = encoded(codec)
        answers = [
            respond(headers=headers, body=body),
            chunked([body[:9], body[9:]], headers=headers),
        ]
        async with FaultServer(answers) as server, observed.session() as session:
            for _ in answers:
                async with session.get(server.url) as response:
                    assert await consume(response) == TEXT

        assert server.connections == 1

    @pytest.mark.parametrize("codec", ["gzip", "zstd"])
    async def test_may_have_several_members_but_none_that_is_cut(
        self, observed: Observed, codec: str
    ) -> None:
        headers, body = encoded(codec)
        answers = [
            respond(headers=headers, body=body * 2),
            respond(headers=headers, body=body * 2 + body[:-1]),
        ]
        async with FaultServer(answers) as server, observed.session() as session:
            async with session.get(server.url) as response:
                assert await response.read() == TEXT * 2
            with pytest.raises(aiohttp.ClientPayloadError):
                async with session.get(server.url) as response:
                    await response.read()

    @pytest.mark.parametrize(
        "spoil",
        [lambda body: body[:-8] + bytes(8), lambda body: body + b"garbage"],
        ids=["bad CRC", "bytes after the end"],
    )
    async def test_that_does_not_add_up_is_an_error(self, observed: Observed, spoil) -> None:
        headers, body = encoded("gzip")
        async with FaultServer([respond(headers=headers, body=spoil(body))]) as server:
            async with observed.session() as session:
                with pytest.raises(aiohttp.ClientPayloadError):
                    async with session.get(server.url) as response:
                        await response.read()

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_may_be_empty(self, observed: Observed, method: str) -> None:
        headers = {"Content-Encoding": "gzip"}
        async with FaultServer([respond(headers=headers)]) as server, observed.session() as session:
            async with session.request(method, server.url) as response:
                assert await response.read() == b""

    async def test_is_left_to_aiohttp_on_sessions_that_are_not_ours(
        self, observed: Observed
    ) -> None:
        headers, body = encoded("gzip")
        async with FaultServer([respond(headers=headers, body=body[:-1])]) as server:
            async with observed.session(), aiohttp.ClientSession() as foreign:
                async with foreign.get(server.url) as response:
                    assert await response.read() == TEXT


# Larger than what aiohttp buffers: what it has got whole counts as received.
SMALL = {"response": {"max_body": 1_000_000}}
LARGE: list[Action] = [
    respond(body=bytes(1_000_001)),
    chunked([bytes(500_000)] * 5),
]


@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
@pytest.mark.parametrize("verb", ["read", "text", "json"])
@pytest.mark.parametrize("answer", LARGE, ids=["announced", "not announced"])
async def test_a_buffered_body_has_a_limit(
    observed: Observed, answer: Action, verb: str, options: dict[str, object]
) -> None:
    async with FaultServer([answer]) as server, observed.session(**SMALL) as session:
        async with session.get(server.url, **options) as response:
            with pytest.raises(ResponseTooLargeError, match="RESPONSE__MAX_BODY, 1000000 bytes"):
                await getattr(response, verb)()
            assert response.closed

    observed.assert_quiet()


async def test_what_is_announced_to_be_too_large_is_not_read(observed: Observed) -> None:
    announced = partial_body(b"x", content_length=1_000_001, then="hang")
    async with FaultServer([announced]) as server, observed.session(**SMALL) as session:
        async with session.get(server.url) as response:
            with pytest.raises(ResponseTooLargeError, match="announced"):
                await response.read()
        await server.wait_until(lambda: server.open_connections == 0)


async def test_a_body_over_the_limit_is_an_error_of_the_call_and_not_of_the_server(
    observed: Observed,
) -> None:
    settings = {**SMALL, "circuit_breaker": {"minimum_calls": 2}}
    async with FaultServer([LARGE[1]]) as server, observed.session(**settings) as session:
        for _ in range(3):
            with pytest.raises(ResponseTooLargeError):
                async with session.get(server.url) as response:
                    await response.read()

    assert len(server.requests) == 3
    calls = "platform_http_calls_total"
    assert observed.value(calls, outcome="error", error_type="response_too_large") == 3
    assert observed.value("platform_http_circuit_transitions_total", to="open") == 0
    observed.assert_quiet()


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
async def test_a_body_up_to_the_limit_is_read(observed: Observed, size: int) -> None:
    async with FaultServer([respond(body=bytes(size))]) as server:
        async with observed.session(**SMALL) as session, session.get(server.url) as response:
            assert len(await response.read()) == size


async def test_the_length_that_a_head_response_announces_is_no_body(observed: Observed) -> None:
    head = respond(headers={"Content-Length": "1000001"})
    async with FaultServer([head]) as server, observed.session(**SMALL) as session:
        async with session.head(server.url) as response:
            assert await response.read() == b""


async def test_a_stream_has_no_limit(observed: Observed) -> None:
    async with FaultServer([LARGE[0]]) as server, observed.session(**SMALL) as session:
        async with session.get(server.url) as response:
            assert len(await _iterate(response)) == 1_000_001


async def test_no_limit_is_a_setting_too(observed: Observed) -> None:
    headers, body = encoded("gzip", bytes(20_000_000))
    async with FaultServer([respond(headers=headers, body=body)]) as server:
        async with observed.session(response={"max_body": None}) as session:
            async with session.get(server.url) as response:
                assert len(await response.read()) == 20_000_000


async def test_a_bomb_costs_little_memory(observed: Observed) -> None:
    headers, body = encoded("gzip", bytes(50_000_000))
    async with FaultServer([respond(headers=headers, body=body)]) as server:
        async with observed.session() as session:
            tracemalloc.start()
            try:
                with pytest.raises(ResponseTooLargeError, match="expands to more than 200 times"):
                    async with session.get(server.url) as response:
                        await response.read()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()

    assert peak < 24_000_000


async def test_what_compresses_well_is_no_bomb_while_it_is_small(observed: Observed) -> None:
    headers, body = encoded("gzip", bytes(4_000_000))
    assert len(body) * 200 < 4_000_000
    async with FaultServer([respond(headers=headers, body=body)]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert len(await response.read()) == 4_000_000


async def test_the_length_of_a_compressed_body_is_not_that_of_what_it_holds(
    observed: Observed,
) -> None:
    body = gzip.compress(bytes(1_000_000), compresslevel=0)
    assert len(body) > 1_000_000
    headers = {"Content-Encoding": "gzip"}
    slow = drip(response_bytes(headers=headers, body=body), interval=0.001, size=200_000)
    async with FaultServer([slow]) as server, observed.session(**SMALL) as session:
        async with session.get(server.url) as response:
            assert len(await response.read()) == 1_000_000

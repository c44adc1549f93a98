"""Framing headers of callers: refused where they contradict the body or the route."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from platform_http.errors import EgressDeniedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import raw
from tests.functional.conftest import Observed


async def pieces() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"cd"


@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
@pytest.mark.parametrize(
    ("headers", "body", "names"),
    [
        ({"Content-Length": "3"}, b"four", "Content-Length"),
        ({"Content-Length": "5"}, b"four", "Content-Length"),
        ({"Content-Length": "4"}, None, "Content-Length"),
        ({"Content-Length": "+4"}, b"four", "Content-Length"),
        ({"content-length": "geheim"}, b"four", "Content-Length"),
        ({"Content-Length": "geheim"}, pieces, "Content-Length"),
        ([("Content-Length", "4"), ("Content-Length", "4")], b"four", "Content-Length"),
        ({"Transfer-Encoding": "chunked"}, b"four", "chunked=True"),
        ({"Transfer-Encoding": "chunked"}, None, "chunked=True"),
        ({"Transfer-Encoding": "geheim"}, None, "chunked=True"),
        ({"transfer-encoding": "chunked"}, pieces, "chunked=True"),
        ({"Connection": "Authorization"}, None, "Connection"),
        ({"Connection": "close, geheim"}, None, "Connection"),
        ({"Connection": "Upgrade"}, None, "Upgrade"),
        ({"Upgrade": "h2c"}, None, "Upgrade"),
        ({"Upgrade": "h2c", "Connection": "close"}, None, "Upgrade"),
        ({"Upgrade": "h2c", "Connection": "upgrade"}, b"four", "Upgrade"),
        ({"Host": "geheim.test"}, None, "Host"),
        ({"host": "127.0.0.1:1"}, None, "Host"),
        ([("Host", "127.0.0.1"), ("Host", "geheim.test")], None, "Host"),
        ({"Transfer-Encoding\t": "chunked"}, None, "no token"),
        ({"Content-Length ": "5"}, b"four", "no token"),
        ({"Transfer-Encoding: geheim\tX": "v"}, None, "no token"),
        ({"X: 1": "v"}, None, "no token"),
        ({"": "v"}, None, "no token"),
        ({"Gr\u00fc\u00dfe": "v"}, None, "no token"),
        ({"Transfer_Encoding": "chunked"}, None, "underscore"),
        ({"CONTENT_LENGTH": "5"}, b"four", "underscore"),
    ],
)
async def test_a_contradiction_is_refused_before_anything_is_sent(
    observed: Observed,
    headers: object,
    body: object,
    names: str,
    options: dict[str, object],
) -> None:
    data = body() if callable(body) else body
    async with FaultServer() as server, observed.session() as session:
        with pytest.raises(EgressDeniedError, match=names) as caught:
            await session.post(server.url, data=data, headers=headers, **options)

    assert (caught.value.reason, caught.value.attempts) == ("framing_header", 0)
    assert "geheim" not in str(caught.value)
    assert server.connections == 0
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1
    assert observed.value("platform_http_egress_denied_total", reason="framing_header") == 1
    observed.assert_quiet()


@pytest.mark.parametrize(
    ("headers", "body", "options"),
    [
        ({"Content-Length": "4"}, b"four", {}),
        ({"Content-Length": "0"}, None, {}),
        ({"Content-Length": "0"}, b"", {}),
        ({"Content-Length": "4"}, pieces, {}),
        ({}, pieces, {}),
        ({}, b"four", {"chunked": True}),
        ({}, b"four", {"compress": "gzip"}),
        ({}, b"four", {"chunked": False}),
        ({}, None, {"chunked": True}),
        ({"X_Own": "1", "!#$%&'*+-.^_`|~": "1"}, None, {}),
        ({"Connection": "close"}, None, {}),
        ({"Connection": "Keep-Alive"}, b"four", {}),
        ({"Connection": "keep-alive, Upgrade", "Upgrade": "h2c"}, None, {}),
    ],
)
async def test_what_agrees_with_the_request_is_sent(
    observed: Observed, headers: dict[str, str], body: object, options: dict[str, object]
) -> None:
    async with FaultServer() as server, observed.session() as session:
        for _ in range(2):
            data = body() if callable(body) else body
            async with session.put(server.url, data=data, headers=headers, **options) as response:
                assert response.status == 200

    assert server.malformed == []
    for name, value in headers.items():
        assert server.requests[1].headers[name] == value


async def test_the_host_of_the_url_may_be_said_again(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        await session.get(server.url, headers={"Host": f"127.0.0.1:{server.port}"})

    assert server.requests[0].headers.getall("Host") == [f"127.0.0.1:{server.port}"]


async def test_a_default_port_may_be_left_out_of_the_host(observed: Observed) -> None:
    async with observed.session(retry={"enabled": False}) as session:
        for host in ("LOCALHOST", "localhost:80"):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://localhost/", headers={"Host": host})


async def test_websockets_upgrade(observed: Observed) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    application = web.Application()
    application.router.add_get("/", answer)
    async with TestServer(application) as server, observed.session() as session:
        async with session.ws_connect(server.make_url("/")) as socket:
            await socket.receive()


async def test_another_upgrade_gets_its_101(observed: Observed) -> None:
    switched = raw(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        then="hang",
    )
    async with FaultServer([switched]) as server, observed.session() as session:
        headers = {"Connection": "Upgrade", "Upgrade": "x"}
        response = await session.get(server.url, headers=headers)
        assert response.status == 101
        response.close()


@contextlib.asynccontextmanager
async def _answering(end: bytes) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Answer 200 whenever *end* was read; yield the URL and the connections that were made."""
    connections: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(end)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connections


@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
async def test_a_generator_that_falls_short_of_its_length_takes_nothing_from_the_next_request(
    observed: Observed, options: dict[str, object]
) -> None:
    async with _answering(b"\r\n\r\n") as (url, connections), observed.session() as session:
        for _ in range(2):
            headers = {"Content-Length": "10"}
            # The retry policy would read the body of a PUT first, and correct its length.
            async with session.post(url, data=pieces(), headers=headers, **options) as response:
                assert response.status == 200

    assert len(connections) == 2


async def test_a_generator_of_unknown_length_keeps_its_connection(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        for _ in range(2):
            async with session.put(server.url, data=pieces()):
                pass

    assert server.connections == 1


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
@pytest.mark.parametrize("settings", [{}, {"redirects": {"mode": "follow"}}])
async def test_chunks_that_are_asked_for_without_a_body_are_not_sent(
    observed: Observed, settings: dict[str, object], method: str, chunked: bool
) -> None:
    async with FaultServer() as server, observed.session(**settings) as session:
        for _ in range(2):
            async with session.request(method, server.url, chunked=chunked) as response:
                assert response.status == 200

    assert server.malformed == []
    assert len(server.requests) == 2
    assert "Transfer-Encoding" not in server.requests[0].headers


TEXTS = pytest.mark.parametrize(
    ("content", "encoding"),
    [(b"a\r\nb\r\n", "utf-8"), ("abc".encode("utf-16"), "utf-16"), (b"\xe9\xe9", "latin-1")],
    ids=["line ends", "utf-16", "latin-1"],
)


@TEXTS
@pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
async def test_a_file_in_text_mode_is_sent_whole(
    observed: Observed, tmp_path: Path, content: bytes, encoding: str, options: dict[str, object]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    async with FaultServer() as server, observed.session() as session:
        for _ in range(2):
            with path.open(encoding=encoding) as file:
                async with session.post(server.url, data=file, **options) as response:
                    assert response.status == 200

    assert server.malformed == []
    expected = path.read_text(encoding=encoding).encode()
    assert [request.body for request in server.requests] == [expected, expected]
    assert "Content-Length" not in server.requests[0].headers


@TEXTS
async def test_a_file_in_text_mode_is_sent_whole_as_a_part(
    observed: Observed, tmp_path: Path, content: bytes, encoding: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    async with FaultServer() as server, observed.session() as session:
        for _ in range(2):
            with path.open(encoding=encoding) as file:
                async with session.post(server.url, data={"a": file}) as response:
                    assert response.status == 200

    assert server.malformed == []
    for request in server.requests:
        assert path.read_text(encoding=encoding).encode() in request.body


class _Overstated(aiohttp.BytesPayload):
    """A body that says it is longer than it is."""

    @property
    def size(self) -> int:
        return super().size + 3


async def test_a_body_that_falls_short_of_its_own_size_closes_its_connection(
    observed: Observed,
) -> None:
    async with _answering(b"\r\n\r\nfour") as (url, connections), observed.session() as session:
        for _ in range(2):
            async with session.post(url, data=_Overstated(b"four")) as response:
                assert response.status == 200

    assert len(connections) == 2


@pytest.mark.parametrize("mode", ["internal", "off"])
@pytest.mark.parametrize("target", ["/a HTTP/1.1 b", "/a?q=1 HTTP/1.1", "/a\x0bb", "/a\x7f"])
async def test_a_target_that_would_end_early_is_an_invalid_url(
    observed: Observed, mode: str, target: str
) -> None:
    async with FaultServer() as server, observed.session(egress={"mode": mode}) as session:
        with pytest.raises(aiohttp.InvalidURL, match="space or control character"):
            await session.get(URL(f"http://127.0.0.1:{server.port}{target}", encoded=True))

    assert server.connections == 0

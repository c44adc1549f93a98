from __future__ import annotations

import asyncio
import errno
import traceback
from typing import TYPE_CHECKING

import pytest

from platform_http.settings import ProxySettings, SecretUrl
from platform_http.transport.proxy import ProxyChoice, ProxyResolver
from platform_http.transport.socks import open_socks
from tests.servers import SocksServer, free_port, socks_server

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def proxy_on(port: int, userinfo: str = "") -> ProxyChoice:
    settings = ProxySettings(url=SecretUrl(f"socks5://{userinfo}127.0.0.1:{port}"))
    choice = ProxyResolver.of(settings, {}).choose("http", "api.test", 80)
    assert choice is not None
    return choice


async def echoed(connection: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"hello")
    data = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()
    return data


async def test_the_name_is_resolved_by_the_proxy(echo: int) -> None:
    async with socks_server(SocksServer(addresses={"only-the-proxy-knows.test": "127.0.0.1"})) as s:
        connection = await open_socks(proxy_on(s.port), "only-the-proxy-knows.test", echo, 5)

        assert await echoed(connection) == b"hello"
        assert s.destinations == [("only-the-proxy-knows.test", echo)]


async def test_an_address_is_sent_as_an_address(echo: int) -> None:
    async with socks_server(SocksServer()) as server:
        connection = await open_socks(proxy_on(server.port), "127.0.0.1", echo, None)

        assert await echoed(connection) == b"hello"
        assert server.destinations == [("127.0.0.1", echo)]


async def test_credentials_are_sent_when_the_proxy_asks(echo: int) -> None:
    async with socks_server(SocksServer(login=("user", "p@ss"))) as server:
        proxy = proxy_on(server.port, "user:p%40ss@")

        assert await echoed(await open_socks(proxy, "127.0.0.1", echo, 5)) == b"hello"


@pytest.mark.parametrize("userinfo", ["", "canary-user:canary-pass@"], ids=["none", "wrong"])
async def test_credentials_that_the_proxy_does_not_take_make_an_error_without_them(
    userinfo: str, echo: int
) -> None:
    async with socks_server(SocksServer(login=("user", "pass"))) as server:
        with pytest.raises(OSError, match="SOCKS5 proxy: ") as caught:
            await open_socks(proxy_on(server.port, userinfo), "127.0.0.1", echo, 5)

        assert caught.value.errno == errno.ECONNABORTED
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert server.destinations == []


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        (1, errno.ECONNABORTED),
        (2, errno.EACCES),
        (3, errno.ENETUNREACH),
        (4, errno.EHOSTUNREACH),
        (5, errno.ECONNREFUSED),
        (6, errno.EHOSTUNREACH),
        (8, errno.ECONNABORTED),
        (99, errno.ECONNABORTED),
    ],
)
async def test_what_the_proxy_says_about_the_destination_becomes_an_error_number(
    reply: int, number: int
) -> None:
    async with socks_server(SocksServer(reply=reply)) as server:
        with pytest.raises(OSError, match="SOCKS5 proxy: ") as caught:
            await open_socks(proxy_on(server.port), "api.test", 80, 5)

        assert caught.value.errno == number


async def test_a_proxy_that_nobody_runs_is_a_refused_connection() -> None:
    with pytest.raises(OSError, match="Could not connect") as caught:
        await open_socks(proxy_on(free_port()), "api.test", 80, 5)

    assert caught.value.errno == errno.ECONNREFUSED


async def test_a_proxy_that_stalls_is_a_timeout() -> None:
    async with socks_server(SocksServer(silent=True)) as server:
        with pytest.raises(TimeoutError) as caught:
            await open_socks(proxy_on(server.port), "api.test", 80, 0.05)

        assert caught.value.errno is None


async def test_a_server_that_hangs_up_is_an_error() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        with pytest.raises(OSError, match=r"SOCKS5 proxy: |reset"):
            await open_socks(proxy_on(server.sockets[0].getsockname()[1]), "api.test", 80, 5)


async def test_a_server_that_speaks_something_else_is_an_error() -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(speak_http, "127.0.0.1", 0)
    async with server:
        with pytest.raises(OSError, match="SOCKS5 proxy: "):
            await open_socks(proxy_on(server.sockets[0].getsockname()[1]), "api.test", 80, 5)


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.test", ".".join(["x" * 60] * 5)])
async def test_a_name_that_socks_cannot_carry_is_an_error(host: str) -> None:
    async with socks_server(SocksServer()) as server:
        with pytest.raises(OSError, match="does not fit") as caught:
            await open_socks(proxy_on(server.port), host, 80, 5)

        assert caught.value.errno == errno.EINVAL
        assert server.destinations == []


async def test_without_a_timeout_only_the_caller_ends_the_wait_and_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("python_socks.async_.asyncio._proxy.DEFAULT_TIMEOUT", 0.01)
    async with socks_server(SocksServer(silent=True)) as server:
        attempt = asyncio.create_task(open_socks(proxy_on(server.port), "api.test", 80, None))
        done, _ = await asyncio.wait([attempt], timeout=0.1)
        assert not done
        attempt.cancel()

        with pytest.raises(asyncio.CancelledError):
            await attempt

import asyncio
import contextlib
import math
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from platform_http.testing import FaultServer, ReceivedRequest, black_hole
from platform_http.testing.actions import (
    Action,
    Exchange,
    chunked,
    close,
    delay,
    drip,
    hang,
    partial_body,
    raw,
    repeat,
    reset,
    respond,
    response_bytes,
    sequence,
    stall,
)


class Peer:
    """A client that only knows bytes."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        return self

    async def __aexit__(self, *exc_info):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> bytes:
        async with asyncio.timeout(2):
            return await self.reader.read()

    async def read_response(self, body: int) -> bytes:
        async with asyncio.timeout(2):
            head = await self.reader.readuntil(b"\r\n\r\n")
            return head + await self.reader.readexactly(body)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer_to(action: Action, request: bytes = GET) -> bytes:
    async with FaultServer([action]) as server, Peer(server) as peer:
        await peer.send(request)
        return await peer.read()


async def test_an_unscripted_server_answers_200() -> None:
    async with (
        FaultServer() as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        assert (response.status, await response.read()) == (200, b"")


async def test_a_script_is_played_in_order_over_all_connections_and_its_last_action_repeats() -> (
    None
):
    async with (
        FaultServer([respond(503, then="close"), respond(404), respond(201)]) as server,
        aiohttp.ClientSession() as session,
    ):
        statuses = []
        for _ in range(5):
            async with session.get(server.url) as response:
                statuses.append(response.status)
        assert statuses == [503, 404, 201, 201, 201]
        assert [request.connection_id for request in server.requests] == [1, 2, 2, 2, 2]
        assert server.connections == 2


async def test_a_script_may_be_a_function_of_the_request() -> None:
    def choose(request: ReceivedRequest) -> Action:
        return respond(404 if request.target == "/missing" else 200)

    async with FaultServer(choose) as server, aiohttp.ClientSession() as session:
        async with session.get(server.url / "missing") as response:
            assert response.status == 404
        async with session.get(server.url / "there") as response:
            assert response.status == 200


async def test_a_request_is_recorded_as_it_was_on_the_wire() -> None:
    async with FaultServer() as server, Peer(server) as peer:
        fields = b"Host: x\r\nX-Twice: 1\r\nx-twice:  2\r\nContent-Length: 4\r\n"
        head = b"PUT /a%20b?c=d HTTP/1.1\r\n" + fields + b"\r\n"
        before = asyncio.get_running_loop().time()
        await peer.send(head + b"body")
        await peer.read_response(0)
        (request,) = server.requests
        assert (request.method, request.target) == ("PUT", "/a%20b?c=d")
        assert request.headers.getall("X-Twice") == ["1", "2"]
        assert (request.head, request.body, request.connection_id) == (head, b"body", 1)
        assert before <= request.time <= asyncio.get_running_loop().time()


async def test_a_chunked_request_body_is_decoded_and_the_next_request_is_found() -> None:
    async with FaultServer() as server, Peer(server) as peer:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n" + GET)
        await peer.read_response(0)
        await peer.read_response(0)
        assert [request.body for request in server.requests] == [b"abcde", b""]


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x16\x03\x01 a TLS hello\r\n\r\n", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="a header without a colon"),
        pytest.param(b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", id="a body cut short"),
        pytest.param(b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(
            b"PUT / HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world", id="a body too large"
        ),
        pytest.param(
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nB\r\nhello world\r\n0\r\n\r\n",
            id="a chunk too large",
        ),
        pytest.param(
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", id="a chunk too long"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHos", id="a head cut short"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000, id="an endless head"),
    ],
)
async def test_what_is_no_request_is_kept_and_closes_the_connection(request_bytes: bytes) -> None:
    async with FaultServer(max_body=10) as server, Peer(server) as peer:
        await peer.send(request_bytes)
        peer.writer.write_eof()
        try:
            answer = await peer.read()
        except ConnectionError:
            # Closing with bytes unread is a RST.
            answer = b""
        assert answer == b""
        assert server.requests == []
        assert len(server.malformed) == 1
        assert request_bytes.startswith(server.malformed[0])


async def test_a_client_that_expects_100_gets_it_before_its_body_is_read() -> None:
    async with FaultServer() as server, Peer(server) as peer:
        await peer.send(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert await peer.read_response(0) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(b"x")
        assert (await peer.read_response(0)).startswith(b"HTTP/1.1 200")
        assert server.requests[0].body == b"x"


async def test_a_server_that_reads_no_bodies_acts_at_the_head_and_closes() -> None:
    async with FaultServer([respond(413)], read_body=False) as server, Peer(server) as peer:
        await peer.send(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert (await peer.read()).startswith(b"HTTP/1.1 413")
        assert server.requests[0].body == b""


async def test_respond_adds_the_length_unless_the_script_framed_the_body_itself() -> None:
    assert response_bytes(200, body=b"abc", reason="Fine") == (
        b"HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert response_bytes(200, headers=[("content-length", "1")], body=b"abc") == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc"
    )
    assert response_bytes(304, headers={"ETag": '"1"'}) == (
        b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    )


async def test_close_sends_a_fin_and_not_a_byte() -> None:
    assert await answer_to(close()) == b""


async def test_reset_sends_a_rst() -> None:
    with pytest.raises(ConnectionResetError):
        await answer_to(reset())


async def test_hang_never_answers_and_ends_when_the_peer_goes_away() -> None:
    async with FaultServer([hang()]) as server:
        async with Peer(server) as peer:
            await peer.send(GET)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await peer.reader.read(1)
            assert server.open_connections == 1
        await server.wait_until(lambda: server.open_connections == 0)


async def test_delay_and_drip_take_their_time() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    whole = response_bytes(body=b"0123456789")
    assert await answer_to(delay(0.02, drip(whole, size=20, interval=0.02, then="close"))) == whole
    assert loop.time() - started >= 0.02 + 0.02 * (len(whole) // 20)


async def test_raw_bytes_and_sequences_reach_the_peer_unchanged() -> None:
    action = sequence(raw(b"one "), raw(b"two", then="close"))
    assert await answer_to(action) == b"one two"


async def test_repeat_sends_until_the_peer_goes_away() -> None:
    async with FaultServer([repeat(b"again ", interval=0.001)]) as server:
        async with Peer(server) as peer:
            await peer.send(GET)
            assert await peer.reader.readexactly(60) == b"again " * 10
        await server.wait_until(lambda: server.open_connections == 0)


async def test_a_stalled_server_takes_nothing_more_and_ends_when_it_is_stopped() -> None:
    async with FaultServer([stall()]) as server, Peer(server) as peer:
        await peer.send(GET)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.send(b"x" * 30_000_000)
        async with asyncio.timeout(0.5):
            await server.stop()


async def test_chunks_are_framed_and_may_lack_their_end() -> None:
    answer = await answer_to(chunked([b"abc", b"d" * 16], then="close"))
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n10\r\n" + b"d" * 16 + b"\r\n0\r\n\r\n")
    answer = await answer_to(chunked([b"abc"], complete=False, then="close"))
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n")


async def test_a_partial_body_announces_more_than_it_sends() -> None:
    answer = await answer_to(partial_body(b"abc", content_length=10))
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"


async def test_the_first_connections_may_be_reset_at_accept() -> None:
    async with FaultServer(aborted_accepts=1) as server:
        with pytest.raises(ConnectionResetError):
            async with Peer(server) as peer:
                await peer.read()
        async with Peer(server) as peer:
            await peer.send(GET)
            assert (await peer.read_response(0)).startswith(b"HTTP/1.1 200")
        assert server.connections == 2


async def test_all_connections_may_be_reset_at_accept() -> None:
    async with FaultServer(aborted_accepts=math.inf) as server:
        for _ in range(3):
            with pytest.raises(ConnectionResetError):
                async with Peer(server) as peer:
                    await peer.read()
        assert (server.connections, server.requests) == (3, [])


def server_context(host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


async def test_it_serves_tls_and_survives_a_failed_handshake() -> None:
    context, trusting = server_context("127.0.0.1")
    async with FaultServer(ssl_context=context) as server, aiohttp.ClientSession() as session:
        assert server.url.scheme == "https"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(server.url)
        async with session.get(server.url, ssl=trusting) as response:
            assert response.status == 200
        assert (server.connections, len(server.requests)) == (2, 1)


async def test_it_resets_tls_connections() -> None:
    context, trusting = server_context("127.0.0.1")
    async with (
        FaultServer([reset()], ssl_context=context) as server,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientOSError):
            await session.post(server.url, ssl=trusting)


async def test_it_stops_in_the_middle_of_a_handshake() -> None:
    context, _ = server_context("127.0.0.1")
    async with FaultServer(ssl_context=context) as server, Peer(server):
        await server.wait_until(lambda: server.open_connections)


async def test_it_listens_on_a_unix_socket_and_removes_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/server.sock"
    async with (
        FaultServer(path=path) as server,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
    ):
        assert (server.url.scheme, server.port) == ("http+unix", 0)
        assert str(server.url).endswith("%2Fserver.sock/")
        async with session.get("http://server/x") as response:
            assert response.status == 200
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(path)


async def test_it_listens_on_ipv6() -> None:
    async with FaultServer(host="::1") as server, aiohttp.ClientSession() as session:
        assert server.url.host == "::1"
        async with session.get(server.url) as response:
            assert response.status == 200


async def test_a_stopped_server_refuses_connects_and_may_come_back_on_its_port() -> None:
    async with FaultServer([hang()]) as server, Peer(server) as peer:
        await peer.send(GET)
        await server.wait_until(lambda: server.requests)
        await server.stop()
        with pytest.raises(ConnectionResetError):
            await peer.read()
    with pytest.raises(ConnectionRefusedError):
        async with Peer(server):
            pass
    async with FaultServer(port=server.port) as again, Peer(again) as peer:
        await peer.send(GET)
        assert (await peer.read_response(0)).startswith(b"HTTP/1.1 200")


async def test_a_port_that_is_taken_is_an_error_and_no_leak() -> None:
    async with FaultServer() as server:
        with pytest.raises(OSError, match="in use"):
            await FaultServer(port=server.port).__aenter__()


async def test_a_stop_does_not_wait_for_a_peer_that_does_not_read() -> None:
    async with FaultServer([respond(body=b"x" * 50_000_000)]) as server, Peer(server) as peer:
        await peer.send(GET)
        await peer.reader.read(1)
        async with asyncio.timeout(0.5):
            await server.stop()


async def test_a_stop_does_not_wait_for_a_close_that_cannot_send_its_rest() -> None:
    async def overfill(exchange: Exchange) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await exchange.send(b"x" * 50_000_000)
        exchange.close()

    async with FaultServer([overfill]) as server, Peer(server) as peer:
        await peer.send(GET)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(0.5):
            await server.stop()


async def test_a_stop_right_after_an_accept_closes_what_was_accepted() -> None:
    async with FaultServer() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            # The first round accepts; in the second we come before the connection's task.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert server.connections == 1
            await server.stop()
            peer.setblocking(False)
            assert peer.recv(1) == b""


async def test_an_error_in_the_script_fails_the_test() -> None:
    def broken(request: ReceivedRequest) -> Action:
        raise ZeroDivisionError("broken script")

    server = await FaultServer(broken).__aenter__()
    async with Peer(server) as peer:
        await peer.send(GET)
        assert await peer.read() == b""
    with pytest.raises(ZeroDivisionError, match="broken script"):
        await server.__aexit__(None, None, None)


async def test_an_error_of_the_test_itself_is_not_hidden_by_the_script() -> None:
    def broken(request: ReceivedRequest) -> Action:
        raise ZeroDivisionError("broken script")

    server = await FaultServer(broken).__aenter__()
    async with Peer(server) as peer:
        await peer.send(GET)
        assert await peer.read() == b""
    error = KeyError("the test's own")
    await server.__aexit__(KeyError, error, None)


async def test_a_condition_that_stays_false_is_given_up() -> None:
    async with FaultServer() as server:
        with pytest.raises(TimeoutError):
            await server.wait_until(lambda: server.requests, within=0.02)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_black_hole_neither_accepts_nor_refuses(host: str) -> None:
    with black_hole(host) as port, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.open_connection(host, port)


async def test_a_script_that_is_set_anew_begins_with_the_next_request() -> None:
    async def statuses(session: aiohttp.ClientSession, number: int) -> list[int]:
        found = []
        for _ in range(number):
            async with session.get(server.url) as response:
                found.append(response.status)
        return found

    async with FaultServer([respond(201)]) as server, aiohttp.ClientSession() as session:
        assert await statuses(session, 2) == [201, 201]
        server.script = then = [respond(202), respond(203)]
        assert server.script is then
        assert await statuses(session, 3) == [202, 203, 203]
        server.script = []
        assert await statuses(session, 1) == [200]
        assert len(server.requests) == 6


def test_a_status_without_a_phrase_is_answered_without_one() -> None:
    assert response_bytes(520).startswith(b"HTTP/1.1 520 \r\n")
    assert response_bytes(520, reason="Odd").startswith(b"HTTP/1.1 520 Odd\r\n")

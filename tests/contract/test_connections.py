import asyncio
import contextlib
import gc
import socket
import ssl

import aiohttp
import pytest
import trustme

from platform_http.testing import FaultServer
from platform_http.testing.actions import (
    delay,
    hang,
    partial_body,
    raw,
    respond,
    response_bytes,
    sequence,
)
from tests.contract.fixed_resolver import FixedResolver

LARGE = respond(body=b"x" * 5_000_000)


class Sockets:
    """A socket factory that notes the addresses it is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.addresses: list[str] = []
        self._error = error

    def __call__(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = address
        self.addresses.append(str(sockaddr[0]))
        if self._error is not None:
            raise self._error
        return socket.socket(family, kind, protocol)


def acquired(session: aiohttp.ClientSession) -> int:
    assert session.connector is not None
    return len(session.connector._acquired)


async def test_the_socket_factory_sees_the_addresses_of_literals_names_and_proxies() -> None:
    sockets = Sockets()
    connector = aiohttp.TCPConnector(
        resolver=FixedResolver("127.0.0.1"), socket_factory=sockets, force_close=True
    )
    async with FaultServer() as server, aiohttp.ClientSession(connector=connector) as session:
        await session.get(server.url)
        await session.get(server.url.with_host("name.test"))
        await session.get("http://elsewhere.test/", proxy=server.url.with_host("proxy.test"))
    assert sockets.addresses == 3 * ["127.0.0.1"]


async def test_an_os_error_of_the_socket_factory_is_a_connector_error_that_keeps_it() -> None:
    refusal = OSError("refused by policy")
    connector = aiohttp.TCPConnector(
        resolver=FixedResolver("127.0.0.1", "127.0.0.2"), socket_factory=Sockets(refusal)
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("http://name.test/")
    assert caught.value.os_error is refusal


async def test_a_lost_race_is_run_again_with_one_address_less_and_only_its_last_error_is_kept() -> (
    None
):
    asked = []

    def refuse(address: aiohttp.AddrInfoType) -> socket.socket:
        asked.append(address[4][0])
        raise OSError(f"refused {address[4][0]}")

    connector = aiohttp.TCPConnector(
        resolver=FixedResolver("127.0.0.1", "127.0.0.2"), socket_factory=refuse
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get("http://name.test/")
    assert asked == ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    assert str(caught.value.os_error) == "refused 127.0.0.2"


async def test_any_other_error_of_the_socket_factory_becomes_an_index_error() -> None:
    connector = aiohttp.TCPConnector(
        resolver=FixedResolver("127.0.0.1", "127.0.0.2"), socket_factory=Sockets(ValueError("x"))
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(IndexError):
            await session.get("http://name.test/")


async def test_unsolicited_bytes_on_an_idle_connection_answer_the_next_request(
    session: aiohttp.ClientSession,
) -> None:
    poison = delay(0.02, raw(response_bytes(200, body=b"poison")))
    async with FaultServer([sequence(respond(), poison), respond(body=b"honest")]) as server:
        await session.get(server.url)
        await asyncio.sleep(0.05)
        async with session.get(server.url) as response:
            assert await response.read() == b"poison"


async def test_a_poisoned_connection_is_told_by_should_close_when_it_is_taken() -> None:
    class Careful(aiohttp.TCPConnector):
        async def connect(self, req, traces, timeout):
            while True:
                connection = await super().connect(req, traces, timeout)
                assert connection.protocol is not None
                if not connection.protocol.should_close:
                    return connection
                connection.close()

    poison = delay(0.02, raw(response_bytes(200, body=b"poison")))
    async with (
        FaultServer([sequence(respond(), poison), respond(body=b"honest")]) as server,
        aiohttp.ClientSession(connector=Careful()) as session,
    ):
        await session.get(server.url)
        await asyncio.sleep(0.05)
        async with session.get(server.url) as response:
            assert await response.read() == b"honest"
        assert server.connections == 2


async def test_a_content_length_of_the_caller_goes_out_unchecked(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as server:
        await session.put(server.url, data=b"longer", headers={"Content-Length": "3"})
        assert server.requests[0].body == b"lon"
    async with FaultServer() as server:
        call = session.put(server.url, data=b"short", headers={"Content-Length": "9"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await call
        assert server.requests == []


async def test_a_small_response_is_complete_before_the_handler_returns() -> None:
    connections = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        connections.append(response.connection)
        return response

    async with (
        FaultServer([respond(body=b"small"), LARGE]) as server,
        aiohttp.ClientSession(middlewares=[watch]) as session,
    ):
        async with session.get(server.url) as response:
            assert await response.read() == b"small"
        response = await session.get(server.url)
        response.close()
    assert connections[0] is None
    assert connections[1] is not None


async def callbacks_of(session: aiohttp.ClientSession, server: FaultServer):
    response = await session.get(server.url)
    fired: list[str] = []
    assert response.connection is not None
    response.connection.add_callback(lambda: fired.append("released"))
    return response, fired


async def test_the_connection_callback_fires_when_the_body_was_read(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        response, fired = await callbacks_of(session, server)
        await response.read()
        assert fired == ["released"]


async def test_the_connection_callback_fires_when_the_response_is_closed(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        response, fired = await callbacks_of(session, server)
        response.close()
        assert fired == ["released"]


async def test_the_connection_callback_does_not_fire_when_the_connection_is_lost(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([partial_body(b"abc", content_length=9, then="reset")]) as server:
        response, fired = await callbacks_of(session, server)
        await server.wait_until(lambda: server.open_connections == 0)
        await asyncio.sleep(0.02)
        assert response.content.exception() is not None
        assert fired == []
        assert acquired(session) == 1
        response.close()
        assert fired == ["released"]


async def test_the_connection_callback_fires_when_a_lost_response_is_collected(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([partial_body(b"abc", content_length=9, then="reset")]) as server:
        response, fired = await callbacks_of(session, server)
        await server.wait_until(lambda: server.open_connections == 0)
        await asyncio.sleep(0.02)
        del response
        gc.collect()
        assert fired == ["released"]
        assert acquired(session) == 0


async def test_a_dropped_unread_large_response_is_never_collected(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        response, fired = await callbacks_of(session, server)
        connection = response.connection
        assert connection is not None
        del response
        gc.collect()
        assert fired == []
        assert acquired(session) == 1
        connection.close()


async def test_an_exception_in_a_connection_callback_is_swallowed(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        response, fired = await callbacks_of(session, server)
        assert response.connection is not None
        response.connection.add_callback(lambda: 1 / 0)
        response.connection.add_callback(lambda: fired.append("after"))
        response.close()
        assert fired == ["released", "after"]


async def test_a_protocol_can_be_counted_from_its_factory_to_its_loss() -> None:
    lost = []

    class Counted(aiohttp.client_proto.ResponseHandler):
        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(self)
            super().connection_lost(exc)

    connector = aiohttp.TCPConnector()
    loop = asyncio.get_running_loop()
    connector._factory = lambda: Counted(loop=loop)
    async with (
        FaultServer([LARGE]) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        response = await session.get(server.url)
        assert response.connection is not None
        assert type(response.connection.protocol) is Counted
        assert lost == []
        protocol = response.connection.protocol
        response.close()
        await asyncio.sleep(0.01)
    assert lost == [protocol]


def authority() -> tuple[trustme.CA, ssl.SSLContext]:
    issuer = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("name.test", "127.0.0.1").configure_cert(context)
    return issuer, context


def trusting(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    issuer.configure_trust(context)
    return context


async def test_the_factory_makes_the_protocol_of_a_connect_tunnel_and_of_its_tls() -> None:
    issuer, context = authority()
    made = []
    connector = aiohttp.TCPConnector()
    original = connector._factory

    def factory() -> aiohttp.client_proto.ResponseHandler:
        protocol = original()
        made.append(protocol)
        return protocol

    connector._factory = factory
    async with (
        Tunnel(context) as tunnel,
        aiohttp.ClientSession(connector=connector) as session,
        session.get("https://name.test/", proxy=tunnel.url, ssl=trusting(issuer)) as response,
    ):
        assert response.status == 200
    # The first never sees its loss, so connections must not be counted when they are made.
    assert len(made) == 2
    assert made[0]._connection_lost_called is False
    assert made[1]._connection_lost_called is True


class Tunnel:
    """A CONNECT proxy that is itself the TLS server at the end of its tunnels."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info) -> None:
        self._server.close()
        await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.start_tls(self._context)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response_bytes(200))
        await reader.read()
        writer.close()


async def test_another_ssl_context_is_another_pool_key() -> None:
    issuer, context = authority()
    old, new = trusting(issuer), trusting(issuer)
    async with FaultServer(ssl_context=context) as server, aiohttp.ClientSession() as session:
        for choice in (old, old, new, old):
            await session.get(server.url, ssl=choice)
        assert [request.connection_id for request in server.requests] == [1, 1, 2, 1]


async def test_a_fingerprint_switches_all_other_checks_off() -> None:
    _, context = authority()
    async with FaultServer(ssl_context=context) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerFingerprintMismatch) as caught:
            await session.get(server.url, ssl=aiohttp.Fingerprint(b"\0" * 32))
        right = aiohttp.Fingerprint(caught.value.got)
        async with session.get(server.url, ssl=right) as response:
            assert response.status == 200


async def test_a_tls_failure_is_a_connector_error_of_its_own_kind(
    session: aiohttp.ClientSession,
) -> None:
    _, context = authority()
    async with FaultServer(ssl_context=context) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(server.url)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(server.url, server_hostname="wrong.test")


async def test_a_plain_answer_to_a_tls_hello_is_a_tls_error(
    session: aiohttp.ClientSession,
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(aiohttp.ClientConnectorSSLError):
        await session.get(f"https://127.0.0.1:{port}/")
    server.close()


@pytest.mark.closes_in_flight("it is about requests in flight")
async def test_closing_a_session_fails_a_running_request_with_a_disconnect() -> None:
    async with FaultServer([hang()]) as server:
        session = aiohttp.ClientSession()
        call = asyncio.create_task(session.post(server.url).__aenter__())
        await server.wait_until(lambda: server.requests)
        await session.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await call


async def test_cookies_ignore_ports() -> None:
    cookie = respond(headers={"Set-Cookie": "session=secret"})
    async with (
        FaultServer([cookie]) as server,
        FaultServer() as other,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        await session.get(server.url)
        await session.get(other.url)
        assert other.requests[0].headers["Cookie"] == "session=secret"


async def test_a_dummy_cookie_jar_keeps_nothing() -> None:
    cookie = respond(headers={"Set-Cookie": "session=secret"})
    async with (
        FaultServer([cookie]) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        await session.get(server.url)
        await session.get(server.url)
        assert "Cookie" not in server.requests[1].headers


async def test_a_woken_waiter_for_the_pool_that_is_cancelled_wakes_nobody_else() -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer([LARGE, respond()]) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        first = await session.get(server.url)
        second = asyncio.create_task(session.get(server.url).__aenter__())
        third = asyncio.create_task(session.get(server.url).__aenter__())
        await asyncio.sleep(0.01)
        first.close()
        # The slot is free and the second was told so.
        second.cancel()
        await asyncio.wait([third], timeout=0.05)
        assert second.cancelled()
        assert not third.done()
        assert not connector._acquired
        connector._release_waiter()
        assert (await third).status == 200


async def test_a_request_to_elsewhere_in_the_same_pool_waits_for_the_limit_per_host_only() -> None:
    connector = aiohttp.TCPConnector(limit=10, limit_per_host=1)
    async with (
        FaultServer([LARGE]) as busy,
        FaultServer() as idle,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        first = await session.get(busy.url)
        await session.get(idle.url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await session.get(busy.url)
        first.close()


async def test_an_idle_connection_that_the_server_closed_is_not_taken(
    session: aiohttp.ClientSession,
) -> None:
    goodbye = sequence(respond(), delay(0.02, raw(b"", then="close")))
    async with FaultServer([goodbye, respond()]) as server:
        await session.post(server.url)
        await server.wait_until(lambda: server.open_connections == 0)
        await asyncio.sleep(0.02)
        async with session.post(server.url) as response:
            assert response.status == 200
        assert server.connections == 2


async def test_a_key_of_the_pool_shows_proxy_passwords_in_its_representation() -> None:
    keys = []

    class Watching(aiohttp.ClientRequest):
        def update_proxy(self, url, proxy_auth, proxy_headers) -> None:
            auth = tuple.__new__(aiohttp.BasicAuth, ("user", "secret", "utf-8"))
            super().update_proxy(server.url, auth, None)
            keys.append(self.connection_key)

    async with FaultServer() as server, aiohttp.ClientSession(request_class=Watching) as session:
        await session.get("http://name.test/")
    assert "secret" in repr(keys[0])


async def test_framing_headers_of_the_caller_can_contradict_each_other_on_the_wire(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as server:
        headers = {"Transfer-Encoding": "chunked", "Content-Length": "3"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.put(server.url, data=b"abc", headers=headers)
        await server.wait_until(lambda: server.malformed)
    (received,) = server.malformed
    assert b"Transfer-Encoding: chunked" in received
    assert b"Content-Length: 3" in received


async def test_waiting_for_the_pool_goes_through_one_method_and_nothing_else_does() -> None:
    class PoolIsFullError(Exception):
        pass

    class Refusing(aiohttp.TCPConnector):
        async def _wait_for_available_connection(self, key, traces) -> None:
            raise PoolIsFullError

    async with (
        FaultServer([respond(), LARGE]) as server,
        aiohttp.ClientSession(connector=Refusing(limit=1)) as session,
    ):
        await session.get(server.url)
        first = await session.get(server.url)
        with pytest.raises(PoolIsFullError):
            await session.get(server.url)
        first.close()


async def test_a_given_up_wait_for_the_pool_leaves_nothing_acquired_and_nobody_waiting() -> None:
    connector = aiohttp.TCPConnector(limit=2)
    async with (
        FaultServer([LARGE]) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        holding = [await session.get(server.url) for _ in range(2)]
        waiting = [asyncio.create_task(session.get(server.url).__aenter__()) for _ in range(20)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert not connector._waiters
        assert len(connector._acquired) == 2
        for response in holding:
            response.close()
        assert not connector._acquired


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_direct_connections_are_made_by_one_method_proxies_included(scheme: str) -> None:
    hosts = []

    class Watching(aiohttp.TCPConnector):
        async def _create_direct_connection(self, req, traces, timeout, **options):
            hosts.append((req.url.scheme, req.url.port))
            return await super()._create_direct_connection(req, traces, timeout, **options)

    async with (
        FaultServer([respond(502)]) as server,
        aiohttp.ClientSession(connector=Watching()) as session,
    ):
        await session.get(server.url)
        with contextlib.suppress(aiohttp.ClientHttpProxyError):
            await session.get(f"{scheme}://name.test/", proxy=server.url)
    assert hosts == 2 * [("http", server.port)]

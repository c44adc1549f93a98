import asyncio
import inspect
import io
import socket
import tempfile

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from platform_http.testing import FaultServer, ReceivedRequest, black_hole
from platform_http.testing.actions import Action, close, hang, partial_body, reset, respond
from tests.contract.fixed_resolver import FixedResolver

UNREAD = respond(body=b"x" * 1_000_000)


async def three_attempts(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    for _ in range(2):
        try:
            return await handler(request)
        except aiohttp.ClientConnectionError:
            pass
    return await handler(request)


async def twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    first = await handler(request)
    await first.read()
    return await handler(request)


@pytest.mark.parametrize("fault", [close(), reset()], ids=["disconnected", "reset"])
async def test_a_failed_idempotent_request_is_resent_once_unasked_on_a_fresh_connection(
    session: aiohttp.ClientSession, fault: Action
) -> None:
    async with FaultServer([fault]) as server:
        for method in ("GET", "PUT", "DELETE"):
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.request(method, server.url)
        assert len(server.requests) == 6
        assert server.connections == 6


async def test_a_failed_post_is_not_resent(session: aiohttp.ClientSession) -> None:
    async with FaultServer([close()]) as server:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(server.url)
        assert len(server.requests) == 1


async def test_three_attempts_in_a_middleware_make_six_requests_on_the_wire() -> None:
    async with (
        FaultServer([close()]) as server,
        aiohttp.ClientSession(middlewares=[three_attempts]) as session,
    ):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(server.url)
        assert len(server.requests) == 6


async def test_the_private_retry_connection_switch_turns_the_hidden_resend_off() -> None:
    async with (
        FaultServer([close()]) as server,
        aiohttp.ClientSession(middlewares=[three_attempts]) as session,
    ):
        session._retry_connection = False
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(server.url)
        assert len(server.requests) == 3


async def test_the_hidden_resend_runs_the_whole_middleware_chain_again() -> None:
    runs = []

    async def count(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        runs.append(request)
        return await handler(request)

    async with (
        FaultServer([close(), respond()]) as server,
        aiohttp.ClientSession(middlewares=[count]) as session,
    ):
        await session.get(server.url)
    assert len(runs) == 2
    assert runs[0] is not runs[1]


async def test_errors_of_the_connector_are_not_resent() -> None:
    sockets = []

    def factory(address: aiohttp.AddrInfoType) -> socket.socket:
        sockets.append(address)
        raise ConnectionRefusedError("refused")

    connector = aiohttp.TCPConnector(socket_factory=factory)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")
    assert len(sockets) == 1


async def test_the_test_client_of_aiohttp_hides_the_resend() -> None:
    async with TestClient(TestServer(aiohttp.web.Application())) as client:
        assert client.session._retry_connection is False


async def test_the_chain_runs_for_every_redirect_hop() -> None:
    targets = []

    async def record(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        targets.append(request.url.path)
        return await handler(request)

    async with (
        FaultServer([respond(302, headers={"Location": "/next"}), respond()]) as server,
        aiohttp.ClientSession(middlewares=[record]) as session,
    ):
        await session.get(server.url)
    assert targets == ["/", "/next"]


async def test_ws_connect_passes_through_the_chain_with_an_upgrade_header() -> None:
    upgrades = []

    async def record(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        upgrades.append(request.headers.get("Upgrade"))
        return await handler(request)

    async with (
        FaultServer([respond(400)]) as server,
        aiohttp.ClientSession(middlewares=[record]) as session,
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(server.url)
    assert upgrades == ["websocket"]


def test_ws_connect_takes_neither_a_trace_context_nor_middlewares() -> None:
    parameters = inspect.signature(aiohttp.ClientSession.ws_connect).parameters
    assert parameters.keys().isdisjoint({"trace_request_ctx", "middlewares"})


async def test_middlewares_of_a_request_replace_those_of_the_session() -> None:
    runs = []

    async def record(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        runs.append(request)
        return await handler(request)

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[record]) as session:
        await session.get(server.url, middlewares=())
        assert runs == []
        await session.get(server.url)
        assert len(runs) == 1


async def test_an_async_generator_is_resent_empty_and_gets_a_200() -> None:
    async def pieces():
        yield b"precious"

    consumed = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        consumed.append(request.body.consumed)
        first = await handler(request)
        await first.read()
        consumed.append(request.body.consumed)
        return await handler(request)

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[watch]) as session:
        async with session.put(server.url, data=pieces()) as response:
            assert response.status == 200
        assert [request.body for request in server.requests] == [b"precious", b""]
    assert consumed == [False, True]


async def test_a_file_that_cannot_seek_tells_that_it_is_consumed_only_after_the_first_send() -> (
    None
):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *args: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    consumed = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        consumed.append(request.body.consumed)
        response = await handler(request)
        consumed.append(request.body.consumed)
        return response

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[watch]) as session:
        await session.put(server.url, data=io.BufferedReader(Pipe(b"precious")))
        assert server.requests[0].body == b"precious"
    assert consumed == [False, True]


def multipart() -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("form-data", boundary="fixed")
    writer.append("part")
    return writer


def seekable_file() -> io.BufferedRandom:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the payload closes it
    file.write(b"in a file")
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: {"data": b"bytes"}, id="bytes"),
        pytest.param(lambda: {"data": "text"}, id="str"),
        pytest.param(lambda: {"json": {"a": 1}}, id="json"),
        pytest.param(lambda: {"data": {"field": "value"}}, id="form"),
        pytest.param(lambda: {"data": multipart()}, id="multipart"),
        pytest.param(lambda: {"data": io.BytesIO(b"memory")}, id="BytesIO"),
        pytest.param(lambda: {"data": seekable_file()}, id="file"),
    ],
)
async def test_other_bodies_replay_and_are_not_consumed(body) -> None:
    consumed = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await twice(request, handler)
        consumed.append(getattr(request.body, "consumed", False))
        return response

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[watch]) as session:
        await session.put(server.url, **body())
        first, second = (request.body for request in server.requests)
        assert first == second != b""
    assert consumed == [False]


async def test_an_empty_body_is_plain_bytes_without_a_consumed_flag() -> None:
    bodies = []

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        bodies.append(request.body)
        return await handler(request)

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[watch]) as session:
        await session.get(server.url)
    assert bodies == [b""]


async def test_a_one_shot_body_can_be_replaced_by_its_bytes() -> None:
    async def pieces():
        yield b"precious"

    async def replace(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        assert isinstance(request.body, aiohttp.payload.AsyncIterablePayload)
        request.chunked = None
        request.headers.pop("Transfer-Encoding", None)
        await request.update_body(b"precious")
        return await twice(request, handler)

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[replace]) as session:
        await session.put(server.url, data=pieces())
        for request in server.requests:
            assert request.body == b"precious"
            assert "Transfer-Encoding" not in request.headers


async def test_a_discarded_response_blocks_the_pool_until_it_is_released() -> None:
    async def forgetful(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        first = await handler(request)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await handler(request)
        first.release()
        return await handler(request)

    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer([UNREAD, respond()]) as server,
        aiohttp.ClientSession(connector=connector, middlewares=[forgetful]) as session,
    ):
        async with session.get(server.url) as response:
            assert response.status == 200
        assert len(server.requests) == 2


async def test_two_sends_of_one_request_share_its_response_slot() -> None:
    async def hedge(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        first = await handler(request)
        assert request.response is first
        second = await handler(request)
        assert request.response is second
        await first.read()
        return second

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[hedge]) as session:
        await session.get(server.url)


async def test_middlewares_end_at_the_headers_and_a_body_fails_later(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([partial_body(b"abc", content_length=10)]) as server:
        response = await session.get(server.url)
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        assert len(server.requests) == 1


async def test_closing_a_request_waits_for_its_cancelled_body_writer() -> None:
    async def endless():
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        writer = request._writer
        assert writer is not None
        assert not writer.done()
        response.close()
        assert not writer.done()
        await request.close()
        assert writer.cancelled()
        return response

    async with (
        FaultServer([respond(413, then="hang")], read_body=False) as server,
        aiohttp.ClientSession(middlewares=[watch]) as session,
    ):
        await session.put(server.url, data=endless())


async def test_a_request_sent_again_needs_a_new_future_for_its_100_continue() -> None:
    async def watch(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        first = request._continue
        assert first is not None
        response = await handler(request)
        await response.read()
        assert first.done()
        assert request._continue is first
        request.update_expect_continue()
        assert request._continue is not first
        return await handler(request)

    async with FaultServer() as server, aiohttp.ClientSession(middlewares=[watch]) as session:
        await session.put(server.url, data=b"body", expect100=True)
        assert [request.body for request in server.requests] == [b"body", b"body"]


async def test_what_a_request_overrides_reaches_the_request_class_on_every_hop() -> None:
    seen = []

    class Watching(aiohttp.ClientRequest):
        def __init__(self, *args, **kwargs) -> None:
            seen.append({name: kwargs[name] for name in ("ssl", "server_hostname", "proxy")})
            super().__init__(*args, **kwargs)

    async with (
        FaultServer([respond(302, headers={"Location": "/next"}), respond()]) as server,
        aiohttp.ClientSession(request_class=Watching) as session,
    ):
        await session.get(
            server.url, ssl=False, server_hostname="other", proxy=server.url, middlewares=()
        )
    assert seen == 2 * [{"ssl": False, "server_hostname": "other", "proxy": server.url}]


async def test_a_cancelled_call_closes_its_connection(session: aiohttp.ClientSession) -> None:
    async with FaultServer([hang()]) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.get(server.url)
        await server.wait_until(lambda: server.open_connections == 0)
        assert session.connector is not None
        assert not session.connector._acquired


async def test_a_name_with_no_reachable_address_is_tried_once() -> None:
    with black_hole() as port:
        resolver = FixedResolver("127.0.0.1")
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver),
            timeout=aiohttp.ClientTimeout(sock_connect=0.05),
        ) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get(f"http://name.test:{port}/")
    assert resolver.names == ["name.test"]


async def test_the_body_of_a_307_is_resent_to_another_origin() -> None:
    def redirect(request: ReceivedRequest) -> Action:
        return respond(307, headers={"Location": str(other.url)})

    async with (
        FaultServer() as other,
        FaultServer(redirect) as server,
        aiohttp.ClientSession() as session,
    ):
        await session.post(server.url, data=b"secret")
        assert other.requests[0].body == b"secret"

import asyncio
import gzip
import inspect

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.compression_utils import BrotliDecompressor, ZLibDecompressor
from aiohttp.helpers import reify
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import DeflateBuffer
from aiohttp.streams import EmptyStreamReader

from platform_http.testing import FaultServer
from platform_http.testing.actions import chunked, delay, partial_body, raw, respond, sequence

LARGE = respond(body=b"x" * 5_000_000)


def gzipped(body: bytes) -> tuple[dict[str, str], bytes]:
    return {"Content-Encoding": "gzip"}, gzip.compress(body)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="a header without a colon"),
        pytest.param(b"HTTP/1.1 20x OK\r\n\r\n", id="a status that is no number"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", id="a bad length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
            id="a bad chunk together with the head",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n", id="a long header"),
    ],
)
async def test_a_malformed_response_is_a_400_whose_cause_is_a_processing_error(
    session: aiohttp.ClientSession, answer: bytes
) -> None:
    async with FaultServer([raw(answer, then="close")]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.post(server.url)
    assert caught.value.status == 400
    assert isinstance(caught.value.__cause__, HttpProcessingError)


async def test_an_honest_400_has_no_processing_error_as_its_cause(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([respond(400)]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.get(server.url, raise_for_status=True)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "fault",
    [
        partial_body(b"abc", content_length=9),
        partial_body(b"abc", content_length=9, then="reset"),
        chunked([b"abc"], complete=False, then="close"),
        respond(headers={"Content-Encoding": "gzip"}, body=b"not gzip at all"),
    ],
    ids=["cut short", "reset", "chunks cut short", "bad gzip"],
)
async def test_a_body_that_fails_is_a_payload_error(session: aiohttp.ClientSession, fault) -> None:
    async with FaultServer([fault]) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(server.url) as response:
                await response.read()


LATE_NONSENSE = sequence(
    chunked([b"abc"], complete=False), delay(0.02, raw(b"nonsense\r\n", then="close"))
)


async def test_a_bad_chunk_after_the_headers_leaves_its_reader_waiting_whatever_sock_read_says(
    session: aiohttp.ClientSession,
) -> None:
    timeout = aiohttp.ClientTimeout(sock_read=0.05)
    async with FaultServer([LATE_NONSENSE]) as server:
        response = await session.get(server.url, timeout=timeout)
        assert response.connection is not None
        protocol = response.connection.protocol
        assert protocol is not None
        reading = asyncio.create_task(response.read())
        await asyncio.wait([reading], timeout=0.2)
        assert not reading.done()
        # The connection is lost, and nobody told the body.
        assert protocol._connection_lost_called
        assert response.content.exception() is None
        assert not response.content.is_eof()
        response.content.set_exception(aiohttp.ClientPayloadError("lost"))
        with pytest.raises(aiohttp.ClientPayloadError):
            await reading


async def test_a_protocol_can_tell_the_body_that_its_connection_is_lost() -> None:
    class Telling(aiohttp.client_proto.ResponseHandler):
        def connection_lost(self, exc: BaseException | None) -> None:
            payload = self._payload
            super().connection_lost(exc)
            if payload is not None and not payload.is_eof() and payload.exception() is None:
                payload.set_exception(aiohttp.ClientPayloadError("lost"))

    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector()
    connector._factory = lambda: Telling(loop=loop)
    async with (
        FaultServer([LATE_NONSENSE]) as server,
        aiohttp.ClientSession(connector=connector) as session,
        session.get(server.url) as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_truncated_gzip_body_with_a_right_length_is_a_short_200(
    session: aiohttp.ClientSession,
) -> None:
    headers, body = gzipped(bytes(range(256)) * 40)
    async with (
        FaultServer([respond(headers=headers, body=body[: len(body) // 2])]) as server,
        session.get(server.url) as response,
    ):
        assert response.status == 200
        assert len(await response.read()) < 256 * 40


async def test_a_read_has_no_limit_however_much_a_few_bytes_expand_to(
    session: aiohttp.ClientSession,
) -> None:
    headers, body = gzipped(bytes(20_000_000))
    assert len(body) < 20_000
    async with (
        FaultServer([respond(headers=headers, body=body)]) as server,
        session.get(server.url) as response,
    ):
        assert len(await response.read()) == 20_000_000


async def test_reading_in_pieces_bounds_what_is_decompressed_at_a_time(
    session: aiohttp.ClientSession,
) -> None:
    headers, body = gzipped(bytes(20_000_000))
    async with (
        FaultServer([respond(headers=headers, body=body)]) as server,
        session.get(server.url) as response,
    ):
        largest = 0
        while piece := await response.content.readany():
            largest = max(largest, len(piece))
        assert largest <= 4 * 2**20


async def test_total_raw_bytes_counts_the_bytes_on_the_wire(
    session: aiohttp.ClientSession,
) -> None:
    headers, body = gzipped(b"x" * 100_000)
    async with (
        FaultServer([respond(headers=headers, body=body), respond(body=b"plain")]) as server,
    ):
        async with session.get(server.url) as response:
            assert len(await response.read()) == 100_000
            assert response.content.total_raw_bytes == len(body)
        async with session.get(server.url) as response:
            await response.read()
            assert response.content.total_raw_bytes == 5


async def test_an_empty_body_is_a_reader_without_byte_counts(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as server, session.head(server.url) as response:
        assert isinstance(response.content, EmptyStreamReader)
    # One for all of the process, and whatever was compressed leaves its count of bytes in it.
    with pytest.raises(AttributeError):
        _ = EmptyStreamReader().total_raw_bytes


async def test_a_204_has_the_empty_reader_too(session: aiohttp.ClientSession) -> None:
    async with FaultServer([respond(204)]) as server, session.get(server.url) as response:
        assert isinstance(response.content, EmptyStreamReader)


async def test_a_line_that_is_too_long_is_no_client_error(session: aiohttp.ClientSession) -> None:
    async with FaultServer([LARGE]) as server, session.get(server.url) as response:
        with pytest.raises(LineTooLong) as caught:
            await response.content.readline()
    assert not isinstance(caught.value, aiohttp.ClientError)


async def test_releasing_an_unread_response_sets_the_shared_connection_closed_exception(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        response = await session.get(server.url)
        response.release()
        error = response.content.exception()
        assert type(error) is aiohttp.ClientConnectionError
        assert error is aiohttp.client_reqrep._CONNECTION_CLOSED_EXCEPTION
        with pytest.raises(aiohttp.ClientConnectionError, match="Connection closed"):
            await response.read()


async def test_leaving_the_context_sets_that_exception_even_after_a_complete_read(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([LARGE]) as server:
        async with session.get(server.url) as response:
            await response.read()
            assert response.content.exception() is None
            assert response.content.is_eof()
        assert response.content.exception() is aiohttp.client_reqrep._CONNECTION_CLOSED_EXCEPTION


async def test_an_exception_on_the_content_reaches_a_reader_that_waits(
    session: aiohttp.ClientSession,
) -> None:
    class OurError(aiohttp.ServerTimeoutError):
        pass

    async with FaultServer([partial_body(b"abc", content_length=9, then="hang")]) as server:
        response = await session.get(server.url)
        asyncio.get_running_loop().call_later(0.02, response.content.set_exception, OurError())
        with pytest.raises(OurError):
            await response.read()
        assert response.closed


async def test_a_cancelled_read_closes_the_response(session: aiohttp.ClientSession) -> None:
    async with FaultServer([partial_body(b"abc", content_length=9, then="hang")]) as server:
        response = await session.get(server.url)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await response.read()
        assert response.closed
        assert response.connection is None
        await server.wait_until(lambda: server.open_connections == 0)


async def test_a_response_class_gets_these_arguments_and_its_verbs_are_called_by_aiohttp() -> None:
    seen = {}
    verbs = []

    class Watching(aiohttp.ClientResponse):
        def __init__(self, *args, **kwargs) -> None:
            seen["args"], seen["kwargs"] = args, kwargs
            super().__init__(*args, **kwargs)

        async def start(self, connection):
            verbs.append("start")
            return await super().start(connection)

        def _response_eof(self) -> None:
            verbs.append("eof")
            super()._response_eof()

        async def read(self) -> bytes:
            verbs.append("read")
            return await super().read()

        def release(self):
            verbs.append("release")
            return super().release()

        def close(self) -> None:
            verbs.append("close")
            super().close()

    async with FaultServer() as server, aiohttp.ClientSession(response_class=Watching) as session:
        async with session.get(server.url, json={}) as response:
            await response.text()
        assert seen["args"] == ("GET", server.url)
    assert seen["kwargs"].keys() == {
        "writer",
        "continue100",
        "timer",
        "request_info",
        "traces",
        "loop",
        "session",
        "stream_writer",
    }
    assert verbs == ["start", "eof", "read", "release", "release"]


@pytest.mark.parametrize("verb", ["text", "json"])
async def test_buffered_reads_all_go_through_read(verb: str) -> None:
    class Watching(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            self._body = b'"replaced"'
            return self._body

    body = respond(headers={"Content-Type": "application/json"}, body=b'"original"')
    async with (
        FaultServer([body]) as server,
        aiohttp.ClientSession(response_class=Watching) as session,
        session.get(server.url) as response,
    ):
        assert "replaced" in await getattr(response, verb)()


async def test_a_failed_start_closes_the_response_and_its_connection() -> None:
    closed = []

    class Watching(aiohttp.ClientResponse):
        def close(self) -> None:
            closed.append(self)
            super().close()

    async with (
        FaultServer([raw(b"nonsense\r\n\r\n", then="close")]) as server,
        aiohttp.ClientSession(response_class=Watching) as session,
    ):
        with pytest.raises(aiohttp.ClientResponseError):
            await session.post(server.url)
    assert len(closed) == 1


def test_the_methods_a_response_class_overrides_have_these_signatures() -> None:
    def parameters(function) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert parameters(aiohttp.ClientResponse.start) == ["self", "connection"]
    for name in ("read", "close", "release", "_response_eof", "_notify_content"):
        assert parameters(getattr(aiohttp.ClientResponse, name)) == ["self"]


async def test_a_101_leaves_the_connection_with_the_response() -> None:
    upgrade = raw(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        then="hang",
    )
    async with FaultServer([upgrade]) as server, aiohttp.ClientSession() as session:
        response = await session.get(server.url, headers={"Connection": "Upgrade", "Upgrade": "x"})
        assert response.status == 101
        assert response.connection is not None
        assert response.connection.protocol is not None
        assert response.connection.protocol.upgraded
        response.close()


async def test_a_response_class_may_make_content_a_property() -> None:
    class Watching(aiohttp.ClientResponse):
        touched = 0

        @property
        def content(self):
            self.touched += 1
            return self._stream

        @content.setter
        def content(self, stream) -> None:
            self._stream = stream

    async with (
        FaultServer([respond(body=b"body")]) as server,
        aiohttp.ClientSession(response_class=Watching) as session,
    ):
        response = await session.get(server.url)
        assert isinstance(response._stream, aiohttp.StreamReader)
        # Neither the headers nor the end of the body touch it, so who touches it is the caller.
        assert response.touched == 0
        assert await response.read() == b"body"
        assert response.touched == 1


class TestADecompressingBuffer:
    async def test_tells_the_end_of_a_body_through_its_class(
        self, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = []
        feed_eof = DeflateBuffer.feed_eof

        def watching(buffer: DeflateBuffer) -> None:
            ended.append((buffer.encoding, buffer.size, type(buffer.out._protocol)))
            feed_eof(buffer)

        monkeypatch.setattr(DeflateBuffer, "feed_eof", watching)
        headers, body = gzipped(b"x" * 1000)
        async with FaultServer([respond(headers=headers, body=body)]) as server:
            async with session.get(server.url) as response:
                await response.read()
        assert ended == [("gzip", len(body), ResponseHandler)]

    def test_has_a_codec_that_knows_its_end_and_takes_more(self) -> None:
        _, body = gzipped(b"x")
        for decompressor in (ZLibDecompressor(encoding="gzip"), ZLibDecompressor("deflate")):
            assert decompressor._decompressor.eof is False
        decompressor = ZLibDecompressor(encoding="gzip")
        first = decompressor._decompressor
        assert decompressor.decompress_sync(body) == b"x"
        # A new one after each member, so the end of the last is not seen in it.
        assert decompressor._decompressor is not first

    def test_asks_brotli_whether_it_is_finished(self) -> None:
        names = BrotliDecompressor.data_available.fget.__code__.co_names
        assert {"_obj", "is_finished"} <= set(names)


def test_a_response_keeps_what_its_properties_were_asked_for_in_a_cache() -> None:
    assert isinstance(inspect.getattr_static(aiohttp.ClientResponse, "headers"), reify)
    assert "_cache" in inspect.getsource(aiohttp.ClientResponse.__init__)

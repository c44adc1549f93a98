"""The private names and exact signatures that the transport stands on.

Where a test elsewhere shows what such a name does, this one only says that it is still there.
"""

import asyncio
import functools
import inspect
import ssl
from types import FunctionType

import aiohttp
import pytest
from aiohttp import client_proto, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL


def shape(function: object) -> list[tuple[str, str]]:
    """Names and kinds of a function's parameters."""
    assert isinstance(function, FunctionType)
    parameters = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind.name) for parameter in parameters]


def positional(*names: str) -> list[tuple[str, str]]:
    return [(name, "POSITIONAL_OR_KEYWORD") for name in names]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (aiohttp.BaseConnector.connect, positional("self", "req", "traces", "timeout")),
        (
            aiohttp.ClientRequest.write_bytes,
            positional("self", "writer", "conn", "content_length"),
        ),
        (aiohttp.ClientRequest.update_transfer_encoding, positional("self")),
        (
            aiohttp.CookieJar.update_cookies_from_headers,
            positional("self", "headers", "response_url"),
        ),
        (
            aiohttp.BaseConnector._wait_for_available_connection,
            positional("self", "key", "traces"),
        ),
        (aiohttp.BaseConnector._available_connections, positional("self", "key")),
        (aiohttp.BaseConnector._release_waiter, positional("self")),
        (aiohttp.BaseConnector._get, positional("self", "key", "traces")),
        (
            aiohttp.BaseConnector._release,
            [*positional("self", "key", "protocol"), ("should_close", "KEYWORD_ONLY")],
        ),
        (
            aiohttp.BaseConnector._update_proxy_auth_header_and_build_proxy_req,
            positional("self", "req"),
        ),
        (aiohttp.BaseConnector._close, [*positional("self"), ("abort_ssl", "KEYWORD_ONLY")]),
        (
            aiohttp.TCPConnector._create_connection,
            positional("self", "req", "traces", "timeout"),
        ),
        (
            aiohttp.TCPConnector._create_direct_connection,
            [*positional("self", "req", "traces", "timeout"), ("client_error", "KEYWORD_ONLY")],
        ),
        (
            aiohttp.TCPConnector._create_proxy_connection,
            positional("self", "req", "traces", "timeout"),
        ),
        (
            aiohttp.UnixConnector._create_connection,
            positional("self", "req", "traces", "timeout"),
        ),
        (aiohttp.TCPConnector._get_ssl_context, positional("self", "req")),
        (
            aiohttp.TCPConnector._wrap_existing_connection,
            [
                ("self", "POSITIONAL_OR_KEYWORD"),
                ("args", "VAR_POSITIONAL"),
                ("req", "KEYWORD_ONLY"),
                ("timeout", "KEYWORD_ONLY"),
                ("client_error", "KEYWORD_ONLY"),
                ("kwargs", "VAR_KEYWORD"),
            ],
        ),
        (
            Connection.__init__,
            positional("self", "connector", "key", "protocol", "loop"),
        ),
        (Connection.add_callback, positional("self", "callback")),
        (ResponseHandler.__init__, positional("self", "loop")),
        (ResponseHandler.connection_lost, positional("self", "exc")),
        (ResponseHandler.start_timeout, positional("self")),
        (aiohttp.ClientRequest.update_body, positional("self", "body")),
        (aiohttp.ClientRequest.update_expect_continue, positional("self", "expect")),
        (
            aiohttp.ClientRequest.update_proxy,
            positional("self", "proxy", "proxy_auth", "proxy_headers"),
        ),
        (aiohttp.ClientRequest.send, positional("self", "conn")),
        (aiohttp.ClientRequest.update_host, positional("self", "url")),
        (aiohttp.ClientRequest.update_headers, positional("self", "headers")),
        (aiohttp.ClientRequest.update_cookies, positional("self", "cookies")),
        (aiohttp.ClientRequest.update_content_encoding, positional("self", "data")),
        (aiohttp.ClientResponse.start, positional("self", "connection")),
        (
            aiohttp.ClientResponse.__aexit__,
            positional("self", "exc_type", "exc_val", "exc_tb"),
        ),
        (aiohttp.ClientRequest.close, positional("self")),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures_are_the_known_ones(function: object, expected: list[tuple[str, str]]) -> None:
    assert shape(function) == expected


async def test_a_connector_has_the_attributes_that_are_read() -> None:
    async with aiohttp.TCPConnector(limit=7, limit_per_host=3) as connector:
        assert connector._acquired == set()
        assert connector._acquired_per_host == {}
        assert connector._conns == {}
        assert connector._waiters == {}
        assert isinstance(connector._factory, functools.partial)
        assert connector._factory.func is ResponseHandler
        assert connector._factory.keywords == {"loop": asyncio.get_running_loop()}
        assert (connector._limit, connector._limit_per_host) == (7, 3)
        assert connector._loop is asyncio.get_running_loop()


async def test_a_session_has_the_attributes_that_are_read_and_set() -> None:
    async with aiohttp.ClientSession() as session:
        assert session._retry_connection is True
        assert session._trace_configs == []
        assert session._middlewares == ()
        assert session._connector is session.connector
        assert "_retry_connection" in aiohttp.ClientSession.ATTRS


async def test_every_request_has_the_frame_that_the_place_of_its_caller_is_found_by() -> None:
    codes = []

    async def started(*_: object) -> None:
        frame = inspect.currentframe()
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back

    config = aiohttp.TraceConfig()
    config.on_request_start.append(started)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        with pytest.raises(aiohttp.InvalidURL):
            async with session.get("http:///"):
                pass
    here = inspect.currentframe().f_code
    assert codes.index(aiohttp.ClientSession._request.__code__) < codes.index(here)


async def test_a_protocol_has_the_attributes_that_are_read() -> None:
    protocol = ResponseHandler(loop=asyncio.get_running_loop())
    assert protocol.should_close is False
    assert protocol.read_timeout is None
    assert protocol.transport is None
    assert protocol.is_connected() is False
    protocol.force_close()
    assert protocol.should_close is True


async def test_a_protocol_re_arms_its_read_timeout_by_one_method_and_drops_it_by_another() -> None:
    told = []

    class Telling(ResponseHandler):
        def _reschedule_timeout(self) -> None:
            told.append("again")
            super()._reschedule_timeout()

        def _drop_timeout(self) -> None:
            told.append("drop")
            super()._drop_timeout()

    protocol = Telling(loop=asyncio.get_running_loop())
    assert protocol._read_timeout is None
    assert (protocol._reading_paused, protocol._buffer_paused) == (False, False)
    protocol.connection_made(asyncio.Transport())
    protocol.set_response_params(read_timeout=60.0)
    assert protocol._read_timeout == 60.0
    protocol.start_timeout()
    protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    protocol.data_received(b"a")
    assert told == ["again", "again", "again"]
    protocol.data_received(b"b")
    assert told[3:] == ["again", "drop"]
    # Nothing else knows how it is kept.
    source = inspect.getsource(client_proto)
    kept_in = "".join(
        inspect.getsource(getattr(ResponseHandler, name))
        for name in ("__init__", "_reschedule_timeout", "_drop_timeout")
    )
    assert source.count("_read_timeout_handle") == kept_in.count("_read_timeout_handle")
    protocol._on_read_timeout()
    assert isinstance(protocol.exception(), aiohttp.SocketTimeoutError)


async def test_a_connection_keeps_its_protocol_under_a_name_of_its_own() -> None:
    protocol = ResponseHandler(loop=asyncio.get_running_loop())
    connector = aiohttp.TCPConnector()
    connection = Connection(connector, "key", protocol, asyncio.get_running_loop())
    assert connection._protocol is connection.protocol is protocol
    assert connection._connector is connector
    connection._protocol = None
    await connector.close()


def test_releasing_a_response_does_what_is_known() -> None:
    def lines(function: object) -> list[str]:
        source = inspect.getsource(function)
        return [line.strip() for line in source.splitlines()[1:] if line.strip()]

    assert lines(aiohttp.ClientResponse.release) == [
        "if not self._released:",
        "self._notify_content()",
        "self._closed = True",
        "self._cleanup_writer()",
        "self._release_connection()",
        "return noop()",
    ]
    assert lines(aiohttp.ClientResponse._notify_content) == [
        "content = self.content",
        "if content and content.exception() is None:",
        "set_exception(content, _CONNECTION_CLOSED_EXCEPTION)",
        "self._released = True",
    ]
    # So there is nothing left to clean up once it is closed.
    for function in (aiohttp.ClientResponse._response_eof, aiohttp.ClientResponse.close):
        body = lines(function)
        assert "self._closed = True" in body
        assert "self._cleanup_writer()" in body


async def test_a_websocket_has_the_response_that_its_connection_is_given_back_by() -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(await socket.receive_str())
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(f"ws://127.0.0.1:{site.port}/")
            connection = socket._response.connection
            assert connection.transport.get_write_buffer_size() == 0
            heard = []
            connection.protocol._data_received_cb = lambda: heard.append(1)
            await socket.send_str("hello")
            await socket.receive()
            assert heard
            socket._response.close()
            assert connection.transport is None
            assert session.connector._acquired == set()
    finally:
        await runner.cleanup()


async def test_a_connection_of_a_server_tells_whether_a_handler_runs() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.protocol._current_request is request)
        return web.Response()

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as session, session.get(f"{site.name}/"):
            (connection,) = runner.server.connections
            seen.append(connection._current_request)
    finally:
        await runner.cleanup()
    assert seen == [True, None]


async def test_a_request_has_the_attributes_that_are_read_and_set() -> None:
    url = aiohttp.typedefs.URL("http://127.0.0.1/")
    request = aiohttp.ClientRequest("PUT", url, data=b"x", loop=asyncio.get_running_loop())
    assert request.response is None
    assert request._writer is None
    assert request._continue is None
    assert request._ssl is True
    assert request.chunked is None
    assert request.proxy is None
    assert request.proxy_auth is None
    assert request.proxy_headers is None
    assert request.auth is None
    assert request._traces == []
    assert request._body is request.body
    assert request.body.consumed is False
    assert isinstance(request._timer, aiohttp.helpers.TimerNoop)


@pytest.mark.parametrize(
    ("constructor", "names"),
    [
        (
            aiohttp.ClientSession,
            {
                "base_url",
                "connector",
                "cookie_jar",
                "headers",
                "json_serialize",
                "json_serialize_bytes",
                "max_field_size",
                "max_headers",
                "max_line_size",
                "middlewares",
                "request_class",
                "response_class",
                "timeout",
                "trace_configs",
                "trust_env",
            },
        ),
        (
            aiohttp.TCPConnector,
            {
                "happy_eyeballs_delay",
                "keepalive_timeout",
                "limit",
                "limit_per_host",
                "resolver",
                "socket_factory",
                "timeout_ceil_threshold",
                "ttl_dns_cache",
                "use_dns_cache",
            },
        ),
        (aiohttp.UnixConnector, {"keepalive_timeout", "limit", "limit_per_host", "path"}),
    ],
)
def test_constructors_take_what_the_factory_passes(constructor: type, names: set[str]) -> None:
    assert names <= inspect.signature(constructor).parameters.keys()


def test_a_request_takes_an_upload_tracker() -> None:
    assert "upload_tracker" in inspect.signature(aiohttp.ClientSession._request).parameters


def test_subclassing_a_session_warns() -> None:
    with pytest.warns(DeprecationWarning, match="discouraged"):
        type("Ours", (aiohttp.ClientSession,), {})


def test_the_base_url_of_a_session_must_end_in_a_slash() -> None:
    async def make() -> None:
        aiohttp.ClientSession("http://127.0.0.1/path")

    with pytest.raises(ValueError, match="trailing"):
        asyncio.run(make())


async def test_an_async_iterable_payload_holds_its_iterator_and_is_consumed_by_a_write() -> None:
    async def pieces():
        yield b"x"

    source = pieces()
    payload = aiohttp.payload.AsyncIterablePayload(source)
    assert payload._iter is source
    assert not payload.consumed
    assert await anext(payload._iter) == b"x"
    await source.aclose()


async def test_a_protocol_says_whether_it_has_stopped_reading() -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    assert (protocol._reading_paused, protocol._buffer_paused) == (False, False)


async def test_a_response_keeps_its_body_and_waits_for_the_writer_before_it_is_released() -> None:
    assert aiohttp.ClientResponse._body is None
    assert aiohttp.ClientResponse._released is False
    assert inspect.iscoroutinefunction(aiohttp.ClientResponse._wait_released)


async def test_updating_a_body_drops_the_length_that_the_caller_set() -> None:
    async with aiohttp.ClientSession() as session:
        request = aiohttp.ClientRequest(
            "PUT",
            URL("http://api.test/"),
            headers={"Content-Length": "2"},
            data=b"ab",
            loop=asyncio.get_running_loop(),
            session=session,
        )
        await request.update_body(b"abc")
        assert request.headers["Content-Length"] == "3"


def test_exceptions_are_made_from_these_attributes() -> None:
    key = ConnectionKey("host", 80, False, True, None, None, None)
    assert aiohttp.ClientConnectorError(key, OSError(1, "x"))._conn_key is key
    assert {"proxy", "proxy_auth"} <= set(ConnectionKey._fields)
    url = aiohttp.InvalidURL("http://a/")
    url._url = "http://b/"
    assert (str(url), url.url) == ("http://b/", "http://b/")


async def test_a_request_is_made_by_its_verbs_in_this_order() -> None:
    verbs = (
        "update_host",
        "update_headers",
        "update_cookies",
        "update_content_encoding",
        "update_proxy",
        "update_body_from_data",
        "update_expect_continue",
    )
    told = []

    def telling(name: str) -> object:
        def verb(self: aiohttp.ClientRequest, *arguments: object) -> None:
            told.append(name)
            getattr(aiohttp.ClientRequest, name)(self, *arguments)

        return verb

    made = type("Telling", (aiohttp.ClientRequest,), {name: telling(name) for name in verbs})
    loop = asyncio.get_running_loop()
    made("GET", URL("http://127.0.0.1/"), loop=loop, chunked=True, proxy=None)
    assert tuple(told) == verbs


async def test_what_the_verbs_of_a_request_read_and_set_is_there_before_them() -> None:
    context = ssl.create_default_context()
    seen = []

    class Setting(aiohttp.ClientRequest):
        def update_host(self, url: URL) -> None:
            seen.extend((url, self.url, self.session.headers, self.server_hostname, self.loop))
            self.server_hostname = None
            super().update_host(url)

        def update_content_encoding(self, data: object) -> None:
            seen.append(self.chunked)
            self.chunked = None
            super().update_content_encoding(data)

        def update_proxy(self, *arguments: object) -> None:
            seen.append(self._ssl)
            self._ssl = context
            super().update_proxy(*arguments)

    loop = asyncio.get_running_loop()
    url = URL("https://127.0.0.1/path?query#fragment")
    async with aiohttp.ClientSession() as session:
        request = Setting(
            "GET",
            url,
            loop=loop,
            session=session,
            chunked=True,
            ssl=False,
            server_hostname="other",
        )
        bare = url.with_fragment(None)
        assert seen == [url, bare, session.headers, "other", loop, True, False]
    # Nothing that comes after a verb takes back what it set: it is what the hop is protected by.
    assert (request.server_hostname, request.chunked, request._ssl) == (None, None, context)


def test_a_trace_config_sends_by_its_private_signals() -> None:
    config = aiohttp.TraceConfig()
    assert config.on_request_start is config._on_request_start
    assert config.on_request_end is config._on_request_end
    assert config.on_request_exception is config._on_request_exception
    assert inspect.signature(config.trace_config_ctx).parameters.keys() == {"trace_request_ctx"}


async def test_leaving_the_context_of_a_response_releases_and_waits_for_its_writer() -> None:
    source = inspect.getsource(aiohttp.ClientResponse.__aexit__)
    assert "self._in_context = False" in source
    assert "self.release()" in source
    assert "await self.wait_for_close()" in source
    waits = inspect.getsource(aiohttp.ClientResponse.wait_for_close)
    assert [line.strip() for line in waits.splitlines() if "await" in line] == [
        "await self.__writer"
    ]

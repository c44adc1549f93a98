import asyncio
import contextlib
import contextvars
import functools

import aiohttp
import attr
import pytest
from aiohttp import tracing

from platform_http.testing import FaultServer
from platform_http.testing.actions import close, hang, partial_body, respond
from tests.contract.fixed_resolver import FixedResolver

HOOKS = [
    "on_connection_create_end",
    "on_connection_create_start",
    "on_connection_queued_end",
    "on_connection_queued_start",
    "on_connection_reuseconn",
    "on_dns_cache_hit",
    "on_dns_cache_miss",
    "on_dns_resolvehost_end",
    "on_dns_resolvehost_start",
    "on_request_chunk_sent",
    "on_request_end",
    "on_request_exception",
    "on_request_headers_sent",
    "on_request_redirect",
    "on_request_start",
    "on_response_chunk_received",
]
UNREAD = respond(body=b"x" * 5_000_000)


class Recorder:
    """A TraceConfig that notes every hook it sees."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        self.contexts = []
        self.parameters: dict[str, object] = {}
        self.config = aiohttp.TraceConfig()
        for name in HOOKS:
            getattr(self.config, name).append(
                functools.partial(self._note, name.removeprefix("on_"))
            )

    async def _note(self, name, session, context, parameters) -> None:
        self.hooks.append(name)
        self.contexts.append(context)
        self.parameters[name] = parameters


def session_with(*configs: aiohttp.TraceConfig, **options) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(trace_configs=list(configs), **options)


def named(*addresses: str, **options) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(resolver=FixedResolver(*addresses), **options)


def test_these_are_all_hooks_there_are() -> None:
    hooks = sorted(name for name in dir(aiohttp.TraceConfig) if name.startswith("on_"))
    assert hooks == HOOKS


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        (tracing.TraceRequestStartParams, ["method", "url", "headers"]),
        (tracing.TraceRequestEndParams, ["method", "url", "headers", "response"]),
        (tracing.TraceRequestExceptionParams, ["method", "url", "headers", "exception"]),
        (tracing.TraceRequestRedirectParams, ["method", "url", "headers", "response"]),
        (tracing.TraceRequestHeadersSentParams, ["method", "url", "headers"]),
        (tracing.TraceRequestChunkSentParams, ["method", "url", "chunk"]),
        (tracing.TraceResponseChunkReceivedParams, ["method", "url", "chunk"]),
        (tracing.TraceDnsResolveHostStartParams, ["host"]),
        (tracing.TraceDnsResolveHostEndParams, ["host"]),
        (tracing.TraceDnsCacheHitParams, ["host"]),
        (tracing.TraceDnsCacheMissParams, ["host"]),
        (tracing.TraceConnectionQueuedStartParams, []),
        (tracing.TraceConnectionQueuedEndParams, []),
        (tracing.TraceConnectionCreateStartParams, []),
        (tracing.TraceConnectionCreateEndParams, []),
        (tracing.TraceConnectionReuseconnParams, []),
    ],
)
def test_hooks_get_these_parameters(parameters: type, fields: list[str]) -> None:
    assert [field.name for field in attr.fields(parameters)] == fields


async def test_a_call_by_name_shows_start_connection_dns_headers_and_end_in_this_order() -> None:
    recorder = Recorder()
    async with (
        FaultServer() as server,
        session_with(recorder.config, connector=named("127.0.0.1")) as session,
    ):
        await session.get(server.url.with_host("name.test"))
    assert recorder.hooks == [
        "request_start",
        "connection_create_start",
        "dns_cache_miss",
        "dns_resolvehost_start",
        "dns_resolvehost_end",
        "connection_create_end",
        "request_headers_sent",
        "request_end",
    ]


async def test_a_call_has_one_context_over_hops_and_resends_with_the_callers_object() -> None:
    recorder = Recorder()
    mine = object()
    async with (
        FaultServer([respond(302, headers={"Location": "/next"}), close(), respond()]) as server,
        session_with(recorder.config) as session,
    ):
        await session.get(server.url, trace_request_ctx=mine)
    assert len(server.requests) == 3
    assert len({id(context) for context in recorder.contexts}) == 1
    assert recorder.contexts[0].trace_request_ctx is mine
    assert recorder.hooks == [
        "request_start",
        "connection_create_start",
        "connection_create_end",
        "request_headers_sent",
        "request_redirect",
        "connection_reuseconn",
        "request_headers_sent",
        "connection_create_start",
        "connection_create_end",
        "request_headers_sent",
        "request_end",
    ]


async def test_request_start_comes_before_all_middlewares_and_end_after_them() -> None:
    order: list[str] = []

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        order.append("enter")
        response = await handler(request)
        order.append("leave")
        return response

    recorder = Recorder()
    recorder.hooks = order
    async with (
        FaultServer() as server,
        session_with(recorder.config, middlewares=[middleware]) as session,
    ):
        await session.get(server.url)
    assert order[:2] == ["request_start", "enter"]
    assert order[-2:] == ["leave", "request_end"]


async def test_request_end_comes_at_the_headers_before_the_body() -> None:
    recorder = Recorder()
    async with (
        FaultServer([partial_body(b"abc", content_length=10)]) as server,
        session_with(recorder.config) as session,
    ):
        response = await session.get(server.url)
        before = list(recorder.hooks)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert before[-1] == "request_end"
    assert recorder.hooks == before


async def test_a_failed_call_ends_in_one_exception_hook_with_the_final_exception() -> None:
    recorder = Recorder()
    async with FaultServer([close()]) as server, session_with(recorder.config) as session:
        with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
            await session.get(server.url)
    assert len(server.requests) == 2
    assert recorder.hooks.count("request_exception") == 1
    assert "request_end" not in recorder.hooks
    assert recorder.parameters["request_exception"].exception is caught.value


async def test_a_cancelled_call_ends_in_the_exception_hook_with_the_cancelled_error() -> None:
    recorder = Recorder()
    async with FaultServer([hang()]) as server, session_with(recorder.config) as session:
        task = asyncio.create_task(session.get(server.url).__aenter__())
        await server.wait_until(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert recorder.hooks[-1] == "request_exception"
    assert type(recorder.parameters["request_exception"].exception) is asyncio.CancelledError


async def test_a_404_with_raise_for_status_ends_in_the_exception_hook() -> None:
    recorder = Recorder()
    async with FaultServer([respond(404)]) as server, session_with(recorder.config) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(server.url, raise_for_status=True)
    assert recorder.hooks[-1] == "request_exception"
    assert "request_end" not in recorder.hooks


@pytest.mark.parametrize(
    ("url", "error"),
    [
        pytest.param("ftp://127.0.0.1/", aiohttp.NonHttpUrlClientError, id="scheme"),
        pytest.param("http://127.0.0.1:99999/", aiohttp.InvalidUrlClientError, id="port"),
    ],
)
async def test_an_unusable_url_fires_no_hook_at_all(url: str, error: type[Exception]) -> None:
    recorder = Recorder()
    async with session_with(recorder.config) as session:
        with pytest.raises(error):
            await session.get(url)
    assert recorder.hooks == []


async def test_a_failed_resolution_has_a_start_without_an_end() -> None:
    recorder = Recorder()
    connector = aiohttp.TCPConnector(resolver=FixedResolver(error=OSError("no such name")))
    async with session_with(recorder.config, connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await session.get("http://name.test/")
    assert recorder.hooks == [
        "request_start",
        "connection_create_start",
        "dns_cache_miss",
        "dns_resolvehost_start",
        "request_exception",
    ]


async def test_a_failed_connect_has_a_start_without_an_end() -> None:
    recorder = Recorder()
    async with session_with(recorder.config) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:1/")
    assert recorder.hooks == ["request_start", "connection_create_start", "request_exception"]


async def test_a_given_up_wait_for_the_pool_has_a_start_without_an_end() -> None:
    recorder = Recorder()
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer([UNREAD]) as server,
        session_with(recorder.config, connector=connector) as session,
    ):
        first = await session.get(server.url)
        recorder.hooks.clear()
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get(server.url, timeout=aiohttp.ClientTimeout(connect=0.02))
        first.close()
    assert recorder.hooks == ["request_start", "connection_queued_start", "request_exception"]


async def test_a_wait_for_the_pool_that_succeeds_has_both_and_then_a_connection() -> None:
    recorder = Recorder()
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer([UNREAD, respond()]) as server,
        session_with(recorder.config, connector=connector) as session,
    ):
        first = await session.get(server.url)
        recorder.hooks.clear()
        second = asyncio.create_task(session.get(server.url).__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.close()
        await second
    assert recorder.hooks[1:4] == [
        "connection_queued_start",
        "connection_queued_end",
        "connection_create_start",
    ]


async def test_there_are_no_dns_signals_through_a_proxy() -> None:
    recorder = Recorder()
    connector = named("127.0.0.1")
    async with (
        FaultServer() as proxy,
        session_with(recorder.config, connector=connector) as session,
    ):
        await session.get("http://name.test/", proxy=proxy.url.with_host("proxy.test"))
    assert not [hook for hook in recorder.hooks if hook.startswith("dns")]


async def test_who_waits_for_a_running_resolution_gets_a_cache_hit_before_waiting() -> None:
    answer = asyncio.Event()

    class Gated(FixedResolver):
        async def resolve(self, *args, **kwargs):
            await answer.wait()
            return await super().resolve(*args, **kwargs)

    recorder = Recorder()
    resolver = Gated("127.0.0.1")
    async with (
        FaultServer() as server,
        session_with(recorder.config, connector=aiohttp.TCPConnector(resolver=resolver)) as session,
    ):
        url = server.url.with_host("name.test")
        async with asyncio.TaskGroup() as group:
            group.create_task(session.get(url).__aenter__())
            await asyncio.sleep(0.01)
            recorder.hooks.clear()
            group.create_task(session.get(url).__aenter__())
            await asyncio.sleep(0.01)
            assert recorder.hooks == ["request_start", "connection_create_start", "dns_cache_hit"]
            answer.set()
    assert resolver.names == ["name.test"]


async def test_dns_hooks_run_in_another_task_that_reads_context_variables_and_loses_writes() -> (
    None
):
    variable = contextvars.ContextVar("variable", default="unset")
    tasks = []
    read = []

    async def write(session, context, parameters) -> None:
        tasks.append(asyncio.current_task())
        read.append(variable.get())
        variable.set("from the hook")

    config = aiohttp.TraceConfig()
    config.on_dns_resolvehost_start.append(write)
    async with (
        FaultServer() as server,
        session_with(config, connector=named("127.0.0.1")) as session,
    ):
        variable.set("from the caller")
        await session.get(server.url.with_host("name.test"))
    assert read == ["from the caller"]
    assert variable.get() == "from the caller"
    assert len(tasks) == 1
    assert tasks[0] is not asyncio.current_task()


async def test_a_context_variable_of_request_start_is_seen_by_every_hop_and_resend() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def start(session, context, parameters) -> None:
        variable.set("of the call")

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(variable.get())
        return await handler(request)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    async with (
        FaultServer([respond(302, headers={"Location": "/next"}), close(), respond()]) as server,
        session_with(config, middlewares=[middleware]) as session,
    ):
        await session.get(server.url)
    assert seen == 3 * ["of the call"]
    # And it stays with the caller, who must not find it there: reset it.
    assert variable.get() == "of the call"


@pytest.mark.parametrize("hook", ["on_request_end", "on_request_exception"])
async def test_a_context_variable_of_request_start_can_be_reset_in_the_terminal_hooks(
    hook: str,
) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def start(session, context, parameters) -> None:
        context.token = variable.set("of the call")

    async def finish(session, context, parameters) -> None:
        variable.reset(context.token)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    getattr(config, hook).append(finish)
    fault = respond() if hook == "on_request_end" else close()
    async with FaultServer([fault]) as server, session_with(config) as session:
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            await session.get(server.url)
    assert variable.get() == "unset"


async def test_a_context_variable_of_the_innermost_middleware_is_seen_by_the_phase_hooks() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen = {}

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = variable.set("of the attempt")
        try:
            return await handler(request)
        finally:
            variable.reset(token)

    async def look(name, session, context, parameters) -> None:
        seen[name] = variable.get()

    config = aiohttp.TraceConfig()
    for name in HOOKS:
        getattr(config, name).append(functools.partial(look, name))
    async with (
        FaultServer() as server,
        session_with(config, middlewares=[middleware], connector=named("127.0.0.1")) as session,
    ):
        url = server.url.with_host("name.test")
        await session.get(url)
        await session.get(url)
    assert seen == {
        "on_request_start": "unset",
        "on_connection_create_start": "of the attempt",
        "on_dns_cache_miss": "of the attempt",
        "on_dns_resolvehost_start": "of the attempt",
        "on_dns_resolvehost_end": "of the attempt",
        "on_connection_create_end": "of the attempt",
        "on_connection_reuseconn": "of the attempt",
        "on_request_headers_sent": "of the attempt",
        "on_request_end": "unset",
    }


@pytest.mark.parametrize(
    "hook",
    ["on_connection_create_start", "on_connection_create_end", "on_request_headers_sent"],
)
async def test_an_exception_in_a_hook_fails_the_call(hook: str) -> None:
    async def explode(session, context, parameters) -> None:
        raise LookupError("a broken hook")

    config = aiohttp.TraceConfig()
    getattr(config, hook).append(explode)
    recorder = Recorder()
    async with FaultServer() as server, session_with(config, recorder.config) as session:
        with pytest.raises(LookupError, match="a broken hook"):
            await session.get(server.url)
    assert recorder.hooks[-1] == "request_exception"


async def test_a_request_start_that_raises_gets_no_end_and_hides_the_call_from_later_configs() -> (
    None
):
    async def explode(session, context, parameters) -> None:
        raise LookupError("a broken hook")

    first, broken, last = Recorder(), Recorder(), Recorder()
    broken.config.on_request_start.append(explode)
    async with session_with(first.config, broken.config, last.config) as session:
        with pytest.raises(LookupError):
            await session.get("http://127.0.0.1:1/")
    # A config that comes first sees the end of what it saw begin.
    assert first.hooks == ["request_start", "request_exception"]
    assert broken.hooks == ["request_start"]
    assert last.hooks == []


async def test_a_request_end_that_raises_gives_end_and_exception_to_the_configs_before() -> None:
    async def explode(session, context, parameters) -> None:
        raise LookupError("a broken hook")

    first, foreign = Recorder(), aiohttp.TraceConfig()
    foreign.on_request_end.append(explode)
    async with FaultServer() as server, session_with(first.config, foreign) as session:
        with pytest.raises(LookupError):
            await session.get(server.url)
    assert first.hooks[-2:] == ["request_end", "request_exception"]


async def test_the_exception_hook_may_replace_the_exception() -> None:
    class BetterError(Exception):
        pass

    async def replace(session, context, parameters) -> None:
        raise BetterError from parameters.exception

    config = aiohttp.TraceConfig()
    config.on_request_exception.append(replace)
    async with session_with(config) as session:
        with pytest.raises(BetterError) as caught:
            await session.get("http://127.0.0.1:1/")
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


async def test_headers_put_in_at_request_start_reach_other_origins() -> None:
    async def inject(session, context, parameters) -> None:
        parameters.headers["Traceparent"] = "of the call"

    config = aiohttp.TraceConfig()
    config.on_request_start.append(inject)
    async with (
        FaultServer() as other,
        FaultServer([respond(302, headers={"Location": str(other.url)})]) as server,
        session_with(config) as session,
    ):
        await session.get(server.url)
        assert other.requests[0].headers["Traceparent"] == "of the call"


async def test_headers_put_into_the_request_by_a_middleware_stay_on_their_hop() -> None:
    async def inject(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        assert "Traceparent" not in request.headers
        request.headers["Traceparent"] = request.url.path
        return await handler(request)

    async with (
        FaultServer([respond(302, headers={"Location": "/next"}), respond()]) as server,
        session_with(middlewares=[inject]) as session,
    ):
        await session.get(server.url)
        sent = [request.headers.getall("Traceparent") for request in server.requests]
        assert sent == [["/"], ["/next"]]


async def test_the_response_chunk_hook_fires_once_per_read_and_never_for_iteration() -> None:
    recorder = Recorder()
    async with (
        FaultServer([respond(body=b"x" * 1_000_000)]) as server,
        session_with(recorder.config) as session,
    ):
        async with session.get(server.url) as response:
            async for _ in response.content.iter_chunked(1024):
                pass
        assert "response_chunk_received" not in recorder.hooks
        async with session.get(server.url) as response:
            await response.read()
        assert recorder.hooks.count("response_chunk_received") == 1


async def test_headers_sent_fires_before_the_first_byte_is_written() -> None:
    gate = asyncio.Event()

    async def hold(session, context, parameters) -> None:
        await gate.wait()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(hold)
    async with FaultServer() as server, session_with(config) as session:
        call = asyncio.create_task(session.get(server.url).__aenter__())
        await server.wait_until(lambda: server.open_connections)
        await asyncio.sleep(0.02)
        assert server.requests == []
        gate.set()
        await call
        assert len(server.requests) == 1


async def test_an_upgrade_has_the_hooks_of_a_call_and_an_empty_context() -> None:
    recorder = Recorder()
    async with FaultServer([respond(400)]) as server, session_with(recorder.config) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(server.url)
    assert recorder.hooks[0] == "request_start"
    assert recorder.hooks[-1] == "request_end"
    assert recorder.contexts[0].trace_request_ctx is None
    assert recorder.parameters["request_start"].headers["Upgrade"] == "websocket"

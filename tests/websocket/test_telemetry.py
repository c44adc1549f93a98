"""What metrics and spans tell of WebSockets."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from platform_http import CallOptions
from platform_http.errors import WebSocketClosedError
from platform_http.websocket import Reconnect, connect
from tests.functional.conftest import Observed
from tests.websocket.peer import Peer, closing, echo, frame, serving, silent

OPTIONS = CallOptions(operation="feed.watch", url_template="/feed")
FAST = {"initial": 0.001, "maximum": 0.002}


def connections(observed: Observed) -> float:
    return observed.value("platform_http_websocket_connections", client="default")


def of_websockets(observed: Observed) -> list[ReadableSpan]:
    return [
        span
        for span in observed.calls
        if span.name in ("feed.watch", "default websocket")
        and "platform_http.attempts" not in span.attributes
    ]


async def drop(peer: Peer) -> None:
    peer.reset()


async def greet(peer: Peer) -> None:
    await peer.send(frame(1, b"hello"))
    await echo(peer)


async def test_a_connection_is_counted_while_it_stands_and_its_lifetime_is_sampled(
    observed: Observed,
) -> None:
    async with serving(echo) as server, observed.session() as session:
        async with connect(session, server.url):
            assert connections(observed) == 1
            assert observed.value("platform_http_websocket_duration_seconds_count") == 0
        assert connections(observed) == 0
        assert observed.value("platform_http_websocket_duration_seconds_count") == 1
        observed.assert_quiet()


async def test_each_connect_that_follows_an_end_is_counted_by_its_reason(
    observed: Observed,
) -> None:
    async def restart(peer: Peer) -> None:
        await peer.send(closing(1012))
        await peer.until_gone()

    async with serving(drop, restart, silent, greet) as server, observed.session() as session:
        async with connect(
            session, server.url, reconnect=Reconnect(**FAST), heartbeat=0.05, pong_timeout=0.05
        ) as ws:
            assert (await ws.receive(timeout=2)).data == "hello"
    for reason in ("response_ended", "1012", "read_timeout"):
        name = "platform_http_websocket_reconnects_total"
        assert observed.value(name, client="default", reason=reason) == 1
    assert observed.value("platform_http_websocket_duration_seconds_count") == 4
    assert connections(observed) == 0
    assert observed.value("platform_http_telemetry_errors_total") == 0


async def test_a_handshake_that_fails_is_no_connection(observed: Observed) -> None:
    refusal = b"HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n"
    async with serving(refusal) as server, observed.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connect(session, server.url, options=OPTIONS):
                pass
    assert connections(observed) == 0
    assert observed.value("platform_http_websocket_duration_seconds_count") == 0
    (span,) = of_websockets(observed)
    assert span.attributes["error.type"] == "403"
    assert span.status.status_code is StatusCode.ERROR
    assert "platform_http.websocket.close_code" not in span.attributes


class TestTheSpan:
    async def test_is_the_callers_child_and_the_handshakes_parent(self, observed: Observed) -> None:
        tracer = observed.provider.get_tracer("test")
        async with serving(echo) as server, observed.session() as session:
            with tracer.start_as_current_span("caller") as caller:
                async with connect(session, server.url, options=OPTIONS) as ws:
                    with tracer.start_as_current_span("inside"):
                        await ws.send_text("grüße")
                    await ws.receive()
        (span,) = of_websockets(observed)
        assert span.kind is SpanKind.INTERNAL
        assert span.parent.span_id == caller.get_span_context().span_id
        assert observed.attempts[0].parent.span_id == span.context.span_id
        (inside,) = (each for each in observed.spans if each.name == "inside")
        assert inside.parent.span_id == caller.get_span_context().span_id
        assert span.status.status_code is StatusCode.UNSET
        assert dict(span.attributes) == {
            "platform_http.client": "default",
            "platform_http.operation": "feed.watch",
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "platform_http.websocket.close_code": 1000,
            "platform_http.websocket.messages_sent": 1,
            "platform_http.websocket.messages_received": 1,
            "platform_http.websocket.bytes_sent": 7,
            "platform_http.websocket.bytes_received": 7,
        }

    async def test_is_one_per_connection_all_below_the_caller(self, observed: Observed) -> None:
        tracer = observed.provider.get_tracer("test")
        async with serving(drop, greet) as server, observed.session() as session:
            with tracer.start_as_current_span("caller") as caller:
                again = Reconnect(**FAST)
                async with connect(session, server.url, reconnect=again, options=OPTIONS) as ws:
                    await ws.receive(timeout=2)
        lost, kept = of_websockets(observed)
        assert {span.parent.span_id for span in (lost, kept)} == {caller.get_span_context().span_id}
        assert lost.attributes["error.type"] == "response_ended"
        assert lost.attributes["platform_http.websocket.close_code"] == 1006
        assert lost.status.status_code is StatusCode.ERROR
        assert "platform_http.websocket.reconnects" not in lost.attributes
        assert kept.attributes["platform_http.websocket.reconnects"] == 1
        assert kept.status.status_code is StatusCode.UNSET

    @pytest.mark.parametrize(
        ("end", "error_type"),
        [
            (closing(1011), "1011"),
            (closing(4000), "4000"),
            (closing(1001), None),
            (frame(0xB), "invalid_response"),
            (frame(2, bytes(2000)), "response_too_large"),
        ],
        ids=["1011", "4000", "1001", "violation", "too large"],
    )
    async def test_says_what_went_wrong(
        self, observed: Observed, end: bytes, error_type: str | None
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.send(end)
            await peer.until_gone()

        async with serving(script) as server, observed.session() as session:
            async with connect(session, server.url, max_message=1000, options=OPTIONS) as ws:
                if error_type is None:
                    assert [message async for message in ws] == []
                else:
                    with pytest.raises(WebSocketClosedError):
                        await ws.receive(timeout=2)
        (span,) = of_websockets(observed)
        assert span.attributes.get("error.type") == error_type
        assert (span.status.status_code is StatusCode.ERROR) == (error_type is not None)

    @pytest.mark.parametrize("answer", [closing(3007), closing(1000), frame(8)])
    async def test_of_an_end_of_our_own_is_no_error_whatever_the_peer_answers(
        self, observed: Observed, answer: bytes
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(answer)

        async with serving(script) as server, observed.session() as session:
            async with connect(session, server.url, options=OPTIONS) as ws:
                await ws.close(3007, "enough")
        (span,) = of_websockets(observed)
        assert ws.close_code == span.attributes["platform_http.websocket.close_code"] == 3007
        assert "error.type" not in span.attributes

    async def test_of_a_cancelled_caller_is_no_error(self, observed: Observed) -> None:
        async with serving(silent) as server, observed.session() as session:
            inside = asyncio.Event()

            async def use() -> None:
                async with connect(session, server.url, close_timeout=0.05, options=OPTIONS):
                    inside.set()
                    await asyncio.sleep(60)

            using = asyncio.create_task(use())
            await inside.wait()
            using.cancel()
            with pytest.raises(asyncio.CancelledError):
                await using
        (span,) = of_websockets(observed)
        assert span.attributes["platform_http.cancelled"] is True
        assert "error.type" not in span.attributes
        assert span.status.status_code is StatusCode.UNSET

    async def test_is_not_made_where_traces_are_off(self, observed: Observed) -> None:
        async with (
            serving(echo) as server,
            observed.session(telemetry={"traces": False}) as session,
        ):
            async with connect(session, server.url):
                assert connections(observed) == 1
        assert observed.spans == ()

    async def test_names_the_client_and_shows_no_query(self, observed: Observed) -> None:
        async with serving(echo) as server, observed.session() as session:
            async with connect(session, server.url):
                pass
        (span,) = of_websockets(observed)
        assert span.name == "default websocket"
        assert "geheim" not in str(dict(span.attributes))


async def test_metrics_that_are_off_are_not_made(observed: Observed) -> None:
    async with (
        serving(echo) as server,
        observed.session(telemetry={"metrics": False}) as session,
    ):
        async with connect(session, server.url):
            pass
    assert observed.value("platform_http_websocket_duration_seconds_count") == 0

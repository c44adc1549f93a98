"""Subscriptions that outlive their connections."""

from __future__ import annotations

import contextlib
import gc
import random
from types import SimpleNamespace

import aiohttp
import pytest

from platform_http import CallOptions, DeadlineExceededError
from platform_http.streaming import StreamFormatError, events, iter_events
from platform_http.testing import FaultServer
from platform_http.testing.actions import chunked, hang, partial_body, reset, respond

TYPE = {"Content-Type": "text/event-stream; charset=utf-8"}
DONE = respond(204)


def stream(*pieces: bytes, complete: bool = True, then="keep"):
    return chunked(pieces, headers=TYPE, complete=complete, then=then)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between connections, which do not happen; jitter is all there can be."""
    seen: list[float] = []

    async def note(seconds: float) -> None:
        seen.append(seconds)

    class Highest(random.Random):
        def random(self) -> float:
            return 1.0

    # The module's own names: servers and sessions sleep too.
    module = "platform_http.streaming.subscription"
    monkeypatch.setattr(f"{module}.asyncio", SimpleNamespace(sleep=note))
    monkeypatch.setattr(f"{module}.random", SimpleNamespace(Random=Highest))
    return seen


async def all_of(session, url, **options) -> list[str]:
    return [event.data async for event in events(session, url, **options)]


async def test_events_of_one_response_end_with_it(session) -> None:
    async with FaultServer([stream(b"data: 1\n", b"\ndata: 2\n\nda")]) as server:
        async with session.get(server.url) as response:
            assert [event.data async for event in iter_events(response)] == ["1", "2"]
    assert len(server.requests) == 1


async def test_another_type_is_no_stream_of_events(session, waits) -> None:
    async with FaultServer([respond(body=b"data: 1\n\n")]) as server:
        async with session.get(server.url) as response:
            with pytest.raises(StreamFormatError, match="text/event-stream"):
                await anext(iter_events(response))
        with pytest.raises(StreamFormatError):
            await all_of(session, server.url)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "end",
    [
        stream(b"id: 7\ndata: 1\n\ndata: lost"),
        stream(b"id: 7\ndata: 1\n\ndata: lost", complete=False, then="close"),
        stream(b"id: 7\ndata: 1\n\n", complete=False, then="hang"),
    ],
)
async def test_a_subscription_goes_on_after_what_was_seen(session, waits, end) -> None:
    async with FaultServer([end, stream(b"data: 2\n\n"), DONE]) as server:
        assert await all_of(session, server.url) == ["1", "2"]
    sent = [request.headers.get("Last-Event-ID") for request in server.requests]
    assert sent == [None, "7", "7"]
    assert {request.headers["Accept"] for request in server.requests} == {"text/event-stream"}
    # A second, and half a second of jitter.
    assert waits == [1.5, 1.5]


async def test_it_can_begin_where_an_earlier_one_ended(session, waits) -> None:
    async with FaultServer([DONE]) as server:
        assert await all_of(session, server.url, last_event_id="9") == []
    assert server.requests[0].headers["Last-Event-ID"] == "9"


async def test_the_server_says_how_long_to_wait(session, waits) -> None:
    first, second = stream(b"retry: 4000\ndata: 1\n\n"), stream(b"data: 2\n\n")
    async with FaultServer([first, second, DONE]) as server:
        await all_of(session, server.url)
    assert waits == [4.5, 4.5]


async def test_waits_grow_while_nothing_comes_and_start_anew_when_something_does(
    session, waits
) -> None:
    script = [stream(), stream(), stream(), stream(b": alive\n"), stream(), DONE]
    async with FaultServer(script) as server:
        await all_of(session, server.url)
    assert waits == [1.5, 2.0, 3.0, 1.5, 1.5]


async def test_too_many_connections_that_bring_nothing_end_it(session, waits) -> None:
    async with FaultServer([stream()]) as server:
        with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
            await all_of(session, server.url, max_failures=3)
    assert len(server.requests) == 4
    assert caught.value.__notes__ == ["4 connections in a row brought no event"]


@pytest.mark.parametrize("fault", [reset(), respond(503), respond(500), respond(429)])
async def test_what_may_pass_is_waited_for(session, waits, fault) -> None:
    options = CallOptions(max_attempts=1)
    async with FaultServer([fault, stream(b"data: 1\n\n"), DONE]) as server:
        assert await all_of(session, server.url, options=options) == ["1"]


async def test_a_server_that_asks_for_patience_gets_it(session, waits) -> None:
    options = CallOptions(max_attempts=1)
    script = [respond(503, headers={"Retry-After": "20"}), DONE]
    async with FaultServer(script) as server:
        await all_of(session, server.url, options=options)
    assert waits == [20.5]


@pytest.mark.parametrize("status", [404, 401, 202, 304])
async def test_what_will_not_pass_ends_it(session, waits, status: int) -> None:
    async with FaultServer([respond(status)]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await all_of(session, server.url.with_query(token="canary"))
    assert caught.value.status == status
    assert "canary" not in repr(caught.value)
    assert len(server.requests) == 1


async def test_an_event_that_is_too_large_ends_it(session, waits) -> None:
    async with FaultServer([stream(b"data: 123456789\n\n")]) as server:
        with pytest.raises(StreamFormatError):
            await all_of(session, server.url, max_event=10)
    assert len(server.requests) == 1


async def test_a_deadline_bounds_the_subscription(session) -> None:
    script = [partial_body(b"data: 1\n\n", content_length=99, headers=TYPE, then="hang")]
    async with FaultServer(script) as server:
        with pytest.raises(DeadlineExceededError):
            await all_of(session, server.url, options=CallOptions(timeout=0.1))


async def test_leaving_it_closes_its_connection(session) -> None:
    script = [partial_body(b"data: 1\n\n", content_length=99, headers=TYPE, then="hang")]
    async with FaultServer(script) as server:
        gc.disable()
        try:
            async with contextlib.aclosing(events(session, server.url)) as subscription:
                async for event in subscription:
                    assert event.data == "1"
                    break
            # At once, and not when asyncio comes to what is left of a generator.
            assert not session.connector._acquired
        finally:
            gc.enable()
        await server.wait_until(lambda: not server.open_connections)


async def test_a_connection_that_brought_something_is_no_failure(session, waits) -> None:
    async with FaultServer([stream(b"data: 1\n\n"), stream(b": well\n"), DONE]) as server:
        assert await all_of(session, server.url, max_failures=0) == ["1"]


async def test_an_id_that_no_header_takes_ends_it_where_it_would_be_told(session, waits) -> None:
    async with FaultServer([stream(b"id: 1\x012\ndata: 1\n\n"), DONE]) as server:
        with pytest.raises(StreamFormatError, match="no header takes"):
            await all_of(session, server.url)
        with pytest.raises(ValueError, match="last_event_id"):
            await all_of(session, server.url, last_event_id="1\r\nX: y")
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["trace_request_ctx", "raise_for_status", "timeout"])
async def test_arguments_of_its_own_are_refused(session, name: str) -> None:
    with pytest.raises(ValueError, match=f"not {name}="):
        await all_of(session, "http://127.0.0.1:9/", **{name: None})


async def test_a_number_of_failures_below_none_is_refused(session) -> None:
    with pytest.raises(ValueError, match="max_failures"):
        await all_of(session, "http://127.0.0.1:9/", max_failures=-1)


async def test_a_client_without_a_factory_can_subscribe_too(waits) -> None:
    async with FaultServer([stream(b"data: 1\n\n"), DONE]) as server:
        async with aiohttp.ClientSession() as session:
            assert await all_of(session, server.url) == ["1"]


async def test_a_server_that_is_silent_before_its_headers_may_answer_the_next_time(
    session, waits
) -> None:
    options = CallOptions(attempt_timeout=0.05, max_attempts=1)
    async with FaultServer([hang(), DONE]) as server:
        assert await all_of(session, server.url, options=options) == []
    assert len(server.requests) == 2

"""What reaches the wire when servers fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import socket
import time
import weakref

import aiohttp
import pytest

from platform_http.call import CallOptions
from platform_http.errors import AttemptTimeoutError
from platform_http.testing import FaultServer
from platform_http.testing.actions import (
    close,
    delay,
    hang,
    partial_body,
    raw,
    reset,
    respond,
    response_bytes,
)
from tests.functional.conftest import Observed


@pytest.mark.parametrize(("method", "requests"), [("GET", 3), ("PUT", 3), ("POST", 1)])
async def test_a_server_that_aborts_every_connection_sees_each_attempt_once(
    observed: Observed, method: str, requests: int
) -> None:
    async with FaultServer([reset()]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientOSError) as caught:
                await session.request(method, server.url, data=b"x")
    assert len(server.requests) == requests
    reason = "exhausted" if requests == 3 else "not_idempotent"
    assert caught.value.__notes__[0].endswith(f"stopped: {reason}")
    assert observed.value("platform_http_retry_stops_total", reason=reason) == 1
    observed.assert_quiet()


async def test_a_call_that_recovers_returns_the_good_response(observed: Observed) -> None:
    script = [respond(503, body=b"busy"), reset(), respond(200, body=b"fine")]
    async with FaultServer(script) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert await response.text() == "fine"
    assert len(server.requests) == 3
    assert observed.value("platform_http_calls_total", outcome="success") == 1
    assert observed.value("platform_http_retries_total", reason="503") == 1
    assert observed.value("platform_http_retries_total", reason="connection_error") == 1


async def test_the_last_response_is_returned_when_attempts_run_out(observed: Observed) -> None:
    script = [respond(503, body=b"1"), respond(502, body=b"2"), respond(504, body=b"3")]
    async with FaultServer(script) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert (response.status, await response.text()) == (504, "3")
    assert observed.value("platform_http_calls_total", outcome="error", error_type="504") == 1
    assert observed.calls[0].attributes["platform_http.stop_reason"] == "exhausted"


async def test_a_status_that_is_not_listed_is_not_resent(observed: Observed) -> None:
    async with FaultServer([respond(500)]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert response.status == 500
    assert len(server.requests) == 1


async def test_a_retry_after_beyond_the_deadline_returns_the_503_at_once(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503, headers={"Retry-After": "60"})]) as server:
        settings = {"timeout": {"total": 10}, "retry": {"retry_after_max": 300}}
        async with observed.session(**settings) as session:
            before = time.monotonic()
            async with session.get(server.url) as response:
                assert response.status == 503
            assert time.monotonic() - before < 5
    assert len(server.requests) == 1
    assert observed.value("platform_http_retry_stops_total", reason="deadline") == 1


async def test_a_retry_after_longer_than_allowed_is_not_waited_for(observed: Observed) -> None:
    async with FaultServer([respond(429, headers={"Retry-After": "60"})]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert response.status == 429
    assert len(server.requests) == 1
    assert observed.value("platform_http_retry_stops_total", reason="retry_after_max") == 1


async def test_a_short_retry_after_is_waited_for(observed: Observed) -> None:
    async with FaultServer([respond(503, headers={"Retry-After": "1"}), respond(200)]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert response.status == 200
    first, second = server.requests
    assert second.time - first.time >= 1


async def test_a_post_that_was_refused_is_resent(observed: Observed) -> None:
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        port = unbound.getsockname()[1]
        # Bound and not listening: every connect is refused.
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.post(f"http://127.0.0.1:{port}/", data=b"x")
    assert "3 attempts" in caught.value.__notes__[0]
    assert observed.value("platform_http_retries_total", reason="connection_error") == 2


async def test_a_post_that_timed_out_after_it_was_sent_is_sent_once(observed: Observed) -> None:
    async with FaultServer([hang()]) as server:
        async with observed.session(timeout={"attempt": 0.1}) as session:
            with pytest.raises(AttemptTimeoutError):
                await session.post(server.url, data=b"x")
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["order-7", True])
async def test_an_idempotency_key_makes_a_post_resendable_and_stays_the_same(
    observed: Observed, key: str | bool
) -> None:
    async with FaultServer([reset(), respond(201)]) as server:
        async with (
            observed.session() as session,
            session.post(
                server.url, data=b"x", trace_request_ctx=CallOptions(idempotency_key=key)
            ) as response,
        ):
            assert response.status == 201
    first, second = [request.headers["Idempotency-Key"] for request in server.requests]
    assert first == second != ""
    assert key is True or first == key


async def test_each_call_gets_an_idempotency_key_of_its_own(observed: Observed) -> None:
    async with FaultServer() as server:
        async with observed.session() as session:
            for _ in range(2):
                options = CallOptions(idempotency_key=True)
                async with session.post(server.url, trace_request_ctx=options):
                    pass
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 2


async def test_a_put_that_is_declared_unsafe_is_not_resent(observed: Observed) -> None:
    async with FaultServer([reset()]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientOSError):
                await session.put(server.url, trace_request_ctx=CallOptions(idempotent=False))
    assert len(server.requests) == 1


async def test_max_attempts_of_a_call_caps_it(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server:
        async with observed.session() as session:
            for attempts in (1, 2, 5):
                server.requests.clear()
                options = CallOptions(max_attempts=attempts)
                async with session.get(server.url, trace_request_ctx=options):
                    pass
                assert len(server.requests) == attempts


async def test_max_attempts_of_a_call_holds_where_the_settings_resend_nothing_by_themselves(
    observed: Observed,
) -> None:
    async with FaultServer([respond(503)]) as server:
        async with observed.session(retry={"max_attempts": 1}) as session:
            for options, attempts in ((CallOptions(), 1), (CallOptions(max_attempts=3), 3)):
                server.requests.clear()
                async with session.get(server.url, trace_request_ctx=options):
                    pass
                assert len(server.requests) == attempts


async def _pieces():
    # More than is read ahead.
    yield b"one " * 20_000
    await asyncio.sleep(0)
    yield b"two"


WHOLE = b"one " * 20_000 + b"two"


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"content"), filename="f")
    return form


def _multipart() -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter()
    writer.append("part")
    return writer


@pytest.mark.parametrize(
    "body",
    [
        lambda: {"data": b"bytes"},
        lambda: {"data": "text"},
        lambda: {"json": {"a": 1}},
        lambda: {"data": {"field": "value"}},
        lambda: {"data": io.BytesIO(b"seekable")},
        lambda: {"data": _form()},
        lambda: {"data": _multipart()},
    ],
    ids=["bytes", "str", "json", "urlencoded", "file", "multipart form", "multipart"],
)
async def test_replayable_bodies_arrive_whole_on_every_attempt(observed: Observed, body) -> None:
    async with FaultServer([reset(), respond(503), respond(200)]) as server:
        async with observed.session() as session, session.put(server.url, **body()) as response:
            assert response.status == 200
    first, second, third = [request.body for request in server.requests]
    assert first == second == third != b""


async def test_an_async_generator_body_is_never_resent_empty(observed: Observed) -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session() as session:
            async with session.put(server.url, data=_pieces()) as response:
                assert response.status == 503
    assert [request.body for request in server.requests] == [WHOLE]
    assert observed.value("platform_http_retry_stops_total", reason="body_consumed") == 1


async def test_a_body_that_was_not_touched_is_sent_after_a_refused_connection(
    observed: Observed,
) -> None:
    async with FaultServer() as server:
        url = server.url
        await server.stop()

        async def start_again() -> None:
            await asyncio.sleep(0.05)
            await late.__aenter__()

        late = FaultServer(port=url.port)
        starting = asyncio.create_task(start_again())
        slow = {"retry": {"backoff_initial": 0.3, "backoff_max": 0.3, "max_attempts": 5}}
        try:
            async with (
                observed.session(**slow) as session,
                session.post(url, data=_pieces()) as response,
            ):
                assert response.status == 200
        finally:
            await starting
            await late.stop()
    assert [request.body for request in late.requests] == [WHOLE]


async def test_a_retried_request_waits_for_100_continue_again(observed: Observed) -> None:
    early: list[bytes] = []
    statuses = iter([503, 200])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                try:
                    async with asyncio.timeout(0.1):
                        early.append(await reader.readexactly(4))
                except TimeoutError:
                    early.append(b"")
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    assert await reader.readexactly(4) == b"body"
                writer.write(response_bytes(next(statuses)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with (
            observed.session() as session,
            session.put(f"http://127.0.0.1:{port}/", data=b"body", expect100=True) as response,
        ):
            assert response.status == 200
    assert early == [b"", b""]


async def test_discarded_responses_give_their_connection_back(observed: Observed) -> None:
    # More than aiohttp buffers, so the body is not at its end when the headers arrive.
    big = respond(503, body=b"x" * 2_000_000)
    async with FaultServer([big, big, respond(200)]) as server:
        settings = {"pool": {"limit": 1, "limit_per_host": 1}, "timeout": {"pool": 0.2}}
        async with observed.session(**settings) as session:
            async with session.get(server.url) as response:
                assert response.status == 200
    observed.assert_quiet()


async def test_a_small_discarded_body_is_read_so_that_the_connection_is_reused(
    observed: Observed,
) -> None:
    headers = {"Retry-After": "1"}
    slow_body = partial_body(b"", content_length=5, status=503, headers=headers, then="keep")

    async def late_body(exchange) -> None:
        await slow_body(exchange)
        await asyncio.sleep(0.02)
        await exchange.send(b"later")

    async with FaultServer([late_body, respond(200)]) as server:
        async with observed.session() as session, session.get(server.url) as response:
            assert response.status == 200
    assert server.connections == 1


async def test_an_early_answer_to_an_upload_ends_the_upload_before_the_resend(
    observed: Observed,
) -> None:
    async with (
        FaultServer([respond(503, headers={"Connection": "close"})], read_body=False) as busy,
        observed.session(retry={"max_attempts": 2}) as session,
    ):
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            body = io.BytesIO(b"x" * 20_000_000)
            async with session.put(busy.url, data=body) as response:
                assert response.status == 503
        except aiohttp.ClientError:
            # The reset of the upload may overtake the answer.
            pass
        assert loop.time() - before < 3
    assert len(busy.requests) == 2
    observed.assert_quiet()


async def test_resends_are_capped_over_all_hops_of_a_redirect_chain(observed: Observed) -> None:
    def script(request):
        if request.target == "/start":
            failing = sum(r.target == "/start" for r in server.requests) <= 1
            return respond(503) if failing else respond(302, headers={"Location": "/end"})
        return respond(503)

    async with FaultServer(script) as server:
        async with (
            observed.session(retry={"max_attempts": 4}) as session,
            session.get(server.url.join(server.url.with_path("/start"))) as response,
        ):
            assert response.status == 503
            assert len(response.history) == 1
    targets = [request.target for request in server.requests]
    # One resend on the first hop leaves two for the second.
    assert targets == ["/start", "/start", "/end", "/end", "/end"]
    assert observed.value("platform_http_calls_total") == 1


async def test_a_name_that_does_not_resolve_is_tried_twice(observed: Observed) -> None:
    async with observed.session(retry={"max_attempts": 5}) as session:
        with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
            await session.get("http://no-such-host.invalid/")
    assert "2 attempts" in caught.value.__notes__[0]
    assert len(observed.attempts) == 2


async def test_a_malformed_response_is_not_resent(observed: Observed) -> None:
    async with FaultServer([raw(b"NOT HTTP\r\n\r\n", then="close")]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ClientResponseError):
                await session.get(server.url)
    assert len(server.requests) == 1
    assert observed.value("platform_http_calls_total", error_type="invalid_response") == 1


async def test_a_server_that_closes_without_a_word_is_tried_three_times(
    observed: Observed,
) -> None:
    async with FaultServer([close()]) as server:
        async with observed.session() as session:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await session.get(server.url)
    assert len(server.requests) == 3
    assert observed.value("platform_http_calls_total", error_type="response_ended") == 1


async def test_nothing_is_resent_with_retries_switched_off(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server:
        async with observed.session(retry={"enabled": False}) as session:
            async with session.get(server.url) as response:
                assert response.status == 503
    assert len(server.requests) == 1


async def test_an_attempt_that_timed_out_is_resent(observed: Observed) -> None:
    async with FaultServer([hang(), delay(0.01, respond(200))]) as server:
        async with observed.session(timeout={"attempt": 0.2}) as session:
            async with session.get(server.url) as response:
                assert response.status == 200
    assert len(server.requests) == 2
    assert observed.value("platform_http_retries_total", reason="attempt_timeout") == 1


async def test_a_thousand_discarded_responses_leave_no_connection(observed: Observed) -> None:
    async with FaultServer([respond(503, body=b"x" * 100_000)]) as server:
        settings = {"circuit_breaker": {"mode": "off"}, "retry": {"budget": {"capacity": 1e6}}}
        async with observed.session(**settings) as session:
            for _ in range(20):

                async def call() -> int:
                    async with session.get(server.url) as response:
                        return response.status

                statuses = await asyncio.gather(*(call() for _ in range(17)))
                assert set(statuses) == {503}
            assert not session.connector._acquired
    assert len(server.requests) == 20 * 17 * 3
    observed.assert_quiet()


async def test_a_failed_call_leaves_no_reference_cycle(observed: Observed) -> None:
    async with FaultServer([reset()]) as server, observed.session() as session:

        async def fail() -> weakref.ref[Exception]:
            try:
                await session.get(server.url)
            except aiohttp.ClientError as error:
                return weakref.ref(error)
            raise AssertionError

        await fail()
        gc.collect()
        gc.disable()
        try:
            error = await fail()
            await asyncio.sleep(0)
            assert error() is None
        finally:
            gc.enable()


async def test_an_idempotency_key_does_not_travel_to_another_origin(observed: Observed) -> None:
    async with FaultServer() as other:
        moved = respond(307, headers={"Location": str(other.url)})
        async with FaultServer([moved]) as server, observed.session() as session:
            async with session.post(server.url, trace_request_ctx=CallOptions(idempotency_key="k")):
                pass
    assert server.requests[0].headers["Idempotency-Key"] == "k"
    assert "Idempotency-Key" not in other.requests[0].headers

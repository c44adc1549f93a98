"""What a server, or the wire to it, does to a response."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from platform_http.errors import (
    AttemptTimeoutError,
    DeadlineExceededError,
    ResponseTooLargeError,
)
from platform_http.testing.actions import (
    Action,
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
from tests.faults import canaries
from tests.faults.scene import Family, Scene, scene

GZIP = {"Content-Encoding": "gzip"}
ZIPPED = gzip.compress(canaries.ANSWER * 100)


def _head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"X-Answer: " + canaries.ANSWER, *lines, b"", b""])


@dataclass(frozen=True)
class Fault:
    """A scripted answer, and what is to come of it.

    Args:
        script: What the server does, request by request.
        ends: The exception that the caller gets, or the status.
        requests: How many reach the server; all attempts do.
        body: What the caller reads.
        sound: Whether the connection may serve another request.
        settings: Of the client.
        method: Of the request.
        options: Of the request; ``data`` may be a function that makes it.
        server: Options of the server.
    """

    script: tuple[Action, ...]
    ends: type[Exception] | int
    requests: int = 1
    body: bytes | None = None
    sound: bool = False
    settings: dict[str, object] = field(default_factory=dict)
    method: str = "GET"
    options: dict[str, object] = field(default_factory=dict)
    server: dict[str, object] = field(default_factory=dict)


async def _endless(size: int = 65_536) -> AsyncIterator[bytes]:
    while True:
        yield canaries.BODY + bytes(size)
        await asyncio.sleep(0)


MALFORMED = aiohttp.ClientResponseError
PAYLOAD = aiohttp.ClientPayloadError

FAULTS = {
    "close before the first byte": Fault((close(),), aiohttp.ServerDisconnectedError, 3),
    "RST before the first byte": Fault((reset(),), aiohttp.ClientOSError, 3),
    "partial headers": Fault((raw(_head()[:-9], then="close"),), aiohttp.ClientError, 3),
    "body shorter than Content-Length": Fault(
        (partial_body(canaries.ANSWER, content_length=1000),), PAYLOAD
    ),
    "body cut by a RST": Fault(
        (partial_body(canaries.ANSWER, content_length=1000, then="reset"),), aiohttp.ClientError
    ),
    "chunk cut": Fault((chunked([canaries.ANSWER], complete=False, then="close"),), PAYLOAD),
    "chunk garbage": Fault(
        (raw(_head(b"Transfer-Encoding: chunked") + canaries.ANSWER + b"\r\n"),), MALFORMED
    ),
    "garbage after a chunk": Fault(
        (
            sequence(
                chunked([canaries.ANSWER], complete=False), delay(0.02, raw(b"zz\r\nnonsense\r\n"))
            ),
        ),
        PAYLOAD,
    ),
    "gzip cut with right length": Fault((respond(headers=GZIP, body=ZIPPED[:-12]),), PAYLOAD),
    "gzip bad CRC": Fault(
        (respond(headers=GZIP, body=ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:]),), PAYLOAD
    ),
    "gzip bomb": Fault(
        (respond(headers=GZIP, body=gzip.compress(bytes(40_000_000))),),
        ResponseTooLargeError,
        settings={"response": {"max_body": 1_000_000}},
    ),
    "deflate garbage": Fault(
        (respond(headers={"Content-Encoding": "deflate"}, body=canaries.ANSWER),), PAYLOAD
    ),
    "EOF-delimited cut": Fault(
        (sequence(raw(_head(b"Connection: close") + canaries.ANSWER), delay(0.02, reset())),),
        aiohttp.ClientError,
    ),
    "header drip": Fault((drip(_head(), interval=0.02),), DeadlineExceededError, 2),
    "body drip": Fault(
        (sequence(raw(_head(b"Content-Length: 1000")), drip(b"x" * 1000, interval=0.02)),),
        DeadlineExceededError,
    ),
    "1xx flood": Fault(
        (repeat(b"HTTP/1.1 102 Processing\r\n\r\n", interval=0.001),), DeadlineExceededError, 2
    ),
    "1xx flood without a pause": Fault(
        (repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50, interval=0.0),),
        DeadlineExceededError,
        2,
    ),
    "no 100-continue": Fault(
        (hang(),),
        AttemptTimeoutError,
        method="POST",
        options={"data": canaries.BODY, "expect100": True},
        server={"read_body": False},
    ),
    "peer stops reading": Fault(
        (stall(),),
        AttemptTimeoutError,
        method="POST",
        options={"data": lambda: io.BytesIO(canaries.BODY + bytes(30_000_000))},
        server={"read_body": False},
    ),
    "early 413 during an upload": Fault(
        (sequence(respond(413), delay(0.1, close())),),
        413,
        method="POST",
        options={"data": _endless},
        server={"read_body": False},
    ),
    "bad status line": Fault((raw(b"HTTP/1.1 2OO " + canaries.ANSWER + b"\r\n\r\n"),), MALFORMED),
    "no HTTP at all": Fault((raw(b"220 " + canaries.ANSWER + b" ESMTP\r\n"),), MALFORMED),
    "CL and TE": Fault(
        (raw(_head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),),
        MALFORMED,
    ),
    "two CLs": Fault(
        (raw(_head(b"Content-Length: 5", b"Content-Length: 6") + b"hello!"),), MALFORMED
    ),
    "NUL": Fault((raw(_head(b"X-Nul: a\0" + canaries.ANSWER, b"Content-Length: 0")),), MALFORMED),
    "huge header": Fault(
        (raw(_head(b"X-Huge: " + canaries.ANSWER * 6000, b"Content-Length: 0")),),
        aiohttp.ClientError,
    ),
    "200 headers": Fault(
        (
            raw(
                _head(
                    *(b"X-%d: %b" % (n, canaries.ANSWER) for n in range(200)), b"Content-Length: 0"
                )
            ),
        ),
        aiohttp.ClientError,
    ),
    "bytes beyond Content-Length": Fault(
        (sequence(respond(body=b"hello"), delay(0.02, raw(canaries.ANSWER))),), 200, body=b"hello"
    ),
    "bytes beyond Content-Length in one segment": Fault(
        (raw(response_bytes(body=b"hello") + canaries.ANSWER + b"\r\n"),), MALFORMED
    ),
    "unsolicited second response": Fault(
        (sequence(respond(body=b"hello"), delay(0.02, raw(response_bytes(500)))),),
        200,
        body=b"hello",
    ),
    "204 with a body": Fault(
        (raw(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello\r\n"),), MALFORMED
    ),
    "204 with a body that comes later": Fault(
        (
            sequence(
                raw(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
                delay(0.02, raw(b"hello")),
            ),
        ),
        204,
        body=b"",
    ),
    # aiohttp hands a 101 to whoever gets it; what holds is that its connection serves nobody else.
    "unasked 101": Fault(
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),),
        101,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_on_the_wire(name: str) -> None:
    fault = FAULTS[name]
    async with scene(**fault.settings) as made:
        async with made.server(*fault.script, **fault.server) as server:
            options = dict(fault.options)
            if callable(options.get("data")):
                options["data"] = options["data"]()
            result = await made.call(server.url, method=fault.method, **options)
            made.expect(attempts=fault.requests, requests=fault.requests)
            if isinstance(fault.ends, int):
                assert result.error is None, repr(result.error)
                assert result.status == fault.ends
                assert fault.body is None or result.body == fault.body
            else:
                # Without the body: pytest would take a while over a bomb.
                got = result.error or result.status
                assert isinstance(got, fault.ends), repr(got)
            # Whatever the caller saw is what was counted.
            outcome = "success" if isinstance(fault.ends, int) else "error"
            assert made.observed.value("platform_http_calls_total", outcome=outcome) == 1
            await asyncio.sleep(0.05)
            if server._read_body:
                await made.assert_clean_again(server, reuses=fault.sound)


FAMILY = Family()


@FAMILY.case("RST on a reused connection")
async def _(made: Scene) -> None:
    async with made.server(reset(), respond(body=b"again")) as server:
        await made.call(server.url / "clean")
        result = await made.call(server.url)
        assert result.body == b"again"
        made.expect(attempts=3, requests=3)
        assert [request.connection_id for request in server.requests] == [1, 1, 2]


async def _stale(made: Scene, count: int) -> tuple[bool, list[int]]:
    """Fill the pool with *count* connections that the server resets at their next request."""
    async with made.server(
        *[delay(0.05, respond())] * count, *[reset()] * count, respond()
    ) as server:
        await asyncio.gather(*(made.call(server.url) for _ in range(count)))
        assert server.connections == count
        made.expect(attempts=count, requests=count)
        result = await made.call(server.url)
        tries = len(server.requests) - count
        made.expect(attempts=tries, requests=tries)
        return result.error is None, [each.connection_id for each in server.requests[count:]]


@FAMILY.case("several stale pooled connections")
async def _(made: Scene) -> None:
    answered, connections = await _stale(made, 2)
    assert answered
    assert sorted(connections[:2]) == [1, 2]
    assert connections[2] == 3


@FAMILY.case("more stale pooled connections than attempts")
async def _(made: Scene) -> None:
    answered, connections = await _stale(made, 5)
    assert not answered
    assert len(set(connections)) == len(connections) == 3


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_of_pooled_connections(name: str) -> None:
    await FAMILY.run(name)

"""The scenarios of a migration: what old clients and new sessions most often differ in."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from platform_http.testing.actions import (
    chunked,
    close,
    delay,
    drip,
    hang,
    partial_body,
    raw,
    reset,
    respond,
    response_bytes,
)
from platform_http.testing.parity.scenario import Request, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from platform_http.testing.actions import Action
    from platform_http.testing.fault_server import Script
    from platform_http.testing.wire import ReceivedRequest

_POST = Request("POST", body=b'{"amount": 1}', headers={"Content-Type": "application/json"})
_TWICE = (Request(), Request())
_TEXT = "text/plain; charset=utf-8"
_LARGE = bytes(range(256)) * 4096


def _play(*actions: Action) -> Callable[[float], Script]:
    return lambda _: actions


def _ok(body: bytes = b"hello", *, kind: str = _TEXT) -> Action:
    return respond(200, headers={"Content-Type": kind, "X-Answer": "42"}, body=body)


def _moved(status: int) -> Callable[[float], Script]:
    return _play(respond(status, headers={"Location": "/new?page=2"}), _ok())


def _basics() -> Iterator[Scenario]:
    yield Scenario(
        "basics.get",
        "the simplest request of all",
        _play(_ok()),
        answer_headers=("X-Answer", "Content-Type"),
    )
    yield Scenario(
        "basics.head",
        "a HEAD has a length and no body",
        _play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")),
        (Request("HEAD"),),
        answer_headers=("Content-Length",),
    )
    yield Scenario(
        "basics.headers",
        "what the application sends reaches the server as it is",
        _play(_ok()),
        (Request(headers={"X-Tenant": "blue", "Authorization": "Bearer of-a-scenario"}),),
        request_headers=("X-Tenant", "Authorization"),
    )
    yield Scenario("basics.no_content", "a 204 is an answer", _play(respond(204)))
    yield Scenario("basics.not_found", "a 404 is answered or raised", _play(respond(404)))
    yield Scenario("basics.server_error", "a 500 is answered or raised", _play(respond(500)))


def _json() -> Iterator[Scenario]:
    yield Scenario(
        "json.post",
        "a JSON body and its headers, byte for byte",
        _play(_ok(b'{"id": 7}', kind="application/json")),
        (_POST,),
        request_headers=("Content-Type", "Content-Length", "Transfer-Encoding"),
        text=True,
    )
    yield Scenario(
        "json.utf8",
        "JSON without a charset is UTF-8 (RFC 8259)",
        _play(_ok('{"name": "Zoë"}'.encode(), kind="application/json")),
        text=True,
    )
    yield Scenario(
        "json.latin1",
        "the declared charset decides how text is decoded",
        _play(_ok("Zoë".encode("latin-1"), kind="text/plain; charset=iso-8859-1")),
        text=True,
    )


def _urls() -> Iterator[Scenario]:
    for case, path, about in (
        ("query", "/find?q=a%20b&r=c+d", "a query that is quoted already is not quoted again"),
        ("unicode", "/caf%C3%A9?q=%C3%BC", "what is not ASCII stays quoted"),
        ("slash", "/a%2Fb", "a quoted slash is no separator"),
        ("dots", "/v1/../v2/./orders", "dot segments are resolved by the client or by the server"),
        ("empty_value", "/find?a=&b", "a key without a value"),
    ):
        yield Scenario(f"urls.{case}", about, _play(_ok()), (Request(path=path),))


def _timeouts() -> Iterator[Scenario]:
    def body_stops(_: float) -> Script:
        return [partial_body(b"half", content_length=8, then="hang")]

    def drips(timeout: float) -> Script:
        # Never silent for long, and in all three times as long as allowed.
        return [drip(response_bytes(200, body=b"x" * 100), interval=timeout / 10, size=4)]

    def late(timeout: float) -> Script:
        return [delay(timeout / 5, _ok())]

    for case, script, about in (
        ("silent", _play(hang()), "the server never answers"),
        ("body", body_stops, "the body stops half-way"),
        ("drip", drips, "bytes come slowly, for ever: a timeout of reads alone does not end it"),
        ("late", late, "slow but in time is no timeout"),
    ):
        yield Scenario(f"timeouts.{case}", about, script, timed=True)


def _retries() -> Iterator[Scenario]:
    ok = _ok()
    busy = respond(429, headers={"Retry-After": "0"})
    for case, script, request, about in (
        ("503", _play(respond(503), ok), Request(), "a passing 503 of a GET"),
        ("503_post", _play(respond(503), ok), _POST, "a POST may have been carried out"),
        ("503_forever", _play(respond(503)), Request(), "how often it is tried, and what comes"),
        ("429", _play(busy, ok), Request(), "the server says when to come back"),
        ("500", _play(respond(500), ok), Request(), "a 500 is seldom cured by a second try"),
        ("reset", _play(reset(), ok), Request(), "a connection that breaks before the answer"),
        ("closed", _play(close(), ok), Request(), "the server closes instead of answering"),
        ("reset_post", _play(reset(), ok), _POST, "nobody knows whether it was carried out"),
    ):
        yield Scenario(f"retries.{case}", about, script, (request,))


def _redirects() -> Iterator[Scenario]:
    yield Scenario("redirects.get", "followed or returned", _moved(302))
    for status, about in (
        (301, "a POST becomes a GET, or not"),
        (302, "a POST becomes a GET"),
        (303, "a POST becomes a GET"),
        (307, "a POST stays a POST and its body is sent again"),
        (308, "a POST stays a POST and its body is sent again"),
    ):
        yield Scenario(f"redirects.post_{status}", about, _moved(status), (_POST,))
    yield Scenario(
        "redirects.loop",
        "how many are followed, and what comes then",
        _play(respond(302, headers={"Location": "/"})),
    )
    yield Scenario(
        "redirects.credentials",
        "another origin must not get the Authorization and the API key",
        lambda _: _elsewhere,
        (Request(headers={"Authorization": "Bearer of-a-scenario", "X-Api-Key": "of-a-scenario"}),),
        request_headers=("Authorization", "X-Api-Key"),
    )


def _elsewhere(request: ReceivedRequest) -> Action:
    if request.target != "/":
        return _ok()
    port = request.headers["Host"].rpartition(":")[2]
    # The same server under another name is another origin.
    return respond(302, headers={"Location": f"http://localhost:{port}/elsewhere"})


def _cookies() -> Iterator[Scenario]:
    for case, attributes, about in (
        ("kept", "Path=/kept", "a cookie is sent back, if the client keeps cookies"),
        ("secure", "Path=/secure; Secure", "a secure cookie does not travel over plain HTTP"),
        ("path", "Path=/elsewhere", "a cookie of another path is not sent"),
        ("expired", "Path=/expired; Max-Age=0", "a cookie that ends at once is not sent"),
    ):
        yield Scenario(
            f"cookies.{case}",
            about,
            _play(respond(headers={"Set-Cookie": f"{case}=1; {attributes}"}), _ok()),
            (Request(path=f"/{case}"), Request(path=f"/{case}")),
            # Cookies of IP addresses are another matter.
            host="localhost",
            request_headers=("Cookie",),
            answer_headers=("Set-Cookie",),
        )


def _streaming() -> Iterator[Scenario]:
    pieces = [_LARGE[start : start + 65_536] for start in range(0, len(_LARGE), 65_536)]
    squeezed = respond(
        headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"zipped " * 1000, mtime=0)
    )
    yield Scenario("streaming.large", "a megabyte with a length", _play(respond(body=_LARGE)))
    yield Scenario("streaming.chunked", "a megabyte without a length", _play(chunked(pieces)))
    yield Scenario("streaming.gzip", "decompressed on the way", _play(squeezed))
    yield Scenario(
        "streaming.upload",
        "a megabyte to the server, and how it is framed",
        _play(_ok()),
        (Request("PUT", body=_LARGE),),
        request_headers=("Content-Length", "Transfer-Encoding"),
    )
    yield Scenario(
        "streaming.cut",
        "a body that is shorter than announced is an error, not a short body",
        _play(partial_body(b"half", content_length=8)),
    )
    yield Scenario(
        "streaming.chunked_cut",
        "a chunked body without its end is an error, not a short body",
        _play(chunked([b"half"], complete=False, then="close")),
    )


def _errors() -> Iterator[Scenario]:
    yield Scenario(
        "errors.reset",
        "a connection that breaks, however often it is tried",
        _play(reset()),
        (_POST,),
    )
    yield Scenario(
        "errors.malformed",
        "what is not HTTP is an error",
        _play(raw(b"NOT HTTP\r\n\r\n", then="close")),
        (_POST,),
    )
    yield Scenario(
        "errors.gzip",
        "a body that cannot be decompressed is an error",
        _play(respond(headers={"Content-Encoding": "gzip"}, body=b"not gzip at all")),
    )


def _connections() -> Iterator[Scenario]:
    parting = respond(200, headers={"Connection": "close"}, body=b"bye", then="close")
    yield Scenario(
        "connections.reused",
        "one connection for both calls",
        _play(_ok()),
        _TWICE,
        connections=True,
    )
    yield Scenario(
        "connections.after_error",
        "an answer with an error keeps its connection",
        _play(respond(404, body=b"no"), _ok()),
        _TWICE,
        connections=True,
    )
    yield Scenario(
        "connections.closed",
        "a connection that the server gave up is not used again",
        _play(parting),
        _TWICE,
        connections=True,
    )


def _cancellation() -> Iterator[Scenario]:
    yield Scenario(
        "cancel.waiting",
        "a call that is cancelled ends at once, and the next one gets its own answer",
        _play(delay(0.2, _ok(b"of the cancelled call")), _ok()),
        (Request(path="/cancelled", cancelled=True), Request()),
        connections=True,
    )


SCENARIOS: tuple[Scenario, ...] = (
    *_basics(),
    *_json(),
    *_urls(),
    *_timeouts(),
    *_retries(),
    *_redirects(),
    *_cookies(),
    *_streaming(),
    *_errors(),
    *_connections(),
    *_cancellation(),
)
"""All of them. Some: ``[each for each in SCENARIOS if each.name.startswith("retries.")]``."""

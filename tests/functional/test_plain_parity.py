"""The profile ``plain`` beside a bare session of aiohttp: the same scenarios, the same results."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http.errors import (
    CircuitOpenError,
    ConcurrencyLimitError,
    RateLimitedError,
    ThrottledError,
)
from platform_http.factory import SessionFactory
from platform_http.settings import plain_settings
from platform_http.testing import FaultServer, ReceivedRequest, parity
from platform_http.testing.actions import (
    Action,
    chunked,
    close,
    delay,
    hang,
    partial_body,
    raw,
    reset,
    respond,
)
from tests.functional.conftest import Observed
from tests.servers import free_port

Seen: TypeAlias = dict[str, object]
Scenario: TypeAlias = Callable[[aiohttp.ClientSession, URL], Awaitable[object]]


@asynccontextmanager
async def _bare() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@asynccontextmanager
async def _plain(**overrides: object) -> AsyncIterator[aiohttp.ClientSession]:
    settings = plain_settings(**overrides)
    async with SessionFactory(settings, registry=CollectorRegistry()) as factory:
        yield factory.session()


def _wire(request: ReceivedRequest, port: int) -> tuple[object, ...]:
    """What the server saw, without what differs from server to server by its nature."""
    headers = [
        (name, value.replace(str(port), "PORT"))
        for name, value in request.headers.items()
        if not value.startswith("multipart/")
    ]
    body = request.body if b"boundary" not in request.head else len(request.body)
    return request.method, request.target.replace(str(port), "PORT"), headers, body


async def _result(scenario: Scenario, session: aiohttp.ClientSession, url: URL) -> object:
    try:
        return await scenario(session, url)
    except Exception as error:
        return type(error)


async def _both(scenario: Scenario, script: Callable[[], list[Action]]) -> list[object]:
    """Play *scenario* on both sessions; return what came of it and what the server saw."""
    outcomes: list[object] = []
    for open_session in (_bare, _plain):
        async with FaultServer(script()) as server, open_session() as session:
            result = await _result(scenario, session, server.url)
            sent = [_wire(request, server.port) for request in server.requests]
            outcomes.append((_without_port(result, server.port), sent, server.connections))
    return outcomes


def _without_port(result: object, port: int) -> object:
    return repr(result).replace(str(port), "PORT")


async def _described(response: aiohttp.ClientResponse) -> Seen:
    return {
        "status": response.status,
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "url": str(response.url),
        "history": [(each.status, each.method, str(each.url)) for each in response.history],
        "cookies": sorted(response.cookies),
        "body": await response.read(),
    }


def _request(method: str = "GET", path: str = "/", **options: object) -> Scenario:
    async def scenario(session: aiohttp.ClientSession, url: URL) -> object:
        body = options.get("data")
        arguments = options | {"data": body()} if callable(body) else options
        async with session.request(method, url.join(URL(path)), **arguments) as response:
            return await _described(response)

    return scenario


async def _pieces() -> AsyncIterator[bytes]:
    for piece in (b"one", b"two", b"three"):
        yield piece


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"content"), filename="a.txt")
    return form


def _moved(status: int) -> Callable[[], list[Action]]:
    def script() -> list[Action]:
        return [respond(status, headers={"Location": "/new?x=1"}), respond(200, body=b"new")]

    return script


def _ok() -> list[Action]:
    return [respond(200, headers={"X-Answer": "42"}, body=b"hello")]


def _just(*actions: Action) -> Callable[[], list[Action]]:
    return lambda: list(actions)


async def _cookies(session: aiohttp.ClientSession, url: URL) -> object:
    named = url.with_host("localhost")
    async with session.get(named), session.get(named) as response:
        return sorted((cookie.key, cookie.value) for cookie in session.cookie_jar), response.status


async def _stream(session: aiohttp.ClientSession, url: URL) -> object:
    async with session.get(url) as response:
        return b"".join([piece async for piece in response.content.iter_chunked(7)])


async def _reuse(session: aiohttp.ClientSession, url: URL) -> object:
    for _ in range(3):
        async with session.get(url) as response:
            await response.read()
    return response.status


async def _json(session: aiohttp.ClientSession, url: URL) -> object:
    async with session.post(url, json={"a": [1, "ü"]}) as response:
        return await response.json()


async def _raised_later(session: aiohttp.ClientSession, url: URL) -> object:
    async with session.get(url) as response:
        try:
            response.raise_for_status()
        except aiohttp.ClientResponseError as error:
            return error.status, error.message, type(error)
    return None


BOOM = gzip.compress(b"zipped " * 100)
SCENARIOS: Mapping[str, tuple[Scenario, Callable[[], list[Action]]]] = {
    "get": (_request(), _ok),
    "get with params": (_request(params={"q": "a b", "r": "ü&"}), _ok),
    "get with a query of its own": (_request(path="/a%2Fb?x=%20&y=+"), _ok),
    "get with headers": (_request(headers={"X-One": "1", "Accept": "text/plain"}), _ok),
    "get with an authorization": (_request(headers={"Authorization": "Basic dTpw"}), _ok),
    "head": (_request("HEAD"), _just(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))),
    "options": (_request("OPTIONS"), _ok),
    "a method of its own": (_request("PURGE"), _ok),
    "post bytes": (_request("POST", data=b"bytes"), _ok),
    "post text": (_request("POST", data="text ü"), _ok),
    "post form": (_request("POST", data={"a": "1", "b": "ü"}), _ok),
    "post file": (_request("POST", data=lambda: io.BytesIO(b"f" * 100_000)), _ok),
    "post generator": (_request("POST", data=_pieces), _ok),
    "post multipart": (_request("POST", data=_form), _ok),
    "post nothing": (_request("POST"), _ok),
    "post compressed": (_request("POST", data=b"x" * 1000, compress=True), _ok),
    "post json": (_json, _just(respond(headers={"Content-Type": "application/json"}, body=b"[1]"))),
    "put expecting 100": (_request("PUT", data=b"x", expect100=True), _ok),
    "delete": (_request("DELETE"), _just(respond(204))),
    **{
        f"{method.lower()} redirected with {status}": (
            _request(method, data=b"body" if method == "POST" else None),
            _moved(status),
        )
        for status in (301, 302, 303, 307, 308)
        for method in ("GET", "POST", "HEAD")
    },
    "redirect not followed": (_request(allow_redirects=False), _moved(302)),
    "redirect of a generator": (_request("POST", data=_pieces), _moved(307)),
    "redirect without a location": (_request(), _just(respond(302))),
    "redirect to nowhere": (_request(), _just(respond(302, headers={"Location": "ftp://x/"}))),
    "redirects for ever": (_request(), _just(respond(302, headers={"Location": "/"}))),
    "redirects for longer than allowed": (_request(max_redirects=2), _moved(302)),
    "not modified": (_request(), _just(respond(304))),
    "not found": (_request(), _just(respond(404, body=b"no"))),
    "not found, raised": (_request(raise_for_status=True), _just(respond(404, body=b"no"))),
    "not found, raised later": (_raised_later, _just(respond(404))),
    "unavailable": (_request(), _just(respond(503, body=b"later"))),
    "too many": (_request(), _just(respond(429, headers={"Retry-After": "0"}))),
    "cookies": (_cookies, _just(respond(headers={"Set-Cookie": "a=1; Path=/"}))),
    "gzip": (_request(), _just(respond(headers={"Content-Encoding": "gzip"}, body=BOOM))),
    "broken gzip": (_request(), _just(respond(headers={"Content-Encoding": "gzip"}, body=b"x"))),
    "chunked": (_request(), _just(chunked([b"one", b"two"]))),
    "chunked and cut": (_request(), _just(chunked([b"one"], complete=False, then="close"))),
    "streamed": (_stream, _just(respond(body=bytes(range(256))))),
    "kept alive": (_reuse, _ok),
    "closed by the server": (_reuse, _just(respond(headers={"Connection": "close"}, then="close"))),
    "slow": (_request(), _just(delay(0.02, respond(body=b"late")))),
    "body cut": (_request(), _just(partial_body(b"x", content_length=10))),
    "body reset": (_request(), _just(partial_body(b"x", content_length=10, then="reset"))),
    "post, reset": (_request("POST", data=b"x"), _just(reset())),
    "post, closed": (_request("POST", data=b"x"), _just(close())),
    "malformed": (_request(), _just(raw(b"NOT HTTP\r\n\r\n", then="close"))),
    "a header line too long": (_request(), _just(respond(headers={"X": "y" * 10_000}))),
    "timeout": (_request(timeout=aiohttp.ClientTimeout(total=0.05)), _just(hang())),
    "read timeout": (_request(timeout=aiohttp.ClientTimeout(sock_read=0.05)), _just(hang())),
    "timeout in the body": (
        _request(timeout=aiohttp.ClientTimeout(total=0.05)),
        _just(partial_body(b"x", content_length=10, then="hang")),
    ),
    "no host": (_request(path="http:///"), _ok),
    "a scheme of its own": (_request(path="ftp://localhost/"), _ok),
    "a header with a line break": (_request(headers={"X": "a\r\nb"}), _ok),
    "data and json": (_request("POST", data=b"x", json={}), _ok),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_goes_as_on_a_bare_session(name: str) -> None:
    bare, plain = await _both(*SCENARIOS[name])
    assert plain == bare


async def test_only_the_hidden_resend_of_aiohttp_is_away() -> None:
    async with _bare() as bare, _plain() as plain:
        report = await parity.check(bare, plain)
    resent = {"retries.reset", "retries.closed"}
    assert {each.scenario for each in report.differences} == resent
    sent = {(each.old, each.new) for each in report.differences if each.aspect == "requests"}
    assert sent == {("2 x GET /", "GET /")}


async def test_a_refused_connection_is_the_same_error() -> None:
    results = []
    url = URL(f"http://127.0.0.1:{free_port()}/")
    for open_session in (_bare, _plain):
        async with open_session() as session:
            results.append(await _result(_request(), session, url))
    assert results == [aiohttp.ClientConnectorError] * 2


async def test_a_name_that_does_not_resolve_is_the_same_error() -> None:
    results = []
    for open_session in (_bare, _plain):
        async with open_session() as session:
            url = URL("http://no-such-host.invalid/")
            results.append(await _result(_request(), session, url))
    assert results == [aiohttp.ClientConnectorDNSError] * 2


async def test_a_websocket_echoes_the_same() -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{message.data}!")
        return socket

    async def talk(session: aiohttp.ClientSession, url: URL) -> object:
        async with session.ws_connect(url, protocols=["chat"]) as socket:
            await socket.send_str("hello")
            heard = await socket.receive_str()
            await socket.close()
            return heard, socket.protocol, socket.close_code

    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    results = []
    for open_session in (_bare, _plain):
        async with open_session() as session:
            results.append(await _result(talk, session, url))
    await runner.cleanup()
    assert results == [("hello!", "chat", 1000)] * 2


async def _status(session: aiohttp.ClientSession, url: URL) -> object:
    async with session.get(url) as response:
        await response.read()
        return response.status


async def test_retries_alone_can_be_switched_on() -> None:
    async with FaultServer([respond(503), reset(), respond(200)]) as server:
        async with _plain(retry={"enabled": True, "backoff_initial": 0.001}) as session:
            assert await _status(session, server.url) == 200
    assert len(server.requests) == 3


async def test_the_circuit_breaker_alone_can_be_switched_on() -> None:
    breaker = {"mode": "enforce", "minimum_calls": 3}
    async with FaultServer([respond(503)]) as server, _plain(circuit_breaker=breaker) as session:
        for _ in range(3):
            assert await _status(session, server.url) == 503
        with pytest.raises(CircuitOpenError):
            await _status(session, server.url)
    assert len(server.requests) == 3


async def test_the_concurrency_limit_alone_can_be_switched_on() -> None:
    async with FaultServer([delay(0.1, respond())]) as server:
        async with _plain(concurrency={"limit": 1, "queue": 0}) as session:
            results = await asyncio.gather(
                _status(session, server.url), _status(session, server.url), return_exceptions=True
            )
    assert results[0] == 200
    assert isinstance(results[1], ConcurrencyLimitError)


async def test_the_rate_limit_alone_can_be_switched_on() -> None:
    async with FaultServer() as server, _plain(rate_limit={"rate": 1, "per": 60}) as session:
        assert await _status(session, server.url) == 200
        with pytest.raises(RateLimitedError):
            await _status(session, server.url)


async def test_hedging_alone_can_be_switched_on() -> None:
    hedging = {"enabled": True, "delay": 0.02, "max_ratio": 1}
    async with FaultServer([hang(), respond(200)]) as server, _plain(hedging=hedging) as session:
        async with asyncio.timeout(2):
            assert await _status(session, server.url) == 200
    assert len(server.requests) == 2


async def test_the_throttle_alone_can_be_switched_on() -> None:
    throttle = {"enabled": True, "k": 1}
    refused = 0
    async with FaultServer([respond(503)]) as server, _plain(throttle=throttle) as session:
        for _ in range(100):
            try:
                await _status(session, server.url)
            except ThrottledError:
                refused += 1
    assert refused > 20
    assert len(server.requests) == 100 - refused


async def test_telemetry_alone_can_be_switched_on(observed: Observed) -> None:
    settings = plain_settings(telemetry={"traces": True, "metrics": True})
    async with FaultServer() as server:
        async with SessionFactory(
            settings, registry=observed.registry, tracer_provider=observed.provider
        ) as factory:
            assert await _status(factory.session(), server.url) == 200
    assert "traceparent" in server.requests[0].headers
    assert observed.value("platform_http_calls_total", outcome="success") == 1
    assert len(observed.spans) == 1


async def test_deadline_headers_alone_can_be_switched_on() -> None:
    async with FaultServer() as server:
        settings = {"propagation": {"enabled": True}, "base_url": str(server.url)}
        async with _plain(**settings) as session:
            assert await _status(session, server.url) == 200
    assert server.requests[0].headers["X-Request-Attempt"] == "1"


@pytest.mark.parametrize(
    ("timeout", "answer"),
    [
        ({"attempt": 0.05, "connect": 0.01}, hang()),
        ({"read": 0.05}, partial_body(b"x", content_length=5, then="hang")),
        ({"total": 0.05, "connect": 0.01}, hang()),
    ],
    ids=["attempt", "read", "total"],
)
async def test_each_timeout_alone_can_be_switched_on(
    timeout: dict[str, float], answer: Action
) -> None:
    async with FaultServer([answer]) as server, _plain(timeout=timeout) as session:
        async with asyncio.timeout(2):
            with pytest.raises(TimeoutError):
                await _status(session, server.url)

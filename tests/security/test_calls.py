"""What becomes of a call, no secret of it is told; see ``stage`` for where they are planted."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from operator import methodcaller

import aiohttp
import pytest
from yarl import URL

from platform_http.call import CallOptions
from platform_http.errors import (
    AttemptTimeoutError,
    CircuitOpenError,
    ConcurrencyLimitError,
    DeadlineExceededError,
    EgressDeniedError,
    FactoryClosedError,
    PoolTimeoutError,
    RateLimitedError,
    ResponseTooLargeError,
    ThrottledError,
)
from platform_http.testing import FaultServer, black_hole
from platform_http.testing.actions import (
    Action,
    chunked,
    close,
    hang,
    partial_body,
    raw,
    reset,
    respond,
)
from tests.certificates import Certificates
from tests.security.canaries import CANARIES
from tests.security.stage import (
    ANSWER,
    BODY,
    HEADERS,
    PROXY_LOGIN,
    answer,
    planted,
    redirect,
    stage,
)
from tests.servers import free_port

PUBLIC = {"mode": "public", "trust_proxy": True}
HEAD = b"HTTP/1.1 200 OK\r\nX-Answer: " + CANARIES["answer-header"].encode() + b"\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@dataclass(frozen=True)
class Ending:
    """What a server does to a call, and what comes of it.

    Args:
        script: Of the server.
        ends: The status, or the exception that the caller gets.
        settings: Of the client.
        options: Of the request.
        consume: Reads the response.
    """

    script: tuple[Action, ...]
    ends: int | type[BaseException]
    settings: dict[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    consume: Callable[[aiohttp.ClientResponse], Awaitable[object]] = methodcaller("read")


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    response.raise_for_status()


async def _lines(response: aiohttp.ClientResponse) -> None:
    async for _ in response.content:
        pass


async def _nothing(response: aiohttp.ClientResponse) -> None:
    pass


ENDINGS = {
    "success": Ending((answer(),), 200),
    "success read as JSON": Ending((answer(),), 200, consume=methodcaller("json")),
    "success in lines": Ending((answer(),), 200, consume=_lines),
    "success that is never read": Ending((answer(),), 200, consume=_nothing),
    "a failure of the server": Ending((answer(500),), 500),
    "a failure of the server with a key, resent": Ending(
        (answer(503), reset(), answer(200)),
        200,
        options={
            "trace_request_ctx": CallOptions(idempotency_key=CANARIES["header"], max_attempts=3)
        },
    ),
    "a failure that lasts": Ending((answer(503),), 503, options={"method": "PUT"}),
    "a status that is raised": Ending(
        (answer(404),), aiohttp.ClientResponseError, options={"raise_for_status": True}
    ),
    "a status that is raised later": Ending(
        (answer(404),), aiohttp.ClientResponseError, consume=_raise_for_status
    ),
    "no JSON": Ending(
        (respond(headers={"Content-Type": f"text/{CANARIES['answer-header']}"}, body=ANSWER),),
        aiohttp.ContentTypeError,
        consume=methodcaller("json"),
    ),
    "no text": Ending(
        (respond(headers={"Content-Type": "text/plain"}, body=ANSWER + b"\xff"),),
        UnicodeDecodeError,
        consume=methodcaller("text"),
    ),
    "closed before the first byte": Ending((close(),), aiohttp.ServerDisconnectedError),
    "reset before the first byte": Ending((reset(),), aiohttp.ClientOSError),
    "reset, resent, reset": Ending((reset(),), aiohttp.ClientOSError, options={"method": "PUT"}),
    "closed in the headers": Ending((raw(HEAD, then="close"),), aiohttp.ServerDisconnectedError),
    "a malformed status line": Ending(
        (raw(b"HTTP/1.1 2x0 " + ANSWER + b"\r\n\r\n"),), aiohttp.ClientResponseError
    ),
    "a malformed header": Ending(
        (raw(HEAD + ANSWER + b"\0\r\n\r\n"),), aiohttp.ClientResponseError
    ),
    "a header that is too long": Ending(
        (raw(HEAD + b"X: " + ANSWER * 1000 + b"\r\n\r\n"),), aiohttp.ClientResponseError
    ),
    "a malformed chunk": Ending(
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + ANSWER + b"\r\n"),),
        aiohttp.ClientResponseError,
    ),
    "a cut chunk": Ending(
        (chunked([ANSWER], complete=False, then="close"),), aiohttp.ClientPayloadError
    ),
    "a cut body": Ending((partial_body(ANSWER, content_length=1000),), aiohttp.ClientPayloadError),
    "a cut compressed body": Ending(
        (respond(headers={"Content-Encoding": "gzip"}, body=gzip.compress(ANSWER)[:-9]),),
        aiohttp.ClientPayloadError,
    ),
    "a compressed body that is none": Ending(
        (respond(headers={"Content-Encoding": "gzip"}, body=ANSWER),), aiohttp.ClientPayloadError
    ),
    "a body that is too large": Ending(
        (answer(),), ResponseTooLargeError, {"response": {"max_body": 10}}
    ),
    "no answer": Ending((hang(),), AttemptTimeoutError, {"timeout": {"attempt": 0.25}}),
    "no answer until the deadline": Ending(
        (hang(),), DeadlineExceededError, options={"trace_request_ctx": CallOptions(timeout=0.1)}
    ),
    "no answer in the caller's own time": Ending(
        (hang(),),
        aiohttp.SocketTimeoutError,
        options={"timeout": aiohttp.ClientTimeout(sock_read=0.05)},
    ),
    "a body that stalls": Ending(
        (partial_body(ANSWER, content_length=1000, then="hang"),),
        aiohttp.SocketTimeoutError,
        {"timeout": {"read": 0.05}},
    ),
    "bytes that nobody asked for": Ending(
        (raw(HEAD + b"Content-Length: 0\r\n\r\n" + ANSWER),), aiohttp.ClientResponseError
    ),
    "a header that is no string": Ending(
        (answer(),), TypeError, options={"headers": {"X": CANARIES["header"].encode()}}
    ),
    "a header with a line break": Ending(
        (answer(),), aiohttp.InvalidURL, options={"headers": {"X": f"{CANARIES['header']}\r\nX: 1"}}
    ),
    "two logins": Ending(
        (answer(),),
        aiohttp.InvalidURL,
        options={"headers": {"Authorization": CANARIES["authorization"]}},
    ),
    "a framing header that contradicts the body": Ending(
        (answer(),), EgressDeniedError, options={"headers": HEADERS | {"Content-Length": "1"}}
    ),
    "no middlewares": Ending(
        (close(),), aiohttp.ServerDisconnectedError, options={"middlewares": ()}
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_nothing_is_told_of(name: str) -> None:
    ending = ENDINGS[name]
    async with FaultServer(ending.script) as server, stage(**ending.settings) as made:
        ended = await made.call(server.url, consume=ending.consume, **ending.options)
        assert ended == ending.ends


class TestADestination:
    async def test_that_nobody_serves(self) -> None:
        async with FaultServer() as gone:
            url = gone.url
        async with stage() as made:
            assert await made.call(url) is aiohttp.ClientConnectorError

    async def test_that_no_name_leads_to(self) -> None:
        async with FaultServer() as server, stage() as made:
            # Not a label, so no name server is asked.
            url = server.url.with_host("a" * 64)
            assert issubclass(await made.call(url), aiohttp.ClientError)

    @pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]"])
    @pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
    async def test_that_is_refused(self, host: str, options: dict[str, object]) -> None:
        async with FaultServer() as server, stage() as made:
            url = server.url.with_host(host.strip("[]"))
            assert await made.call(url, **options) is EgressDeniedError

    async def test_whose_userinfo_is_refused(self) -> None:
        async with FaultServer() as server, stage(egress=PUBLIC) as made:
            assert await made.call(server.url) is EgressDeniedError

    async def test_that_accepts_nothing(self) -> None:
        with black_hole() as port:
            async with stage(timeout={"connect": 0.05}) as made:
                url = URL.build(scheme="http", host="127.0.0.1", port=port)
                assert await made.call(url) is aiohttp.ConnectionTimeoutError

    @pytest.mark.parametrize("names", [("elsewhere.test",), ("localhost",)])
    async def test_whose_certificate_is_not_believed(
        self, certificates: Certificates, names: tuple[str, ...]
    ) -> None:
        # Of the authority that the client believes in, or of one that it does not know.
        tls = {"trust": "file", "ca_file": certificates.ca_file} if "localhost" not in names else {}
        context = certificates.server(*names)
        async with FaultServer(ssl_context=context) as server, stage(tls=tls) as made:
            url = server.url.with_host("localhost")
            assert await made.call(url) is aiohttp.ClientConnectorCertificateError

    async def test_that_speaks_no_tls(self) -> None:
        async with FaultServer() as server, stage() as made:
            ended = await made.call(server.url.with_scheme("https"))
            assert issubclass(ended, aiohttp.ClientError)


class TestAClientCertificate:
    async def test_is_shown_to_the_server_and_its_password_to_nobody(
        self, certificates: Certificates
    ) -> None:
        files = certificates.files("client", password=CANARIES["key-password"])
        tls = {
            "trust": "file",
            "ca_file": certificates.ca_file,
            "cert_file": files.cert,
            "key_file": files.key,
            "key_password": CANARIES["key-password"],
        }
        context = certificates.server("localhost", client_ca=True)
        async with FaultServer([answer()], ssl_context=context) as server:
            async with stage(tls=tls) as made:
                assert await made.call(server.url.with_host("localhost")) == 200


class TestAProxy:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize(
        "action", [answer(407), close(), reset(), raw(ANSWER + b"\r\n\r\n"), hang()]
    )
    async def test_that_does_not_let_it_through(self, scheme: str, action: Action) -> None:
        async with FaultServer([action]) as proxy:
            url = str(
                proxy.url.with_user(PROXY_LOGIN["user"]).with_password(PROXY_LOGIN["password"])
            )
            way = {"url": url, "no_proxy": []}
            async with stage(proxy=way, timeout={"total": 0.5}) as made:
                url = proxy.url.with_scheme(scheme).with_host("target.test")
                ended = await made.call(url)
                assert ended == 407 or issubclass(ended, aiohttp.ClientError)
        assert proxy.requests

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_that_is_not_there(self, scheme: str) -> None:
        async with FaultServer() as proxy:
            url = str(
                proxy.url.with_user(PROXY_LOGIN["user"]).with_password(PROXY_LOGIN["password"])
            )
        async with stage(proxy={"url": url, "no_proxy": []}) as made:
            ended = await made.call(proxy.url.with_scheme(scheme).with_host("target.test"))
            assert ended is aiohttp.ClientProxyConnectionError

    async def test_of_a_single_request(self) -> None:
        async with FaultServer([answer(407)]) as proxy, stage() as made:
            login = proxy.url.with_user(PROXY_LOGIN["user"]).with_password(PROXY_LOGIN["password"])
            ended = await made.call(proxy.url.with_host("target.test"), proxy=login)
            assert ended == 407

    async def test_of_socks_that_is_not_there(self) -> None:
        url = f"socks5://{PROXY_LOGIN['user']}:{PROXY_LOGIN['password']}@127.0.0.1:{free_port()}"
        async with FaultServer() as server:
            async with stage(proxy={"url": url, "no_proxy": []}) as made:
                assert issubclass(await made.call(server.url), aiohttp.ClientError)


class TestARedirect:
    @pytest.mark.parametrize("status", [302, 307])
    @pytest.mark.parametrize("mode", ["safe", "deny", "follow"])
    async def test_to_another_origin(self, status: int, mode: str) -> None:
        async with (
            FaultServer([answer()]) as other,
            FaultServer([redirect(other.url, status)]) as server,
            stage(redirects={"mode": mode}) as made,
        ):
            ended = await made.call(server.url)
            assert ended in {200, EgressDeniedError, aiohttp.InvalidURL}

    async def test_that_never_ends(self) -> None:
        def again(request) -> Action:
            return redirect(server.url)

        async with FaultServer(again) as server, stage() as made:
            assert await made.call(server.url, method="GET") is aiohttp.TooManyRedirects

    async def test_from_https_to_http(self, certificates: Certificates) -> None:
        context = certificates.server("localhost")
        tls = {"trust": "file", "ca_file": certificates.ca_file}
        async with (
            FaultServer() as other,
            FaultServer([redirect(other.url)], ssl_context=context) as server,
            stage(tls=tls) as made,
        ):
            url = server.url.with_host("localhost")
            assert await made.call(url, method="GET") is EgressDeniedError

    @pytest.mark.parametrize(
        "location",
        ["ftp://{0}:{0}@host/?{0}#{0}", "http://{0}:{0}@host:99999/?{0}", "http://?{0}"],
    )
    async def test_to_nowhere(self, location: str) -> None:
        action = answer(302, Location=location.format(CANARIES["location"]))
        async with FaultServer([action]) as server, stage() as made:
            ended = await made.call(server.url, method="GET")
            assert issubclass(ended, aiohttp.ClientError)


class TestAPolicy:
    @pytest.mark.parametrize(
        ("settings", "rejection"),
        [
            ({"rate_limit": {"rate": 1, "per": 60}}, RateLimitedError),
            ({"circuit_breaker": {"mode": "force_open"}}, CircuitOpenError),
        ],
    )
    async def test_that_rejects(self, settings: dict[str, object], rejection: type) -> None:
        async with FaultServer([answer()]) as server, stage(**settings) as made:
            await made.call(server.url)
            assert await made.call(server.url) is rejection

    async def test_that_opens_a_circuit(self) -> None:
        breaker = {"minimum_calls": 2}
        async with FaultServer([answer(503)]) as server, stage(circuit_breaker=breaker) as made:
            ended = [await made.call(server.url) for _ in range(3)]
            assert ended == [503, 503, CircuitOpenError]

    async def test_that_throttles(self) -> None:
        settings = {"throttle": {"enabled": True, "k": 1}, "circuit_breaker": {"mode": "off"}}
        async with FaultServer([answer(503)]) as server, stage(**settings) as made:
            ended = {await made.call(server.url) for _ in range(60)}
            assert ended == {503, ThrottledError}

    @pytest.mark.parametrize(
        ("settings", "rejection"),
        [
            ({"concurrency": {"limit": 1, "queue": 0}}, ConcurrencyLimitError),
            (
                {"concurrency": {"limit": 0}, "pool": {"limit": 1, "limit_per_host": 1}},
                PoolTimeoutError,
            ),
        ],
    )
    async def test_that_has_no_room(self, settings: dict[str, object], rejection: type) -> None:
        async with FaultServer([hang()]) as server, stage(**settings) as made:
            ended = await asyncio.gather(*(made.call(server.url) for _ in range(2)))
            assert set(ended) == {AttemptTimeoutError, rejection}

    async def test_that_hedges(self) -> None:
        settings = {"hedging": {"enabled": True, "delay": 0.02, "max_ratio": 1}}
        async with FaultServer([hang(), answer()]) as server, stage(**settings) as made:
            assert await made.call(server.url, method="GET", data=None) == 200
        assert len(server.requests) == 2


class TestACaller:
    async def test_who_gives_up(self) -> None:
        async with FaultServer([hang()]) as server, stage() as made:
            task = asyncio.create_task(made.call(server.url))
            await server.wait_until(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            made.heard.errors.append(caught.value)

    async def test_whose_body_fails(self) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield BODY
            raise OSError("disk")

        async with FaultServer([answer()]) as server, stage() as made:
            ended = await made.call(server.url, data=body())
            assert issubclass(ended, aiohttp.ClientError)

    async def test_who_uploads_a_form(self) -> None:
        form = aiohttp.FormData({"iban": CANARIES["request-body"]})
        form.add_field("file", BODY, filename=CANARIES["request-body"])
        async with FaultServer([reset()]) as server, stage() as made:
            assert await made.call(server.url, data=form, method="PUT") is aiohttp.ClientOSError

    async def test_whose_json_cannot_be_written(self) -> None:
        async with FaultServer() as server, stage() as made:
            data = {"iban": CANARIES["request-body"], "amount": object()}
            assert await made.call(server.url, json=data, data=None) is TypeError

    async def test_who_keeps_cookies(self) -> None:
        cookies = {"enabled": True, "unsafe": True}
        async with FaultServer([answer()]) as server, stage(cookies=cookies) as made:
            for _ in range(2):
                assert await made.call(server.url, headers={}) == 200
        assert CANARIES["answer-cookie"] in str(server.requests[1].headers)

    async def test_who_opens_a_websocket_that_is_refused(self) -> None:
        async with FaultServer([answer(403)]) as server, stage() as made:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await made.session.ws_connect(
                    planted(server.url), headers=HEADERS, protocols=(CANARIES["header"],)
                )
            made.heard.errors.append(caught.value)

    async def test_who_never_reads_a_response(self) -> None:
        async with FaultServer([respond(body=ANSWER * 100_000)]) as proxy:
            login = proxy.url.with_user(PROXY_LOGIN["user"]).with_password(PROXY_LOGIN["password"])
            way = {"url": str(login), "no_proxy": []}
            async with stage(proxy=way, timeout={"total": 0.5}) as made:
                response = await made.session.get(planted(proxy.url.with_host("target.test")))
                # aiohttp puts the connection into its warnings, and the key has the proxy's login.
                made.heard.show("connection", response.connection, response.connection._key)
                del response

    async def test_who_comes_while_the_factory_closes(self) -> None:
        async with FaultServer([hang()]) as server, stage() as made:
            early = asyncio.create_task(made.call(server.url))
            await server.wait_until(lambda: server.requests)
            closing = asyncio.create_task(made.factory.aclose())
            # It begins in a task of its own.
            for _ in range(3):
                await asyncio.sleep(0)
            assert await made.call(server.url) is FactoryClosedError
            assert await early is AttemptTimeoutError
            await closing

"""Which redirects are followed, and what another origin gets to see."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest
from yarl import URL

from platform_http.call import CallOptions
from platform_http.errors import EgressDeniedError
from platform_http.settings.plain import PLAIN
from platform_http.testing import FaultServer, ReceivedRequest
from platform_http.testing.actions import Action, respond
from platform_http.testing.fast_settings import merged
from tests.certificates import Certificates
from tests.functional.conftest import Observed

STATUSES = [301, 302, 303, 307, 308]

SECRETS = {
    "Authorization": "Bearer geheim-bearer",
    "Private-Token": "geheim-private",
    "Cookie": "session=geheim-cookie",
    "Referer": "http://inside.test/geheim-path",
}

# What is left when every policy but this one is off, with and without the chain of middlewares.
WAYS = pytest.mark.parametrize(
    ("settings", "options"),
    [({}, {}), ({}, {"middlewares": ()}), (merged(PLAIN, {"redirects": {"mode": "safe"}}), {})],
    ids=["", "no middlewares", "no other policy"],
)


def to(location: object, status: int = 302) -> Action:
    return respond(status, headers={"Location": str(location)})


def script(**paths: Callable[[], Action]) -> Callable[[ReceivedRequest], Action]:
    """Answer ``/name`` with the action of that name, and every other path with a 200."""

    def act(request: ReceivedRequest) -> Action:
        return paths.get(URL(request.target).path.strip("/"), respond)()

    return act


def received(server: FaultServer) -> str:
    return " ".join(
        f"{request.method} {request.target} {dict(request.headers)} {request.body!r}"
        for request in server.requests
    )


@pytest.fixture
async def other() -> AsyncIterator[FaultServer]:
    async with FaultServer() as server:
        yield server


class TestAnotherOrigin:
    @WAYS
    @pytest.mark.parametrize("status", STATUSES)
    async def test_sees_no_secret_of_a_request(
        self,
        observed: Observed,
        other: FaultServer,
        status: int,
        settings: dict[str, object],
        options: dict[str, object],
    ) -> None:
        defaults = {"headers": {"X-Api-Key": "geheim-default"}}
        async with (
            FaultServer([to(other.url, status)]) as server,
            observed.session(**merged(settings, defaults)) as session,
            session.get(
                server.url,
                headers={**SECRETS, "Accept-Language": "de", "User-Agent": "me/1"},
                trace_request_ctx=CallOptions(idempotency_key="geheim-key"),
                **options,
            ) as response,
        ):
            assert response.status == 200
            assert [each.status for each in response.history] == [status]

        assert received(server).count("geheim") == 6
        assert "geheim" not in received(other)
        (request,) = other.requests
        assert (request.headers["Accept-Language"], request.headers["User-Agent"]) == ("de", "me/1")
        assert request.headers["Host"] == f"127.0.0.1:{other.port}"

    @WAYS
    @pytest.mark.parametrize(("status", "method"), [(307, "POST"), (308, "PUT"), (302, "PUT")])
    async def test_is_not_sent_a_body(
        self,
        observed: Observed,
        other: FaultServer,
        status: int,
        method: str,
        settings: dict[str, object],
        options: dict[str, object],
    ) -> None:
        async with (
            FaultServer([to(other.url, status)]) as server,
            observed.session(**settings) as session,
        ):
            with pytest.raises(EgressDeniedError, match="body to another origin") as caught:
                await session.request(method, server.url, data=b"geheim", **options)

        assert (caught.value.reason, caught.value.attempts) == ("redirect_body", 1)
        assert (len(server.requests), other.connections) == (1, 0)
        observed.assert_quiet()

    @pytest.mark.parametrize("status", [301, 302, 303])
    async def test_gets_the_get_that_a_post_becomes(
        self, observed: Observed, other: FaultServer, status: int
    ) -> None:
        async with FaultServer([to(other.url, status)]) as server, observed.session() as session:
            await session.post(server.url, json={"key": "geheim"})

        (request,) = other.requests
        assert (request.method, request.body) == ("GET", b"")
        assert request.headers.keys().isdisjoint({"Content-Type", "Content-Length"})

    async def test_may_be_sent_a_request_without_a_body_again(
        self, observed: Observed, other: FaultServer
    ) -> None:
        async with FaultServer([to(other.url, 307)]) as server, observed.session() as session:
            await session.post(server.url)

        assert [request.method for request in other.requests] == ["POST"]

    @WAYS
    async def test_cannot_send_the_secrets_of_the_first_one_back_to_it(
        self, observed: Observed, settings: dict[str, object], options: dict[str, object]
    ) -> None:
        async with FaultServer() as first, FaultServer([to(first.url / "end")]) as second:
            first._script = script(start=lambda: to(second.url))
            async with observed.session(**settings) as session:
                await session.get(
                    first.url / "start",
                    headers=SECRETS,
                    trace_request_ctx=CallOptions(idempotency_key="geheim"),
                    **options,
                )

        assert ["geheim" in str(dict(each.headers)) for each in first.requests] == [True, False]

    async def test_does_not_get_the_credentials_of_the_callers_url(
        self, observed: Observed, other: FaultServer
    ) -> None:
        async with FaultServer([to(other.url)]) as server, observed.session() as session:
            await session.get(server.url.with_user("me").with_password("geheim"))

        assert "Authorization" in server.requests[0].headers
        assert "Authorization" not in other.requests[0].headers

    async def test_is_any_other_scheme_host_or_port(
        self, observed: Observed, certificates: Certificates
    ) -> None:
        context = certificates.server("localhost")
        async with (
            FaultServer(ssl_context=context) as secure,
            FaultServer([to(f"https://localhost:{secure.port}/")]) as server,
            observed.session(tls={"ca_file": certificates.ca_file}) as session,
        ):
            await session.get(server.url.with_host("localhost"), headers=SECRETS)

        assert "geheim" not in received(secure)

    async def test_is_not_asked_for_the_certificate_of_the_first_one(
        self, observed: Observed, certificates: Certificates
    ) -> None:
        tls = {"ca_file": certificates.ca_file}
        async with (
            FaultServer(ssl_context=certificates.server("127.0.0.1")) as second,
            FaultServer([to(second.url)], ssl_context=certificates.server("a.test")) as first,
            observed.session(tls=tls) as session,
            session.get(first.url, server_hostname="a.test") as response,
        ):
            assert response.url == second.url

    async def test_gets_all_of_it_when_redirects_follow_aiohttps_rule(
        self, observed: Observed, other: FaultServer
    ) -> None:
        async with (
            FaultServer([to(other.url, 307)]) as server,
            observed.session(redirects={"mode": "follow"}) as session,
        ):
            await session.post(server.url, data=b"body", headers={"Private-Token": "t"})

        (request,) = other.requests
        assert (request.body, request.headers["Private-Token"]) == (b"body", "t")

    async def test_does_not_see_the_protocols_of_a_websocket_handshake(
        self, observed: Observed, other: FaultServer
    ) -> None:
        async with FaultServer([to(other.url)]) as server, observed.session() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(server.url, protocols=["geheim-token"])

        (request,) = other.requests
        assert request.headers["Upgrade"] == "websocket"
        assert "Sec-WebSocket-Key" in request.headers
        assert "geheim" not in received(other)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


class TestTheSameOrigin:
    @pytest.mark.parametrize("status", STATUSES)
    async def test_sees_the_same_headers_again(self, observed: Observed, status: int) -> None:
        async with FaultServer([to("/next?page=2#part", status), respond()]) as server:
            async with observed.session(headers={"X-Api-Key": "key"}) as session:
                await session.get(server.url, headers=SECRETS)

        assert server.requests[1].target == "/next?page=2"
        for name, value in {**SECRETS, "X-Api-Key": "key"}.items():
            assert server.requests[1].headers[name] == value

    async def test_gets_the_body_again(self, observed: Observed) -> None:
        async with FaultServer([to("/next", 307), respond()]) as server:
            async with observed.session() as session:
                await session.post(server.url, data=b"body")

        assert [request.body for request in server.requests] == [b"body", b"body"]

    @pytest.mark.parametrize("headers", [{}, SECRETS], ids=["", "Authorization"])
    async def test_does_not_get_credentials_that_a_location_names(
        self, observed: Observed, headers: dict[str, str]
    ) -> None:
        async with FaultServer() as server, observed.session() as session:
            eve = server.url.with_user("eve").with_password("x").with_path("/end")
            server._script = script(start=lambda: to(eve))
            async with session.get(server.url / "start", headers=headers) as response:
                assert "eve" not in response.history[0].headers["Location"]

        sent = server.requests[1].headers.get("Authorization")
        assert sent == headers.get("Authorization")

    @pytest.mark.parametrize("mode", ["safe", "follow"])
    async def test_gets_no_leftover_of_a_chunked_body(self, observed: Observed, mode: str) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"

        async with FaultServer([to("/next", 303), respond()]) as server:
            async with observed.session(redirects={"mode": mode}) as session:
                await session.post(server.url, data=pieces(), chunked=True)
                await session.get(server.url)

        assert "Transfer-Encoding" not in server.requests[1].headers
        assert server.malformed == []
        assert len(server.requests) == 3

    async def test_is_not_asked_to_expect_a_body_that_is_not_sent_again(
        self, observed: Observed
    ) -> None:
        async with FaultServer([to("/next", 303), respond()]) as server:
            async with observed.session() as session:
                await session.post(server.url, data=b"four", expect100=True)

        assert ["Expect" in request.headers for request in server.requests] == [True, False]

    async def test_gets_no_length_of_a_body_that_is_not_sent_again(
        self, observed: Observed
    ) -> None:
        async with FaultServer([to("/next", 303), respond()]) as server:
            async with observed.session() as session:
                await session.put(server.url, data=b"four", headers={"Content-Length": "4"})

        assert "Content-Length" not in server.requests[1].headers


class TestADowngrade:
    @pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
    async def test_is_refused_before_anything_is_sent(
        self,
        observed: Observed,
        other: FaultServer,
        certificates: Certificates,
        options: dict[str, object],
    ) -> None:
        context = certificates.server("127.0.0.1")
        async with (
            FaultServer([to(other.url)], ssl_context=context) as server,
            observed.session(tls={"ca_file": certificates.ca_file}) as session,
        ):
            with pytest.raises(EgressDeniedError, match="from https to http") as caught:
                await session.get(server.url, **options)

        assert (caught.value.reason, caught.value.attempts) == ("redirect_downgrade", 1)
        assert (len(server.requests), other.connections) == (1, 0)
        assert observed.value("platform_http_egress_denied_total", reason="redirect_downgrade") == 1
        calls = "platform_http_calls_total"
        assert observed.value(calls, outcome="error", error_type="egress_denied") == 1
        assert observed.value("platform_http_retries_total") == 0
        observed.assert_quiet()

    async def test_is_judged_by_the_hop_before_it(
        self, observed: Observed, certificates: Certificates, other: FaultServer
    ) -> None:
        context = certificates.server("127.0.0.1")
        async with (
            FaultServer([to(other.url)], ssl_context=context) as secure,
            FaultServer([to(secure.url)]) as plain,
            observed.session(tls={"ca_file": certificates.ca_file}) as session,
        ):
            with pytest.raises(EgressDeniedError, match="from https to http"):
                await session.get(plain.url)

        assert (len(secure.requests), other.connections) == (1, 0)


class TestTheMaximum:
    @WAYS
    @pytest.mark.parametrize("maximum", [0, 1, 5])
    async def test_counts_the_redirects_that_are_followed(
        self,
        observed: Observed,
        maximum: int,
        settings: dict[str, object],
        options: dict[str, object],
    ) -> None:
        wanted = merged(settings, {"redirects": {"max": maximum}})
        async with FaultServer([to("/?token=geheim")]) as server:
            async with observed.session(**wanted) as session:
                with pytest.raises(aiohttp.TooManyRedirects) as caught:
                    await session.get(server.url, **options)

        assert len(server.requests) == 1 + maximum
        assert [each.status for each in caught.value.history] == [302] * (1 + maximum)
        for shown in (str(caught.value), repr(caught.value), repr(caught.value.args)):
            assert "geheim" not in shown

    async def test_reaches_as_far_as_it_says(self, observed: Observed) -> None:
        async with FaultServer([*[to("/next")] * 5, respond()]) as server:
            async with observed.session() as session, session.get(server.url) as response:
                assert (response.status, len(response.history)) == (200, 5)

    @pytest.mark.parametrize(("asked", "followed"), [(0, 5), (3, 2), (100, 5)])
    async def test_can_only_be_tightened_by_a_request(
        self, observed: Observed, asked: int, followed: int
    ) -> None:
        async with FaultServer([to("/next")]) as server, observed.session() as session:
            with pytest.raises(aiohttp.TooManyRedirects):
                await session.get(server.url, max_redirects=asked)

        assert len(server.requests) == 1 + followed

    async def test_holds_where_redirects_follow_aiohttps_rule_and_nothing_else_is_on(
        self, observed: Observed
    ) -> None:
        settings = merged(PLAIN, {"redirects": {"max": 2}})
        async with FaultServer([to("/next")]) as server:
            async with observed.session(**settings) as session:
                with pytest.raises(aiohttp.TooManyRedirects):
                    await session.get(server.url)

        assert len(server.requests) == 3


class TestDeny:
    @pytest.mark.parametrize("options", [{}, {"middlewares": ()}], ids=["", "no middlewares"])
    async def test_refuses_the_first_redirect(
        self, observed: Observed, options: dict[str, object]
    ) -> None:
        async with FaultServer([to("/next")]) as server:
            async with observed.session(redirects={"mode": "deny"}) as session:
                with pytest.raises(EgressDeniedError, match="allow_redirects=False") as caught:
                    await session.get(server.url, **options)

        assert caught.value.reason == "redirect_denied"
        assert len(server.requests) == 1

    async def test_lets_a_caller_have_the_redirect_itself(self, observed: Observed) -> None:
        async with FaultServer([to("/next")]) as server:
            async with (
                observed.session(redirects={"mode": "deny"}) as session,
                session.get(server.url, allow_redirects=False) as response,
            ):
                assert response.status == 302


async def test_cookies_go_where_the_jar_says(observed: Observed, other: FaultServer) -> None:
    def answer(request: ReceivedRequest) -> Action:
        target = next(targets)
        return respond(302, headers={"Location": str(target), "Set-Cookie": "a=1"})

    async with FaultServer(answer) as server:
        targets = itertools.chain([other.url.with_host("localhost")])
        async with observed.session(cookies={"enabled": True, "unsafe": True}) as session:
            await session.get(server.url, cookies={"b": "2"})
            await session.get(other.url)

    assert server.requests[0].headers["Cookie"] == "b=2"
    # Another host; then the same host, for the jar knows no ports.
    assert [each.headers.get("Cookie") for each in other.requests] == [None, "a=1"]


@pytest.mark.parametrize("mode", ["safe", "follow"])
async def test_cookies_do_not_go_to_another_port_by_redirect(
    observed: Observed, other: FaultServer, mode: str
) -> None:
    settings = {"cookies": {"enabled": True, "unsafe": True}, "redirects": {"mode": mode}}
    async with FaultServer([respond(headers={"Set-Cookie": "a=1"}), to(other.url)]) as server:
        async with observed.session(**settings) as session:
            await session.get(server.url)
            await session.get(server.url)

    assert server.requests[1].headers["Cookie"] == "a=1"
    assert other.requests[0].headers.get("Cookie") == {"safe": None, "follow": "a=1"}[mode]


@pytest.mark.parametrize("mode", ["safe", "follow"])
async def test_another_origin_plants_no_cookie(observed: Observed, mode: str) -> None:
    settings = {"cookies": {"enabled": True, "unsafe": True}, "redirects": {"mode": mode}}
    async with FaultServer() as first, FaultServer() as second:
        planting = {"Location": str(first.url / "end"), "Set-Cookie": "planted=1"}
        second._script = script(back=lambda: respond(302, headers=planting))
        first._script = script(start=lambda: to(second.url / "back"))
        async with observed.session(**settings) as session:
            response = await session.get(first.url / "start")
            assert "planted" in response.history[1].cookies
            await session.get(first.url)

    got = {"safe": [None, None, None], "follow": [None, "planted=1", "planted=1"]}[mode]
    assert [each.headers.get("Cookie") for each in first.requests] == got


class TestDefaultHeaders:
    """Which origins get the session's ``HEADERS``, without any redirect."""

    HEADERS: ClassVar = {"X-Api-Key": "geheim", "Accept-Language": "de", "X-Own": "default"}

    async def test_go_to_the_origin_of_the_base_url_alone(
        self, observed: Observed, other: FaultServer
    ) -> None:
        async with FaultServer() as server:
            settings = {"base_url": f"{server.url}", "headers": self.HEADERS}
            async with observed.session(**settings) as session:
                await session.get("/x")
                await session.get(server.url)
                await session.get(other.url, headers={"X-Own": "callers", "X-More": "callers"})

        assert [each.headers["X-Api-Key"] for each in server.requests] == ["geheim", "geheim"]
        (request,) = other.requests
        assert "X-Api-Key" not in request.headers
        assert request.headers["Accept-Language"] == "de"
        assert (request.headers["X-Own"], request.headers["X-More"]) == ("callers", "callers")

    async def test_go_along_where_a_websocket_is_asked_for_by_its_scheme(
        self, observed: Observed
    ) -> None:
        async with FaultServer() as server:
            settings = {"base_url": f"{server.url}", "headers": self.HEADERS}
            async with observed.session(**settings) as session:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(server.url.with_scheme("ws"))

        assert server.requests[0].headers["X-Api-Key"] == "geheim"

    @pytest.mark.parametrize("settings", [{}, {"redirects": {"mode": "follow"}}])
    async def test_go_everywhere_without_a_base_url_and_by_aiohttps_rule(
        self, observed: Observed, other: FaultServer, settings: dict[str, object]
    ) -> None:
        base_url = {"base_url": "http://127.0.0.1:1/"} if settings else {}
        async with observed.session(**settings, **base_url, headers=self.HEADERS) as session:
            await session.get(other.url)

        assert other.requests[0].headers["X-Api-Key"] == "geheim"


async def test_a_finished_call_keeps_none_of_its_redirects_alive(observed: Observed) -> None:
    async with FaultServer([to("/next"), respond()]) as server, observed.session() as session:
        response = await session.get(server.url)
        assert response.attempt.call.redirects == ()

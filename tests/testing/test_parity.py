from __future__ import annotations

import asyncio
import errno
import functools
import json
import math
import socket
import ssl
import threading
import urllib.error
from collections.abc import AsyncIterator, Mapping
from email.message import Message

import aiohttp
import httpx
import pytest
import requests

from platform_http import CircuitOpenError, DeadlineExceededError, PoolTimeoutError, SessionFactory
from platform_http.testing import ReceivedRequest, parity
from platform_http.testing.actions import Action, hang, respond
from platform_http.testing.parity.families import family
from platform_http.testing.parity.wire_text import WireText


def chosen(*groups: str) -> list[parity.Scenario]:
    found = [each for each in parity.SCENARIOS if each.name.startswith(groups)]
    assert found
    return found


def differing(report: parity.Report) -> set[str]:
    return {each.scenario for each in report.differences}


@pytest.fixture
async def bare() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# What the defaults of a session do that no bare client does, each a line of the README.
POLICIES = {"retries.503", "retries.503_forever", "retries.429", "cookies.kept"}


async def test_an_httpx_client_and_a_session_differ_in_what_is_known(
    platform_http_session: aiohttp.ClientSession,
) -> None:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
        report = await parity.check(parity.from_httpx(client), platform_http_session)
    assert differing(report) == POLICIES | {
        "retries.reset",
        "retries.closed",
        "timeouts.drip",
        "redirects.loop",
        "redirects.credentials",
    }
    assert len(report.results) == len(parity.SCENARIOS)


async def test_aiohttp_itself_and_a_session_differ_in_what_is_known(
    bare: aiohttp.ClientSession, platform_http_session: aiohttp.ClientSession
) -> None:
    report = await parity.check(bare, platform_http_session)
    assert differing(report) == POLICIES | {"redirects.loop", "redirects.credentials"}


async def test_a_synchronous_client_runs_in_a_thread_and_is_not_cancelled(
    platform_http_session: aiohttp.ClientSession,
) -> None:
    report = await parity.check(
        parity.from_urllib(),
        platform_http_session,
        chosen("basics", "json", "redirects.post", "cancel", "connections", "streaming.gzip"),
    )
    assert differing(report) == {
        "redirects.post_307",
        "redirects.post_308",
        "connections.reused",
        "connections.after_error",
        "streaming.gzip",
    }
    assert report.skipped == {"cancel.waiting": "a synchronous client cannot be cancelled"}
    assert "not played: cancel.waiting" in str(report)


async def test_a_requests_session_is_a_client(bare: aiohttp.ClientSession) -> None:
    with requests.Session() as session:
        session.trust_env = False
        client = parity.from_requests(session)
        report = await parity.check(client, bare, chosen("basics", "json", "errors", "streaming"))
    assert differing(report) == set()


async def test_a_synchronous_httpx_client_is_a_client(bare: aiohttp.ClientSession) -> None:
    with httpx.Client(trust_env=False) as client:
        report = await parity.check(parity.from_httpx(client), bare, chosen("basics", "json"))
    assert differing(report) == set()


async def test_a_client_does_not_differ_from_itself(bare: aiohttp.ClientSession) -> None:
    report = await parity.check(
        bare, functools.partial(parity.from_aiohttp(bare)), chosen("basics", "cancel", "errors")
    )
    report.raise_for_differences()
    assert not report.accepted
    assert str(report) == f"parity: {len(report.results)} scenarios, 0 differ"


async def raising(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
) -> parity.Answer:
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        return await parity.from_aiohttp(session)(
            method, url, headers=headers, body=body, timeout=timeout
        )


class TestAccepting:
    async def test_a_difference_that_is_wanted_is_no_failure(
        self, bare: aiohttp.ClientSession
    ) -> None:
        scenarios = chosen("basics.not_found", "basics.get")
        report = await parity.check(
            raising,
            bare,
            scenarios,
            accept={"basics.not_found": "the caller looks at the status", "basics.get:body": "x"},
        )
        report.raise_for_differences()
        (accepted,) = report.accepted
        assert (accepted.aspect, accepted.old, accepted.new) == (
            "outcome",
            "status 404 raised",
            "404",
        )
        assert report.unused == ("basics.get:body",)
        assert "because: the caller looks at the status" in str(report)
        assert "no longer different: basics.get:body" in str(report)

    async def test_one_aspect_does_not_excuse_another(self, bare: aiohttp.ClientSession) -> None:
        report = await parity.check(
            parity.from_urllib(),
            parity.from_aiohttp(bare),
            chosen("redirects.post_307"),
            accept={"redirects.post_307:outcome": "urllib never followed these"},
        )
        assert [each.aspect for each in report.differences] == ["requests"]
        with pytest.raises(parity.ParityError, match="1 scenarios, 1 differ"):
            report.raise_for_differences()

    @pytest.mark.parametrize(
        ("accept", "message"),
        [
            ({"retries.502": "typed wrong"}, r"'retries.502'.*; did you mean 'retries.50"),
            ({"basics.get:bodies": "no aspect"}, "did you mean 'basics.get:body'"),
            ({"basics.get": " "}, "gives no reason for 'basics.get'"),
        ],
    )
    async def test_what_cannot_be_accepted_refuses(
        self, accept: dict[str, str], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            await parity.check(raising, raising, accept=accept)

    async def test_names_are_unique_and_the_timeout_positive(self) -> None:
        with pytest.raises(ValueError, match="same name"):
            await parity.check(raising, raising, [*chosen("basics"), *chosen("basics.get")])
        for timeout in (0, math.nan, math.inf):
            with pytest.raises(ValueError, match="timeout > 0"):
                await parity.check(raising, raising, timeout=timeout)


async def test_the_report_is_there_for_programs_too(bare: aiohttp.ClientSession) -> None:
    report = await parity.check(raising, bare, chosen("basics.not_found"))
    told = json.loads(report.as_json())
    assert told["scenarios"] == ["basics.not_found"]
    assert told["differences"][0]["old"] == "status 404 raised"
    assert told["differences"][0]["about"] == "a 404 is answered or raised"


def _scenario(**options: object) -> parity.Scenario:
    return parity.Scenario("own.silent", "none", lambda _: [hang()], timed=True, **options)


async def test_a_client_without_timeouts_never_ends_and_is_ended(
    bare: aiohttp.ClientSession,
) -> None:
    async def patient(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> parity.Answer:
        async with bare.request(method, url) as response:
            return parity.Answer(response.status)

    report = await parity.check(patient, bare, [_scenario()], timeout=0.05)
    assert [(each.aspect, each.old, each.new) for each in report.differences] == [
        ("outcome", "never ended", "timeout"),
        ("elapsed", "late", "in time"),
    ]


async def test_a_thread_without_timeouts_ends_with_its_server(
    bare: aiohttp.ClientSession,
) -> None:
    ended = threading.Event()
    through = parity.from_urllib()

    def patient(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> parity.Answer:
        try:
            return through(method, url, headers=headers, body=body, timeout=60)
        finally:
            ended.set()

    report = await parity.check(patient, bare, [_scenario()], timeout=0.05)
    assert report.differences[0].old == "never ended"
    assert ended.is_set()


async def test_whoever_is_cancelled_while_checking_leaves_nothing(
    bare: aiohttp.ClientSession,
) -> None:
    # The leak detector of every test is what looks.
    task = asyncio.create_task(parity.check(bare, bare, [_scenario()], timeout=30))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_sends_nothing_is_not_cancelled(bare: aiohttp.ClientSession) -> None:
    async def broken(method: str, url: str, **_: object) -> parity.Answer:
        raise KeyError(url)

    report = await parity.check(broken, bare, chosen("cancel"))
    assert report.differences[0].old == "2 x other error (KeyError)"
    assert report.differences[0].new == "cancelled, 200"


async def test_scenarios_of_the_services_own(platform_http_factory: SessionFactory) -> None:
    own = parity.Scenario(
        "orders.created",
        "an order is made once",
        lambda _: [respond(201, headers={"Location": "/orders/7"})],
        (parity.Request("POST", "/orders?draft=1", body=b"{}"),),
        answer_headers=("Location",),
    )
    session = platform_http_factory.session("orders")
    report = await parity.check(raising, session, [own])
    (result,) = report.results
    assert result.new == result.old
    assert result.new.requests == ("POST /orders?draft=1 (2 bytes 44136fa3)",)
    assert result.new.answer_headers == ("1: Location: /orders/7",)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (DeadlineExceededError("late"), "timeout"),
        (httpx.ReadTimeout("late"), "timeout"),
        (requests.ConnectTimeout(), "timeout"),
        (urllib.error.URLError(TimeoutError()), "timeout"),
        (httpx.RemoteProtocolError("gone"), "connection error"),
        (httpx.ConnectError("gone"), "connection error"),
        (requests.exceptions.ChunkedEncodingError(), "connection error"),
        (requests.ConnectionError(), "connection error"),
        (urllib.error.URLError(ConnectionRefusedError()), "connection error"),
        (aiohttp.ServerDisconnectedError(), "connection error"),
        (aiohttp.ClientPayloadError(), "connection error"),
        (httpx.TooManyRedirects("round and round"), "too many redirects"),
        (requests.TooManyRedirects(response=requests.Response()), "too many redirects"),
        (CircuitOpenError("open", retry_after=1), "refused by a policy"),
        (PoolTimeoutError("full"), "refused by a policy"),
        (OSError(errno.EHOSTUNREACH, "no route"), "connection error"),
        (socket.gaierror(1, "no name"), "connection error"),
        (ssl.SSLError("no"), "connection error"),
        (urllib.error.HTTPError("http://x", 418, "no", Message(), None), "status 418 raised"),
        (requests.JSONDecodeError("no", "", 0), "other error (JSONDecodeError)"),
        (requests.exceptions.InvalidURL("/secret"), "other error (InvalidURL)"),
        (FileNotFoundError("/secret"), "other error (FileNotFoundError)"),
        (json.JSONDecodeError("no", "", 0), "other error (JSONDecodeError)"),
        (ValueError("/secret?token=1"), "other error (ValueError)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_errors_of_all_libraries_have_the_same_families(error: Exception, expected: str) -> None:
    assert family(error) == expected


def test_a_raised_status_is_a_family_of_its_own() -> None:
    response = requests.Response()
    response.status_code = 418
    assert family(requests.HTTPError(response=response)) == "status 418 raised"


async def test_what_names_the_port_of_a_server_is_no_difference(
    bare: aiohttp.ClientSession,
) -> None:
    class Old:
        async def __call__(
            self,
            method: str,
            url: str,
            *,
            headers: Mapping[str, str],
            body: bytes | None,
            timeout: float,
        ) -> parity.Answer:
            return await parity.from_aiohttp(bare)(
                method, url, headers={**headers, "Referer": url}, body=body, timeout=timeout
            )

    own = parity.Scenario(
        "own.host",
        "none",
        lambda _: lambda request: respond(headers={"Link": f"<//{request.headers['Host']}/next>"}),
        request_headers=("Host", "Referer"),
        answer_headers=("Link",),
    )
    report = await parity.check(Old(), bare, [own])
    assert report.results[0].new.answer_headers == ("1: Link: <//127.0.0.1:PORT/next>",)
    (difference,) = report.differences
    assert difference.old == "1: Host: 127.0.0.1:PORT, 1: Referer: http://127.0.0.1:PORT/"
    assert difference.new == "1: Host: 127.0.0.1:PORT"


class TestAClientThatIsNone:
    async def test_a_library_that_was_not_wrapped_is_told_how(
        self, bare: aiohttp.ClientSession
    ) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(TypeError, match=r"cannot call old=.*AsyncClient; wrap it with"):
                await parity.check(client, bare)

    async def test_other_arguments_are_told(self, bare: aiohttp.ClientSession) -> None:
        async def fetch(method: str, url: str) -> parity.Answer:
            raise AssertionError(method, url)

        with pytest.raises(TypeError, match=r"calls new= as \(method, .*unexpected keyword"):
            await parity.check(bare, fetch)

    async def test_another_answer_is_told_and_not_compared_with_its_like(self) -> None:
        async def fetch(method: str, url: str, **_: object) -> tuple[str, str]:
            return method, url

        with pytest.raises(TypeError, match=r"returns a parity.Answer, .* type tuple"):
            await parity.check(fetch, fetch, chosen("basics.get"))

    async def test_what_fails_the_test_on_purpose_does(self, bare: aiohttp.ClientSession) -> None:
        async def fetch(method: str, url: str, **_: object) -> parity.Answer:
            pytest.fail("the old client was misused")

        with pytest.raises(pytest.fail.Exception, match="was misused"):
            await parity.check(fetch, bare, chosen("basics.get"))


async def test_a_script_that_fails_leaves_the_other_side_in_order(
    bare: aiohttp.ClientSession,
) -> None:
    ended = asyncio.Event()

    async def slow(method: str, url: str, **options: object) -> parity.Answer:
        try:
            await asyncio.sleep(0.1)
            return parity.Answer(200)
        finally:
            ended.set()

    def broken(_: ReceivedRequest) -> Action:
        raise LookupError("of the script")

    with pytest.raises(LookupError, match="of the script"):
        await parity.check(bare, slow, [parity.Scenario("own.broken", "none", lambda _: broken)])
    assert ended.is_set()


@pytest.mark.parametrize("library", ["httpx", "requests", "urllib"])
async def test_a_header_that_is_repeated_comes_as_often(
    bare: aiohttp.ClientSession, library: str
) -> None:
    own = parity.Scenario(
        "own.links",
        "none",
        lambda _: [respond(headers=[("Link", "</a>"), ("Link", "</b>")])],
        answer_headers=("Link",),
    )
    with httpx.Client(trust_env=False) as client, requests.Session() as session:
        session.trust_env = False
        old = {
            "httpx": parity.from_httpx(client),
            "requests": parity.from_requests(session),
            "urllib": parity.from_urllib(),
        }[library]
        report = await parity.check(old, bare, [own])
    report.raise_for_differences()
    assert report.results[0].new.answer_headers == ("1: Link: </a>", "1: Link: </b>")


async def test_what_was_not_played_is_not_said_to_be_the_same(
    bare: aiohttp.ClientSession,
) -> None:
    accept = {"cancel.waiting": "it is synchronous", "cancel.waiting:outcome": "it is synchronous"}
    report = await parity.check(parity.from_urllib(), bare, chosen("cancel"), accept=accept)
    assert report.unused == ()
    assert "no longer different" not in str(report)


async def test_a_difference_far_behind_is_shown(bare: aiohttp.ClientSession) -> None:
    async def longer(
        method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> parity.Answer:
        return parity.Answer(200, text="x" * 500 + "old" + "y" * 500)

    own = parity.Scenario(
        "own.text", "none", lambda _: [respond(body=b"x" * 500 + b"new")], text=True
    )
    told = str(await parity.check(longer, bare, [own], accept={"own.text:requests": "none"}))
    assert "old  …" in told
    assert "xold" in told
    assert "xnew" in told
    assert max(map(len, told.splitlines())) < 160


class TestCredentials:
    async def test_those_of_a_real_client_are_not_in_the_report(
        self, bare: aiohttp.ClientSession
    ) -> None:
        def client(secret: str) -> parity.Client:
            async def call(
                method: str,
                url: str,
                *,
                headers: Mapping[str, str],
                body: bytes | None,
                timeout: float,
            ) -> parity.Answer:
                own = {"Authorization": f"Bearer {secret}", "Cookie": f"sid={secret}"}
                return await parity.from_aiohttp(bare)(
                    method,
                    f"{url}?api_key={secret}&page=2",
                    headers={**headers, **own},
                    body=body,
                    timeout=timeout,
                )

            return call

        scenario = parity.Scenario(
            "own.credentials",
            "none",
            lambda _: [respond()],
            (parity.Request(headers={"Authorization": "Bearer mine"}),),
            request_headers=("Authorization", "Cookie"),
        )
        same = await parity.check(client("canary-1"), client("canary-1"), [scenario])
        same.raise_for_differences()
        report = await parity.check(client("canary-1"), client("canary-2"), [scenario])
        assert [each.aspect for each in report.differences] == ["requests", "request_headers"]
        assert "canary" not in str(report) + report.as_json() + repr(same.results)
        assert "Authorization: (not of the scenario, " in str(report)
        assert "&page=2" in str(report)

    async def test_those_of_the_scenario_are(self, bare: aiohttp.ClientSession) -> None:
        report = await parity.check(bare, bare, chosen("basics.headers", "cookies.kept"))
        headers, cookies = (each.new.request_headers for each in report.results)
        assert headers[0] == "1: Authorization: Bearer of-a-scenario"
        assert cookies == ("2: Cookie: kept=1",)


def test_a_number_that_ends_like_the_port_is_no_port() -> None:
    shown = WireText(48576, [], [])
    assert shown.received("1048576") == "1048576"
    assert shown.received("48576") == "48576"
    assert shown.received("<http://localhost:48576/next>") == "<http://localhost:PORT/next>"
    assert shown.target("/go?to=http%3A%2F%2Flocalhost%3A48576%2F").endswith("%3APORT%2F")

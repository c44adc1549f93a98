"""Credentials on real requests: which schemes send what, and above all where to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import aiohttp
import pytest

from platform_http.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceededError,
    PoolTimeoutError,
)
from platform_http.factory import SessionFactory
from platform_http.settings import plain_settings
from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body, respond
from platform_http.testing.wire import ReceivedRequest
from tests.functional.conftest import Observed

LOGIN = "Basic " + base64.b64encode("ü:p:w".encode()).decode()
BASIC = {"scheme": "basic", "username": "ü", "password": "p:w"}
BEARER = {"scheme": "bearer", "token": "canary-token"}


def _sent(server: FaultServer, header: str = "Authorization") -> list[str | None]:
    return [request.headers.get(header) for request in server.requests]


def _redirect(to: object) -> Callable[[ReceivedRequest], object]:
    return lambda request: (
        respond(302, headers={"Location": f"{to}end"}) if request.target == "/" else respond(200)
    )


@pytest.mark.parametrize(("auth", "expected"), [(BASIC, LOGIN), (BEARER, "Bearer canary-token")])
async def test_fixed_credentials_are_on_every_attempt(
    observed: Observed, auth: dict[str, str], expected: str
) -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session(auth=auth) as session:
            async with session.get(server.url) as response:
                assert response.status == 200
    assert _sent(server) == [expected] * 2


async def test_a_401_does_not_resend_credentials_that_never_change(observed: Observed) -> None:
    async with FaultServer([respond(401)]) as server:
        async with observed.session(auth=BEARER) as session:
            async with session.get(server.url) as response:
                assert response.status == 401
    assert len(server.requests) == 1


async def test_a_callers_own_authorization_is_left_alone(observed: Observed) -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        async with observed.session(auth=BEARER) as session:
            async with session.get(server.url, headers={"authorization": "mine"}):
                pass
            async with session.get(server.url.with_user("me").with_password("mine")):
                pass
    assert _sent(server) == ["mine", "mine", "Basic bWU6bWluZQ=="]


async def test_credentials_go_to_the_origin_of_the_base_url_alone(observed: Observed) -> None:
    async with FaultServer() as own, FaultServer() as other:
        async with observed.session(base_url=str(own.url), auth=BEARER) as session:
            await session.get("x")
            await session.get(other.url)
    assert _sent(own) == ["Bearer canary-token"]
    assert _sent(other) == [None]


async def test_without_a_base_url_they_go_to_the_first_origin_of_each_call(
    observed: Observed,
) -> None:
    async with FaultServer() as one, FaultServer() as two:
        async with observed.session(auth=BEARER) as session:
            await session.get(one.url)
            await session.get(two.url)
    assert _sent(one) == _sent(two) == ["Bearer canary-token"]


@pytest.mark.parametrize("mode", ["safe", "follow"])
@pytest.mark.parametrize("has_base_url", [True, False])
async def test_a_redirect_takes_no_credentials_along_and_does_not_get_them_back(
    observed: Observed, mode: str, has_base_url: bool
) -> None:
    async with FaultServer() as other, FaultServer() as own:
        own._script = _redirect(other.url)
        other._script = [respond(302, headers={"Location": f"{own.url}back"})]
        settings = {"base_url": str(own.url)} if has_base_url else {}
        settings["redirects"] = {"mode": mode}
        async with observed.session(auth=BEARER, **settings) as session:
            async with session.get(own.url) as response:
                assert response.status == 200
    assert _sent(own) == ["Bearer canary-token", None]
    assert _sent(other) == [None]


async def test_a_redirect_to_the_own_origin_by_another_one_gets_none(observed: Observed) -> None:
    async with FaultServer() as own, FaultServer() as other:
        other._script = _redirect(own.url)
        async with observed.session(base_url=str(own.url), auth=BEARER) as session:
            await session.get(other.url)
    assert _sent(own) == _sent(other) == [None]


async def test_a_redirect_within_the_own_origin_keeps_them(observed: Observed) -> None:
    async with FaultServer() as own:
        own._script = _redirect(own.url)
        async with observed.session(auth=BEARER) as session:
            await session.get(own.url)
    assert _sent(own) == ["Bearer canary-token"] * 2


async def test_a_web_socket_is_authenticated_too(observed: Observed) -> None:
    async with FaultServer([respond(403)]) as own:
        async with observed.session(base_url=str(own.url), auth=BEARER) as session:
            for url in ("/", str(own.url).replace("http", "ws")):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(url)
    assert _sent(own) == ["Bearer canary-token"] * 2


async def test_the_plain_profile_can_be_authenticated() -> None:
    async with FaultServer() as server:
        async with SessionFactory(plain_settings(auth=BEARER)) as factory:
            await factory.session().get(server.url)
        async with SessionFactory(plain_settings(), auth={"default": Signer()}) as factory:
            await factory.session().get(server.url)
    assert _sent(server) == ["Bearer canary-token", None]
    assert _sent(server, "X-Signature") == [None, "GET / 0"]


class Signer:
    """Signs method, path and body length; remembers what was rejected."""

    def __init__(self) -> None:
        self.rejected: list[Mapping[str, str] | None] = []

    async def credentials(
        self, request: aiohttp.ClientRequest, rejected: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        self.rejected.append(rejected)
        body = await request.body.as_bytes() if request.body else b""
        number = "" if len(self.rejected) == 1 else f" again {len(self.rejected)}"
        return {"X-Signature": f"{request.method} {request.url.path} {len(body)}{number}"}


async def test_a_custom_provider_signs_each_attempt_afresh(observed: Observed) -> None:
    signer = Signer()
    async with FaultServer([respond(503), respond(401), respond(200)]) as server:
        clients = {"billing-api": {"retry": {"methods": ["POST"]}}}
        async with observed.factory(providers={"Billing_API": signer}, clients=clients) as factory:
            async with factory.session("billing-api").post(server.url, data=b"abc") as response:
                assert response.status == 200
            await factory.session().get(server.url)
            await factory.session("billing-api").get(server.url)
    signatures = ["POST / 3", "POST / 3 again 2", "POST / 3 again 3"]
    assert _sent(server, "X-Signature") == [*signatures, None, "GET / 0 again 4"]
    assert signer.rejected == [None, None, {"X-Signature": signatures[1]}, None]
    assert server.requests[2].body == b"abc"


async def test_one_401_per_call_is_answered_with_new_credentials(observed: Observed) -> None:
    script = [respond(401), respond(503), respond(401), respond(200)]
    async with FaultServer(script) as server:
        providers = {"default": Signer()}
        async with observed.factory(providers=providers, retry={"max_attempts": 5}) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 401
    assert len(server.requests) == 3


async def test_the_attempt_after_a_401_counts_against_the_attempts_of_the_call(
    observed: Observed,
) -> None:
    async with FaultServer([respond(401), respond(503), respond(200)]) as server:
        providers = {"default": Signer()}
        async with observed.factory(providers=providers, retry={"max_attempts": 2}) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 503
    assert len(server.requests) == 2


async def test_the_401_is_returned_when_the_attempt_after_it_is_refused(
    observed: Observed,
) -> None:
    script = [respond(401, body=b"who are you?")]
    async with FaultServer(script) as server:
        providers = {"default": Signer()}
        rate_limit = {"rate": 1, "per": 60}
        async with observed.factory(providers=providers, rate_limit=rate_limit) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 401
                assert await response.read() == b"who are you?"
    assert len(server.requests) == 1
    observed.assert_quiet()


@pytest.mark.parametrize("size", [100, 3_000_000], ids=["small", "large"])
async def test_the_wait_for_newer_credentials_holds_neither_connection_nor_permit(
    observed: Observed, size: int
) -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Signer):
        async def credentials(self, request, rejected):
            if rejected is not None:
                waiting.set()
                await go_on.wait()
            return await super().credentials(request, rejected)

    settings = {"pool": {"limit": 1, "limit_per_host": 1}, "concurrency": {"limit": 1, "queue": 0}}
    script = [respond(401, body=b"x" * size), respond(200), respond(200, body=b"newer")]
    async with FaultServer(script) as server:
        async with observed.factory(providers={"default": Slow()}, **settings) as factory:
            session = factory.session()
            refused = asyncio.create_task(session.get(server.url))
            await waiting.wait()
            async with asyncio.timeout(5):
                own = {"Authorization": "own"}
                async with session.get(server.url, headers=own) as response:
                    assert response.status == 200
            go_on.set()
            async with await refused as response:
                assert await response.read() == b"newer"
    observed.assert_quiet()


@pytest.mark.parametrize("end", ["deadline", "error"])
@pytest.mark.parametrize("size", [100, 3_000_000], ids=["small", "large"])
async def test_without_newer_credentials_a_401_that_is_held_is_returned(
    observed: Observed, size: int, end: str
) -> None:
    class Lost(Signer):
        async def credentials(self, request, rejected):
            if rejected is not None:
                if end == "error":
                    raise AuthenticationError("none left")
                await asyncio.Event().wait()
            return await super().credentials(request, rejected)

    async with FaultServer([respond(401, body=b"x" * size)]) as server:
        providers = {"default": Lost()}
        async with observed.factory(providers=providers, timeout={"total": 0.5}) as factory:
            session = factory.session()
            if size == 100:
                async with session.get(server.url) as response:
                    assert response.status == 401
                    assert len(await response.read()) == size
            else:
                error = DeadlineExceededError if end == "deadline" else AuthenticationError
                with pytest.raises(error):
                    await session.get(server.url)
    assert len(server.requests) == 1
    observed.assert_quiet()


async def test_a_large_401_is_returned_without_its_body_where_the_wait_brought_nothing_new(
    observed: Observed,
) -> None:
    class Stubborn:
        async def credentials(self, request, rejected):
            return {"Authorization": "always the same"}

    async with FaultServer([respond(401, body=b"x" * 3_000_000)]) as server:
        async with observed.factory(providers={"default": Stubborn()}) as factory:
            async with factory.session().get(server.url) as response:
                assert response.status == 401
                with pytest.raises(aiohttp.ClientConnectionError, match="closed"):
                    await response.read()
    assert len(server.requests) == 1
    observed.assert_quiet()


async def test_a_large_401_stays_unread_where_nobody_has_to_wait(observed: Observed) -> None:
    body = b"x" * 300_000
    async with FaultServer([respond(401, body=body)]) as server:
        async with observed.session(auth=BEARER) as session:
            async with session.get(server.url) as response:
                assert await response.read() == body


async def test_a_full_pool_at_the_attempt_after_a_401_is_a_failure_of_its_own(
    observed: Observed,
) -> None:
    held: list[aiohttp.ClientResponse] = []

    class Holder(Signer):
        async def credentials(self, request, rejected):
            if rejected is not None:
                held.append(await request.session.get(server.url / "busy", middlewares=()))
            return await super().credentials(request, rejected)

    busy = partial_body(b"x", content_length=100, then="hang")
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "timeout": {"attempt": 1, "pool": 0.05},
        "retry": {"max_attempts": 2},
    }
    script = [respond(401), busy]
    async with FaultServer(script) as server:
        async with observed.factory(providers={"default": Holder()}, **settings) as factory:
            with pytest.raises(PoolTimeoutError):
                await factory.session().get(server.url)
            held[0].close()
    assert len(server.requests) == 2


async def test_what_a_custom_provider_raises_is_an_authentication_error(
    observed: Observed,
) -> None:
    class Broken:
        async def credentials(self, request, rejected):
            raise KeyError("vault")

    class Odd:
        async def credentials(self, request, rejected):
            return "token"

    clients: dict[str, object] = {
        "broken": {"timeout": {"total": 3}},
        "odd": {"timeout": {"total": 3}},
    }
    providers = {"broken": Broken(), "odd": Odd()}
    async with FaultServer() as server:
        async with observed.factory(providers=providers, clients=clients) as factory:
            with pytest.raises(AuthenticationError, match="'broken' failed: KeyError"):
                await factory.session("broken").get(server.url)
            with pytest.raises(AuthenticationError, match="'odd' returned str; it has to return"):
                await factory.session("odd").get(server.url)
    assert server.requests == []


async def test_a_custom_provider_has_until_the_deadline_of_the_call(observed: Observed) -> None:
    class Slow:
        async def credentials(self, request, rejected):
            await asyncio.sleep(60)

    async with FaultServer() as server:
        timeout = {"total": 0.2, "attempt": 0.1}
        async with observed.factory(providers={"default": Slow()}, timeout=timeout) as factory:
            async with asyncio.timeout(5):
                with pytest.raises(DeadlineExceededError):
                    await factory.session().get(server.url)


async def test_a_provider_that_sends_with_its_own_client_is_told_instead_of_recursing(
    observed: Observed,
) -> None:
    class Recursive:
        session: aiohttp.ClientSession
        options: Mapping[str, object] = MappingProxyType({})

        async def credentials(self, request, rejected):
            async with self.session.get(server.url, **self.options) as response:
                return {"Authorization": f"Bearer {response.status}"}

    provider = Recursive()
    async with FaultServer() as server:
        async with observed.factory(providers={"default": provider}) as factory:
            provider.session = factory.session()
            with pytest.raises(AuthenticationError, match="waits for itself") as caught:
                await provider.session.get(server.url)
            assert server.requests == []
            provider.options = {"middlewares": ()}
            await provider.session.get(server.url)
    assert _sent(server) == [None, "Bearer 200"]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("providers", "settings", "expected"),
    [
        ({"biling": Signer()}, {}, r"auth\['biling'\] names a client without .*mean 'billing'\?"),
        ({"x!": Signer()}, {}, r"auth\['x!'\] names a client without settings; correct it, or set"),
        ({"billing": Signer(), "BILLING": Signer()}, {}, "names the same client as another entry"),
        ({"billing": object()}, {}, r"auth\['billing'\] has no method credentials\(\)"),
        (
            {"billing": Signer()},
            {"auth": BEARER},
            "PLATFORM_HTTP_CLIENTS__BILLING__AUTH__SCHEME are both set; set the latter to none",
        ),
    ],
)
async def test_a_provider_that_would_authenticate_nobody_refuses_to_start(
    observed: Observed, providers: dict[str, object], settings: dict[str, object], expected: str
) -> None:
    clients = {"billing": {"timeout": {"total": 3}}}
    with pytest.raises(ConfigurationError, match=expected):
        async with observed.factory(providers=providers, clients=clients, **settings):
            pass


class DigestServer:
    """Challenges, and verifies the digest: MD5 with ``qop=auth``."""

    def __init__(self) -> None:
        self.nonce = "n1"
        self.algorithm = "MD5"
        self.bodies: list[bytes] = []
        self.counts: list[str] = []
        self.size = 1000

    def __call__(self, request: ReceivedRequest) -> object:
        self.bodies.append(request.body)
        given = dict(
            re.findall(
                r'(\w+)="?([^",]+)"?', request.headers.get("Authorization", "").partition(" ")[2]
            )
        )
        if given.get("nonce") == self.nonce and given["response"] == self._expected(request, given):
            self.counts.append(given["nc"])
            return respond(200)
        challenge = (
            f'Digest realm="r", nonce="{self.nonce}", qop="auth", algorithm={self.algorithm}'
        )
        return respond(401, body=b"x" * self.size, headers={"WWW-Authenticate": challenge})

    def _expected(self, request: ReceivedRequest, given: dict[str, str]) -> str:
        def digest(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode()).hexdigest()

        first, second = digest("u", "r", "p"), digest(request.method, request.target)
        return digest(first, given["nonce"], given["nc"], given["cnonce"], "auth", second)


DIGEST = {"scheme": "digest", "username": "u", "password": "p"}


@pytest.mark.parametrize("size", [1000, 5_000_000])
@pytest.mark.parametrize("retries", [True, False])
async def test_digest_answers_the_challenge_and_remembers_it(
    observed: Observed, retries: bool, size: int
) -> None:
    script = DigestServer()
    script.size = size
    settings = {"pool": {"limit": 1, "limit_per_host": 1}, "retry": {"enabled": retries}}
    async with FaultServer(script) as server:
        async with observed.session(auth=DIGEST, **settings) as session:
            for _ in range(2):
                async with session.post(server.url, data=b"abc") as response:
                    assert response.status == 200
            script.nonce = "n2"
            async with session.get(server.url.with_path("/y")) as response:
                assert response.status == 200
    assert script.bodies == [b"abc"] * 3 + [b""] * 2
    assert script.counts == ["00000001", "00000002", "00000001"]
    assert len(observed.attempts) == 5
    assert observed.value("platform_http_calls_total", outcome="success") == 3
    assert observed.value("platform_http_retries_total") == 0
    observed.assert_quiet()


async def test_digest_works_with_a_retry_between(observed: Observed) -> None:
    digest = DigestServer()
    actions = iter([respond(503), None, respond(503), None, None])

    async with FaultServer(lambda request: next(actions) or digest(request)) as server:
        async with observed.session(auth=DIGEST) as session:
            async with session.get(server.url) as response:
                assert response.status == 200
    assert len(server.requests) == 4
    # A count that was used before would be a replay.
    assert digest.counts == ["00000002"]
    # The answer to a challenge is no resend.
    assert observed.value("platform_http_retries_total") == 2


async def test_digest_leaves_other_failures_as_they_are(observed: Observed) -> None:
    async with FaultServer() as server:
        url = server.url
    async with observed.session(auth=DIGEST, retry={"enabled": False}) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)


async def test_the_challenge_is_returned_when_its_answer_is_refused(observed: Observed) -> None:
    async with FaultServer(DigestServer()) as server:
        async with observed.session(auth=DIGEST, rate_limit={"rate": 1, "per": 60}) as session:
            async with session.get(server.url) as response:
                assert response.status == 401
                assert await response.read() == b"x" * 1000
    assert len(server.requests) == 1


async def test_digest_never_resends_a_one_shot_body_empty(observed: Observed) -> None:
    async def stream():
        yield b"abc"

    script = DigestServer()
    async with FaultServer(script) as server, observed.session(auth=DIGEST) as session:
        async with session.post(server.url, data=stream()) as response:
            assert response.status == 401
            assert await response.read() == b"x" * 1000
    assert script.bodies == [b"abc"]


async def test_a_wrong_password_is_a_401(observed: Observed) -> None:
    async with FaultServer(DigestServer()) as server:
        async with observed.session(auth={**DIGEST, "password": "canary"}) as session:
            async with session.get(server.url) as response:
                assert response.status == 401
    assert len(server.requests) == 2


async def test_a_challenge_that_cannot_be_answered_is_not_quoted(observed: Observed) -> None:
    script = DigestServer()
    script.algorithm = "canary"
    async with FaultServer(script) as server, observed.session(auth=DIGEST) as session:
        with pytest.raises(AuthenticationError, match="digest challenge of http://127") as caught:
            await session.get(server.url)
    assert "canary" not in str(caught.value).lower()
    assert observed.value("platform_http_calls_total", error_type="auth_error") == 1
    observed.assert_quiet()


async def test_digest_is_for_the_own_origin_alone_and_for_each_origin_by_itself(
    observed: Observed,
) -> None:
    one, two = DigestServer(), DigestServer()
    async with FaultServer(one) as first, FaultServer(two) as second:
        async with observed.session(auth=DIGEST) as session:
            for server in (first, second):
                async with session.get(server.url) as response:
                    assert response.status == 200
        async with observed.session(base_url=str(first.url), auth=DIGEST) as session:
            async with session.get(second.url) as response:
                assert response.status == 401
            async with session.get(first.url, headers={"Authorization": "mine"}) as response:
                assert response.status == 401
    assert _sent(first)[-1] == "mine"
    assert _sent(second)[-1] is None

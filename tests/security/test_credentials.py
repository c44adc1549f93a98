"""What a client is authenticated with is told to its server alone, also when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from platform_http.errors import AuthenticationError
from platform_http.testing import FakeClock, FaultServer
from platform_http.testing.actions import Action, close, hang, raw, reset, respond
from tests.security.canaries import CANARIES
from tests.security.stage import ANSWER, HEADERS, answer, redirect, stage
from tests.servers import free_port

GRANT = '{"access_token": "%s", "token_type": "%s", "expires_in": 100}'
CHALLENGE = 'Digest realm="r", qop="auth", nonce="n", algorithm={}'


def grant(kind: str = "bearer", token: str = CANARIES["access-token"]) -> Action:
    content = {"Content-Type": "application/json"}
    return respond(headers=content, body=(GRANT % (token, kind)).encode())


def oauth2(url: URL) -> dict[str, object]:
    """Return the AUTH section for a token endpoint at *url*."""
    return {
        "scheme": "oauth2_client_credentials",
        "token_url": str(url / "token"),
        "client_id": "service",
        "client_secret": CANARIES["client-secret"],
    }


async def _bare(made, url: URL, **options: object):
    """Call without a login in the URL, which would go before the client's own credentials."""
    return await made.call(str(url), **options)


class TestOfTheSettings:
    @pytest.mark.parametrize("action", [answer(), answer(401), close(), hang()])
    @pytest.mark.parametrize(
        "auth",
        [
            {"scheme": "basic", "username": "me", "password": CANARIES["auth-password"]},
            {"scheme": "bearer", "token": CANARIES["token"]},
        ],
        ids=["basic", "bearer"],
    )
    async def test_are_sent_and_not_told(self, auth: dict[str, str], action: Action) -> None:
        async with FaultServer([action]) as server, stage(auth=auth) as made:
            await _bare(made, server.url)
        assert "Authorization" in str(server.requests[0].headers)

    async def test_do_not_follow_a_redirect(self) -> None:
        auth = {"scheme": "bearer", "token": CANARIES["token"]}
        async with (
            FaultServer([answer()]) as other,
            FaultServer([redirect(other.url)]) as server,
            stage(auth=auth) as made,
        ):
            await _bare(made, server.url, method="GET", data=None)
        assert CANARIES["token"] not in str([each.headers for each in other.requests])

    @pytest.mark.parametrize("algorithm", ["MD5", CANARIES["answer-header"]])
    async def test_answer_a_challenge(self, algorithm: str) -> None:
        auth = {"scheme": "digest", "username": "me", "password": CANARIES["auth-password"]}
        script = [answer(401, **{"WWW-Authenticate": CHALLENGE.format(algorithm)}), answer()]
        async with FaultServer(script) as server, stage(auth=auth) as made:
            await _bare(made, server.url)

    async def test_may_stand_in_the_base_url(self) -> None:
        login = {"user": CANARIES["base-url-user"], "password": CANARIES["base-url-password"]}
        async with FaultServer([answer()]) as server:
            url = URL.build(scheme="http", host="127.0.0.1", port=server.port, path="/", **login)
            async with stage(base_url=str(url)) as made:
                assert await made.call("x") == 200
        assert "Authorization" in str(server.requests[0].headers)


class TestATokenFile:
    async def test_is_read_again_and_not_told(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(CANARIES["token-file"])
        auth = {"scheme": "bearer", "token_file": file}
        async with FaultServer([answer(), answer(401), answer()]) as server:
            async with stage(auth=auth) as made:
                assert await _bare(made, server.url) == 200
                file.write_text(CANARIES["token"])
                assert await _bare(made, server.url) == 200
        assert CANARIES["token"] in str(server.requests[-1].headers)

    @pytest.mark.parametrize("content", [b"", b" ", CANARIES["token-file"].encode() + b" \xff"])
    async def test_that_becomes_unusable_is_not_quoted(
        self, tmp_path: Path, content: bytes
    ) -> None:
        file = tmp_path / "token"
        file.write_text(CANARIES["token-file"])
        async with FaultServer([answer(401)]) as server:
            async with stage(auth={"scheme": "bearer", "token_file": file}) as made:
                assert await _bare(made, server.url) == 401
                file.write_bytes(content)
                assert await _bare(made, server.url) == 401
                file.unlink()
                assert await _bare(made, server.url) == 401
                assert any("AUTH__TOKEN_FILE" in each.getMessage() for each in made.heard.records)


class TestAToken:
    async def test_is_fetched_sent_and_not_told(self) -> None:
        clock = FakeClock()
        async with (
            FaultServer([grant(), grant(token=CANARIES["token"])]) as tokens,
            FaultServer([answer(), answer(401), answer()]) as server,
            stage(auth=oauth2(tokens.url), clock=clock) as made,
        ):
            assert await _bare(made, server.url) == 200
            # The 401 is answered with a new token, unless the last one was asked for just now.
            clock.advance(2)
            assert await _bare(made, server.url, method="PUT") == 200
            clock.advance(1000)
            assert await _bare(made, server.url) == 200
        assert CANARIES["access-token"] in str(server.requests[0].headers)
        assert len(tokens.requests) > 1

    @pytest.mark.parametrize(
        "action",
        [
            answer(400),
            answer(401),
            answer(500),
            answer(),
            respond(body=ANSWER),
            grant(CANARIES["answer-body"]),
            redirect(URL("http://127.0.0.1:9/")),
            raw(ANSWER + b"\r\n\r\n"),
            close(),
            reset(),
            hang(),
        ],
    )
    async def test_that_cannot_be_had(self, action: Action) -> None:
        async with FaultServer() as server, FaultServer([action]) as tokens:
            async with stage(auth=oauth2(tokens.url), timeout={"total": 0.6}) as made:
                ended = await _bare(made, server.url)
                assert issubclass(ended, aiohttp.ClientError)
        assert CANARIES["client-secret"] not in repr(made.heard.errors)
        assert tokens.requests
        assert not server.requests

    async def test_whose_endpoint_is_away(self) -> None:
        auth = oauth2(URL(f"http://127.0.0.1:{free_port()}/"))
        async with FaultServer() as server, stage(auth=auth) as made:
            assert await _bare(made, server.url) is AuthenticationError

    async def test_that_nobody_waits_for_any_more(self) -> None:
        async with (
            FaultServer() as server,
            FaultServer([hang()]) as tokens,
            stage(auth=oauth2(tokens.url)) as made,
        ):
            task = asyncio.create_task(_bare(made, server.url))
            await tokens.wait_until(lambda: tokens.requests)
            task.cancel()
            await asyncio.wait([task])


class Provider:
    """Hands out the same secret each time, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def credentials(
        self, request: aiohttp.ClientRequest, rejected: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        if self.error is not None:
            raise self.error
        return {"X-Signature": CANARIES["provider"]}


class TestAProvider:
    @pytest.mark.parametrize("script", [[answer()], [answer(401)], [reset()]])
    async def test_gives_what_is_not_told(self, script: list[Action]) -> None:
        async with FaultServer(script) as server:
            async with stage(providers={"default": Provider()}) as made:
                await _bare(made, server.url, headers=HEADERS)
        assert CANARIES["provider"] in str(server.requests[0].headers)

    async def test_that_fails_is_the_only_one_to_tell_why(self) -> None:
        provider = Provider(RuntimeError("the vault is sealed"))
        async with FaultServer() as server, stage(providers={"default": provider}) as made:
            assert await _bare(made, server.url) is AuthenticationError
        (error,) = made.heard.errors
        assert "vault" not in str(error)
        assert error.__cause__ is provider.error

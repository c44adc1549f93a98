"""One refresh in flight, told apart from the tokens of before."""

from __future__ import annotations

import asyncio
from random import Random
from unittest.mock import Mock

import pytest

from platform_http.auth.client_credentials import ClientCredentials
from platform_http.auth.token_endpoint import Grant
from platform_http.errors import AuthenticationError
from platform_http.policies.token import TokenSchedule
from platform_http.testing import FakeClock


class Endpoint:
    """Grants ``t1``, ``t2`` and so on, or raises."""

    def __init__(self) -> None:
        self.asked = 0
        self.lifetime = 100
        self.error: Exception | None = None

    async def ask(self) -> Grant:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Grant(f"t{self.asked}", self.lifetime)


class Scene:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.endpoint = Endpoint()
        client = Mock(loop=asyncio.get_running_loop())
        client.name = "billing"
        schedule = TokenSchedule(clock=self.clock, rng=Random(1))
        self.credentials = ClientCredentials(self.endpoint, schedule, client)

    async def token(self) -> str:
        headers = await self.credentials.obtain(Mock())
        return headers["Authorization"]


async def test_a_late_refusal_of_an_old_token_does_not_revoke_the_new_one() -> None:
    scene = Scene()
    assert await scene.token() == "Bearer t1"
    scene.clock.advance(5)
    scene.credentials.reject({"Authorization": "Bearer t1"})
    assert await scene.token() == "Bearer t2"
    scene.clock.advance(5)
    scene.credentials.reject({"Authorization": "Bearer t1"})
    assert await scene.token() == "Bearer t2"
    await scene.credentials.aclose()


async def test_tokens_that_are_over_at_once_are_asked_for_once_a_second() -> None:
    scene = Scene()
    scene.endpoint.lifetime = 0
    for _ in range(3):
        assert await asyncio.gather(*(scene.token() for _ in range(3))) == ["Bearer t1"] * 3
    scene.clock.advance(1)
    assert scene.credentials.ready() is None
    assert await scene.token() == "Bearer t2"


async def test_each_caller_has_an_error_of_its_own() -> None:
    scene = Scene()
    scene.endpoint.error = AuthenticationError("the endpoint is away")
    errors = await asyncio.gather(*(scene.token() for _ in range(3)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {
        "no token for client 'billing': the endpoint is away"
    }
    assert scene.endpoint.asked == 1


async def test_an_unforeseen_failure_is_told_by_its_name_alone() -> None:
    scene = Scene()
    scene.endpoint.error = RuntimeError("canary")
    with pytest.raises(AuthenticationError, match=r"'billing': RuntimeError$"):
        await scene.token()

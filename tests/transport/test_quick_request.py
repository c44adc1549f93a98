"""Which constructor makes the requests of a session."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from platform_http.testing import FaultServer
from platform_http.transport import quick_request
from platform_http.transport.quick_request import QuickRequest
from platform_http.transport.request import PlatformRequest
from tests.functional.conftest import Observed


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.mark.parametrize("knows", [True, False])
async def test_a_release_of_aiohttp_that_is_not_known_has_its_own_constructor_used(
    observed: Observed, monkeypatch: pytest.MonkeyPatch, *, knows: bool
) -> None:
    monkeypatch.setattr(quick_request, "is_sound", lambda: knows)
    async with FaultServer() as server, observed.session(headers={"X-Key": "k"}) as session:
        assert issubclass(session._request_class, PlatformRequest)
        assert issubclass(session._request_class, QuickRequest) is knows
        async with session.post(server.url, json={"a": 1}) as response:
            assert response.status == 200
    (request,) = server.requests
    assert request.headers["X-Key"] == "k"
    assert request.body == b'{"a": 1}'


class TakesMore(aiohttp.ClientRequest):
    def __init__(self, *args: Any, novelty: int = 1, **options: Any) -> None:
        super().__init__(*args, **options)


class MakesMore(aiohttp.ClientRequest):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.novelty = 1

    __init__.__kwdefaults__ = aiohttp.ClientRequest.__init__.__kwdefaults__


@pytest.mark.parametrize("newer", [TakesMore, MakesMore])
async def test_a_constructor_that_takes_or_makes_something_else_is_not_known(
    monkeypatch: pytest.MonkeyPatch, newer: type[aiohttp.ClientRequest]
) -> None:
    quick_request.is_sound.cache_clear()
    monkeypatch.setattr(quick_request, "_Base", newer)
    try:
        assert not quick_request.is_sound()
    finally:
        quick_request.is_sound.cache_clear()

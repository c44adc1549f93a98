"""Which constructor makes the requests of a session."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Self

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http import HttpSettings, SessionFactory
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


async def test_the_sessions_of_all_clients_share_their_classes() -> None:
    # The interpreter remembers by class where it found an attribute: with a class for each client,
    # calls to thirty of them in turn took a tenth more.
    async with SessionFactory(HttpSettings(), registry=CollectorRegistry()) as factory:
        one, other = factory.session("one"), factory.session("other")
        assert one._request_class is other._request_class
        assert one._response_class is other._response_class


class TakesMore(aiohttp.ClientRequest):
    def __init__(self, *args: Any, novelty: int = 1, **options: Any) -> None:
        super().__init__(*args, **options)


class MakesMore(aiohttp.ClientRequest):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.novelty = 1

    __init__.__kwdefaults__ = aiohttp.ClientRequest.__init__.__kwdefaults__


class Wrapped(aiohttp.ClientRequest):
    """As instrumentation wraps it, which must go on seeing every request."""

    @functools.wraps(aiohttp.ClientRequest.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)


class WrappedByAnObject(aiohttp.ClientRequest):
    class Wrapper:
        __kwdefaults__ = aiohttp.ClientRequest.__init__.__kwdefaults__
        __code__ = aiohttp.ClientRequest.__init__.__code__

    __init__ = Wrapper()


class AsksForAll(aiohttp.ClientRequest):
    """As the next major release of aiohttp: nothing has a default."""

    def __init__(self, method: str, url: URL, *, params: Any, headers: Any, loop: Any) -> None:
        super().__init__(method, url, params=params, headers=headers, loop=loop)


class Refuses(aiohttp.ClientRequest):
    def __new__(cls, *args: Any, **options: Any) -> Self:
        raise TypeError


@pytest.mark.parametrize(
    "newer", [TakesMore, MakesMore, Wrapped, WrappedByAnObject, AsksForAll, Refuses]
)
async def test_a_constructor_that_takes_or_makes_something_else_is_not_known(
    monkeypatch: pytest.MonkeyPatch, newer: type[aiohttp.ClientRequest]
) -> None:
    quick_request.is_sound.cache_clear()
    monkeypatch.setattr(quick_request, "_Base", newer)
    try:
        assert not quick_request.is_sound()
    finally:
        quick_request.is_sound.cache_clear()


async def test_debug_mode_makes_no_other_requests() -> None:
    loop = asyncio.get_running_loop()
    quick_request.is_sound.cache_clear()
    loop.set_debug(True)
    try:
        assert quick_request.is_sound()
    finally:
        loop.set_debug(False)
        quick_request.is_sound.cache_clear()

"""The adaptive throttle in front of an overloaded server."""

from __future__ import annotations

import random

import pytest

from platform_http import HttpSettings, SessionFactory
from platform_http.errors import ThrottledError
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed

SETTINGS = {
    "throttle": {"enabled": True},
    "retry": {"enabled": False},
    "circuit_breaker": {"mode": "off"},
}


async def test_what_is_rejected_upstream_is_more_and_more_rejected_here(
    observed: Observed,
) -> None:
    async with (
        FaultServer([respond(429)]) as server,
        SessionFactory(
            HttpSettings(**SETTINGS), registry=observed.registry, rng=random.Random(1)
        ) as factory,
    ):
        rejected = 0
        for _ in range(200):
            try:
                async with factory.session().get(server.url):
                    pass
            except ThrottledError:
                rejected += 1
    assert 100 < rejected < 190
    assert len(server.requests) == 200 - rejected
    assert observed.value("platform_http_rejections_total", reason="throttled") == rejected


async def test_a_healthy_server_is_not_throttled(observed: Observed) -> None:
    async with FaultServer([respond(404)]) as server, observed.session(**SETTINGS) as session:
        for _ in range(100):
            async with session.get(server.url):
                pass
    assert len(server.requests) == 100


async def test_a_throttled_call_says_so(observed: Observed) -> None:
    async with FaultServer([respond(503)]) as server, observed.session(**SETTINGS) as session:
        with pytest.raises(ThrottledError, match="rejects most requests"):
            for _ in range(100):
                async with session.get(server.url):
                    pass
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1

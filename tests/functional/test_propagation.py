"""What an upstream is told about the attempt."""

from __future__ import annotations

import pytest

from platform_http.call import deadline
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, respond
from tests.functional.conftest import Observed


async def test_every_attempt_carries_its_number_and_a_shrinking_deadline(
    observed: Observed,
) -> None:
    async with FaultServer([delay(0.02, respond(503)), respond(503), respond(200)]) as server:
        settings = {"base_url": str(server.url), "timeout": {"total": 2}}
        async with observed.session(**settings) as session, session.get("x"):
            pass
    numbers = [request.headers["X-Request-Attempt"] for request in server.requests]
    assert numbers == ["1", "2", "3"]
    left = [int(request.headers["X-Request-Timeout-Ms"]) for request in server.requests]
    assert 2000 >= left[0] > left[1] >= left[2] > 0


async def test_an_ambient_deadline_travels(observed: Observed) -> None:
    async with FaultServer() as server, observed.session(base_url=str(server.url)) as session:
        with deadline(0.5):
            async with session.get("x"):
                pass
    assert int(server.requests[0].headers["X-Request-Timeout-Ms"]) <= 500


async def test_strangers_are_told_nothing(observed: Observed) -> None:
    async with FaultServer() as server, observed.session() as session:
        async with session.get(server.url):
            pass
    assert "X-Request-Attempt" not in server.requests[0].headers
    assert "X-Request-Timeout-Ms" not in server.requests[0].headers


async def test_origins_that_are_listed_by_name_are_told(observed: Observed) -> None:
    settings = {"telemetry": {"propagate_to": ["127.0.0.1"]}}
    async with FaultServer() as server, observed.session(**settings) as session:
        async with session.get(server.url):
            pass
    assert server.requests[0].headers["X-Request-Attempt"] == "1"


async def test_the_names_of_the_headers_are_settings(observed: Observed) -> None:
    names = {
        "attempt_header": "x-envoy-attempt-count",
        "timeout_header": "x-envoy-expected-rq-timeout-ms",
    }
    async with FaultServer() as server:
        settings = {"base_url": str(server.url), "propagation": names}
        async with observed.session(**settings) as session, session.get("x"):
            pass
    assert server.requests[0].headers["x-envoy-attempt-count"] == "1"
    assert "x-envoy-expected-rq-timeout-ms" in server.requests[0].headers


async def test_propagation_can_be_switched_off(observed: Observed) -> None:
    async with FaultServer() as server:
        settings = {"base_url": str(server.url), "propagation": {"enabled": False}}
        async with observed.session(**settings) as session, session.get("x"):
            pass
    assert "X-Request-Attempt" not in server.requests[0].headers


async def test_a_call_without_a_deadline_tells_none(observed: Observed) -> None:
    async with FaultServer() as server:
        settings = {"base_url": str(server.url), "timeout": {"total": "none"}}
        async with observed.session(**settings) as session, session.get("x"):
            pass
    assert server.requests[0].headers["X-Request-Attempt"] == "1"
    assert "X-Request-Timeout-Ms" not in server.requests[0].headers


@pytest.mark.parametrize("refusal", ["false", "False", " FALSE "])
async def test_an_upstream_can_refuse_resends(observed: Observed, refusal: str) -> None:
    script = [respond(503, headers={"X-Should-Retry": refusal}), respond(200)]
    async with FaultServer(script) as server, observed.session() as session:
        async with session.get(server.url) as response:
            assert response.status == 503
    assert len(server.requests) == 1
    assert observed.value("platform_http_retry_stops_total", reason="upstream_refused") == 1

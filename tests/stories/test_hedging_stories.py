"""Story 21: a hedge may help and must not hurt."""

from __future__ import annotations

import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, close, delay, raw, reset, respond
from tests.functional.conftest import Observed


@pytest.mark.parametrize(
    "failure",
    [respond(500), respond(503), respond(429), reset(), close(), raw(b"no HTTP\r\n\r\n")],
    ids=["500", "503", "429", "reset", "close", "malformed"],
)
async def test_story_21_a_slow_good_primary_wins_over_a_fast_failing_hedge(
    observed: Observed, failure: Action
) -> None:
    settings = {
        "hedging": {"enabled": True, "delay": 0.03, "max_ratio": 1},
        "timeout": {"total": 5, "attempt": 3},
    }
    primary = delay(0.2, respond(200, body=b"primary"))
    async with FaultServer([primary, failure]) as server, observed.session(**settings) as session:
        async with session.get(server.url) as response:
            assert (response.status, await response.text()) == (200, "primary")
        assert not session.connector._acquired
    assert len(server.requests) == 2
    assert observed.value("platform_http_hedges_total", result="lost") == 1
    observed.assert_quiet()

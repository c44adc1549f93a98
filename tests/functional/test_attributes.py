"""How many attributes aiohttp's classes have with ours: a few are kept in a fast way.

CPython lets the instances of a class share the names of 29 attributes, and takes up only one more
once there have been some instances. Others cost an instance a dictionary of its own, which
takes thousands of instructions to make and makes all that follows slower.
"""

from __future__ import annotations

import aiohttp
import pytest

from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed

SHARED = 29


@pytest.mark.parametrize("settings", [{}, {"egress": {"mode": "public"}}])
async def test_a_connector_has_no_more_than_can_be_shared(
    observed: Observed, settings: dict[str, object]
) -> None:
    async with observed.session(**settings) as session:
        assert len(vars(session.connector)) <= SHARED


async def test_a_streamed_response_has_one_more_than_a_small_one_at_most(
    observed: Observed,
) -> None:
    async def names(session: aiohttp.ClientSession, url: str, *, streams: bool) -> set[str]:
        async with session.get(url) as response:
            if streams:
                async for _ in response.content.iter_any():
                    pass
            else:
                await response.read()
        return set(vars(response))

    whole = FaultServer([respond(body=b"x"), respond(body=b"x" * 1_000_000)])
    async with whole as server, observed.session() as session:
        small = await names(session, server.url, streams=False)
        streamed = await names(session, server.url, streams=True)
    assert len(small) < SHARED
    assert len(streamed - small) <= 1

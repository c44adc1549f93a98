"""The repeated day of the role ``upstream``, and the incidents that interrupt it."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, get_args

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http.cli.demo import script
from platform_http.cli.demo.roles.day import Day
from platform_http.cli.demo.roles.incident import FaultName
from platform_http.cli.demo.roles.process import Address
from platform_http.cli.demo.roles.upstream import upstream_app
from platform_http.cli.demo.script import Fault, Phase, Script
from platform_http.cli.demo.upstream import Upstream
from tests.servers import free_port
from tests.web.conftest import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK = Script("quick", (Phase(0.0, "first", latency=0.0), Phase(0.5, "second", latency=0.0)))
INCIDENT = Phase(0.0, "incident", latency=0.0)


@contextlib.asynccontextmanager
async def _playing(duration: float) -> AsyncIterator[tuple[Day, Upstream]]:
    async with Upstream(QUICK, Random(1)) as upstream:
        day = Day([upstream], duration)
        playing = asyncio.create_task(day.run())
        try:
            yield day, upstream
        finally:
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing


async def _until(upstream: Upstream, name: str) -> None:
    async with asyncio.timeout(10):
        while upstream.phase.name != name:  # noqa: ASYNC110 - a phase tells nobody that it begins
            await asyncio.sleep(0.01)


async def test_the_day_repeats() -> None:
    async with _playing(0.6) as (_, upstream):
        for name in ("second", "first", "second"):
            await _until(upstream, name)


async def test_without_a_length_every_upstream_stays_healthy() -> None:
    async with _playing(0) as (_, upstream):
        await _until(upstream, "healthy")


async def test_an_incident_begins_at_once_and_ends_where_the_script_is() -> None:
    async with _playing(3600) as (day, upstream):
        await day.interrupt("quick", INCIDENT, 0.5)
        assert upstream.phase is INCIDENT
        left = day.describe()["quick"]["incident_seconds_left"]
        assert isinstance(left, float)
        assert 0 < left <= 0.5
        await _until(upstream, "first")
        assert day.describe()["quick"]["incident_seconds_left"] is None


async def test_a_later_incident_replaces_an_earlier_one() -> None:
    async with _playing(3600) as (day, upstream):
        await day.interrupt("quick", INCIDENT, 60)
        await day.interrupt("quick", Phase(0.0, "other", latency=0.0), 60)
        assert upstream.phase.name == "other"


def _app(port: int = 0, day: float = 0):
    return upstream_app(
        Address("127.0.0.1", port, 0), day=day, seed=1, registry=CollectorRegistry()
    )


async def _send(url: URL, **options: object) -> tuple[int, object]:
    method = "PUT" if options else "GET"
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url / "phases", **options) as response,
    ):
        return response.status, await response.json()


async def test_the_page_shows_what_each_upstream_does() -> None:
    async with running(_app()) as url:
        status, phases = await _send(url)
        assert status == 200
        assert list(phases) == ["billing", "inventory", "search"]
        billing = phases["billing"]
        assert billing.pop("url").startswith("http://127.0.0.1:")
        assert billing == {
            "phase": "healthy",
            "faults": {},
            "latency": 0.02,
            "listens": True,
            "incident_seconds_left": None,
        }


async def test_a_put_makes_an_upstream_fail() -> None:
    async with running(_app()) as url, aiohttp.ClientSession() as client:
        incident = {"client": "billing", "fault": "unavailable", "latency": 0, "seconds": 60}
        status, phases = await _send(url, json=incident)
        assert status == 200
        assert phases["billing"]["faults"] == {"unavailable": 1.0}
        assert phases["search"]["phase"] == "healthy"
        async with client.get(phases["billing"]["url"]) as response:
            assert response.status == 503
        async with client.get(phases["search"]["url"]) as response:
            assert response.status == 200


async def test_a_put_can_close_a_port() -> None:
    async with running(_app()) as url, aiohttp.ClientSession() as client:
        _, phases = await _send(url, json={"client": "search", "listens": False})
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(phases["search"]["url"])


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"client": "nobody"}, "client: there is none of that name, use billing, inventory, "),
        ({}, "client: Field required"),
        ({"client": "billing", "fault": "sleepy"}, "fault: Input should be 'unavailable', "),
        ({"client": "billing", "share": 2}, "share: Input should be less than or equal to 1"),
        ({"client": "billing", "latency": -1}, "latency: Input should be greater than or equal"),
        ({"client": "billing", "seconds": 0}, "seconds: Input should be greater than 0"),
        ({"client": "billing", "listens": "no"}, "listens: Input should be a valid boolean"),
        ({"client": "billing", "until": 5}, "until: Extra inputs are not permitted"),
        ([], "body: Input should be an object"),
    ],
)
async def test_a_put_that_makes_no_sense_says_why(body, line) -> None:
    async with running(_app()) as url:
        status, answer = await _send(url, json=body)
        assert status == 400
        (found,) = answer["errors"]
        assert found.startswith(line)


async def test_a_body_that_is_not_json_says_so() -> None:
    async with running(_app()) as url:
        status, answer = await _send(url, data=b"client=billing")
        assert status == 400
        assert "Invalid JSON" in answer["errors"][0]


def test_every_fault_of_the_script_can_be_asked_for() -> None:
    assert set(get_args(FaultName)) == {fault.name.lower() for fault in Fault}


async def test_the_upstreams_have_the_ports_behind_that_of_the_page() -> None:
    port = free_port()
    async with running(_app(port)) as url:
        _, phases = await _send(url)
        ports = [URL(phase["url"]).port for phase in phases.values()]
        assert ports == [port + 1, port + 2, port + 3]
        assert tuple(phases) == tuple(each.client for each in script.DAY)


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    async with Upstream(QUICK, Random(1)) as upstream:
        # Without the option of the reservation: what two upstreams share, nobody could tell apart.
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        other = Upstream(QUICK, Random(1), port=port)
        with pytest.raises(OSError, match="in use"):
            await other.__aenter__()
        server.close()
        await server.wait_closed()
        assert upstream.url.port != port

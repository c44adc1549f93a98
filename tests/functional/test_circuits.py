"""What circuits are blamed for, and how operators steer them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from yarl import URL

from platform_http.call import CallOptions, Origin
from platform_http.errors import CircuitOpenError
from platform_http.policies.circuit_breaker import State
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang, respond
from tests.functional.conftest import Observed

OPENED = "platform_http_circuit_transitions_total"


async def _call(session: aiohttp.ClientSession, url: URL) -> int:
    async with session.get(url) as response:
        return response.status


async def test_deadlines_that_pass_in_our_own_pool_do_not_open_the_circuit(
    observed: Observed,
) -> None:
    settings = {
        "pool": {"limit": 1, "limit_per_host": 1},
        "concurrency": {"limit": 0},
        "circuit_breaker": {"minimum_calls": 3},
    }
    async with FaultServer([hang()]) as server, observed.session(**settings) as session:
        holder = asyncio.create_task(session.get(server.url))
        await server.wait_until(lambda: server.requests)
        for _ in range(4):
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.url, trace_request_ctx=CallOptions(timeout=0.02))
        assert observed.value(OPENED) == 0
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
    assert len(server.requests) == 1


async def test_a_probe_that_hangs_does_not_wedge_the_circuit_when_timeouts_are_off(
    observed: Observed,
) -> None:
    settings = {
        "timeout": {"total": "none", "attempt": "none", "read": "none"},
        "retry": {"enabled": False},
        "circuit_breaker": {"minimum_calls": 3, "open_duration": 0.05, "open_duration_max": 0.05},
    }
    script = [respond(500)] * 3 + [hang(), respond(200)]
    async with FaultServer(script) as server, observed.session(**settings) as session:
        for _ in range(3):
            await _call(session, server.url)
        await asyncio.sleep(0.1)
        probe = asyncio.create_task(_call(session, server.url))
        await server.wait_until(lambda: len(server.requests) == 4)
        await asyncio.sleep(0.2)
        assert await _call(session, server.url) == 200
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)


async def test_a_connection_that_is_lost_while_a_hook_waits_is_not_counted_as_open(
    observed: Observed,
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def wait(*_: object) -> None:
        await asyncio.sleep(0.05)

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(wait)
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    settings = {"retry": {"enabled": False}}
    async with server, observed.factory(trace_configs=(config,), **settings) as factory:
        with pytest.raises(aiohttp.ClientError):
            await factory.session().get(url)
    observed.assert_quiet()
    assert observed.value("http_client_open_connections") == 0


async def test_a_circuit_that_is_forced_open_refuses_until_it_is_automatic_again(
    observed: Observed,
) -> None:
    async with FaultServer() as server, observed.factory() as factory:
        session = factory.session("billing-api")
        factory.circuits.force_open("billing-api", str(server.url))
        with pytest.raises(CircuitOpenError):
            await _call(session, server.url)
        assert server.requests == []
        factory.circuits.automatic("billing-api", str(server.url))
        assert await _call(session, server.url) == 200


async def test_a_circuit_that_is_forced_closed_admits_whatever_fails(observed: Observed) -> None:
    settings = {"circuit_breaker": {"minimum_calls": 2}, "retry": {"enabled": False}}
    async with FaultServer([respond(500)]) as server, observed.factory(**settings) as factory:
        session = factory.session()
        factory.circuits.force_closed("default", str(server.url))
        for _ in range(5):
            assert await _call(session, server.url) == 500
    assert len(server.requests) == 5


async def test_the_state_of_every_circuit_can_be_looked_at(observed: Observed) -> None:
    settings = {"circuit_breaker": {"minimum_calls": 2}, "retry": {"enabled": False}}
    async with FaultServer([respond(500)]) as bad, FaultServer() as good:
        async with observed.factory(**settings) as factory:
            session = factory.session()
            for _ in range(2):
                await _call(session, bad.url)
            await _call(session, good.url)
            seen = factory.circuits.snapshot()["default"]
    states = {origin: snapshot.state for origin, snapshot in seen.items()}
    assert states == {Origin.of(bad.url): State.OPEN, Origin.of(good.url): State.CLOSED}


@pytest.mark.parametrize("origin", ["billing.internal", "/path", ""])
async def test_only_an_origin_can_be_steered(observed: Observed, origin: str) -> None:
    async with observed.factory() as factory:
        factory.session()
        with pytest.raises(ValueError, match="absolute URL"):
            factory.circuits.force_open("default", origin)


async def test_a_client_without_circuits_cannot_be_steered(observed: Observed) -> None:
    async with observed.factory(circuit_breaker={"mode": "off"}) as factory:
        factory.session()
        with pytest.raises(KeyError):
            factory.circuits.force_open("default", "http://127.0.0.1/")
        assert factory.circuits.snapshot() == {}

"""What sessions count by themselves, seen by whoever looks at the registry or at the children."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.values import MultiProcessValue

from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.telemetry.metrics import Metrics
from platform_http.testing import CapturedMetrics, FaultServer
from platform_http.testing.actions import hang, partial_body, respond
from tests.token_server import token_server

# More than arrives at once with the headers.
BODY = b"x" * 4_000_000


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    captured = CapturedMetrics()
    captured.registry = registry
    return captured.value(name, **labels)


def connections(registry: CollectorRegistry) -> tuple[float, float]:
    name = "http_client_open_connections"
    return (
        value(registry, name, http_connection_state="active"),
        value(registry, name, http_connection_state="idle"),
    )


async def test_leaving_a_factory_leaves_all_that_was_counted_on_the_children() -> None:
    registry = CollectorRegistry()
    settings = HttpSettings()
    async with FaultServer() as server, SessionFactory(settings, registry=registry) as factory:
        async with factory.session("billing").get(server.url) as response:
            await response.read()
    metrics = Metrics.of(registry)
    # Without a look at the registry, which would carry it over as well.
    assert metrics.calls.labels("billing", "", "success", "")._value.get() == 1
    address = (str(server.url.host), str(server.url.port))
    active = metrics.active_requests.labels("billing", "GET", *address)
    assert active._value.get() == 0
    assert connections(registry) == (0, 0)


async def test_the_session_that_fetches_tokens_is_closed_like_any_other() -> None:
    registry = CollectorRegistry()
    async with token_server() as server:
        settings = HttpSettings(base_url=server.api, auth=server.settings)
        async with SessionFactory(settings, registry=registry) as factory:
            async with factory.session("billing").get("x") as response:
                assert response.status == 200
    fetches = Metrics.of(registry).calls.labels("auth", "token", "success", "")
    assert fetches._value.get() == 1


def test_sessions_of_one_name_in_several_loops_add_up_while_somebody_looks() -> None:
    registry = CollectorRegistry()
    Metrics.of(registry)
    calls, loops = 40, 3

    async def work() -> None:
        async with FaultServer() as server:
            async with SessionFactory(HttpSettings(), registry=registry) as factory:
                session = factory.session("billing")
                for _ in range(calls):
                    async with session.get(server.url) as response:
                        await response.read()

    workers = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(loops)]
    for worker in workers:
        worker.start()
    latest = 0.0
    while any(worker.is_alive() for worker in workers):
        seen = value(registry, "platform_http_calls_total")
        assert seen >= latest
        latest = seen
    for worker in workers:
        worker.join()
    assert value(registry, "platform_http_calls_total", outcome="success") == calls * loops
    assert value(registry, "http_client_request_duration_seconds_count") == calls * loops
    assert value(registry, "http_client_active_requests") == 0
    assert value(registry, "platform_http_concurrency_in_use") == 0
    assert connections(registry) == (0, 0)


@pytest.fixture(params=["threads", "processes"])
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CollectorRegistry]:
    """A registry whose values are looked at, and one whose values other processes read."""
    if request.param == "threads":
        yield CollectorRegistry()
        return
    values = MultiProcessValue()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr("prometheus_client.values.ValueClass", values)
    yield CollectorRegistry()
    values.close_all_files()


async def test_levels_follow_connections_and_permits_and_come_back_to_zero(registry) -> None:
    def permits() -> float:
        return value(registry, "platform_http_concurrency_in_use")

    script = [
        respond(body=BODY),
        respond(body=BODY),
        partial_body(BODY, content_length=5_000_000),
        hang(),
    ]
    settings = HttpSettings(retry={"enabled": False}, timeout={"total": 1, "attempt": 0.3})
    async with FaultServer(script) as server:
        async with SessionFactory(settings, registry=registry) as factory:
            session = factory.session("billing")
            async with session.get(server.url) as response:
                assert (connections(registry), permits()) == ((1, 0), 1)
                await response.read()
            assert (connections(registry), permits()) == ((0, 1), 0)
            async with session.get(server.url) as response:
                assert (connections(registry), permits()) == ((1, 0), 1)
                await response.read()
            async with session.get(server.url) as response:
                with pytest.raises(Exception, match="payload"):
                    await response.read()
            assert permits() == 0
            with pytest.raises(TimeoutError):
                await session.get(server.url)
            assert permits() == 0
            assert value(registry, "http_client_active_requests") == 0
    assert connections(registry) == (0, 0)
    assert value(registry, "platform_http_calls_total") == 4

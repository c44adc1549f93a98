"""What the service of the demo is configured with, and how it calls."""

from __future__ import annotations

import asyncio
import logging
from random import Random

import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from platform_http.cli.demo.figures import Figures
from platform_http.cli.demo.readings import Reading
from platform_http.cli.demo.script import Fault, Phase, Script
from platform_http.cli.demo.service import OPERATIONS, Service, settings_for
from platform_http.cli.demo.upstream import Upstream
from platform_http.errors import ConfigurationError
from platform_http.factory import SessionFactory

URLS = {"billing": URL("http://127.0.0.1:8001/"), "search": URL("http://127.0.0.1:8002/")}
CLIENTS = {operation.client for operation in OPERATIONS}


def test_circuits_open_and_close_within_the_day():
    circuit_breaker = settings_for(URLS, 60.0).client("billing").circuit_breaker
    assert circuit_breaker.open_duration == 2.0
    assert circuit_breaker.open_duration_max == 6.0


def test_only_the_client_that_merely_reads_is_hedged(monkeypatch):
    settings = settings_for(URLS, 60.0)
    assert settings.client("search").hedging.enabled
    assert not settings.client("billing").hedging.enabled
    assert all(
        operation.method == "GET" for operation in OPERATIONS if operation.client == "search"
    )
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__SEARCH__HEDGING__ENABLED", "false")
    assert not settings_for(URLS, 60.0).client("search").hedging.enabled


def test_the_environment_is_in_charge_of_a_section_that_it_speaks_of(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "3")
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__SEARCH__CIRCUIT_BREAKER__MINIMUM_CALLS", "7")
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__MAX_ATTEMPTS", "2")
    settings = settings_for(URLS, 60.0)
    billing, search = settings.client("billing"), settings.client("search")
    assert (billing.timeout.total, billing.timeout.attempt) == (3.0, 3.0)
    assert billing.circuit_breaker.open_duration == 2.0
    assert (search.circuit_breaker.minimum_calls, search.circuit_breaker.open_duration) == (7, 5.0)
    assert billing.retry.max_attempts == search.retry.max_attempts == 2


def test_the_upstreams_are_called_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_BASE_URL", "http://elsewhere.example/")
    monkeypatch.setenv("PLATFORM_HTTP_PROXY__URL", "http://proxy.example:3128")
    monkeypatch.setenv("PLATFORM_HTTP_TELEMETRY__METRICS", "false")
    billing = settings_for(URLS, 60.0).client("billing")
    assert billing.base_url is not None
    assert billing.base_url.get_secret_value() == str(URLS["billing"])
    assert "127.0.0.1" in billing.proxy.no_proxy
    assert billing.telemetry.metrics


def test_an_invalid_environment_is_refused(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "soon")
    with pytest.raises(ConfigurationError):
        settings_for(URLS, 60.0)


async def test_calls_that_a_resend_saved_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    # Failed calls are part of it.
    caplog.set_level(logging.CRITICAL, "platform_http")
    phase = Phase(0.0, "x", latency=0.0, faults={Fault.UNAVAILABLE: 0.5})
    registry = CollectorRegistry()
    stop = asyncio.Event()
    async with Upstream(Script("x", (phase,)), Random(1)) as upstream:
        settings = settings_for(dict.fromkeys(CLIENTS, upstream.url), 60.0)
        async with SessionFactory(settings, registry=registry, rng=Random(1)) as factory:
            running = asyncio.create_task(Service(factory, registry, Random(1)).run(stop))
            figures = Figures(Reading.of(registry, 0.0), *CLIENTS)
            async with asyncio.timeout(10):
                while not (figures.recovered and figures.ended("success") > figures.recovered):
                    await asyncio.sleep(0.02)
                    figures = Figures(Reading.of(registry, 0.0), *CLIENTS)
            stop.set()
            await running
    figures = Figures(Reading.of(registry, 0.0), *CLIENTS)
    assert figures.recovered <= figures.ended("success")
    assert figures.recovered <= sum(figures.resends.values())
    assert figures.in_flight == 0

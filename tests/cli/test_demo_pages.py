"""The metrics page, and the program that scrapes it."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import psutil
import pytest
from prometheus_client import CollectorRegistry, Counter
from yarl import URL

from platform_http.cli.demo.metrics_page import metrics_page
from platform_http.cli.demo.prometheus import PrometheusError, prometheus

NOBODY = URL("http://127.0.0.1:9/metrics")


async def test_the_page_speaks_the_format_that_is_asked_for() -> None:
    registry = CollectorRegistry()
    Counter("calls", "-", registry=registry).inc(7)
    async with metrics_page(registry, 0) as url, aiohttp.ClientSession() as session:
        async with session.get(url, headers={"Accept": "application/openmetrics-text"}) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")
        async with session.get(url, headers={"Accept": "text/plain"}) as response:
            assert response.content_type == "text/plain"
            assert "calls_total 7.0" in await response.text()


async def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    registry = CollectorRegistry()
    async with metrics_page(registry, 0) as url:
        assert url.port is not None
        with pytest.raises(OSError, match=str(url.port)):
            async with metrics_page(registry, url.port):
                pass


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def _program(directory: Path, *lines: str) -> str:
    script = directory / "prometheus"
    script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    script.chmod(0o755)
    return str(script)


def _is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())


async def test_a_prometheus_that_ends_at_once_is_told(tmp_path: Path, temporary: Path) -> None:
    program = _program(tmp_path, "exit 3")
    with pytest.raises(PrometheusError, match="ended with code 3"):
        async with prometheus(program, NOBODY):
            pass
    assert _is_empty(temporary)


async def test_a_prometheus_that_neither_listens_nor_ends_is_killed(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_http.cli.demo.prometheus._START_SECONDS", 0.5)
    monkeypatch.setattr("platform_http.cli.demo.prometheus._STOP_SECONDS", 0.2)
    program = _program(tmp_path, "trap '' TERM", "while :; do sleep 0.05; done")
    with pytest.raises(PrometheusError, match="does not listen"):
        async with prometheus(program, NOBODY):
            pass
    assert _is_empty(temporary)
    assert not [child for child in psutil.Process().children() if child.is_running()]

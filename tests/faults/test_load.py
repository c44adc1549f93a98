"""What tens of thousands of calls, faults and cancels leave behind: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from benchmarks import load
from platform_http.errors import FactoryClosedError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings

CALLS = 50_000
CANCELS = 20_000

# One for each core of a small CI machine.
PROCESSES = 2


def test_fifty_thousand_calls_with_faults_and_twenty_thousand_cancels_leave_nothing() -> None:
    # Processes of their own, so that the memory is their own, and unmeasured, for their speed.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    calls, cancels = CALLS // PROCESSES, CANCELS // PROCESSES
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.load"),
                *(f"--calls={calls}", f"--cancels={cancels}", f"--seed={seed}"),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    try:
        for process in running:
            output, errors = process.communicate(timeout=240)
            assert (process.returncode, errors) == (0, "")
            _check(json.loads(output), calls, cancels)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _check(report: dict, calls: int, cancels: int) -> None:
    nothing = dict.fromkeys(
        (
            *("left", "tasks", "left_after_cancels", "tasks_after_cancels"),
            *("series_growth", "permits", "descriptors"),
        ),
        0,
    )
    assert {key: report[key] for key in nothing} == nothing
    assert report["rss_growth_mb"] < 5, report
    assert report["rss_growth_after_cancels_mb"] < 5, report
    assert sum(report["ended"].values()) == calls
    # Some kinds of fault cannot be helped: the headers were fine, or the answer is no HTTP.
    assert report["ended"]["200"] > 0.95 * calls
    assert set(report["ended"]) == {"200", "ClientPayloadError", "ClientResponseError"}
    assert sum(report["cancels"].values()) == cancels
    assert report["cancels"]["cancelled"] > 0.8 * cancels
    assert "wrong body" not in report["cancels"]


@pytest.mark.closes_in_flight
async def test_a_factory_closes_in_time_with_a_thousand_calls_in_flight() -> None:
    grace = 0.2
    settings = {
        "pool": {"limit": 1000, "limit_per_host": 1000},
        "timeout": {"total": 60, "attempt": 50, "connect": 10},
        "telemetry": {"traces": False},
    }
    upstream = load.Upstream(silent=True)
    async with load.serving(upstream) as url:
        async with SessionFactory(HttpSettings(**settings), registry=CollectorRegistry()) as made:
            session = made.session()
            calls = [asyncio.create_task(load.call(session, url)) for _ in range(1000)]
            async with asyncio.timeout(30):
                while upstream.requests < 1000:  # noqa: ASYNC110 - a count, and nobody to tell of it
                    await asyncio.sleep(0.01)
            clock = asyncio.get_running_loop().time
            began = clock()
            await made.aclose(grace=grace)
            assert clock() - began < grace + 1
            assert set(await asyncio.gather(*calls)) == {FactoryClosedError.__name__}

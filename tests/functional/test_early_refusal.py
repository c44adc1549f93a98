"""What an open circuit refuses before it begins: the same as what it refuses on its way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from prometheus_client import generate_latest

from platform_http.call import CallOptions
from platform_http.errors import CircuitOpenError
from platform_http.middlewares import circuit_breaker
from platform_http.middlewares.circuit_breaker import CircuitBreakerGate
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed

EAGER = {"minimum_calls": 2, "open_duration": 30, "open_duration_max": 30}


async def refused(session: aiohttp.ClientSession, url: Any, **options: Any) -> dict[str, Any]:
    """What the caller sees of a refusal."""
    try:
        async with session.get(url, **options) as response:
            return {"status": response.status}
    except CircuitOpenError as error:
        return {
            "type": type(error),
            "text": re.sub(r"\d+\.\d s", "N s", str(error)),
            "attempts": error.attempts,
            "waits": error.retry_after > 0,
            "notes": error.__notes__ if hasattr(error, "__notes__") else [],
            "cause": error.__cause__,
            "is_suppressed": error.__suppress_context__,
        }


def counted(observed: Observed) -> list[str]:
    """All samples but those of time."""
    lines = generate_latest(observed.registry).decode().splitlines()
    skipped = re.compile(r"#|\w+_created|\w+_sum|\w+_bucket|platform_http_event_loop")
    return [re.sub(r":\d+|port=\"\d+\"", ":P", line) for line in lines if not skipped.match(line)]


def shown(observed: Observed) -> list[tuple[Any, ...]]:
    return [
        (span.name, span.kind, span.status.status_code, sorted((span.attributes or {}).items()))
        for span in observed.spans
        if "platform_http.phase.ttfb_ms" not in (span.attributes or {})
    ]


async def seen(
    settings: Mapping[str, Any], caplog: pytest.LogCaptureFixture, *, early: bool
) -> dict[str, Any]:
    """What everybody sees of calls that an open circuit refuses."""
    observed, asked = Observed(), 0
    refusal = CircuitBreakerGate.refusal

    def asking(self: CircuitBreakerGate, *arguments: Any) -> CircuitOpenError | None:
        nonlocal asked
        asked += 1
        return refusal(self, *arguments) if early else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CircuitBreakerGate, "refusal", asking)
        caplog.clear()
        async with FaultServer([respond(503)]) as server:
            moved = respond(302, headers={"Location": str(server.url)})
            async with (
                FaultServer([moved]) as other,
                observed.session(**settings) as session,
            ):
                told = [await refused(session, server.url) for _ in range(5)]
                options = CallOptions(operation="op", url_template="/{id}", max_attempts=1)
                told.append(await refused(session, server.url, trace_request_ctx=options))
                told.append(await refused(session, server.url, data=b"body"))
                told.append(await refused(session, server.url, middlewares=()))
                told.append(await refused(session, other.url))
                ports = (str(server.port), str(other.port))
    # What is told of a bypass is told once by each place of a process.
    logs = [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.module != "pitfalls"
    ]
    plain = repr((told, counted(observed), shown(observed), logs, len(server.requests)))
    for number, port in enumerate(ports):
        plain = plain.replace(port, f"port{number}")
    return {"asked": asked > 0, "seen": re.sub(r"\d+\.\d+ s|0\.\d+", "N", plain)}


@pytest.mark.parametrize(
    "settings",
    [
        {"circuit_breaker": EAGER},
        {"circuit_breaker": EAGER, "retry": {"enabled": False}},
        {"circuit_breaker": {"mode": "force_open"}},
        {"circuit_breaker": EAGER, "concurrency": {"limit": 0}},
        {"circuit_breaker": EAGER, "telemetry": {"call_span": "never"}},
    ],
    ids=["retry", "no retry", "forced", "no limit", "no call span"],
)
async def test_it_looks_the_same_to_callers_metrics_spans_and_logs(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "platform_http")
    early = await seen(settings, caplog, early=True)
    late = await seen(settings, caplog, early=False)
    assert early["asked"]
    assert early["seen"] == late["seen"]
    assert "is open" in early["seen"]


async def test_nothing_is_begun_for_a_call_that_is_refused_again(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FaultServer() as server, observed.factory() as factory:
        session = factory.session()
        factory.circuits.force_open("default", str(server.url))
        with pytest.raises(CircuitOpenError):
            await session.get(server.url)
        (way,) = session._middlewares
        monkeypatch.setattr(way, "_first", None)
        with pytest.raises(CircuitOpenError):
            await session.get(server.url)


async def test_what_only_observes_refuses_nothing(observed: Observed) -> None:
    settings = {"circuit_breaker": {**EAGER, "mode": "observe"}}
    async with FaultServer([respond(503)]) as server, observed.session(**settings) as session:
        for _ in range(5):
            assert await refused(session, server.url) == {"status": 503}


async def test_the_probe_that_is_due_is_let_through(observed: Observed) -> None:
    settings = {
        "retry": {"enabled": False},
        "circuit_breaker": {
            "minimum_calls": 2,
            "open_duration": 0.05,
            "open_duration_max": 0.05,
            "half_open_successes": 1,
        },
    }
    script = [respond(503)] * 2 + [respond(200)]
    async with FaultServer(script) as server, observed.session(**settings) as session:
        for _ in range(2):
            assert await refused(session, server.url) == {"status": 503}
        for _ in range(2):
            assert (await refused(session, server.url))["type"] is CircuitOpenError
        await asyncio.sleep(0.1)
        for _ in range(2):
            assert await refused(session, server.url) == {"status": 200}


async def test_an_operator_who_closes_the_circuit_is_obeyed_at_once(observed: Observed) -> None:
    async with FaultServer() as server, observed.factory() as factory:
        session = factory.session()
        factory.circuits.force_open("default", str(server.url))
        for _ in range(2):
            assert (await refused(session, server.url))["type"] is CircuitOpenError
        factory.circuits.automatic("default", str(server.url))
        assert await refused(session, server.url) == {"status": 200}


async def test_a_policy_before_the_circuit_is_asked_before_it(observed: Observed) -> None:
    settings = {"rate_limit": {"rate": 2, "per": 60}}
    async with FaultServer() as server, observed.factory(**settings) as factory:
        session = factory.session()
        factory.circuits.force_open("default", str(server.url))
        for _ in range(3):
            await refused(session, server.url)
    rejected = "platform_http_rejections_total"
    assert observed.value(rejected, reason="circuit_open") == 3
    (way,) = session._middlewares
    assert way._gate is None


async def test_what_is_remembered_of_refusals_is_bounded(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "_MAX_REFUSING", 3)
    async with observed.session(circuit_breaker={"mode": "force_open"}) as session:
        for number in range(10):
            await refused(session, f"http://host{number}.test/")
            (way,) = session._middlewares
            assert 0 < len(way._gate.refusing) <= 3

"""Story 13: whoever cancels leaves breakers, tokens, permits and connections as they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from unittest.mock import ANY

import aiohttp
import pytest
from yarl import URL

from platform_http.call import Origin
from platform_http.factory import SessionFactory
from platform_http.middlewares.attempt import AttemptMiddleware
from platform_http.middlewares.rate_limit import LocalQuota, RateLimitMiddleware
from platform_http.middlewares.retry import RetryMiddleware
from platform_http.policies.hedging import CREDIT_CALLS
from platform_http.settings import HttpSettings
from platform_http.testing import FakeClock, FaultServer
from platform_http.testing.actions import Action, delay, hang, partial_body, respond
from tests.functional.conftest import Observed, merged

CALLS = 100
M = TypeVar("M")

# An attempt was begun with each of these tokens.
SPENT = {"rate tokens": ANY}

# Room for all of them, nothing that ends by itself, and a breaker that one failure would open.
PATIENT = {
    "pool": {"limit": 300, "limit_per_host": 300},
    "timeout": {"total": 60, "attempt": 50, "connect": 20, "read": 50, "pool": 20},
    "circuit_breaker": {"minimum_calls": 1},
    "concurrency": {"queue_timeout": 30},
    "rate_limit": {"rate": 1000, "burst": 1000},
}


@dataclass
class Scene:
    """One client on a clock that stands still, so that no token comes back by waiting."""

    observed: Observed
    factory: SessionFactory
    session: aiohttp.ClientSession
    url: URL
    clock: FakeClock = field(default_factory=FakeClock)

    def _middleware(self, kind: type[M]) -> M | None:
        (path,) = self.session._middlewares
        return next((each for each in path.middlewares if isinstance(each, kind)), None)

    def reading(self) -> dict[str, object]:
        """Everything that a cancelled call could have left behind."""
        origin = Origin.of(self.url)
        connector = self.session.connector
        retry = self._middleware(RetryMiddleware)
        rate = self._middleware(RateLimitMiddleware)
        attempt = self._middleware(AttemptMiddleware)
        assert connector is not None
        assert retry is not None
        assert rate is not None
        assert attempt is not None
        assert isinstance(rate._quota, LocalQuota)
        concurrency = attempt._concurrency
        limit = None if concurrency is None else concurrency._limits.get(origin)
        return {
            "circuit": self.factory.circuits.snapshot().get("default", {}).get(origin),
            "budget": retry._budgets.get(origin).tokens,
            "permits": None if limit is None else (limit.in_use, limit.waiting),
            "rate tokens": rate._quota._buckets.get(origin)._tokens,
            "connections": len(connector._acquired),
            "waiting for the pool": sum(map(len, connector._waiters.values())),
            "active": self.observed.value("http_client_active_requests"),
        }

    async def call(self) -> int:
        async with self.session.get(self.url) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def _scene(
    observed: Observed, url: URL, settings: Mapping[str, object]
) -> AsyncIterator[Scene]:
    clock = FakeClock()
    factory = SessionFactory(
        HttpSettings(**merged(PATIENT, settings)),
        registry=observed.registry,
        tracer_provider=observed.provider,
        clock=clock,
    )
    async with factory:
        yield Scene(observed, factory, factory.session(), url, clock)


async def _cancel_all(calls: list[asyncio.Task[int]]) -> None:
    for call in calls:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


def _start(scene: Scene) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(scene.call()) for _ in range(CALLS)]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is read here tells nobody that it changed
            await asyncio.sleep(0.002)


async def test_story_13_in_the_queue_of_the_concurrency_limit(observed: Observed) -> None:
    async with FaultServer([hang(), respond()]) as server:
        async with _scene(observed, server.url, {"concurrency": {"limit": 1}}) as scene:
            holder = asyncio.create_task(scene.call())
            await server.wait_until(lambda: server.requests)
            before = scene.reading()
            calls = _start(scene)
            await _until(lambda: scene.reading()["permits"] == (1, CALLS))
            await _cancel_all(calls)
            assert scene.reading() == before
            await _cancel_all([holder])
            assert await scene.call() == 200
    assert len(server.requests) == 2


async def test_story_13_waiting_for_the_rate_limit(observed: Observed) -> None:
    settings = {
        "rate_limit": {"rate": 1, "per": 3600, "burst": 1, "max_wait": 1e6},
        "timeout": {"total": "none"},
    }
    async with FaultServer() as server, _scene(observed, server.url, settings) as scene:
        assert await scene.call() == 200
        before = scene.reading()
        calls = _start(scene)
        await _until(lambda: scene.reading()["rate tokens"] == -CALLS)
        await _cancel_all(calls)
        assert scene.reading() == before
        scene.clock.advance(3600)
        assert await scene.call() == 200
    assert len(server.requests) == 2


async def test_story_13_in_the_pool(observed: Observed) -> None:
    settings = {"pool": {"limit": 1, "limit_per_host": 1}, "concurrency": {"limit": 0}}
    async with FaultServer([hang(), respond()]) as server:
        async with _scene(observed, server.url, settings) as scene:
            holder = asyncio.create_task(scene.call())
            await server.wait_until(lambda: server.requests)
            before = scene.reading()
            calls = _start(scene)
            await _until(lambda: scene.reading()["waiting for the pool"] == CALLS)
            await _cancel_all(calls)
            assert scene.reading() == before | SPENT
            await _cancel_all([holder])
            assert await scene.call() == 200
    assert len(server.requests) == 2


async def test_story_13_while_connecting(observed: Observed, black_hole: int) -> None:
    url = URL(f"http://127.0.0.1:{black_hole}/")
    async with _scene(observed, url, {}) as scene:
        first = asyncio.create_task(scene.call())
        await _until(lambda: scene.reading()["active"] == 1)
        await _cancel_all([first])
        before = scene.reading()
        calls = _start(scene)
        await _until(lambda: scene.reading()["active"] == CALLS)
        await asyncio.sleep(0.02)
        await _cancel_all(calls)
        after = scene.reading()
    assert after == before | SPENT


@pytest.mark.parametrize(
    "stuck", [hang(), partial_body(b"x", content_length=100, then="hang")], ids=["headers", "body"]
)
async def test_story_13_waiting_for_the_response(observed: Observed, stuck: Action) -> None:
    answers: dict[str, Action] = {"now": respond()}
    async with FaultServer(lambda request: answers["now"]) as server:
        async with _scene(observed, server.url, {}) as scene:
            assert await scene.call() == 200
            before = scene.reading()
            answers["now"] = stuck
            calls = _start(scene)
            await server.wait_until(lambda: len(server.requests) == 1 + CALLS)
            await asyncio.sleep(0.05)
            await _cancel_all(calls)
            assert scene.reading() == before | SPENT
            answers["now"] = respond()
            assert await scene.call() == 200


async def test_story_13_backing_off(observed: Observed) -> None:
    # A Retry-After rather than a backoff, which may be as short as chance will have it.
    busy = respond(503, headers={"Retry-After": "20"})
    settings = {"circuit_breaker": {"mode": "off"}, "retry": {"budget": {"capacity": 2000}}}
    answers: dict[str, Action] = {"now": busy}
    async with FaultServer(lambda request: answers["now"]) as server:
        async with _scene(observed, server.url, settings) as scene:
            before = scene.reading()
            calls = _start(scene)
            # Each has paid for a resend.
            tokens = "platform_http_retry_budget_tokens"
            await _until(lambda: 0 < observed.value(tokens) < 2001 - 10 * CALLS)
            await asyncio.sleep(0.02)
            await _cancel_all(calls)
            assert scene.reading() == before | SPENT
            answers["now"] = respond()
            assert await scene.call() == 200
    assert len(server.requests) == CALLS + 1


async def test_story_13_beside_a_hedge(observed: Observed) -> None:
    settings = {
        "hedging": {"enabled": True, "delay": 0.02, "max_ratio": 1},
        "retry": {"budget": {"cost": 0}},
    }
    answers: dict[str, Action] = {"now": respond()}
    async with FaultServer(lambda request: answers["now"]) as server:
        async with _scene(observed, server.url, settings) as scene:
            assert await scene.call() == 200
            before = scene.reading()
            answers["now"] = hang()
            calls = _start(scene)
            await server.wait_until(
                lambda: len(server.requests) == 1 + CALLS + CREDIT_CALLS, within=10
            )
            await _cancel_all(calls)
            assert scene.reading() == before | SPENT
            answers["now"] = respond()
            assert await scene.call() == 200


async def test_story_13_at_any_moment(observed: Observed) -> None:
    settings = {
        "concurrency": {"limit": 4},
        "pool": {"limit": 4, "limit_per_host": 4},
        "hedging": {"enabled": True, "delay": 0.01, "max_ratio": 1},
    }
    answer = delay(0.01, respond(200, body=b"x" * 100_000))
    async with FaultServer([answer]) as server, _scene(observed, server.url, settings) as scene:
        assert await scene.call() == 200
        before = scene.reading()
        loop = asyncio.get_running_loop()
        calls = _start(scene)
        for number, call in enumerate(calls):
            loop.call_later(number * 0.003, call.cancel)
        results = await asyncio.gather(*calls, return_exceptions=True)
        outcomes = {type(result) for result in results}
        assert outcomes <= {int, asyncio.CancelledError}
        after = scene.reading()
        assert after["permits"] == before["permits"] == (0, 0)
        assert after["connections"] == after["waiting for the pool"] == 0
        assert after["active"] == 0
        assert after["circuit"].failed == after["circuit"].in_flight == 0
        assert await scene.call() == 200
    observed.assert_quiet()

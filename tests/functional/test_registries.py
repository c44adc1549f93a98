"""What a session keeps per origin, when it calls more origins than it keeps."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from platform_http.policies.registry import LruRegistry
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed

BOUND = 1024
WAITS = "platform_http_rate_limit_wait_seconds"
EVERYTHING = {
    "throttle": {"enabled": True},
    "hedging": {"enabled": True, "delay": 1},
    "rate_limit": {"rate": 100},
    "pool": {"keepalive": 0},
    "retry": {"max_attempts": 2},
}


def _registries(session: aiohttp.ClientSession) -> dict[str, LruRegistry[object, object]]:
    (path,) = session._middlewares
    parts = ("_quota", "_breaker", "_concurrency")
    holders = [
        *path.middlewares,
        *(getattr(middleware, part, None) for middleware in path.middlewares for part in parts),
    ]
    return {
        name: value
        for holder in holders
        for name, value in getattr(holder, "__dict__", {}).items()
        if isinstance(value, LruRegistry)
    }


def _hosts(url: URL, first: int, last: int) -> list[URL]:
    """Loopback has 16 million addresses, and every one is an origin of its own."""
    return [
        url.with_host(f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
        for number in range(0x10000 + first, 0x10000 + last)
    ]


async def test_thousands_of_origins_stay_within_the_bound_of_every_registry(
    observed: Observed,
) -> None:
    def script(request):
        return respond(503 if request.headers["Host"].split(":")[0].endswith("7") else 200)

    async with FaultServer(script, host="0.0.0.0") as server:
        async with observed.session(**EVERYTHING) as session:
            for registry in _registries(session).values():
                registry._bound = BOUND
            idle = asyncio.Semaphore(10)

            async def call(url: URL) -> None:
                async with idle, session.get(url) as response:
                    await response.read()

            async def visit(first: int, last: int) -> int:
                await asyncio.gather(*map(call, _hosts(server.url, first, last)))
                families = observed.registry.collect()
                # Of one client, and begun by the first pause of the process that looks like a wait.
                return sum(len(family.samples) for family in families if family.name != WAITS)

            early = await visit(1, 1100)
            late = await visit(1100, 2500)
            sizes = {name: len(registry) for name, registry in _registries(session).items()}
            assert not session.connector._conns
            assert not session.connector._acquired
    assert set(sizes) == {"_throttles", "_hedges", "_budgets", "_buckets", "_breakers", "_limits"}
    # What remembers a failure is kept for longer, up to twice the bound.
    assert all(BOUND <= size <= 2 * BOUND for size in sizes.values()), sizes
    assert late == early
    assert observed.value("platform_http_calls_total") == 2499

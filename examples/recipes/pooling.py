"""One session per upstream: its connections are shared, bounded and kept.

Guide: 2, table, row "Connection pooling"; 8, row "Opened raw sockets".

Prints::

    10 calls at once over 2 connections
    10 more calls over the same 2 connections
    too old: 1 new connection
"""

import asyncio

import aiohttp

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, respond


async def fetch(session: aiohttp.ClientSession, number: int) -> None:
    """Read the whole body: that is what gives the connection back."""
    async with session.get(f"items/{number}") as response:
        await response.read()


async def main() -> None:
    """Call through two connections, again, and after their time."""
    async with FaultServer(lambda _: delay(0.005, respond(200))) as server:
        settings = HttpSettings(
            clients={
                # Further calls wait for a permit, CONCURRENCY__QUEUE_TIMEOUT at most.
                "shop": {"base_url": str(server.url), "pool": {"limit": 2, "limit_per_host": 2}},
                "aging": {"base_url": str(server.url), "pool": {"max_connection_age": 0.05}},
            }
        )
        async with SessionFactory(settings) as factory:
            shop = factory.session("shop")
            await asyncio.gather(*(fetch(shop, number) for number in range(10)))
            print("10 calls at once over", server.connections, "connections")
            await asyncio.gather(*(fetch(shop, number) for number in range(10)))
            print("10 more calls over the same", server.connections, "connections")

            aging = factory.session("aging")  # sees a new replica or address sooner
            await fetch(aging, 1)
            before = server.connections
            await asyncio.sleep(0.1)
            await fetch(aging, 2)
            print("too old:", server.connections - before, "new connection")


if __name__ == "__main__":
    asyncio.run(main())

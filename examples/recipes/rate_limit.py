"""A quota that a client keeps by itself: short waits are waited, longer ones refused.

Guide: 7, "rate limiting".

Prints::

    2 at once, and the third after a wait: [200, 200, 200]
    the fourth is refused: a token is due within 2 s
    requests that were sent: 3
"""

import asyncio
import math

import aiohttp

from platform_http import HttpSettings, RateLimitedError, SessionFactory
from platform_http.testing import FaultServer


async def fetch(session: aiohttp.ClientSession) -> int:
    """Make a call."""
    async with session.get("search") as response:
        return response.status


async def main() -> None:
    """Ask for more than the quota."""
    async with FaultServer() as server:
        settings = HttpSettings(
            base_url=str(server.url),
            # STORE=redis://… shares the quota across replicas.
            rate_limit={"rate": 1, "per": 1, "burst": 2, "max_wait": 1.1},
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()
            calls = [asyncio.create_task(fetch(session)) for _ in range(3)]
            await server.wait_until(lambda: len(server.requests) == 2)
            try:
                await fetch(session)
            except RateLimitedError as error:
                refused = error
            print("2 at once, and the third after a wait:", await asyncio.gather(*calls))
            due = math.ceil(refused.retry_after)
            print(f"the fourth is refused: a token is due within {due} s")
            print("requests that were sent:", len(server.requests))


if __name__ == "__main__":
    asyncio.run(main())

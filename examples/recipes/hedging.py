"""A second attempt beside a slow one: the first answer wins, the other is called off.

Guide: 2, table, row "Retry/backoff" (for the slow tail).

Prints::

    200 from the second request
    much faster than the first one would have been: True
    a POST is not hedged: 1 request
"""

import asyncio
import time

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import delay, respond

SLOW = 5.0


async def main() -> None:
    """Meet one slow replica among quick ones."""
    async with FaultServer() as server:
        settings = HttpSettings(
            base_url=str(server.url),
            # DELAY=p95 follows what calls usually take; MAX_RATIO bounds the additional load.
            hedging={"enabled": True, "delay": 0.05, "max_ratio": 1},
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()
            server.script = [delay(SLOW, respond(200)), respond(200, body=b"second")]
            started = time.monotonic()
            async with session.get("search") as response:
                print(response.status, "from the", await response.text(), "request")
            quick = time.monotonic() - started < SLOW / 2
            print(f"much faster than the first one would have been: {quick}")

            server.requests.clear()
            server.script = [delay(0.1, respond(200))]
            async with session.post("orders"):
                print("a POST is not hedged:", len(server.requests), "request")


if __name__ == "__main__":
    asyncio.run(main())

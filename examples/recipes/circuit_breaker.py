"""An upstream that fails is left alone for a while, and asked again carefully.

Guide: 7, "retries and rate limits are ours"; 9, "Infinite retry loops".

Prints::

    5 failures: open
    while it is open: CircuitOpenError, 5 requests sent
    a probe succeeds: half_open
    one more: closed
"""

import asyncio

from platform_http import CircuitOpenError, HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond


async def main() -> None:
    """Break the upstream, and repair it."""
    async with FaultServer([respond(500)]) as server:
        settings = HttpSettings(
            base_url=str(server.url),
            retry={"enabled": False},
            circuit_breaker={
                "minimum_calls": 5,
                "open_duration": 0.5,
                "half_open_successes": 2,
            },
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()

            def state() -> str:
                [snapshot] = factory.circuits.snapshot()["default"].values()
                return snapshot.state.name.lower()

            for _ in range(5):
                async with session.get("stock"):
                    pass
            print("5 failures:", state())
            try:
                await session.get("stock")
            except CircuitOpenError as error:
                sent = len(server.requests)
                print(f"while it is open: {type(error).__name__}, {sent} requests sent")
                pause = error.retry_after

            server.script = [respond(200)]
            await asyncio.sleep(pause + 0.05)
            for label in ("a probe succeeds", "one more"):
                async with session.get("stock"):
                    pass
                print(f"{label}:", state())


if __name__ == "__main__":
    asyncio.run(main())

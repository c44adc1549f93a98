"""What a service does wrong with its sessions is told once, with its line and the remedy.

Guide: 9, pitfalls.

Prints::

    unread_response in forgets_to_read
    policy_bypass in replaces_the_policies
    session_per_request in connects_anew
    platform_http_pitfalls_total: 3 kinds
"""

import asyncio
import logging

import aiohttp
from prometheus_client import CollectorRegistry

from platform_http import CallOptions, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body

UNFINISHED = partial_body(b"the beginning", content_length=100, then="hang")
KINDS = ("unread_response", "policy_bypass", "session_per_request")


class Tell(logging.Handler):
    """Prints the findings; a service leaves that to the logging that it has."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the kind and the function of a finding."""
        if hasattr(record, "place"):
            fields = vars(record)
            print(fields["kind"], "in", fields["place"].rpartition(" ")[2])


async def forgets_to_read(session: aiohttp.ClientSession, url: str) -> int:
    """Right: `async with session.get(...) as response:`."""
    response = await session.get(url, trace_request_ctx=CallOptions(timeout=0.5))
    return response.status


async def replaces_the_policies(session: aiohttp.ClientSession, url: str) -> int:
    """Right: `SessionFactory(middlewares=[...])`, which adds to them."""
    async with session.get(url, middlewares=()) as response:
        return response.status


async def connects_anew(registry: CollectorRegistry) -> None:
    """Right: one factory when the service starts."""
    async with SessionFactory(registry=registry):
        pass


async def main() -> None:
    """Make three of the mistakes."""
    logger = logging.getLogger("platform_http")
    logger.addHandler(Tell())
    registry = CollectorRegistry()
    async with FaultServer([UNFINISHED]) as server, SessionFactory(registry=registry) as factory:
        await forgets_to_read(factory.session(), str(server.url))
        # The deadline gives the connection back, and tells of it.
        await asyncio.sleep(0.6)
        await replaces_the_policies(factory.session(), str(server.url))
        for _ in range(10):
            await connects_anew(registry)
    name = "platform_http_pitfalls_total"
    counted = [registry.get_sample_value(name, {"client": "default", "kind": k}) for k in KINDS]
    print(f"{name}: {sum(map(bool, counted))} kinds")


if __name__ == "__main__":
    asyncio.run(main())

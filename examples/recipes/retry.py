"""Retries that are safe: bounded, jittered, paid from a budget, and never of what may not be.

Guide: 2, table, row "Retry/backoff"; 4; 8, row "Built retry/backoff loops"; 10 b.

Prints::

    GET: 200 after 3 requests
    POST: 503 after 1 request
    POST with a key: 200 after 2 requests, the same key on both
    3 attempts, stopped: exhausted
"""

import asyncio

import aiohttp

from platform_http import CallOptions, HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import close, reset, respond

WITH_KEY = CallOptions(operation="payments.create", idempotency_key=True)


async def main() -> None:
    """Meet a server that fails first."""
    async with FaultServer() as server:
        settings = HttpSettings(
            base_url=str(server.url),
            retry={"max_attempts": 3, "backoff_initial": 0.01, "backoff_max": 0.02},
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()

            server.script = [respond(503), reset(), respond(200)]
            async with session.get("invoices") as response:
                print("GET:", response.status, "after", len(server.requests), "requests")

            # The server may have done something: nobody but the caller knows whether twice is safe.
            server.requests.clear()
            server.script = [respond(503), respond(200)]
            async with session.post("payments", json={"total": 9}) as response:
                print("POST:", response.status, "after", len(server.requests), "request")

            server.requests.clear()
            server.script = [respond(503), respond(200)]
            async with session.post(
                "payments", json={"total": 9}, trace_request_ctx=WITH_KEY
            ) as response:
                keys = {request.headers["Idempotency-Key"] for request in server.requests}
                print(
                    f"POST with a key: {response.status} after {len(server.requests)} requests,",
                    "the same key on both" if len(keys) == 1 else "two keys",
                )

            server.script = [close()]
            try:
                await session.get("invoices")
            except aiohttp.ClientError as error:  # aiohttp's own error, with a note
                [note] = error.__notes__
                attempts, _, reason = note.partition("; ")
                print(f"{attempts.partition(' in ')[0]}, {reason}")


if __name__ == "__main__":
    asyncio.run(main())

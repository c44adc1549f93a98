"""Redirects are followed, and take no secrets to another origin.

Guide: 2, table, row "Redirects".

Prints::

    200 after ['/old'], now at /new
    elsewhere: API key withheld
    a body to another origin: redirect_body
    not followed: 302 to /new
"""

import asyncio

from platform_http import EgressDeniedError, HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond


async def main() -> None:
    """Follow redirects within an origin and out of it."""
    async with FaultServer() as server, FaultServer() as elsewhere:
        settings = HttpSettings(base_url=str(server.url), headers={"X-Api-Key": "hidden"})
        async with SessionFactory(settings) as factory:
            session = factory.session()

            server.script = [respond(302, headers={"Location": "/new"}), respond(200)]
            async with session.get("old") as response:
                history = [each.url.path for each in response.history]
                print(response.status, "after", f"{history}, now at", response.url.path)

            server.script = [respond(302, headers={"Location": str(elsewhere.url)})]
            async with session.get("moved"):
                key = elsewhere.requests[0].headers.get("X-Api-Key")
                print("elsewhere: API key", "withheld" if key is None else "sent")

            server.script = [respond(307, headers={"Location": str(elsewhere.url)})]
            try:
                await session.post("upload", data=b"confidential")
            except EgressDeniedError as error:
                print("a body to another origin:", error.reason)

            server.script = [respond(302, headers={"Location": "/new"})]
            async with session.get("old", allow_redirects=False) as response:
                print("not followed:", response.status, "to", response.headers["Location"])


if __name__ == "__main__":
    asyncio.run(main())

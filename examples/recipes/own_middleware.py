"""A middleware of your own: a header on every request, and a call of its own without recursion.

Guide: 4, "header injection" and "no recursion"; 13, step 2.

Prints::

    /orders for tenant blue
    /tenant was asked 1 time, without the header
"""

import asyncio

import aiohttp
from aiohttp import ClientHandlerType

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond


class TenantHeader:
    """Asks once which tenant this service serves, and tells every upstream.

    The factory's own policies stand behind it: it runs once per call and redirect, not per attempt.
    """

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._asking = asyncio.Lock()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Add the header."""
        if request.url.path == "/tenant":
            # Our own question comes by here too. With middlewares=() it would not, but would be
            # without retries, breaker, attempt timeout and spans too, which the library warns of.
            return await handler(request)
        async with self._asking:
            if self._tenant is None:
                self._tenant = await self._ask(request)
        request.headers["X-Tenant"] = self._tenant
        return await handler(request)

    async def _ask(self, request: aiohttp.ClientRequest) -> str:
        async with request.session.get("/tenant") as response:
            return await response.text()


async def main() -> None:
    """Call with the middleware in front of every session."""
    async with FaultServer(lambda _: respond(200, body=b"blue")) as server:
        settings = HttpSettings(base_url=str(server.url))
        async with SessionFactory(settings, middlewares=[TenantHeader()]) as factory:
            for _ in range(2):
                async with factory.session().get("orders"):
                    pass
        order = server.requests[-1]
        print(order.target, "for tenant", order.headers["X-Tenant"])
        asked = [request for request in server.requests if request.target == "/tenant"]
        bare = "without" if "X-Tenant" not in asked[0].headers else "with"
        print(f"/tenant was asked {len(asked)} time, {bare} the header")


if __name__ == "__main__":
    asyncio.run(main())

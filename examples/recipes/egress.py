"""URLs that users give are fetched without being led inside (SSRF).

Guide: 4, "SSRF protection".

Prints::

    http://127.0.0.1/admin: loopback
    http://169.254.169.254/: link_local
    http://[::ffff:10.0.0.1]/: embedded
    http://localhost/: loopback
    the internal client: 200
"""

import asyncio

from platform_http import EgressDeniedError, HttpSettings, SessionFactory
from platform_http.testing import FaultServer

GIVEN_BY_USERS = (
    "http://127.0.0.1/admin",
    "http://169.254.169.254/",
    "http://[::ffff:10.0.0.1]/",
    "http://localhost/",  # a name: what counts is the address that is connected to
)


async def main() -> None:
    """Try to reach what is not meant for users."""
    async with FaultServer() as server:
        settings = HttpSettings(
            clients={
                "webhooks": {"egress": {"mode": "public"}},
                "inventory": {"base_url": str(server.url)},
            }
        )
        async with SessionFactory(settings) as factory:
            for url in GIVEN_BY_USERS:
                try:
                    await factory.session("webhooks").get(url)
                except EgressDeniedError as error:
                    print(f"{url}: {error.reason}")
            async with factory.session("inventory").get("stock") as response:
                print("the internal client:", response.status)


if __name__ == "__main__":
    asyncio.run(main())

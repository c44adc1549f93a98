"""Cookies are off until a client asks for them: a service's calls belong to different users.

Guide: 2, table, row "Cookies"; 8, row "Managed cookies manually".

Prints::

    by default: no cookie
    COOKIES__ENABLED: session=7
    in the jar: session
"""

import asyncio

from platform_http import HttpSettings, SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond


async def main() -> None:
    """Log in and come back, with a jar and without one."""
    async with FaultServer([respond(200, headers={"Set-Cookie": "session=7"})]) as server:
        url = str(server.url)
        settings = HttpSettings(
            clients={
                "api": {"base_url": url},
                # Our server is an address: its cookies are kept only when that is asked for too.
                "portal": {"base_url": url, "cookies": {"enabled": True, "unsafe": True}},
            }
        )
        async with SessionFactory(settings) as factory:
            for name, label in (("api", "by default"), ("portal", "COOKIES__ENABLED")):
                session = factory.session(name)
                async with session.get("login"), session.get("account"):
                    pass
                print(f"{label}:", server.requests[-1].headers.get("Cookie", "no cookie"))
            jar = factory.session("portal").cookie_jar
            print("in the jar:", *(cookie.key for cookie in jar))


if __name__ == "__main__":
    asyncio.run(main())

"""Digest authentication: the challenge is answered without a line of code.

Guide: 6, "DigestAuthMiddleware"; 8.

Prints::

    200 for ada
    1st request: no credentials
    2nd request: Digest
    next call: 200, challenged 0 times
"""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http import HttpSettings, SessionFactory

CHALLENGE = 'Digest realm="orders", nonce="5ccc069c403ebaf9", qop="auth", algorithm=SHA-256'


async def main() -> None:
    """Meet a server that challenges."""
    schemes: list[str] = []

    async def challenge(request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        schemes.append(authorization.partition(" ")[0] or "no credentials")
        if 'username="ada"' not in authorization:
            return web.Response(status=401, headers={"WWW-Authenticate": CHALLENGE})
        return web.Response(text="ada")  # a real server checks response= as well

    app = web.Application()
    app.router.add_get("/", challenge)
    async with TestServer(app) as server:
        settings = HttpSettings(
            base_url=str(server.make_url("/")),
            auth={"scheme": "digest", "username": "ada", "password": "lovelace"},
        )
        async with SessionFactory(settings) as factory:
            async with factory.session().get("") as response:
                print(response.status, "for", await response.text())
            print("1st request:", schemes[0])
            print("2nd request:", schemes[1])
            schemes.clear()
            async with factory.session().get("") as response:
                challenged = schemes.count("no credentials")
                print(f"next call: {response.status}, challenged {challenged} times")


if __name__ == "__main__":
    asyncio.run(main())

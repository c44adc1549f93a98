"""OAuth 2.0 client credentials: one token for all callers, and another one when it is revoked.

Guide: 4, "token refresh".

Prints::

    20 calls at once: {200}, 1 token
    revoked: 200, 2 tokens
"""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer

from platform_http import HttpSettings, SessionFactory


class Api:
    """A token endpoint, and what its tokens open."""

    def __init__(self) -> None:
        self.issued = 0
        self.valid = ""

    async def token(self, _: web.Request) -> web.Response:
        """Issue a token, which makes the one before it invalid."""
        self.issued += 1
        self.valid = f"token-{self.issued}"
        return web.json_response(
            {"access_token": self.valid, "token_type": "Bearer", "expires_in": 3600}
        )

    async def resource(self, request: web.Request) -> web.Response:
        """Open to the latest token."""
        known = request.headers.get("Authorization") == f"Bearer {self.valid}"
        return web.Response(status=200 if known else 401)


async def main() -> None:
    """Call with a token, and with one that is revoked."""
    api = Api()
    app = web.Application()
    app.router.add_post("/token", api.token)
    app.router.add_get("/", api.resource)
    async with TestServer(app) as server:
        settings = HttpSettings(
            base_url=str(server.make_url("/")),
            auth={
                "scheme": "oauth2_client_credentials",
                "token_url": str(server.make_url("/token")),
                "client_id": "gateway",
                "client_secret": "hidden",
            },
        )
        async with SessionFactory(settings) as factory:
            session = factory.session()

            async def fetch() -> int:
                async with session.get("") as response:
                    return response.status

            statuses = set(await asyncio.gather(*(fetch() for _ in range(20))))
            print(f"20 calls at once: {statuses}, {api.issued} token")
            await asyncio.sleep(1.1)  # at most once a second a 401 revokes the token
            api.valid = "revoked at the server"
            print(f"revoked: {await fetch()}, {api.issued} tokens")


if __name__ == "__main__":
    asyncio.run(main())

"""A real OAuth2 token server on loopback, and an API that takes the tokens it issued."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

CLIENT_ID = "service a:b"
CLIENT_SECRET = "canary-secret: %+"


@dataclass
class TokenServer:
    """Issues ``canary-token-1``, ``canary-token-2`` and so on.

    Args:
        lifetime: ``expires_in`` of the tokens, seconds.
        enforced: Seconds for which the API takes a token; ``None`` for ever.
        status: Answered instead of a token, unless it is 200.
        answer: The whole answer in place of a token's.
        gate: Every answer waits for it.
    """

    lifetime: float | None = 3600
    enforced: float | None = None
    status: int = 200
    answer: Callable[[], web.Response] | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    presented: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    refused: int = 0
    valid: set[str] = field(default_factory=set)
    url: URL = field(default_factory=URL)

    def __post_init__(self) -> None:
        self.gate.set()

    def revoke(self) -> None:
        """Take no token that was issued so far."""
        self.valid.clear()

    @property
    def issued(self) -> int:
        return len(self.forms)

    @property
    def settings(self) -> dict[str, object]:
        """The AUTH section of a client."""
        return {
            "scheme": "oauth2_client_credentials",
            "token_url": str(self.url / "token"),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }

    @property
    def api(self) -> str:
        return f"{self.url}/api/"

    async def token(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.forms.append({**(await request.post())})
        number = len(self.forms)
        await self.gate.wait()
        if self.answer is not None:
            return self.answer()
        if self.status != 200:
            return web.json_response({"error": "canary-error"}, status=self.status)
        login = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
        if [*map(unquote_plus, login.decode().split(":"))] != [CLIENT_ID, CLIENT_SECRET]:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = f"canary-token-{number}"
        self.valid.add(token)
        if self.enforced is not None:
            asyncio.get_running_loop().call_later(self.enforced, self.valid.discard, token)
        granted: dict[str, object] = {"access_token": token, "token_type": "bearer"}
        if self.lifetime is not None:
            granted["expires_in"] = self.lifetime
        return web.json_response(granted)

    async def call(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        credentials = request.headers.get("Authorization", "")
        self.presented.append(credentials)
        if credentials.removeprefix("Bearer ") in self.valid:
            return web.Response(text="ok")
        self.refused += 1
        return web.Response(status=401, text="who are you?")


@asynccontextmanager
async def token_server(**options: object) -> AsyncIterator[TokenServer]:
    """Run a :class:`TokenServer` on a free port."""
    server = TokenServer(**options)
    application = web.Application()
    application.router.add_post("/token", server.token)
    application.router.add_route("*", "/api/{tail:.*}", server.call)
    async with TestServer(application, host="127.0.0.1") as running:
        server.url = URL(str(running.make_url("/")).rstrip("/"))
        yield server
        server.gate.set()

"""A client with a secret in every place, calls with more, and the search when it is over."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import methodcaller

import aiohttp
from yarl import URL

from platform_http.factory import SessionFactory
from platform_http.testing.actions import Action, respond
from tests.functional.conftest import merged
from tests.security.canaries import CANARIES, found_in
from tests.security.witness import Witness, witness

HEADERS = {"Private-Token": CANARIES["header"], "Cookie": f"sid={CANARIES['cookie']}"}
BODY = f'{{"iban": "{CANARIES["request-body"]}"}}'.encode()

ANSWER_HEADERS = {
    "X-Answer": CANARIES["answer-header"],
    "Set-Cookie": f"sid={CANARIES['answer-cookie']}",
}
ANSWER = f'{{"iban": "{CANARIES["answer-body"]}"}}'.encode()

PROXY_LOGIN = {"user": CANARIES["proxy-user"], "password": CANARIES["proxy-password"]}

# What is configured and, but for the header, of no use to most calls: it must not be told either.
SETTINGS = {
    "headers": {"X-Api-Key": CANARIES["settings-header"]},
    "proxy": {
        "url": str(URL.build(scheme="http", host="127.0.0.1", port=9, **PROXY_LOGIN)),
        "no_proxy": ["*"],
    },
    "timeout": {"total": 2, "attempt": 0.5, "connect": 0.1, "read": 0.3, "pool": 0.1},
}


def answer(status: int = 200, **headers: str) -> Action:
    """Return an action that answers with secrets of the server's own."""
    content = {"Content-Type": "application/json"}
    return respond(status, headers=ANSWER_HEADERS | content | headers, body=ANSWER)


def redirect(url: URL, status: int = 302) -> Action:
    """Return an action that redirects to *url* with secrets in it."""
    secret = CANARIES["location"]
    location = url.with_user(secret).with_password(secret).with_query(access_token=secret)
    return answer(status, Location=str(location.with_fragment(secret)))


def planted(url: URL) -> URL:
    """Return *url* with secrets in it; the query's is under a key that ``REDACT_QUERY`` lists."""
    with_login = url.with_user(CANARIES["url-user"]).with_password(CANARIES["url-password"])
    return with_login.with_query(access_token=CANARIES["query"]).with_fragment(CANARIES["fragment"])


@dataclass
class Stage:
    """A factory and what is heard of it."""

    factory: SessionFactory
    session: aiohttp.ClientSession
    heard: Witness

    async def call(
        self,
        url: URL | str,
        *,
        method: str = "POST",
        consume: Callable[[aiohttp.ClientResponse], Awaitable[object]] = methodcaller("read"),
        **options: object,
    ) -> int | type[BaseException]:
        """Make one call with a secret in every place.

        Returns:
            The status, or the type of what was raised.
        """
        options = {"headers": HEADERS, "data": BODY} | options
        if isinstance(url, URL):
            url = planted(url)
        try:
            async with self.session.request(method, url, **options) as response:
                self.heard.show("response", response)
                await consume(response)
                return response.status
        except Exception as error:
            self.heard.errors.append(error)
            return type(error)


@asynccontextmanager
async def stage(**settings: object) -> AsyncIterator[Stage]:
    """Run a client, and fail if it told any of the secrets to anybody but its server.

    The loop reports every step as too slow, with all that it knows of it.

    Args:
        **settings: As for ``Observed.factory``.
    """
    loop = asyncio.get_running_loop()
    with witness() as heard:
        loop.set_debug(True)
        loop.slow_callback_duration = 0
        try:
            async with heard.observed.factory(**merged(SETTINGS, settings)) as factory:
                made = Stage(factory, factory.session(), heard)
                heard.show("factory", factory, factory.settings, factory.settings.client())
                heard.show("session", made.session, made.session.connector, made.session.timeout)
                yield made
            del made
            gc.collect()
            await asyncio.sleep(0)
        finally:
            loop.set_debug(False)
    told = found_in(heard.texts())
    assert not told, "\n".join(told)

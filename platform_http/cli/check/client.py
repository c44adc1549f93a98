"""One client and its way to the network."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote

import aiohttp
from yarl import URL

from platform_http.call import CallOptions, Origin
from platform_http.cli.check.connection import connect
from platform_http.cli.check.on_paper import dated, on_paper
from platform_http.cli.check.report import failure, ok, warning
from platform_http.cli.printable import printable
from platform_http.errors import EgressDeniedError, PlatformHttpError
from platform_http.outcomes import error_type
from platform_http.transport.dns import make_resolver
from platform_http.transport.egress import make_policy
from platform_http.transport.proxy import ProxyResolver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from platform_http.cli.check.connection import Connected
    from platform_http.cli.check.report import Item
    from platform_http.settings import ClientSettings
    from platform_http.transport.proxy import ProxyChoice

# What failed, in the words of ``error.type``, and what to do about it.
_REMEDIES = {
    "connect_timeout": "nothing answers: check host, port, firewalls and network policies",
    "connection_error": "nothing listens there, or it hung up: check host and port of BASE_URL",
    "deadline_exceeded": "nothing answers in time: check firewalls, or raise --timeout",
    "name_resolution_error": "check the host of BASE_URL, and DNS__NAMESERVERS if it is set",
    "proxy_error": "check PROXY__URL and its credentials, and what the proxy allows",
    "secure_connection_error": "check TLS__CA_FILE, TLS__PINS and the host of BASE_URL against the "
    "server's certificate",
    "auth_error": "check the AUTH__ settings against the token endpoint",
}


class ClientCheck:
    """The checks of one client.

    Args:
        settings: Of the client.
        session: Gives the client's session; only asked where there is a ``BASE_URL``.
        seconds: What the whole may take, > 0.
        send: Whether a HEAD request is sent to ``BASE_URL``.
    """

    def __init__(
        self,
        settings: ClientSettings,
        session: Callable[[], aiohttp.ClientSession],
        *,
        seconds: float,
        send: bool,
    ) -> None:
        self._settings = settings
        self._name = settings.name
        self._session = session
        self._seconds = seconds
        self._send = send
        # What is waited for, should time be up.
        self._step = "settings"

    async def run(self) -> list[Item]:
        """Return all items of the client, within its time."""
        items = [*on_paper(self._settings)]
        steps = self._on_the_wire()
        try:
            async with asyncio.timeout(self._seconds):
                async for item in steps:
                    items.append(item)  # noqa: PERF401 - what is there when time is up counts
        except TimeoutError:
            items.append(
                failure(
                    self._name,
                    self._step,
                    f"not done when the {self._seconds:g} s of the client were over",
                    "check firewalls, or raise --timeout",
                )
            )
        finally:
            await steps.aclose()
        return items

    async def _on_the_wire(self) -> AsyncGenerator[Item, None]:
        url = self._destination()
        if self._settings.rate_limit.store.get_secret_value().startswith("redis"):
            yield await self._store()
        if url is None:
            yield ok(self._name, "connection", "no BASE_URL, so there is nothing to reach")
            return
        if url.scheme == "http+unix":
            yield ok(self._name, "egress", "a Unix socket is not judged")
        else:
            refused = self._egress(url)
            yield refused
            if refused.status == "failure":
                return
            proxy = _proxy_of(self._settings, url)
            if proxy is not None:
                reached = await self._proxy(proxy)
                yield reached
                if reached.status == "failure":
                    return
            named = await self._dns(url, proxy)
            yield named
            if named.status == "failure":
                return
        async for item in self._connection(url):
            yield item

    def _destination(self) -> URL | None:
        base_url = self._settings.base_url
        return None if base_url is None else URL(base_url.get_secret_value())

    def _egress(self, url: URL) -> Item:
        settings = self._settings.egress
        policy = make_policy(settings)
        origin = Origin.of(url)
        if policy is None:
            return ok(self._name, "egress", "the policy is off")
        refusal = policy.judge_destination(*origin)
        if refusal is None:
            return ok(self._name, "egress", f"{settings.mode} admits {origin}")
        detail = f"{settings.mode} refuses {origin}: {refusal.rule}"
        remedy = "change BASE_URL or the EGRESS__ settings"
        if settings.enforce:
            return failure(self._name, "egress", detail, remedy)
        return warning(self._name, "egress", f"{detail} (not enforced)", remedy)

    async def _proxy(self, proxy: ProxyChoice) -> Item:
        self._step = "proxy"
        host, port = proxy.url.raw_host or "", proxy.url.port or 0
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return failure(
                self._name,
                "proxy",
                f"{proxy.url} does not accept connections: {printable(error.strerror or '')}",
                "check PROXY__URL, or list the host of BASE_URL in PROXY__NO_PROXY",
            )
        writer.close()
        return ok(self._name, "proxy", f"through {proxy.url}, which accepts connections")

    async def _dns(self, url: URL, proxy: ProxyChoice | None) -> Item:
        self._step = "dns"
        host, port = url.raw_host or "", url.port or 0
        if proxy is not None:
            return ok(self._name, "dns", f"{host} is for the proxy to resolve")
        resolver = make_resolver(self._settings.dns)
        try:
            answers = await resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError as error:
            return failure(
                self._name,
                "dns",
                f"{host} does not resolve: {printable(error.strerror or str(error))}",
                _REMEDIES["name_resolution_error"],
            )
        finally:
            await resolver.close()
        addresses = dict.fromkeys(answer["host"] for answer in answers)
        return ok(self._name, "dns", f"{host} is {', '.join(addresses)}")

    async def _connection(self, url: URL) -> AsyncGenerator[Item, None]:
        self._step = "connection"
        target = url
        if url.scheme == "http+unix":
            # As the factory has it: the connector knows the path.
            target = URL.build(scheme="http", host="localhost", path=url.path)
        try:
            connected = await connect(self._session(), target, self._seconds)
        except (aiohttp.ClientError, PlatformHttpError, TimeoutError, OSError) as error:
            yield self._failed("connection", error)
            return
        where = (
            printable(unquote(url.raw_host or "")) if url.scheme == "http+unix" else connected.peer
        )
        yield ok(self._name, "connection", _described(connected, where))
        if connected.expires is not None:
            yield dated(
                self._name,
                "server_certificate",
                "the server's certificate",
                connected.expires,
                "have the server renew it",
            )
        if self._send:
            yield await self._head(target)

    async def _head(self, url: URL) -> Item:
        self._step = "request"
        options = CallOptions(timeout=self._seconds, max_attempts=1)
        try:
            async with self._session().head(url, trace_request_ctx=options) as response:
                status = response.status
        except (aiohttp.ClientError, PlatformHttpError, TimeoutError, OSError) as error:
            return self._failed("request", error)
        detail = f"HEAD {url.path} was answered with {status}"
        if status in (401, 403, 407):
            return warning(self._name, "request", detail, "check the AUTH__ settings")
        if status >= 500 or status == 429:
            return warning(self._name, "request", detail, "the server is there and not well")
        return ok(self._name, "request", detail)

    async def _store(self) -> Item:
        self._step = "rate_limit_store"
        from redis.asyncio import Redis  # noqa: PLC0415 - the extra redis, asked for by settings
        from redis.exceptions import RedisError  # noqa: PLC0415 - as above

        store = self._settings.rate_limit.store
        redis = Redis.from_url(store.get_secret_value())
        try:
            await redis.ping()
        except (RedisError, OSError):
            return failure(
                self._name,
                "rate_limit_store",
                f"{store} does not answer; RATE_LIMIT__FALLBACK_RATE applies",
                "check RATE_LIMIT__STORE and its credentials",
            )
        finally:
            await redis.aclose()
        return ok(self._name, "rate_limit_store", f"{store} answers")

    def _failed(self, name: str, error: Exception) -> Item:
        word = error_type(error)
        remedy = _REMEDIES.get(word, "see the message")
        if isinstance(error, EgressDeniedError):
            remedy = "change BASE_URL, what its name resolves to, or the EGRESS__ settings"
        message = printable(str(error) or type(error).__name__)
        return failure(self._name, name, f"{word}: {message}", remedy)


def _proxy_of(settings: ClientSettings, url: URL) -> ProxyChoice | None:
    if settings.proxy.url is None and not settings.proxy.from_env:
        return None
    resolver = ProxyResolver.of(settings.proxy, os.environ)
    return resolver.choose(url.scheme, url.raw_host or "", url.port or 0)


def _described(connected: Connected, where: str) -> str:
    tls = f", {connected.tls}" if connected.tls else ""
    return f"{where} in {connected.seconds * 1000:.3g} ms{tls}"

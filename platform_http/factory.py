"""The composition root: the only place that knows every part and the order of a call's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import aiohttp
from prometheus_client import REGISTRY
from yarl import URL

from platform_http.call import Client, Origin
from platform_http.errors import FactoryClosedError
from platform_http.middlewares.attempt import AttemptMiddleware
from platform_http.middlewares.circuit_breaker import CircuitBreakerMiddleware
from platform_http.middlewares.circuits import Circuits
from platform_http.middlewares.concurrency import ConcurrencyMiddleware
from platform_http.middlewares.propagation import DeadlinePropagation
from platform_http.middlewares.retry import RetryMiddleware
from platform_http.policies.registry import LruRegistry
from platform_http.telemetry import event_loop
from platform_http.telemetry.logging import log_settings
from platform_http.telemetry.metrics import Metrics
from platform_http.telemetry.observer import ClientTelemetry
from platform_http.telemetry.propagation import Propagation
from platform_http.telemetry.trace_config import trace_config, translation_config
from platform_http.transport import tls
from platform_http.transport.connector import (
    NEVER_ROUND,
    PlatformTCPConnector,
    PlatformUnixConnector,
)
from platform_http.transport.dns import make_resolver
from platform_http.transport.request import request_class
from platform_http.transport.response import PlatformResponse
from platform_http.wiring import PolicyMaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from types import TracebackType

    from aiohttp.abc import AbstractCookieJar, AbstractResolver
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.middlewares.rate_limit import Quota
    from platform_http.middlewares.shared_quota import SharedQuota
    from platform_http.settings import ClientSettings, HttpSettings
    from platform_http.transport.proxy import ProxyResolver

DEFAULT = "default"

_LOGGER = logging.getLogger("platform_http")

# How long a closing connection may take to say so; TLS connections are aborted, so none should.
_CLOSE_SECONDS = 0.5


class SessionFactory:
    """Hands out one configured ``aiohttp.ClientSession`` per client name.

    Use it as an async context manager, once per event loop. Files are read and SSL contexts built
    in a thread when it is entered.

    Args:
        settings: What to configure; ``None`` reads the environment.
        middlewares: The application's own client middlewares, outermost, on every session. What
            they wait for is not bounded by the deadline; what the session does for them is.
        trace_configs: The application's own TraceConfigs, on every session.
        tracer_provider: Makes the spans; ``None`` is OpenTelemetry's global one.
        registry: Takes the metrics; ``None`` is prometheus_client's ``REGISTRY``.
        clock: Seconds that never go backwards, for the policies.
        rng: Source of jitter for the policies.

    Raises:
        ConfigurationError: On entering, if the settings contradict each other or a file that they
            name cannot be used.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        tracer_provider: TracerProvider | None = None,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._middlewares = tuple(middlewares)
        self._trace_configs = list(trace_configs)
        self._tracer_provider = tracer_provider
        self._registry = REGISTRY if registry is None else registry
        self._clock = clock or time.monotonic
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._clients: dict[str, Client] = {}
        self._resolvers: list[AbstractResolver] = []
        self.circuits = Circuits()
        self._quotas: list[SharedQuota] = []
        self._profiles: dict[str, tuple[tls.TlsProfile, tls.TlsProfile]] = {}
        self._lag: event_loop.LagHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._metrics: Metrics | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def settings(self) -> HttpSettings:
        """The settings in force; read from the environment at the first access or on entering."""
        if self._settings is None:
            # Building the models takes as long as importing all the rest. Entering the factory
            # does it in a thread.
            from platform_http.settings import load_settings  # noqa: PLC0415 - see above

            self._settings = load_settings()
        return self._settings

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a SessionFactory is entered once; make a new one")
        self._loop = asyncio.get_running_loop()
        settings = await asyncio.to_thread(lambda: self.settings)
        names = dict.fromkeys((DEFAULT, *settings.client_names))
        resolved = [settings.client(name) for name in names]
        self._profiles = {client.name: _tls_profiles(client) for client in resolved}
        await tls.load_contexts(profile for pair in self._profiles.values() for profile in pair)
        self._metrics = Metrics.of(self._registry)
        for client in resolved:
            _check(client)
            log_settings(client)
            self._announce_loosened(client)
        self._lag = event_loop.start(self._loop, self._metrics)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def session(self, name: str = DEFAULT) -> aiohttp.ClientSession:
        """Return the session of the client *name*, the same object for the same name.

        Args:
            name: A client name; ``-`` equals ``_``. A name without settings of its own gets the
                defaults.

        Returns:
            A plain ``aiohttp.ClientSession``, which the factory closes.

        Raises:
            FactoryClosedError: If the factory is closing or closed.
            ConfigurationError: If *name* is not a client name.
            RuntimeError: If the factory was not entered.
        """
        if self._loop is None:
            raise RuntimeError("use the factory as `async with SessionFactory() as factory`")
        if self._closing is not None:
            raise FactoryClosedError("the session factory is closed")
        settings = self.settings.client(name)
        session = self._sessions.get(settings.name)
        if session is None:
            session = self._sessions[settings.name] = self._build(settings, self._loop)
        return session

    async def aclose(self, grace: float | None = None) -> None:
        """Refuse new calls, let running ones finish, then close every session.

        Args:
            grace: Seconds that running calls get, >= 0; ``None`` is the ``SHUTDOWN__GRACE`` of
                their client.
        """
        if self._loop is None:
            return
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(grace))
        # Whoever is cancelled while waiting must not cancel the closing itself.
        await asyncio.shield(self._closing)

    async def _close(self, grace: float | None) -> None:
        for client in self._clients.values():
            client.closing = True
        try:
            await asyncio.gather(*(self._close_client(name, grace) for name in self._clients))
        finally:
            if self._lag is not None:
                self._lag.stop()
            for closing in (
                *(resolver.close() for resolver in self._resolvers),
                *(quota.aclose() for quota in self._quotas),
            ):
                await _bounded(closing)

    async def _close_client(self, name: str, grace: float | None) -> None:
        client = self._clients[name]
        seconds = client.settings.shutdown.grace if grace is None else grace
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await client.wait_drained()
        finally:
            await _bounded(self._sessions[name].close())

    def _announce_loosened(self, settings: ClientSettings) -> None:
        assert self._metrics is not None
        for setting in _loosened(settings):
            if settings.telemetry.metrics:
                self._metrics.insecure_settings.labels(settings.name, setting).set(1)
            _LOGGER.warning(
                "client %s runs with the insecure setting %s",
                settings.name,
                setting,
                extra={"client": settings.name, "setting": setting},
            )

    def _build(
        self, settings: ClientSettings, loop: asyncio.AbstractEventLoop
    ) -> aiohttp.ClientSession:
        base_url, socket_path = _base_url(settings)
        assert self._metrics is not None
        observer = ClientTelemetry(
            settings.name,
            settings.telemetry,
            self._metrics,
            tracer_provider=self._tracer_provider,
            base_origin=None if base_url is None else Origin.of(base_url),
            can_resend=settings.retry.enabled,
            pool_limit=settings.pool.limit,
            concurrency_limit=settings.concurrency.limit,
        )
        if settings.name not in self._profiles:
            self._announce_loosened(settings)
        client = self._clients[settings.name] = Client(settings, observer, loop)
        timeout = _session_timeout(settings)
        session = aiohttp.ClientSession(
            base_url,
            connector=self._connector(client, timeout, socket_path),
            headers={name: value.get_secret_value() for name, value in settings.headers.items()},
            timeout=timeout,
            cookie_jar=_cookie_jar(settings),
            request_class=request_class(client, _proxies(settings)),
            response_class=PlatformResponse,
            trace_configs=self._traces(client),
            middlewares=(*self._middlewares, *self._policies(client, base_url)),
        )
        _disable_hidden_resend(session)
        return session

    def _policies(self, client: Client, base_url: URL | None) -> list[aiohttp.ClientMiddlewareType]:
        """Return the path of a call, outermost first; only enabled policies are on it."""
        settings = client.settings
        if not _needs_calls(settings):
            return []
        make = PolicyMaker(settings, self._clock, self._rng, client.observer)
        budgets = LruRegistry(make.budget, evictable=lambda budget: budget.full)
        path: list[aiohttp.ClientMiddlewareType] = []
        # What is off by default is loaded by whoever switches it on: importing all of it would cost
        # every service an eighth of what importing the package costs.
        if settings.throttle.enabled:
            from platform_http.middlewares.throttle import ThrottleMiddleware  # noqa: PLC0415 - see above

            throttles = LruRegistry(make.throttle, evictable=lambda throttle: throttle.idle)
            path.append(ThrottleMiddleware(client, throttles))
        if settings.retry.enabled:
            path.append(RetryMiddleware(client, make.retry(), budgets))
        if settings.hedging.enabled:
            from platform_http.middlewares.hedging import HedgingMiddleware  # noqa: PLC0415 - see above

            hedges = LruRegistry(make.hedge, evictable=_always)
            path.append(HedgingMiddleware(client, hedges, budgets))
        if settings.rate_limit.rate is not None:
            from platform_http.middlewares.rate_limit import RateLimitMiddleware  # noqa: PLC0415 - see above

            path.append(RateLimitMiddleware(client, self._quota(client, make)))
        if settings.circuit_breaker.mode != "off":
            breakers = LruRegistry(make.breaker, evictable=lambda breaker: breaker.idle_closed)
            self.circuits.add(client.name, breakers)
            path.append(CircuitBreakerMiddleware(client, breakers))
        if settings.concurrency.limit:
            limits = LruRegistry(make.concurrency, evictable=lambda limit: limit.idle)
            path.append(ConcurrencyMiddleware(client, limits))
        path.append(AttemptMiddleware(client, _deadline_propagation(settings, base_url)))
        return path

    def _quota(self, client: Client, make: PolicyMaker) -> Quota:
        from platform_http.middlewares.rate_limit import LocalQuota  # noqa: PLC0415 - off by default

        if client.settings.rate_limit.store.get_secret_value().startswith("memory:"):
            return LocalQuota(LruRegistry(make.bucket, evictable=lambda bucket: bucket.full))
        # Redis and its client are loaded by whoever shares a quota.
        from platform_http.middlewares.shared_quota import SharedQuota  # noqa: PLC0415 - see above

        fallback = LruRegistry(make.fallback_bucket, evictable=lambda bucket: bucket.full)
        quota = SharedQuota(client, LocalQuota(fallback), self._clock)
        self._quotas.append(quota)
        return quota

    def _traces(self, client: Client) -> list[aiohttp.TraceConfig]:
        if not _needs_calls(client.settings):
            return self._trace_configs
        if not self._trace_configs:
            return [trace_config(client, alone=True)]
        first = trace_config(client, alone=False)
        return [first, *self._trace_configs, translation_config()]

    def _connector(
        self, client: Client, timeout: aiohttp.ClientTimeout, socket_path: str | None
    ) -> aiohttp.BaseConnector:
        settings = client.settings
        pool = _pool_options(settings)
        if socket_path is not None:
            return PlatformUnixConnector(client, timeout, socket_path, **pool)
        resolver = make_resolver(settings.dns)
        self._resolvers.append(resolver)
        # As they were on entering: a file that changed since must not be read on the loop.
        target, proxy = self._profiles.get(settings.name) or self._profiles[DEFAULT]
        return PlatformTCPConnector(
            client,
            timeout,
            proxy_tls=tls.context(proxy),
            ssl=tls.context(target),
            timeout_ceil_threshold=NEVER_ROUND,
            use_dns_cache=settings.dns.cache_ttl > 0,
            ttl_dns_cache=settings.dns.cache_ttl,
            happy_eyeballs_delay=settings.dns.happy_eyeballs_delay,
            resolver=resolver,
            **pool,
        )


@contextlib.asynccontextmanager
async def open_session(
    name: str = DEFAULT, settings: HttpSettings | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield one session, for scripts that need no factory.

    Args:
        name: The client whose settings apply.
        settings: What to configure; ``None`` reads the environment.

    Yields:
        The session; it is closed at the end of the block.

    Raises:
        ConfigurationError: As :class:`SessionFactory`.
    """
    async with SessionFactory(settings) as factory:
        yield factory.session(name)


def _loosened(settings: ClientSettings) -> list[str]:
    """Return the settings that make this client less safe than the defaults."""
    loosened = {
        "TLS__VERIFY": not settings.tls.verify,
        "COOKIES__UNSAFE": settings.cookies.enabled and settings.cookies.unsafe,
        "EGRESS__MODE": settings.egress.mode == "off",
        "REDIRECTS__MODE": settings.redirects.mode == "follow",
    }
    return [setting for setting, is_loose in loosened.items() if is_loose]


def _check(settings: ClientSettings) -> None:
    """Refuse at start-up what would otherwise refuse when the session is first asked for."""
    _proxies(settings)
    Propagation(settings.telemetry.propagate_to, None)


def _disable_hidden_resend(session: aiohttp.ClientSession) -> None:
    """Leave every resend to the retry policy.

    aiohttp resends idempotent requests once by itself and runs all middlewares again: three
    attempts would be six requests. This attribute is the only switch.
    """
    session._retry_connection = False  # noqa: SLF001 - held by a canary in tests/contract


def _needs_calls(settings: ClientSettings) -> bool:
    """Tell whether anything has to know of calls; if not, the session is aiohttp's own."""
    timeout = settings.timeout
    return (
        settings.telemetry.traces
        or settings.telemetry.metrics
        or settings.retry.enabled
        or settings.circuit_breaker.mode != "off"
        or settings.concurrency.limit > 0
        or settings.rate_limit.rate is not None
        or settings.throttle.enabled
        or settings.hedging.enabled
        or settings.propagation.enabled
        or min(timeout.attempt, timeout.read, timeout.pool) < math.inf
    )


def _session_timeout(settings: ClientSettings) -> aiohttp.ClientTimeout:
    """Return aiohttp's part of the timeouts; attempt, read, pool and deadline are ours."""
    timeout = settings.timeout
    total = math.inf if _needs_calls(settings) else timeout.total
    return aiohttp.ClientTimeout(
        total=None if total == math.inf else total,
        sock_connect=None if timeout.connect == math.inf else timeout.connect,
        ceil_threshold=NEVER_ROUND,
    )


def _base_url(settings: ClientSettings) -> tuple[URL | None, str | None]:
    """Return the base URL for aiohttp, and the socket's path for ``http+unix``."""
    if settings.base_url is None:
        return None, None
    url = URL(settings.base_url.get_secret_value())
    if url.scheme != "http+unix":
        return url, None
    return URL.build(scheme="http", host="localhost", path=url.path), unquote(url.raw_host or "")


def _pool_options(settings: ClientSettings) -> dict[str, Any]:
    pool = settings.pool
    options: dict[str, Any] = {"limit": pool.limit, "limit_per_host": pool.limit_per_host}
    if pool.keepalive == 0:
        # A timeout of zero would leave each connection open until somebody asks for it.
        return options | {"force_close": True}
    return options | {"keepalive_timeout": pool.keepalive}


def _tls_profiles(settings: ClientSettings) -> tuple[tls.TlsProfile, tls.TlsProfile]:
    """Return the profile for targets and the one for https proxies, without our certificate."""
    return (
        tls.TlsProfile.of(settings.tls),
        tls.TlsProfile.of(settings.tls, client_certificate=False),
    )


def _proxies(settings: ClientSettings) -> ProxyResolver | None:
    if settings.proxy.url is None and not settings.proxy.from_env:
        return None
    # It needs ipaddress, and most services have no proxy: a tenth of what importing all costs.
    from platform_http.transport.proxy import ProxyResolver  # noqa: PLC0415 - see above

    return ProxyResolver.of(settings.proxy, os.environ)


def _cookie_jar(settings: ClientSettings) -> AbstractCookieJar:
    if settings.cookies.enabled:
        return aiohttp.CookieJar(unsafe=settings.cookies.unsafe)
    return aiohttp.DummyCookieJar()


def _deadline_propagation(
    settings: ClientSettings, base_url: URL | None
) -> DeadlinePropagation | None:
    if not settings.propagation.enabled:
        return None
    # The headers go where baggage may go: to the client's own origin and to those listed by name.
    base_origin = None if base_url is None else Origin.of(base_url)
    propagation = Propagation(settings.telemetry.propagate_to, base_origin)
    return DeadlinePropagation(
        settings.propagation, lambda origin: propagation.rights(origin).baggage
    )


def _always(_: object) -> bool:
    """Let the oldest go: whoever forgets its statistics only becomes more careful again."""
    return True


async def _bounded(closing: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await closing

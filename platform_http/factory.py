"""The composition root: the only place that knows every part and the order of a call's path."""

from __future__ import annotations

import asyncio
import contextlib
import json
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

from platform_http.call import Client, Origin, bind_client
from platform_http.errors import FactoryClosedError
from platform_http.middlewares.circuits import Circuits
from platform_http.pipeline import Pipeline
from platform_http.policies.redirect import RedirectPolicy
from platform_http.telemetry import event_loop, sdk
from platform_http.telemetry.logging import log_settings
from platform_http.telemetry.metrics import Metrics
from platform_http.telemetry.observer import ClientTelemetry
from platform_http.telemetry.propagation import Propagation
from platform_http.telemetry.trace_config import trace_config, translation_config
from platform_http.timers import Timers
from platform_http.transport.connector import (
    NEVER_ROUND,
    PlatformTCPConnector,
    PlatformUnixConnector,
)
from platform_http.transport.dns import bounded, make_resolver
from platform_http.transport.quick_request import is_sound, request_class
from platform_http.transport.redirects import RedirectGuard, remember_redirect
from platform_http.transport.request import Route
from platform_http.transport.response import PlatformResponse, Reading
from platform_http.wiring import Registries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from aiohttp.abc import AbstractCookieJar, AbstractResolver
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.auth.client_credentials import ClientCredentials
    from platform_http.auth.custom import CredentialProvider
    from platform_http.auth.token_endpoint import TokenEndpoint
    from platform_http.auth.token_file import TokenFile, TokenVersion
    from platform_http.call import Credentials
    from platform_http.inspection import ClientInspection
    from platform_http.middlewares.shared_quota import SharedQuota
    from platform_http.pitfalls import Pitfall, Place
    from platform_http.policies.egress import EgressPolicy
    from platform_http.settings import ClientSettings, HttpSettings
    from platform_http.transport.client_tls import ClientTls
    from platform_http.transport.egress import EgressGuard
    from platform_http.transport.proxy import ProxyResolver
    from platform_http.transport.serializers import Serializer
    from platform_http.transport.tls_rotation import TlsRotation

DEFAULT = "default"

_LOGGER = logging.getLogger("platform_http")

# What a request asks for that does not say ``max_redirects=``.
_AIOHTTPS_MAX_REDIRECTS = 10

# How long a closing connection may take to say so; TLS connections are aborted, so none should.
_CLOSE_SECONDS = 0.5


class SessionFactory:
    """Hands out one configured ``aiohttp.ClientSession`` per client name.

    Use it as an async context manager, once per event loop. Files are read and SSL contexts built
    in a thread when it is entered.

    Args:
        settings: What to configure; ``None`` reads the environment.
        auth: The application's own credential providers by client name, each in place of an
            ``AUTH__SCHEME``; see :mod:`platform_http.auth`.
        middlewares: The application's own client middlewares, outermost, on every session. What
            they wait for is not bounded by the deadline; what the session does for them is.
        trace_configs: The application's own TraceConfigs, on every session.
        tracer_provider: Makes the spans; ``None`` is OpenTelemetry's global one.
        registry: Takes the metrics; ``None`` is prometheus_client's ``REGISTRY``.
        clock: Seconds that never go backwards, for the policies.
        rng: Source of jitter for the policies.

    Raises:
        ConfigurationError: On entering, if the settings contradict each other, a file that they
            name cannot be used, or *auth* names a client that they do not.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        auth: Mapping[str, CredentialProvider] | None = None,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        tracer_provider: TracerProvider | None = None,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._auth = dict(auth or {})
        self._middlewares = tuple(middlewares)
        self._trace_configs = list(trace_configs)
        self._tracer_provider = tracer_provider
        self._registry = REGISTRY if registry is None else registry
        self._clock = clock or time.monotonic
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._clients: dict[str, Client] = {}
        self._registries: dict[Client, Registries] = {}
        self._resolvers: list[AbstractResolver] = []
        self.circuits = Circuits()
        self._quotas: list[SharedQuota] = []
        self._tokens: dict[str, TokenVersion] = {}
        self._refreshers: list[ClientCredentials | TokenFile] = []
        self._token_sessions: list[tuple[aiohttp.ClientSession, Client]] = []
        self._tls: dict[str, ClientTls] = {}
        self._rotation: TlsRotation | None = None
        self._lag: event_loop.LagHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: Timers | None = None
        self._metrics: Metrics | None = None
        self._closing: asyncio.Task[None] | None = None
        self._entered_at = 0.0
        self._entered_by: Place | None = None

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
        # One for all clients: the loop has a timer less for each that is seldom called.
        self._timers = Timers(self._loop)
        # Nobody needs it before there is a factory.
        from platform_http import pitfalls  # noqa: PLC0415 - see above

        self._entered_by = pitfalls.entering_place()
        settings = await asyncio.to_thread(self._prepare)
        # The first session would find it out.
        is_sound()
        names = dict.fromkeys((DEFAULT, *settings.client_names))
        resolved = [settings.client(name) for name in names]
        if self._auth:
            from platform_http.auth.naming import by_client  # noqa: PLC0415 - off by default

            self._auth = by_client(self._auth, resolved)
        await self._load_tls(resolved)
        await self._load_tokens(resolved)
        self._metrics = Metrics.of(self._registry)
        for client in resolved:
            _check(client)
            log_settings(client)
            self._announce_loosened(client)
        self._lag = event_loop.start(self._loop, self._metrics)
        if self._rotation is not None:
            self._rotation.start()
        self._entered_at = self._loop.time()
        if pitfalls.factory_use(self._loop).entered(self):
            self._tell(pitfalls.MANY_FACTORIES)
        return self

    def _prepare(self) -> HttpSettings:
        """Load, in a thread, what would otherwise keep the event loop waiting."""
        # The first session needs them; who only imports the package does not.
        import platform_http.transport.client_tls  # noqa: PLC0415 - see above
        import platform_http.transport.peers  # noqa: F401, PLC0415 - see above

        sdk.get_ready()
        return self.settings

    def _tell(self, pitfall: Pitfall) -> None:
        """Count and log what the application does with its factories."""
        from platform_http import pitfalls  # noqa: PLC0415 - as above

        if self._metrics is not None and self.settings.client(DEFAULT).telemetry.metrics:
            self._metrics.pitfalls.labels(DEFAULT, pitfall.kind).inc()
        pitfalls.warn(pitfall, self._entered_by, client=DEFAULT)

    def _left(self, loop: asyncio.AbstractEventLoop) -> None:
        from platform_http import pitfalls  # noqa: PLC0415 - as above

        use, now = pitfalls.factory_use(loop), loop.time()
        if use.left(self, self._entered_by, since=self._entered_at, now=now):
            self._tell(pitfalls.SESSION_PER_REQUEST)

    async def _load_tls(self, clients: Sequence[ClientSettings]) -> None:
        # Loaded by _prepare().
        from platform_http.transport import tls  # noqa: PLC0415 - see above
        from platform_http.transport.client_tls import ClientTls  # noqa: PLC0415 - see above

        self._tls = {client.name: ClientTls(client.name, client.tls) for client in clients}
        profiles = await asyncio.to_thread(
            lambda: {each: each.profiles() for each in self._tls.values()}
        )
        loaded = await tls.load_contexts(each for pair in profiles.values() for each in pair)
        for each, pair in profiles.items():
            each.use(pair, loaded)
        watched = [pair for pair in profiles.items() if pair[0].reload_interval < math.inf]
        if watched:
            # Most services name no file.
            from platform_http.transport.tls_rotation import TlsRotation  # noqa: PLC0415 - see above

            self._rotation = TlsRotation(watched)

    async def _load_tokens(self, clients: Sequence[ClientSettings]) -> None:
        files = {
            client.name: client.auth.token_file for client in clients if client.auth.token_file
        }
        if not files:
            return
        from platform_http.auth.token_file import load_tokens  # noqa: PLC0415 - off by default

        self._tokens = await asyncio.to_thread(load_tokens, files)

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
            RuntimeError: If the factory was not entered, or a session is made outside of a
                coroutine or in another event loop than the factory's.
        """
        if self._loop is None:
            raise RuntimeError("use the factory as `async with SessionFactory() as factory`")
        if self._closing is not None:
            raise FactoryClosedError("the session factory is closed")
        settings = self.settings.client(name)
        session = self._sessions.get(settings.name)
        if session is None:
            self._check_loop(self._loop)
            session = self._sessions[settings.name] = self._build(settings)
        return session

    def inspect(self) -> Iterator[ClientInspection]:
        """Yield what each client that has a session is doing, by name.

        Go through it on the factory's event loop. A client with thousands of origins takes
        milliseconds, and other work may run between one and the next. The calls that it lists are
        recorded only while ``WEB__STATUS_PAGE`` is on.
        """
        from platform_http.inspection import inspect_client  # noqa: PLC0415 - for who looks

        for name, session in sorted(self._sessions.items()):
            connector, client = session.connector, self._clients[name]
            if isinstance(connector, PlatformTCPConnector | PlatformUnixConnector):
                registries = self._registries.get(client) or Registries()
                yield inspect_client(client, connector.use(), registries)

    async def aclose(self, grace: float | None = None) -> None:
        """Refuse new calls, let running ones finish, then close every session.

        Args:
            grace: Seconds that running calls get, >= 0; ``None`` is the ``SHUTDOWN__GRACE`` of
                their client.
        """
        if self._loop is None:
            return
        self._check_loop(self._loop)
        if self._closing is None:
            self._left(self._loop)
            self._closing = self._loop.create_task(self._close(grace))
        # Whoever is cancelled while waiting must not cancel the closing itself.
        await asyncio.shield(self._closing)

    def _check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        from platform_http.pitfalls import refuse_other_loop  # noqa: PLC0415 - as above

        refuse_other_loop(loop)

    async def _close(self, grace: float | None) -> None:
        for client in self._clients.values():
            client.closing = True
        if self._rotation is not None:
            await self._rotation.stop()
        try:
            await asyncio.gather(*(self._close_client(name, grace) for name in self._clients))
        finally:
            for refresher in self._refreshers:
                await refresher.aclose()
            for session, client in self._token_sessions:
                await _close_session(session, client)
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
        until = client.loop.time() + seconds
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await client.wait_drained()
            await client.end_long_lived(max(until - client.loop.time(), _CLOSE_SECONDS))
        finally:
            await _close_session(self._sessions[name], client)

    def _announce_loosened(self, settings: ClientSettings) -> None:
        # The models are loaded by whoever has settings.
        from platform_http.settings.loosened import loosened  # noqa: PLC0415 - see above

        assert self._metrics is not None
        for setting in loosened(settings):
            if settings.telemetry.metrics:
                self._metrics.insecure_settings.labels(settings.name, setting).set(1)
            _LOGGER.warning(
                "client %s runs with the insecure setting %s",
                settings.name,
                setting,
                extra={"client": settings.name, "setting": setting},
            )

    def _build(self, settings: ClientSettings) -> aiohttp.ClientSession:
        if settings.name not in self._tls:
            self._announce_loosened(settings)
        client = self._clients[settings.name] = self._client(settings)
        # A name without settings of its own has the default's.
        client_tls = self._tls.get(settings.name) or self._tls[DEFAULT]
        base_url, _ = _base_url(settings)
        own_origin = None if base_url is None else Origin.of(base_url)
        authentication = self._authentication(client, client_tls, own_origin)
        return self._open(
            client,
            client_tls,
            own_origin,
            traces=self._traces(client),
            middlewares=(*self._middlewares, *self._policies(client, own_origin, authentication)),
        )

    def _client(self, settings: ClientSettings) -> Client:
        base_url, _ = _base_url(settings)
        assert self._metrics is not None
        assert self._timers is not None
        observer = _telemetry_class(settings)(
            settings.name,
            settings.telemetry,
            self._metrics,
            tracer_provider=self._tracer_provider,
            base_origin=None if base_url is None else Origin.of(base_url),
            can_resend=settings.retry.enabled,
            pool_limit=settings.pool.limit,
            pool_limit_per_host=settings.pool.limit_per_host,
            concurrency_limit=settings.concurrency.limit,
        )
        return Client(settings, observer, self._timers)

    def _open(
        self,
        client: Client,
        client_tls: ClientTls,
        own_origin: Origin | None,
        *,
        traces: list[aiohttp.TraceConfig],
        middlewares: Sequence[aiohttp.ClientMiddlewareType],
    ) -> aiohttp.ClientSession:
        settings = client.settings
        base_url, socket_path = _base_url(settings)
        timeout = _session_timeout(settings, has_calls=self._has_calls(settings))
        proxies = _proxies(settings)
        # A Unix socket is the configured destination, whatever the URL says.
        egress = None if socket_path is not None else _egress(client, proxies)
        redirects = RedirectPolicy(settings.redirects.mode, settings.redirects.max)
        connector = self._connector(client, timeout, socket_path, client_tls, egress)
        if self._has_calls(settings):
            connector.refuse_truncation()
        serializer = _serializer(settings)
        connector.reading = Reading(client, serializer)
        connector.route = route = Route(
            client,
            client_tls,
            own_origin,
            guards_defaults=own_origin is not None and settings.redirects.mode != "follow",
            proxies=proxies,
            egress=egress,
            redirects=RedirectGuard(redirects, client),
        )
        session = aiohttp.ClientSession(
            base_url,
            connector=connector,
            headers={name: value.get_secret_value() for name, value in settings.headers.items()},
            timeout=timeout,
            json_serialize=json.dumps if serializer is None else serializer.dumps_text,
            json_serialize_bytes=None if serializer is None else serializer.dumps,
            cookie_jar=_cookie_jar(settings),
            request_class=request_class(route),
            response_class=PlatformResponse,
            trace_configs=traces,
            middlewares=middlewares,
        )
        _disable_hidden_resend(session)
        bind_client(session, client)
        return session

    def _has_calls(self, settings: ClientSettings) -> bool:
        return settings.name in self._auth or _needs_calls(settings)

    def _authentication(
        self, client: Client, client_tls: ClientTls, own_origin: Origin | None
    ) -> aiohttp.ClientMiddlewareType | None:
        provider, auth = self._auth.get(client.name), client.settings.auth
        if provider is None and auth.scheme == "none":
            return None
        if provider is None and auth.scheme == "digest":
            from platform_http.middlewares.digest import DigestMiddleware  # noqa: PLC0415 - off by default

            assert auth.username is not None
            assert auth.password is not None
            return DigestMiddleware(auth.username, auth.password.get_secret_value(), own_origin)
        from platform_http.middlewares.auth import AuthMiddleware  # noqa: PLC0415 - off by default

        return AuthMiddleware(client, self._credentials(client, client_tls, provider), own_origin)

    def _credentials(
        self, client: Client, client_tls: ClientTls, provider: CredentialProvider | None
    ) -> Credentials:
        # Each is loaded by whoever uses it.
        from platform_http.auth.fixed import FixedCredentials, basic, bearer  # noqa: PLC0415 - see above

        auth = client.settings.auth
        if provider is not None:
            from platform_http.auth.custom import CustomCredentials  # noqa: PLC0415 - see above

            return CustomCredentials(provider, client.name)
        if auth.scheme == "basic":
            assert auth.username is not None
            assert auth.password is not None
            return FixedCredentials(basic(auth.username, auth.password.get_secret_value()))
        if auth.token is not None:
            return FixedCredentials(bearer(auth.token.get_secret_value()))
        if auth.token_file is not None:
            from platform_http.auth.token_file import TokenFile  # noqa: PLC0415 - see above

            token = self._tokens.get(client.name) or self._tokens[DEFAULT]
            file = TokenFile(auth.token_file, token, client)
            self._refreshers.append(file)
            return file
        from platform_http.auth.client_credentials import ClientCredentials  # noqa: PLC0415 - see above
        from platform_http.policies.token import TokenSchedule  # noqa: PLC0415 - see above

        endpoint = self._token_endpoint(client, client_tls)
        schedule = TokenSchedule(clock=self._clock, rng=self._rng)
        credentials = ClientCredentials(endpoint, schedule, client)
        self._refreshers.append(credentials)
        return credentials

    def _token_endpoint(self, client: Client, client_tls: ClientTls) -> TokenEndpoint:
        """Return the token endpoint with a session of its own, which nothing authenticates."""
        from platform_http.auth.token_endpoint import (  # noqa: PLC0415 - off by default
            TokenEndpoint,
            endpoint_settings,
        )

        auth = client.settings.auth
        assert auth.token_url is not None
        url = URL(auth.token_url.get_secret_value())
        inner = self._client(endpoint_settings(client.settings))
        # The application's own middlewares and hooks are for what the application sends.
        session = self._open(
            inner,
            client_tls,
            Origin.of(url),
            traces=[_first_trace(inner, alone=True)],
            middlewares=self._policies(inner, None, None),
        )
        self._token_sessions.append((session, inner))
        return TokenEndpoint(session, url, auth)

    def _policies(
        self,
        client: Client,
        own_origin: Origin | None,
        authentication: aiohttp.ClientMiddlewareType | None,
    ) -> list[aiohttp.ClientMiddlewareType]:
        if not self._has_calls(client.settings):
            return []
        pipeline = Pipeline(
            client,
            clock=self._clock,
            rng=self._rng,
            circuits=self.circuits,
            authentication=authentication,
            base_origin=own_origin,
        )
        self._registries[client] = pipeline.registries
        if pipeline.shared_quota is not None:
            self._quotas.append(pipeline.shared_quota)
        return [pipeline.path]

    def _traces(self, client: Client) -> list[aiohttp.TraceConfig]:
        if not self._has_calls(client.settings):
            return self._trace_configs
        if not self._trace_configs:
            return [_first_trace(client, alone=True)]
        first = _first_trace(client, alone=False)
        return [first, *self._trace_configs, translation_config()]

    def _connector(
        self,
        client: Client,
        timeout: aiohttp.ClientTimeout,
        socket_path: str | None,
        client_tls: ClientTls,
        egress: EgressGuard | None,
    ) -> PlatformTCPConnector | PlatformUnixConnector:
        settings = client.settings
        pool = _pool_options(settings)
        if socket_path is not None:
            return PlatformUnixConnector(client, timeout, socket_path, **pool)
        resolver = bounded(make_resolver(settings.dns), settings.timeout.attempt)
        if egress is not None:
            resolver = egress.guarded(resolver)
        self._resolvers.append(resolver)
        # Reading certificates is for those who connect, not for those who only import: it was
        # loaded while the factory was entered.
        from platform_http.transport.peers import PeerInspector  # noqa: PLC0415 - see above

        connector = PlatformTCPConnector(
            client,
            timeout,
            tls=client_tls,
            peers=PeerInspector(settings.tls, client.observer),
            egress=egress,
            timeout_ceil_threshold=NEVER_ROUND,
            use_dns_cache=settings.dns.cache_ttl > 0,
            ttl_dns_cache=settings.dns.cache_ttl,
            happy_eyeballs_delay=settings.dns.happy_eyeballs_delay,
            resolver=resolver,
            **pool,
        )
        client_tls.serve(connector, client.observer)
        return connector


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


def _telemetry_class(settings: ClientSettings) -> type[ClientTelemetry]:
    if not settings.web.status_page:
        return ClientTelemetry
    from platform_http.telemetry.recorder import RecordingTelemetry  # noqa: PLC0415 - off by default

    return RecordingTelemetry


def _first_trace(client: Client, *, alone: bool) -> aiohttp.TraceConfig:
    config = trace_config(client, alone=alone)
    config.on_request_redirect.append(remember_redirect)
    return config


def _check(settings: ClientSettings) -> None:
    """Refuse at start-up what would otherwise refuse when the session is first asked for."""
    _proxies(settings)
    _egress_policy(settings)
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
        or settings.egress.mode != "off"
        or settings.redirects.mode != "follow"
        or settings.redirects.max != _AIOHTTPS_MAX_REDIRECTS
        or settings.auth.scheme != "none"
        or min(timeout.attempt, timeout.read, timeout.pool) < math.inf
    )


def _session_timeout(settings: ClientSettings, *, has_calls: bool) -> aiohttp.ClientTimeout:
    """Return aiohttp's part of the timeouts; attempt, read, pool and deadline are ours."""
    timeout = settings.timeout
    total = math.inf if has_calls else timeout.total
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


def _proxies(settings: ClientSettings) -> ProxyResolver | None:
    if settings.proxy.url is None and not settings.proxy.from_env:
        return None
    # It needs ipaddress, and most services have no proxy: a tenth of what importing all costs.
    from platform_http.transport.proxy import ProxyResolver  # noqa: PLC0415 - see above

    return ProxyResolver.of(settings.proxy, os.environ)


def _egress_policy(settings: ClientSettings) -> EgressPolicy | None:
    # Nobody needs it before there is a session.
    from platform_http.transport.egress import make_policy  # noqa: PLC0415 - see above

    return make_policy(settings.egress)


def _egress(client: Client, proxies: ProxyResolver | None) -> EgressGuard | None:
    policy = _egress_policy(client.settings)
    if policy is None:
        return None
    from platform_http.transport.egress import EgressGuard  # noqa: PLC0415 - as above

    return EgressGuard(policy, client, frozenset() if proxies is None else proxies.addresses)


def _cookie_jar(settings: ClientSettings) -> AbstractCookieJar:
    if not settings.cookies.enabled:
        return aiohttp.DummyCookieJar()
    if settings.redirects.mode == "follow":
        return aiohttp.CookieJar(unsafe=settings.cookies.unsafe)
    from platform_http.transport.cookies import GuardedCookieJar  # noqa: PLC0415 - off by default

    return GuardedCookieJar(unsafe=settings.cookies.unsafe)


def _serializer(settings: ClientSettings) -> Serializer | None:
    if settings.json_.serializer == "json":
        return None
    from platform_http.transport.serializers import make_serializer  # noqa: PLC0415 - off by default

    return make_serializer(settings.json_.serializer)


async def _close_session(session: aiohttp.ClientSession, client: Client) -> None:
    try:
        await _bounded(session.close())
    finally:
        client.observer.session_closed()


async def _bounded(closing: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await closing

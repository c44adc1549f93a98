"""Connectors: bounded pool waits, no poisoned or aged connections, and a count of what is open."""

from __future__ import annotations

import asyncio
import functools
import math
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from platform_http.call import CURRENT_ATTEMPT, CURRENT_CALL, Origin
from platform_http.errors import PoolTimeoutError
from platform_http.transport.body_bounds import BoundedHandler
from platform_http.transport.framing import may_fall_short
from platform_http.transport.request import PlatformRequest
from platform_http.transport.socks import open_socks
from platform_http.transport.truncation import Watched, watch_for_truncation

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.streams import StreamReader
    from aiohttp.tracing import Trace

    from platform_http.call import Attempt, Call, Client, ConnectionCount
    from platform_http.policies.egress import Refusal
    from platform_http.transport.client_tls import ClientTls
    from platform_http.transport.egress import EgressGuard
    from platform_http.transport.peers import PeerInspector
    from platform_http.transport.proxy import ProxyChoice
    from platform_http.transport.request import Route
    from platform_http.transport.response import Reading

# aiohttp rounds timeouts above its threshold up to whole loop seconds; ours are exact.
NEVER_ROUND = 1e9


class PlatformProtocol(BoundedHandler):
    """One connection, which tells when it is lost.

    A protocol that never served a request (the plain half of a CONNECT tunnel) is not counted:
    it has no :attr:`origin`.
    """

    origin: Origin | None = None
    connections: ConnectionCount | None = None
    lost = False
    opened = 0.0
    active = False
    # Why it would have been refused, were the egress policy enforced.
    denied: Refusal | None = None
    peer: tuple[str, int] | None = None

    def serve(self, origin: Origin) -> None:
        """Count the connection in at its first request."""
        self.origin = origin
        self.opened = self._client.loop.time()
        self.active = True
        name = self.transport.get_extra_info("peername") if self.transport is not None else None
        if isinstance(name, tuple):
            self.peer = (name[0], name[1])
        self.connections = self._client.observer.connections(origin)
        self.connections.active.value += 1

    def reuse(self) -> None:
        """Count the connection as active again."""
        connections = self.connections
        assert connections is not None
        self.active = True
        connections.active.value += 1
        connections.idle.value -= 1

    def rest(self) -> None:
        """Count the connection as idle."""
        if self.active and (connections := self.connections) is not None:
            self.active = False
            connections.active.value -= 1
            connections.idle.value += 1

    def close(self) -> None:
        """Close the connection, and tell whoever reads from it."""
        payload = self._payload
        super().close()
        _end_body(payload, "Connection closed")

    def abort(self) -> None:
        """Abort the connection, and tell whoever reads from it."""
        payload = self._payload
        super().abort()
        _end_body(payload, "Connection closed")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out."""
        payload = self._payload
        if exc is not None:
            # aiohttp takes every end of a body without a length for the end, a RST as well.
            _end_body(payload, "the connection was lost within the response body")
        super().connection_lost(exc)
        self.lost = True
        # After a bad chunk aiohttp closes the connection by itself.
        _end_body(payload, "the response body is malformed")
        if self.origin is not None and (connections := self.connections) is not None:
            state = connections.active if self.active else connections.idle
            state.value -= 1
            duration = self._client.loop.time() - self.opened
            origin, self.origin, self.connections = self.origin, None, None
            self._client.observer.connection_closed(origin, duration=duration)


class WatchedProtocol(Watched, PlatformProtocol):
    """One connection, on which a compressed body that ends too early is a failed one."""


def _end_body(payload: StreamReader | None, why: str) -> None:
    """Fail a body that aiohttp would leave without an end, its reader waiting."""
    if payload is not None and not payload.is_eof() and payload.exception() is None:
        payload.set_exception(aiohttp.ClientPayloadError(why))


class PoolUse(NamedTuple):
    """The connections of one client at one instant.

    Args:
        active: Connections that serve a request, and those that are being made.
        idle: Connections that wait for one.
        waiting: Attempts that wait for a connection.
        limit: Connections that there may be, 0 is unlimited.
        limit_per_host: Connections to one origin that there may be, likewise.
    """

    active: int
    idle: int
    waiting: int
    limit: int
    limit_per_host: int


class _PlatformConnector(aiohttp.BaseConnector):
    """What both connectors do on top of aiohttp's."""

    # Slots, because an instance with thirty attributes or more loses its fast dictionary. aiohttp's
    # own have thirty; the factory, which is replaced here, is one of them.
    __slots__ = (
        "_client",
        "_factory",
        "_max_age",
        "_pool_timeout",
        "_retired",
        "_session_timeout",
        "reading",
        "route",
    )

    # What its session's requests and responses find out here, set by who makes the session.
    route: Route
    reading: Reading

    def _bind(self, client: Client, timeout: aiohttp.ClientTimeout) -> None:
        self._client = client
        self._session_timeout = timeout
        self._pool_timeout = client.settings.timeout.pool
        self._max_age = client.settings.pool.max_connection_age or math.inf
        self._retired: weakref.WeakSet[ssl.SSLContext] | None = None
        factory = functools.partial(PlatformProtocol, loop=self._loop, client=client)
        self._factory = factory  # type: ignore[assignment] # partial is invariant in its class

    def refuse_truncation(self) -> None:
        """Make compressed bodies that end too early failures, on connections from now on."""
        watch_for_truncation()
        factory = functools.partial(WatchedProtocol, loop=self._loop, client=self._client)
        self._factory = factory  # type: ignore[assignment] # as above

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a connection that is fit for use, from the pool or new.

        Bytes that arrived on an idle connection would be read as the answer to the next request,
        so such a connection is closed; so is one that is too old.
        """
        if timeout is not self._session_timeout:
            timeout = self._tightened(timeout)
        call: Call | None
        if isinstance(req, PlatformRequest):
            call, attempt = req.call, req.attempt
            if self._retired is not None:
                # It may have been made, or have failed, before the files were changed.
                req.renew_tls()
        else:
            call, attempt = CURRENT_CALL.get(), None
        # Ours alone does not listen to what happens to pooled connections.
        told = traces if len(traces) > 1 or call is None else []
        while True:
            # What aiohttp does first as well, less the coroutines in between.
            connection = None if req.proxy else await self._get(req.connection_key, told)
            if connection is None:
                connection = await self._connect(req, traces, timeout, call, attempt)
            protocol = connection._protocol  # noqa: SLF001 - the property is one more call
            assert isinstance(protocol, PlatformProtocol)
            if protocol.origin is None:
                # An application's hook may have waited for longer than the connection lived.
                if not protocol.lost:
                    protocol.serve(Origin.of(req.url))
                break
            if not protocol.should_close and not (
                self._max_age < math.inf and self._is_aged(protocol)
            ):
                protocol.reuse()
                if attempt is not None:
                    attempt.reused = True
                break
            connection.close()
        if protocol.denied is not None and getattr(req, "denied", None) is None:
            self._client.observer.egress_denied(protocol.denied.reason, enforced=False)
        if call is not None and req._body is not None and may_fall_short(req):  # noqa: SLF001 - as above
            protocol.force_close()
        if attempt is not None:
            attempt.peer = protocol.peer
        return connection

    def _is_aged(self, protocol: PlatformProtocol) -> bool:
        return self._client.loop.time() - protocol.opened > self._max_age

    async def _connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,
        call: Call | None,
        attempt: Attempt | None,
    ) -> Connection:
        # For the hooks that time its phases, some of them in other tasks.
        token = CURRENT_ATTEMPT.set(attempt)
        try:
            if call is None or attempt is not None:
                return await super().connect(req, traces, timeout)
            # A request with ``middlewares=()`` has no attempt; its deadline holds all the same.
            async with call.within_deadline():
                return await super().connect(req, traces, timeout)
        finally:
            CURRENT_ATTEMPT.reset(token)

    def _tightened(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
        """Keep the session's connect timeout where a per-request ``timeout=`` is looser."""
        ours = self._session_timeout.sock_connect
        if ours is None or (timeout.sock_connect is not None and timeout.sock_connect <= ours):
            return timeout
        return aiohttp.ClientTimeout(
            total=timeout.total,
            connect=timeout.connect,
            sock_read=timeout.sock_read,
            sock_connect=ours,
            ceil_threshold=timeout.ceil_threshold,
        )

    async def _wait_for_available_connection(self, key: ConnectionKey, traces: list[Trace]) -> None:
        timer = asyncio.timeout(None if self._pool_timeout == math.inf else self._pool_timeout)
        try:
            async with timer:
                await super()._wait_for_available_connection(key, traces)
        except BaseException as error:
            # The slot that woke us in this very moment would otherwise wake nobody.
            self._release_waiter()
            if isinstance(error, TimeoutError) and timer.expired():
                raise self._pool_timed_out() from None
            raise

    def _pool_timed_out(self) -> PoolTimeoutError:
        attempt = CURRENT_ATTEMPT.get()
        return PoolTimeoutError(
            f"no connection became free within {self._pool_timeout:.3g} s: client "
            f"{self._client.name!r} has POOL__LIMIT {self._limit} and POOL__LIMIT_PER_HOST "
            f"{self._limit_per_host}",
            attempts=attempt.call.sent if attempt is not None else 0,
        )

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        if self._retired is not None and key.ssl in self._retired:
            should_close = True
        # Not by super(), as in the request class.
        aiohttp.BaseConnector._release(self, key, protocol, should_close=should_close)  # noqa: SLF001
        # One that aiohttp has closed instead has no transport any more.
        if protocol.transport is not None and isinstance(protocol, PlatformProtocol):
            protocol.rest()

    def use(self) -> PoolUse:
        """Return what is open and who waits."""
        idle = (protocol for kept in self._conns.values() for protocol, _ in kept)
        return PoolUse(
            active=len(self._acquired),
            idle=sum(protocol.is_connected() for protocol in idle),
            waiting=sum(map(len, self._waiters.values())),
            limit=self.limit,
            limit_per_host=self.limit_per_host,
        )

    def retire(self, old: Iterable[ssl.SSLContext], new: Iterable[ssl.SSLContext]) -> None:
        """Reuse no connection that was made with one of *old*, unless it is one of *new*.

        Idle ones are closed now, those in use when they are released.
        """
        if self._retired is None:
            self._retired = weakref.WeakSet()
        self._retired.update(old)
        self._retired.difference_update(new)
        for key in [key for key in self._conns if key.ssl in self._retired]:
            for protocol, _ in self._conns.pop(key):
                protocol.abort()


class PlatformTCPConnector(_PlatformConnector, aiohttp.TCPConnector):
    """TCP connections, direct or through a proxy."""

    __slots__ = ("_egress", "_peers", "_tls")

    def __init__(
        self,
        client: Client,
        timeout: aiohttp.ClientTimeout,
        *,
        tls: ClientTls,
        peers: PeerInspector,
        egress: EgressGuard | None = None,
        **options: Any,
    ) -> None:
        super().__init__(socket_factory=None if egress is None else egress.make_socket, **options)
        self._bind(client, timeout)
        self._egress = egress
        self._tls = tls
        self._peers = peers

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if self._egress is None:
            return await self._open(req, traces, timeout)
        return await self._egress.connect(req, functools.partial(self._open, req, traces, timeout))

    async def _open(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        try:
            if isinstance(req, PlatformRequest) and req.socks is not None:
                protocol = await self._create_socks_connection(req, req.socks, timeout)
            else:
                protocol = await super()._create_connection(req, traces, timeout)
        except aiohttp.ClientConnectorCertificateError as error:
            self._peers.explain(error)
            raise
        if req.is_ssl():
            try:
                self._peers.inspect(req, protocol)
            except BaseException:
                protocol.abort()
                raise
        return protocol

    async def _create_socks_connection(
        self, req: PlatformRequest, proxy: ProxyChoice, timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        try:
            sock = await open_socks(proxy, req.host, req.port or 0, timeout.sock_connect)
        except TimeoutError:
            raise
        except OSError as error:
            raise aiohttp.ClientProxyConnectionError(req.connection_key, error) from error
        context = self._get_ssl_context(req)
        try:
            _, protocol = await self._wrap_existing_connection(
                self._factory,
                req=req,
                timeout=timeout,
                sock=sock,
                ssl=context,
                server_hostname=(req.server_hostname or req.host) if context else None,
            )
        except BaseException:
            sock.close()
            raise
        return protocol

    def _update_proxy_auth_header_and_build_proxy_req(
        self, req: aiohttp.ClientRequest
    ) -> aiohttp.ClientRequest:
        request = super()._update_proxy_auth_header_and_build_proxy_req(req)
        # aiohttp would use the target's context and offer our client certificate to the proxy.
        request._ssl = self._tls.other  # noqa: SLF001 - there is no public way
        return request


class PlatformUnixConnector(_PlatformConnector, aiohttp.UnixConnector):
    """Connections to one Unix socket."""

    __slots__ = ()

    def __init__(
        self, client: Client, timeout: aiohttp.ClientTimeout, path: str, **options: Any
    ) -> None:
        super().__init__(path, **options)
        self._bind(client, timeout)

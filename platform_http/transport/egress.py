"""The egress guard: holds the policy against URLs, DNS answers and the addresses of sockets.

No single place sees everything. A request with ``middlewares=()`` passes no middleware, a literal
address no resolver, and what a name resolves to is not in the URL. So the request class asks for
each hop, the resolver for each answer, and the socket factory for each real address.
"""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from contextvars import ContextVar
from ipaddress import ip_network
from typing import TYPE_CHECKING, cast

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import ConfigurationError, EgressDeniedError
from platform_http.outcomes import translate
from platform_http.policies.egress import (
    CONTROL_CHARACTER,
    INVALID_ANSWER,
    UNTRUSTED_PROXY,
    USERINFO,
    EgressPolicy,
    HostList,
)
from platform_http.policies.registry import BOUND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    import aiohttp
    from aiohttp import AddrInfoType
    from aiohttp.client_proto import ResponseHandler

    from platform_http.call import Call, Client
    from platform_http.policies.egress import Refusal
    from platform_http.settings import EgressSettings
    from platform_http.transport.connector import PlatformProtocol

# Destinations come from redirects too, so their number is not the service's to choose. As many as
# there are policies for: 5 MiB at most.
_CACHE_SIZE = BOUND

# With these the host of a URL may hold anything.
_UNPRINTABLE = frozenset({"scheme", "host_syntax"})


def make_policy(settings: EgressSettings) -> EgressPolicy | None:
    """Return the policy that *settings* ask for, ``None`` when it is off.

    Raises:
        ConfigurationError: If an entry of a list of hosts is no host name.
    """
    if settings.mode == "off":
        return None
    violations: list[str] = []
    policy = EgressPolicy(
        mode=settings.mode,
        allowed_hosts=_hosts("EGRESS__ALLOWED_HOSTS", settings.allowed_hosts, violations),
        denied_hosts=_hosts("EGRESS__DENIED_HOSTS", settings.denied_hosts, violations),
        allowed_ports=frozenset(settings.allowed_ports),
        allowed_networks=tuple(map(ip_network, settings.allowed_networks)),
    )
    if violations:
        raise ConfigurationError(violations)
    return policy


def _hosts(variable: str, entries: Iterable[str], violations: list[str]) -> HostList:
    canonical = []
    for number, entry in enumerate(entries, start=1):
        wildcard = "*." if entry.startswith("*.") else ""
        try:
            # As aiohttp spells the hosts of URLs.
            name = URL.build(scheme="http", host=entry.removeprefix("*.").rstrip(".")).raw_host
        except ValueError:
            name = None
        if name:
            canonical.append(f"{wildcard}{name}")
        else:
            violations.append(f"{variable}: entry {number} is no host name; correct or remove it")
    return HostList(canonical)


class _RefusedAddressError(OSError):
    """What aiohttp takes for a failure to resolve or to connect."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(errno.EACCES, "refused by the egress policy")
        self.refusal = refusal


class _Connecting:
    """One connection in the making, seen by all tasks that take part in it."""

    __slots__ = ("refusal", "trusts_address")

    def __init__(self, refusal: Refusal | None, *, trusts_address: bool) -> None:
        self.refusal = refusal
        self.trusts_address = trusts_address


_CONNECTING: ContextVar[_Connecting | None] = ContextVar("platform_http_connecting", default=None)


class EgressGuard:
    """Refuses, or only counts, what the egress policy of one client does not allow.

    Args:
        policy: Decides.
        client: Whose requests these are.
        proxies: Host and port of each configured proxy, the only ones that may have any address.
    """

    def __init__(
        self, policy: EgressPolicy, client: Client, proxies: Collection[tuple[str, int]] = ()
    ) -> None:
        self._policy = policy
        self._client = client
        self._proxies = frozenset(proxies)
        self._is_public = policy.mode == "public"
        self._enforces = client.settings.egress.enforce
        self._trusts_proxies = client.settings.egress.trust_proxy
        # Not a plain dict: finding the oldest of one that shrinks at its front is linear.
        self._verdicts: OrderedDict[Origin, Refusal | None] = OrderedDict()

    def admit(self, call: Call | None, url: URL, origin: Origin) -> Refusal | None:
        """Judge a hop by its URL, before anything is done for it.

        Args:
            call: The call of the hop.
            url: Where it goes.
            origin: Of *url*.

        Returns:
            ``None``, or why it would be refused if the policy were enforced.

        Raises:
            EgressDeniedError: If the policy refuses.
            aiohttp.InvalidURL: If *url* has no scheme.
        """
        try:
            refusal = self._verdicts[origin]
        except KeyError:
            refusal = self._judge(origin)
        if refusal is None and self._is_public:
            refusal = _judge_spelling(call, url)
        if refusal is None:
            return None
        if not origin.scheme:
            # A mistake and no destination; with a port aiohttp would get as far as a socket.
            raise translate(ValueError("it has no scheme"), url)
        return self._refused(call, origin, refusal)

    def admit_proxy(self, call: Call | None, origin: Origin, proxy: URL) -> Refusal | None:
        """Judge the *proxy* that the caller of a hop to *origin* asked for.

        Returns:
            ``None``, or why the hop would be refused if the policy were enforced.

        Raises:
            EgressDeniedError: If the policy refuses.
        """
        refusal = self._judge_proxy(proxy)
        return None if refusal is None else self._refused(call, origin, refusal)

    def _refused(self, call: Call | None, origin: Origin, refusal: Refusal) -> Refusal:
        if call is not None and call.origin is None and refusal.reason not in _UNPRINTABLE:
            call.origin = origin
        self._client.observer.egress_denied(refusal.reason, enforced=self._enforces)
        if self._enforces:
            raise self._denied(refusal, origin, 0 if call is None else call.sent)
        return refusal

    async def connect(
        self, request: aiohttp.ClientRequest, opening: Callable[[], Awaitable[ResponseHandler]]
    ) -> ResponseHandler:
        """Open a connection under the eyes of the guard.

        Happy eyeballs asks for several sockets, in several tasks, and merges what they raise: the
        verdict is collected beside the exceptions.

        Args:
            request: What the connection is for.
            opening: Opens it with this guard's resolver and socket factory.

        Returns:
            The connection, marked with why it would be refused if the policy were enforced.

        Raises:
            EgressDeniedError: If any address is refused, whatever else went wrong with others.
        """
        # Once more by URL: a middleware may have changed it, and a session that is not ours has
        # requests that were never judged.
        origin, proxy = Origin.of(request.url), request.proxy
        connecting = _Connecting(
            self._judge(origin) or (None if proxy is None else self._judge_proxy(proxy)),
            trusts_address=request.proxy is not None and self._is_configured(request.proxy),
        )
        if connecting.refusal is not None and self._enforces:
            raise self._counted(connecting.refusal, origin)
        token = _CONNECTING.set(connecting)
        try:
            protocol = await opening()
        except Exception as error:
            refusal = connecting.refusal or _refusal_in(error)
            if refusal is None:
                raise
            if self._enforces:
                raise self._counted(_whose(refusal, request), origin) from None
            if getattr(request, "denied", None) is None:
                self._client.observer.egress_denied(refusal.reason, enforced=False)
            raise
        finally:
            _CONNECTING.reset(token)
        if connecting.refusal is not None:
            if self._enforces:
                protocol.close()
                raise self._counted(_whose(connecting.refusal, request), origin)
            cast("PlatformProtocol", protocol).denied = connecting.refusal
        return protocol

    def guarded(self, resolver: AbstractResolver) -> AbstractResolver:
        """Return *resolver* with its answers judged."""
        return _GuardedResolver(resolver, self)

    def check_answers(self, host: str, port: int, answers: Iterable[ResolveResult]) -> None:
        """Judge every address of *host*: a single one that is refused refuses the host.

        Raises:
            OSError: If the policy refuses.
        """
        # A configured proxy may have any address. Where somebody asks for it as a destination,
        # through no proxy, its sockets are judged all the same.
        if (host, port) in self._proxies:
            return
        for answer in answers:
            if answer["port"] == port:
                self._check(self._policy.judge_address(answer["host"]))
            else:
                self._check(INVALID_ANSWER)

    def make_socket(self, address: AddrInfoType) -> socket.socket:
        """Return a socket for *address*: the ``socket_factory`` of the connector.

        Raises:
            OSError: If the policy refuses. Any other exception would become an ``IndexError`` in
                happy eyeballs.
        """
        family, kind, protocol, _, place = address
        connecting = _CONNECTING.get()
        if connecting is None:
            self._check(self._policy.judge_address(str(place[0])))
        elif not connecting.trusts_address:
            # One refused address is enough: no other one is tried after it.
            self._check(connecting.refusal or self._policy.judge_address(str(place[0])))
        return socket.socket(family, kind, protocol)

    def _check(self, refusal: Refusal | None) -> None:
        if refusal is None:
            return
        connecting = _CONNECTING.get()
        if connecting is not None and connecting.refusal is None:
            connecting.refusal = refusal
        if self._enforces:
            raise _RefusedAddressError(refusal)

    def _judge(self, origin: Origin) -> Refusal | None:
        try:
            return self._verdicts[origin]
        except KeyError:
            refusal = self._policy.judge_destination(*origin)
            if len(self._verdicts) >= _CACHE_SIZE:
                self._verdicts.popitem(last=False)
            self._verdicts[origin] = refusal
            return refusal

    def _judge_proxy(self, proxy: URL) -> Refusal | None:
        if self._is_configured(proxy):
            return None
        if self._is_public and not self._trusts_proxies:
            return UNTRUSTED_PROXY
        refusal = self._policy.judge_destination(*Origin.of(proxy))
        return refusal and _of_proxy(refusal)

    def _is_configured(self, proxy: URL) -> bool:
        return (proxy.raw_host, proxy.port) in self._proxies

    def _counted(self, refusal: Refusal, origin: Origin) -> EgressDeniedError:
        self._client.observer.egress_denied(refusal.reason)
        call = CURRENT_CALL.get()
        return self._denied(refusal, origin, 0 if call is None else call.sent)

    def _denied(self, refusal: Refusal, origin: Origin, sent: int) -> EgressDeniedError:
        where = "a request" if refusal.reason in _UNPRINTABLE else f"a request to {origin}"
        return EgressDeniedError(
            f"{where} of client {self._client.name!r} is refused: {refusal.rule}",
            reason=refusal.reason,
            attempts=sent,
        )


class _GuardedResolver(AbstractResolver):
    """A resolver whose answers are judged before anybody, a cache included, gets them."""

    def __init__(self, resolver: AbstractResolver, guard: EgressGuard) -> None:
        self._resolver = resolver
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host*.

        Raises:
            OSError: If the policy refuses one of them, or the name does not resolve.
        """
        answers = await self._resolver.resolve(host, port, family)
        self._guard.check_answers(host, port, answers)
        return answers

    async def close(self) -> None:
        """Release what the resolver holds."""
        await self._resolver.close()


def _judge_spelling(call: Call | None, url: URL) -> Refusal | None:
    if not url.raw_path_qs.isprintable():
        return CONTROL_CHARACTER
    # aiohttp has turned the credentials into a header by now. Those of a redirect are not ours.
    return USERINFO if call is not None and call.hops == 1 and call.has_userinfo else None


def _refusal_in(error: Exception) -> Refusal | None:
    """Return the refusal that a call shared which waited for the name resolution of another."""
    cause = getattr(error, "os_error", None)
    return cause.refusal if isinstance(cause, _RefusedAddressError) else None


def _whose(refusal: Refusal, request: aiohttp.ClientRequest) -> Refusal:
    """Say whose address was refused: what is connected to is the proxy, if there is one."""
    return refusal if request.proxy is None else _of_proxy(refusal)


def _of_proxy(refusal: Refusal) -> Refusal:
    return refusal._replace(rule=f"of its proxy, {refusal.rule}")

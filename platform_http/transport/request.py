"""The request class: what holds for every hop, whatever the caller passed along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import EgressDeniedError, FactoryClosedError
from platform_http.outcomes import translate
from platform_http.policies.redirect import HARMLESS_HEADERS
from platform_http.transport import framing
from platform_http.transport.tls_choice import TLS_SCHEMES, TlsChoice

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Mapping

    from aiohttp import ClientHandlerType
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection
    from aiohttp.typedefs import LooseCookies, LooseHeaders
    from yarl import URL

    from platform_http.call import Attempt, Call, Client
    from platform_http.policies.egress import Refusal
    from platform_http.transport.client_tls import ClientTls
    from platform_http.transport.egress import EgressGuard
    from platform_http.transport.proxy import ProxyChoice, ProxyResolver
    from platform_http.transport.redirects import RedirectGuard
    from platform_http.transport.tls_choice import SslArgument


# On the path of every request: Python 3.11 makes an object for each ``super()``.
_Base = aiohttp.ClientRequest


class Route:
    """What all hops of one client share.

    Args:
        client: Whose hops these are.
        tls: Chooses the SSL context of a hop.
        own_origin: The only origin that is shown the client certificate and, unless redirects
            follow aiohttp's rule, the default headers; ``None`` leaves it to the caller, whose
            redirects do not show them to another origin than the first.
        guards_defaults: Whether only the own origin gets the session's default headers.
        proxies: Chooses the proxy of a hop; ``None`` when the client has no proxy.
        egress: Judges where a hop goes; ``None`` when every destination may be reached.
        redirects: Judges the redirects; ``None`` leaves them to aiohttp.
    """

    __slots__ = (
        "client",
        "egress",
        "guards_defaults",
        "own_origin",
        "proxies",
        "redirects",
        "tls",
    )

    def __init__(
        self,
        client: Client,
        tls: ClientTls,
        own_origin: Origin | None,
        *,
        guards_defaults: bool,
        proxies: ProxyResolver | None,
        egress: EgressGuard | None,
        redirects: RedirectGuard | None,
    ) -> None:
        self.client = client
        self.tls = tls
        self.own_origin = own_origin
        self.guards_defaults = guards_defaults
        self.proxies = proxies
        self.egress = egress
        self.redirects = redirects


class PlatformRequest(aiohttp.ClientRequest):
    """One hop of a call.

    aiohttp makes one request per redirect hop, with or without middlewares, so this is where a
    hop gets its proxy and its SSL context, and where a closing factory refuses.
    """

    # Whether it is made. No slot: it is asked for before it was ever set.
    _is_whole = False
    # Slots, because an instance with thirty attributes or more loses its fast dictionary, and
    # aiohttp has two thirds of them.
    __slots__ = (
        "_drops_expect",
        "_given",
        "_judged_url",
        "_origin",
        "_tls_choice",
        "attempt",
        "call",
        "credentials",
        "denied",
        "handler",
        "on_resend",
        "route",
        "socks",
    )
    # Not of its class. The interpreter remembers by class where it found an attribute, so that a
    # class for each client would make a call the dearer, the more clients are called in turn.
    route: Route
    call: Call | None
    attempt: Attempt | None
    on_resend: Callable[[], None] | None
    credentials: Mapping[str, str] | None
    handler: ClientHandlerType | None
    # Why the hop would have been refused, were the egress policy enforced.
    denied: Refusal | None
    # Not aiohttp's ``proxy``: that one means HTTP, and puts the credentials into a header.
    socks: ProxyChoice | None
    _tls_choice: TlsChoice | None
    # What the caller and the settings gave, without what aiohttp adds.
    _given: CIMultiDict[str] | None

    # aiohttp's constructor calls the verbs below one after the other, each with what it is about.
    # A constructor of our own, which sees all arguments at once, would have to hand 20 of them on:
    # a twentieth of what sending a request costs. What an application's middleware asks of them
    # later is aiohttp's to do: it is no new hop, and its destination is judged by the connector.

    def update_host(self, url: URL) -> None:
        """Begin the hop: judge where it goes, before anything is made for it."""
        if not self._is_whole:
            self._begin(url)
        _Base.update_host(self, url)

    def _begin(self, url: URL) -> None:
        self.attempt = self.on_resend = self.credentials = self.handler = None
        self.denied = self.socks = self._tls_choice = self._given = None
        self._drops_expect = False
        call = CURRENT_CALL.get()
        if call is not None:
            if call.client is not self.route.client:
                # A session without calls of its own may be used inside another client's call.
                call = None
            elif call.hops or call.client.closing:
                _enter_hop(call, url)
            else:
                call.hops = 1
        self.call = call
        self._judged_url = self.url
        self._origin = origin = Origin.of(url)
        if self.route.egress is not None:
            self.denied = self.route.egress.admit(call, url, origin)
        target = url.raw_path_qs
        if " " in target or not target.isprintable():
            # The line of the request would end before its end.
            raise translate(ValueError("its path or query holds a space or control character"), url)

    def update_headers(self, headers: LooseHeaders | None) -> None:
        """Take the headers that the hop may carry."""
        if headers and not self._is_whole:
            # aiohttp's constructor passes what it made of the caller's and the session's headers.
            given = cast("CIMultiDict[str]", headers)
            if self.route.guards_defaults and self._origin != self.route.own_origin:
                given = self._withhold_defaults(given)
            if self._lightens():
                given = self._redirects().lighten(self._call(), given)
            headers = self._given = given
        _Base.update_headers(self, headers)

    def update_cookies(self, cookies: LooseCookies | None) -> None:
        """Take the cookies that the hop may carry."""
        # The jar knows hosts, but no ports and no history.
        if cookies and (self._is_whole or not (self._lightens() and self._call().strayed)):
            _Base.update_cookies(self, cookies)

    def update_content_encoding(self, data: Any) -> None:
        """Judge the hop by whether it has a body."""
        if self._is_whole:
            _Base.update_content_encoding(self, data)
            return
        if data is None or not self.chunked:
            # Anything but None makes aiohttp write chunks, be it told in a header or not.
            self.chunked = None
        call = self.call
        if call is not None:
            if call.hops > 1 and self.route.redirects is not None:
                self._enter_redirect(call, self.route.redirects, data)
            given = self._given
            if given and (flaw := framing.contradicts_route(given, self.url)) is not None:
                raise self._misframed(call, flaw)
        _Base.update_content_encoding(self, data)

    def update_proxy(
        self,
        proxy: URL | None,
        proxy_auth: aiohttp.BasicAuth | None,
        proxy_headers: LooseHeaders | None,
    ) -> None:
        """Choose the proxy of the hop, and its SSL context."""
        if self._is_whole:
            _Base.update_proxy(self, proxy, proxy_auth, proxy_headers)
            return
        if proxy is not None:
            if self.route.egress is not None and self.denied is None:
                self.denied = self.route.egress.admit_proxy(self.call, self._origin, proxy)
            if proxy_headers:
                proxy_headers = self._spare_the_defaults(proxy_headers)
        elif self.route.proxies is not None:
            proxy, proxy_auth = self._choose_proxy(self.route.proxies, proxy_auth)
        if self._origin.scheme in TLS_SCHEMES or (proxy is not None and proxy.scheme == "https"):
            self._tls_choice = self._judge_tls(self._ssl)
            self._ssl = self.route.tls.choose(self._tls_choice)
        _Base.update_proxy(self, proxy, proxy_auth, proxy_headers)

    def update_expect_continue(self, expect: bool = False) -> None:
        """Look at the whole request; the constructor asks for this last, and a resend once more."""
        _Base.update_expect_continue(self, expect and not self._drops_expect)
        if self._is_whole:
            return
        self._is_whole = True
        body = self.body
        if body and framing.miscounts(body):
            self._send_in_chunks()
        if self.call is not None:
            self._describe(self.call)

    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Send the request; from here on the server may have processed it."""
        call = self.call
        if call is not None:
            if self.attempt is not None:
                self.attempt.mark_sent(self.route.client.clock())
            else:
                # A request with ``middlewares=()`` has no attempt, and is sent all the same.
                call.sent += 1
            if len(self._traces) == 1:
                # The only one is ours, which does not listen to what comes now: aiohttp would make
                # three coroutines to tell it.
                self._traces = []
        return _Base.send(self, conn)

    def origin_of(self, url: URL) -> Origin:
        """Return the origin of *url*, which a middleware may have put in place of our own."""
        return self._origin if url is self._judged_url else Origin.of(url)

    def _call(self) -> Call:
        assert self.call is not None
        return self.call

    def _redirects(self) -> RedirectGuard:
        assert self.route.redirects is not None
        return self.route.redirects

    def _lightens(self) -> bool:
        """Tell whether this is the hop of a redirect that takes things away."""
        call = self.call
        return (
            call is not None
            and call.hops > 1
            and self.route.redirects is not None
            and self.route.redirects.protects
        )

    def _enter_redirect(self, call: Call, redirects: RedirectGuard, data: Any) -> None:
        redirects.enter(call, self.url, has_body=data is not None and data.size != 0)
        if redirects.protects:
            # aiohttp keeps it for a body that is no longer there, and waits for a 100.
            self._drops_expect = data is None
            if call.strayed:
                # The name that the caller expects in the first origin's certificate.
                self.server_hostname = None

    def _withhold_defaults(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        assert self.route.own_origin is not None
        defaults = self.session.headers
        if defaults and not _is_at(self.url, self.route.own_origin):
            return _without(defaults, headers, keep=HARMLESS_HEADERS)
        return headers

    def _spare_the_defaults(self, headers: LooseHeaders) -> CIMultiDict[str] | None:
        """Take from the headers of a proxy what is meant for the destination.

        aiohttp adds the session's default headers to those of a proxy that the caller names, and
        makes a ``Proxy-Authorization`` of their ``Authorization``.
        """
        return _without(self.session.headers, cast("CIMultiDict[str]", headers)) or None

    def _choose_proxy(
        self, proxies: ProxyResolver, proxy_auth: aiohttp.BasicAuth | None
    ) -> tuple[URL | None, aiohttp.BasicAuth | None]:
        choice = proxies.choose(*self._origin)
        if choice is None:
            return None, proxy_auth
        if choice.url.scheme == "socks5":
            self.socks = choice
            return None, proxy_auth
        return choice.url, choice.auth

    def _send_in_chunks(self) -> None:
        if self.chunked:
            return
        self.headers.popall(hdrs.CONTENT_LENGTH, None)
        self.chunked = True
        self.update_transfer_encoding()

    async def write_bytes(
        self,
        writer: AbstractStreamWriter,
        conn: Connection,
        content_length: int | None = None,
    ) -> None:
        """Write the body; a connection on which some of its length was not sent is not reused."""
        writer.length = content_length
        await super().write_bytes(writer, conn, content_length)
        # The server takes what is missing from the next request on the connection.
        if writer.length and conn.protocol is not None:
            conn.protocol.force_close()

    def _judge_tls(self, asked: SslArgument) -> TlsChoice:
        call = self.call
        if self.route.tls.refuses(asked):
            refusal = self.route.tls.refusal(attempts=0 if call is None else call.sent)
            self.route.client.observer.egress_denied(refusal.reason)
            raise refusal
        if self.route.client.settings.redirects.mode == "follow":
            return TlsChoice(asked, own=True, strayed=False)
        strayed = call is not None and call.strayed
        own = not strayed and (
            self.route.own_origin is None or _is_at(self.url, self.route.own_origin)
        )
        return TlsChoice(asked, own=own, strayed=strayed)

    def _misframed(self, call: Call, flaw: str) -> EgressDeniedError:
        if call.origin is None:
            call.origin = self._origin
        self.route.client.observer.egress_denied("framing_header")
        return EgressDeniedError(
            f"a request of client {self.route.client.name!r} is refused: {flaw}",
            reason="framing_header",
            attempts=call.sent,
        )

    def renew_tls(self) -> None:
        """Take the client's present SSL context in place of one that was replaced meanwhile."""
        if self._tls_choice is not None:
            self._ssl = self.route.tls.choose(self._tls_choice)

    def _describe(self, call: Call) -> None:
        given, body, origin = self._given, self._body, self._origin
        if given and (flaw := framing.contradicts_body(given, self)) is not None:
            raise self._misframed(call, flaw)
        if body:
            call.request_body_size = None if framing.miscounts(body) else body.size
        if call.origin is None:
            call.origin = origin
        # The key means something to the service it was made for, and to no other.
        if call.idempotency_key is not None and call.origin == origin and not call.strayed:
            self.headers.setdefault("Idempotency-Key", call.idempotency_key)


def _is_at(url: URL, origin: Origin) -> bool:
    """Tell whether *url* is at *origin*, be it with ``wss`` for ``https``."""
    return (
        url.raw_host == origin.host
        and url.port == origin.port
        and (url.scheme in TLS_SCHEMES) == (origin.scheme in TLS_SCHEMES)
    )


def _without(
    defaults: CIMultiDict[str], headers: CIMultiDict[str], *, keep: Container[str] = ()
) -> CIMultiDict[str]:
    """Return *headers* without those of a session, less those to *keep*, in lower case."""
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() in keep or value not in defaults.getall(name, ())
    )


def _enter_hop(call: Call, url: URL) -> None:
    # What a running call needs on its way, such as a token, is part of that call.
    if call.hops == 0 and call.client.closing and not call.nested:
        raise FactoryClosedError(
            f"the session factory is closing; client {call.client.name!r} takes no new calls"
        )
    if call.hops and call.origin is not None and not _is_at(url, call.origin):
        call.strayed = True
    call.hops += 1

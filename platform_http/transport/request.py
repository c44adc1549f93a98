"""The request class: what holds for every hop, whatever the caller passed along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import EgressDeniedError, FactoryClosedError
from platform_http.outcomes import translate
from platform_http.policies.redirect import HARMLESS_HEADERS
from platform_http.transport import framing
from platform_http.transport.client_tls import TLS_SCHEMES, TlsChoice

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection
    from yarl import URL

    from platform_http.call import Attempt, Call, Client
    from platform_http.policies.egress import Refusal
    from platform_http.transport.client_tls import ClientTls, SslArgument
    from platform_http.transport.egress import EgressGuard
    from platform_http.transport.proxy import ProxyChoice, ProxyResolver
    from platform_http.transport.redirects import RedirectGuard


class PlatformRequest(aiohttp.ClientRequest):
    """One hop of a call.

    aiohttp makes one request per redirect hop, with or without middlewares, so this is where a
    hop gets its proxy and its SSL context, and where a closing factory refuses.
    """

    client: ClassVar[Client]
    tls: ClassVar[ClientTls]
    own_origin: ClassVar[Origin | None] = None
    # Whether only the own origin gets the session's default headers.
    guards_defaults: ClassVar[bool] = False
    proxies: ClassVar[ProxyResolver | None] = None
    egress: ClassVar[EgressGuard | None] = None
    redirects: ClassVar[RedirectGuard | None] = None
    # Why the hop would have been refused, were the egress policy enforced.
    denied: Refusal | None = None
    attempt: Attempt | None = None
    on_attempt: Callable[[], None] | None = None
    on_resend: Callable[[], None] | None = None
    credentials: Mapping[str, str] | None = None
    # Not aiohttp's ``proxy``: that one means HTTP, and puts the credentials into a header.
    socks: ProxyChoice | None = None
    _tls_choice: TlsChoice | None = None

    def __init__(self, method: str, url: URL, **options: Any) -> None:
        call = CURRENT_CALL.get()
        if call is not None and call.client is not self.client:
            # A session without calls of its own, used inside another client's call.
            call = None
        if call is not None:
            _enter_hop(call, url)
        origin = Origin.of(url)
        if self.egress is not None:
            self.denied = self.egress.admit(call, url, origin, options.get("proxy"))
        if framing.splits_request_line(url):
            raise translate(ValueError("its path or query holds a space or control character"), url)
        if options.get("data") is None or not options.get("chunked"):
            # Anything but None makes aiohttp write chunks, be it told in a header or not.
            options["chunked"] = None
        if self.guards_defaults and origin != self.own_origin:
            self._withhold_defaults(url, options)
        if call is not None:
            self._enter_route(call, url, origin, options)
        proxy = self._choose_proxy(url, options)
        if url.scheme in TLS_SCHEMES or (proxy is not None and proxy.scheme == "https"):
            self._tls_choice = self._judge_tls(options.get("ssl", True), url, call)
            options["ssl"] = self.tls.choose(self._tls_choice)
        try:
            super().__init__(method, url, **options)
        except (AssertionError, ValueError) as error:
            public = translate(error, url)
            if public is error:
                raise
            raise public from error
        body = self.body
        if body and framing.miscounts(body):
            self._send_in_chunks()
        if call is not None:
            self._describe(call, origin, options.get("headers"))

    def _withhold_defaults(self, url: URL, options: dict[str, Any]) -> None:
        assert self.own_origin is not None
        defaults = options["session"].headers
        if defaults and not _is_at(url, self.own_origin):
            options["headers"] = _without(defaults, options["headers"], keep=HARMLESS_HEADERS)

    def _choose_proxy(self, url: URL, options: dict[str, Any]) -> URL | None:
        proxy: URL | None = options.get("proxy")
        if proxy is not None:
            _spare_proxy_the_defaults(options)
            return proxy
        if self.proxies is None:
            return None
        choice = self.proxies.choose(url.scheme, url.raw_host or "", url.port or 0)
        if choice is None:
            return None
        if choice.url.scheme == "socks5":
            self.socks = choice
            return None
        options["proxy"] = choice.url
        options["proxy_auth"] = choice.auth
        return choice.url

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

    def _judge_tls(self, asked: SslArgument, url: URL, call: Call | None) -> TlsChoice:
        if self.tls.refuses(asked):
            refusal = self.tls.refusal(attempts=0 if call is None else call.sent)
            self.client.observer.egress_denied(refusal.reason)
            raise refusal
        if self.client.settings.redirects.mode == "follow":
            return TlsChoice(asked, own=True, strayed=False)
        strayed = call is not None and call.strayed
        own = not strayed and (self.own_origin is None or _is_at(url, self.own_origin))
        return TlsChoice(asked, own=own, strayed=strayed)

    def _enter_route(self, call: Call, url: URL, origin: Origin, options: dict[str, Any]) -> None:
        if call.hops > 1 and self.redirects is not None:
            self.redirects.enter(call, url, options)
        headers = options.get("headers")
        if headers and (flaw := framing.contradicts_route(headers, url)) is not None:
            raise self._misframed(call, origin, flaw)

    def _misframed(self, call: Call, origin: Origin, flaw: str) -> EgressDeniedError:
        if call.origin is None:
            call.origin = origin
        self.client.observer.egress_denied("framing_header")
        return EgressDeniedError(
            f"a request of client {self.client.name!r} is refused: {flaw}",
            reason="framing_header",
            attempts=call.sent,
        )

    def renew_tls(self) -> None:
        """Take the client's present SSL context in place of one that was replaced meanwhile."""
        if self._tls_choice is not None:
            self._ssl = self.tls.choose(self._tls_choice)

    def _describe(self, call: Call, origin: Origin, headers: CIMultiDict[str] | None) -> None:
        if headers and (flaw := framing.contradicts_body(headers, self)) is not None:
            raise self._misframed(call, origin, flaw)
        body = self.body
        if body:
            call.request_body_size = None if framing.miscounts(body) else body.size
        if call.origin is None:
            call.origin = origin
        # The key means something to the service it was made for, and to no other.
        if call.idempotency_key is not None and call.origin == origin and not call.strayed:
            self.headers.setdefault("Idempotency-Key", call.idempotency_key)


def request_class(
    client: Client,
    proxies: ProxyResolver | None,
    *,
    tls: ClientTls,
    own_origin: Origin | None,
    egress: EgressGuard | None,
    redirects: RedirectGuard | None,
) -> type[PlatformRequest]:
    """Return the request class of one client.

    Args:
        client: Whose hops these are.
        proxies: Chooses the proxy of a hop; ``None`` when the client has no proxy.
        tls: Chooses the SSL context of a hop.
        own_origin: The only origin that is shown the client certificate and, unless redirects
            follow aiohttp's rule, the default headers; ``None`` leaves it to the caller, whose
            redirects do not show them to another origin than the first.
        egress: Judges where a hop goes; ``None`` when every destination may be reached.
        redirects: Judges the redirects; ``None`` leaves them to aiohttp.
    """
    members = {
        "client": client,
        "proxies": proxies,
        "tls": tls,
        "own_origin": own_origin,
        "guards_defaults": own_origin is not None and client.settings.redirects.mode != "follow",
        "egress": egress,
        "redirects": redirects,
    }
    return type("PlatformRequest", (PlatformRequest,), members)


def _is_at(url: URL, origin: Origin) -> bool:
    """Tell whether *url* is at *origin*, be it with ``wss`` for ``https``."""
    return (
        url.raw_host == origin.host
        and url.port == origin.port
        and (url.scheme in TLS_SCHEMES) == (origin.scheme in TLS_SCHEMES)
    )


def _spare_proxy_the_defaults(options: dict[str, Any]) -> None:
    """Take from the headers of a proxy what is meant for the destination.

    aiohttp adds the session's default headers to those of a proxy that the caller names, and makes
    a ``Proxy-Authorization`` of their ``Authorization``.
    """
    headers = options.get("proxy_headers")
    if headers:
        options["proxy_headers"] = _without(options["session"].headers, headers) or None


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
    if call.client.closing and call.hops == 0 and not call.nested:
        raise FactoryClosedError(
            f"the session factory is closing; client {call.client.name!r} takes no new calls"
        )
    if call.hops and call.origin is not None and not _is_at(url, call.origin):
        call.strayed = True
    call.hops += 1

"""The request class: what holds for every hop, whatever the caller passed along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp

from platform_http.call import CURRENT_CALL, Origin
from platform_http.errors import FactoryClosedError
from platform_http.outcomes import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from platform_http.call import Attempt, Call, Client
    from platform_http.transport.proxy import ProxyChoice, ProxyResolver


class PlatformRequest(aiohttp.ClientRequest):
    """One hop of a call.

    aiohttp makes one request per redirect hop, with or without middlewares, so this is where a
    hop gets its proxy and where a closing factory refuses.
    """

    client: ClassVar[Client]
    proxies: ClassVar[ProxyResolver | None] = None
    attempt: Attempt | None = None
    on_attempt: Callable[[], None] | None = None
    # Not aiohttp's ``proxy``: that one means HTTP, and puts the credentials into a header.
    socks: ProxyChoice | None = None

    def __init__(self, method: str, url: URL, **options: Any) -> None:
        call = CURRENT_CALL.get()
        if call is not None and call.client is not self.client:
            # A session without calls of its own, used inside another client's call.
            call = None
        if call is not None:
            _enter_hop(call)
        choice = None
        if self.proxies is not None and options.get("proxy") is None:
            choice = self.proxies.choose(url.scheme, url.raw_host or "", url.port or 0)
        if choice is not None and choice.url.scheme == "socks5":
            self.socks = choice
        elif choice is not None:
            options["proxy"] = choice.url
            options["proxy_auth"] = choice.auth
        try:
            super().__init__(method, url, **options)
        except (AssertionError, ValueError) as error:
            public = translate(error, url)
            if public is error:
                raise
            raise public from error
        if call is not None:
            self._describe(call)

    def _describe(self, call: Call) -> None:
        body = self.body
        if body:
            call.request_body_size = body.size
        origin = Origin.of(self.url)
        if call.origin is None:
            call.origin = origin
        # The key means something to the service it was made for, and to no other.
        if call.idempotency_key is not None and call.origin == origin:
            self.headers.setdefault("Idempotency-Key", call.idempotency_key)


def request_class(client: Client, proxies: ProxyResolver | None) -> type[PlatformRequest]:
    """Return the request class of one client.

    Args:
        client: Whose hops these are.
        proxies: Chooses the proxy of a hop; ``None`` when the client has no proxy.
    """
    return type("PlatformRequest", (PlatformRequest,), {"client": client, "proxies": proxies})


def _enter_hop(call: Call) -> None:
    # What a running call needs on its way, such as a token, is part of that call.
    if call.client.closing and call.hops == 0 and not call.nested:
        raise FactoryClosedError(
            f"the session factory is closing; client {call.client.name!r} takes no new calls"
        )
    call.hops += 1

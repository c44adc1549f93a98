"""Opens a connection the way a client's calls would, and sends no request on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from platform_http.call import CallOptions
from platform_http.transport.certificates import Certificate

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType
    from yarl import URL


class Connected(NamedTuple):
    """A connection as it was, before it was closed again.

    Args:
        seconds: From name resolution to the end of the handshake.
        peer: Address and port of its other end; empty for a Unix socket.
        tls: The protocol's version; empty without TLS.
        expires: End of the server's certificate, seconds since the epoch.
    """

    seconds: float
    peer: str
    tls: str
    expires: float | None


class _ReachedError(Exception):
    """Ends a request that has its connection: nothing is sent."""


async def connect(session: aiohttp.ClientSession, url: URL, seconds: float) -> Connected:
    """Open a connection to *url* through the connector of *session*, and close it.

    The request is a real one up to the moment of sending: egress policy, choice of proxy, name
    resolution, TLS with its certificates and pins are the client's. Behind a proxy an https URL
    takes a CONNECT, which is all that the proxy gets; for an http URL the proxy is the end.

    Args:
        session: Made by a factory.
        url: Absolute.
        seconds: What it may take, > 0.

    Raises:
        aiohttp.ClientError: As the client's calls would.
        TimeoutError: As the client's calls would.
    """
    found: list[Connected] = []
    loop = asyncio.get_running_loop()

    async def stop_before_sending(
        request: aiohttp.ClientRequest, _: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        connector = request.session.connector
        assert connector is not None
        started = loop.time()
        connection = await connector.connect(request, [], request.session.timeout)
        try:
            found.append(_describe(connection.transport, loop.time() - started))
        finally:
            transport = connection.transport
            connection.close()
            if transport is not None:
                # A server that does not answer a TLS farewell would outlast the loop.
                transport.abort()
        raise _ReachedError

    try:
        async with session.head(
            url,
            middlewares=(stop_before_sending,),
            trace_request_ctx=CallOptions(timeout=seconds),
        ):
            pass
    except _ReachedError:
        pass
    return found[0]


def _describe(transport: asyncio.Transport | None, seconds: float) -> Connected:
    # A connection that was lost at once has none.
    peer = None if transport is None else transport.get_extra_info("peername")
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    expires = None
    if tls is not None and (leaf := tls.getpeercert(binary_form=True)):
        expires = Certificate.of(leaf).expires
    return Connected(
        seconds=seconds,
        peer=f"{peer[0]} port {peer[1]}" if isinstance(peer, tuple) else "",
        tls="" if tls is None else tls.version() or "",
        expires=expires,
    )

"""What the egress guard stands on, and what it is there for."""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar

import aiohttp
import pytest
from aiohttp.abc import ResolveResult

from platform_http.testing import FaultServer
from tests.contract.fixed_resolver import FixedResolver


class WatchingConnector(aiohttp.TCPConnector):
    """Sets a ContextVar around the making of a connection."""

    seen: ContextVar[list[str]] = ContextVar("seen")

    async def _create_connection(self, req, traces, timeout):
        note = []
        token = self.seen.set(note)
        try:
            return await super()._create_connection(req, traces, timeout)
        finally:
            self.seen.reset(token)
            self.notes = note


async def test_a_url_without_a_scheme_or_with_that_of_tcp_is_requested(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as server:
        for scheme in ("", "tcp:"):
            async with session.get(f"{scheme}//127.0.0.1:{server.port}/") as response:
                assert response.status == 200


async def test_a_literal_address_passes_no_resolver() -> None:
    resolver = FixedResolver("127.0.0.1")
    connector = aiohttp.TCPConnector(resolver=resolver)
    async with FaultServer() as server, aiohttp.ClientSession(connector=connector) as session:
        await session.get(server.url)
    assert resolver.names == []


async def test_the_port_of_an_answer_is_the_one_that_is_connected_to() -> None:
    class PortResolver(FixedResolver):
        async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
            (answer,) = await super().resolve(host, port, family)
            return [ResolveResult(**(answer | {"port": server.port}))]

    async with FaultServer() as server:
        connector = aiohttp.TCPConnector(resolver=PortResolver("127.0.0.1"))
        async with aiohttp.ClientSession(connector=connector) as session:
            await session.get("http://name.test:9/")
        assert len(server.requests) == 1


async def test_credentials_of_a_url_are_gone_when_the_request_class_is_made() -> None:
    requests, started = [], []

    class Watching(aiohttp.ClientRequest):
        def __init__(self, method, url, **options):
            requests.append((url.raw_user, options["auth"]))
            super().__init__(method, url, **options)

    async def note(session, context, params):
        started.append(params.url.raw_user)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(note)
    async with (
        FaultServer() as server,
        aiohttp.ClientSession(request_class=Watching, trace_configs=[config]) as session,
    ):
        await session.get(server.url.with_user("user"))
    ((user, auth),) = requests
    assert user is None
    assert auth.login == "user"
    assert started == ["user"]


async def test_an_error_of_the_resolver_reaches_everybody_who_waits_for_it() -> None:
    refusal = OSError("refused by policy")
    connector = aiohttp.TCPConnector(resolver=FixedResolver(error=refusal))
    async with aiohttp.ClientSession(connector=connector) as session:
        calls = [session.get("http://name.test/") for _ in range(3)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientConnectorDNSError) for error in errors)
    assert all(error.os_error is refusal for error in errors)


@pytest.mark.parametrize("delay", [None, 0.001])
async def test_a_context_variable_set_around_a_connection_is_seen_by_all_that_make_it(
    delay: float | None,
) -> None:
    class NotingResolver(FixedResolver):
        async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
            WatchingConnector.seen.get().append("resolver")
            return await super().resolve(host, port, family)

    def refuse(address: aiohttp.AddrInfoType) -> socket.socket:
        WatchingConnector.seen.get().append("socket")
        raise OSError("refused by policy")

    connector = WatchingConnector(
        resolver=NotingResolver("127.0.0.1", "127.0.0.2"),
        socket_factory=refuse,
        happy_eyeballs_delay=delay,
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://name.test/")
    assert connector.notes == ["resolver", "socket", "socket", "socket"]

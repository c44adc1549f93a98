"""A network in which every name and every public address may exist, and none is ever reached."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

import platform_http.factory


class _Rerouted(socket.socket):
    """Connects to a port of loopback, whatever it is told to connect to."""

    port = 0

    def connect(self, address: object) -> None:
        super().connect(("127.0.0.1", self.port))


@dataclass
class FakeNetwork:
    """What a client looked up, and for which addresses it was given a socket.

    Args:
        answers: The addresses of each name; a list of lists is one answer after the other.
        routes: Addresses that are reached, at a port of loopback. All others are unreachable.
    """

    answers: Mapping[str, list] = field(default_factory=dict)
    routes: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    def resolver(self, _: object = None) -> AbstractResolver:
        return _FakeResolver(self)

    def attach(self, session: aiohttp.ClientSession) -> None:
        """Stand behind the socket factory of *session*."""
        connector = session.connector
        make_socket = connector._socket_factory

        def attempt(info: aiohttp.AddrInfoType) -> socket.socket:
            # It raises where the guard refuses.
            made = make_socket(info) if make_socket is not None else None
            if made is not None:
                made.close()
            address = info[4][0]
            self.sockets.append(address)
            if address not in self.routes:
                raise OSError(errno.ENETUNREACH, "unreachable")
            rerouted = _Rerouted(socket.AF_INET, socket.SOCK_STREAM)
            rerouted.port = self.routes[address]
            return rerouted

        connector._socket_factory = attempt

    def answer(self, host: str) -> Iterable[object]:
        self.names.append(host)
        known = self.answers.get(host, [])
        if known and isinstance(known[0], list):
            return known[min(self.names.count(host), len(known)) - 1]
        return known


class _FakeResolver(AbstractResolver):
    def __init__(self, network: FakeNetwork) -> None:
        self._network = network

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        # As every real one: from Python 3.12 on, an answer at once would be there before a second
        # caller could wait for it.
        await asyncio.sleep(0)
        found = [
            answer if isinstance(answer, tuple) else (answer, port)
            for answer in self._network.answer(host)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            ResolveResult(hostname=host, host=address, port=at, family=family, proto=0, flags=0)
            for address, at in found
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def on_fake_network(observed, network: FakeNetwork, **settings: object):
    """The default session of a factory, on *network*."""
    settings = {"retry": {"enabled": False}} | settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform_http.factory, "make_resolver", network.resolver)
        async with observed.session(**settings) as session:
            network.attach(session)
            yield session

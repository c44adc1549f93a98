"""Name resolution: the system's, or c-ares with nameservers of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from platform_http.errors import ConfigurationError
from platform_http.transport.host_port import split_port

if TYPE_CHECKING:
    from platform_http.settings import DnsSettings


def make_resolver(settings: DnsSettings) -> AbstractResolver:
    """Return the resolver that *settings* ask for. Needs a running event loop.

    Without ``DNS__NAMESERVERS`` the system resolves, in a thread: only ``getaddrinfo`` knows
    ``/etc/hosts``, ``nsswitch.conf``, search domains and what else a platform puts behind names.
    With them c-ares asks those servers (the ``dns`` extra). It still reads ``/etc/hosts`` and the
    search domains of ``/etc/resolv.conf``, and tries each server up to three times.

    Args:
        settings: The DNS section of one client. A nameserver is an address, or ``ip:port`` and
            ``[v6]:port`` where it does not listen on port 53.

    Returns:
        A resolver that raises nothing but ``OSError``, and so never answers with an empty list.
        Whoever takes it closes it.

    Raises:
        ConfigurationError: If a nameserver is not an address or the ``dns`` extra is missing.
    """
    if not settings.nameservers:
        return _OnlyOsErrors(aiohttp.ThreadedResolver())
    violations = [
        f"DNS__NAMESERVERS: entry {number} is neither an IP address nor ip:port"
        for number, entry in enumerate(settings.nameservers, start=1)
        if not _is_nameserver(entry)
    ]
    if violations:
        raise ConfigurationError(violations)
    try:
        return _OnlyOsErrors(aiohttp.AsyncResolver(nameservers=list(settings.nameservers)))
    except RuntimeError:
        raise ConfigurationError(["DNS__NAMESERVERS: install platform-http[dns]"]) from None


def bounded(resolver: AbstractResolver, seconds: float) -> AbstractResolver:
    """Return *resolver* with a bound on each question.

    aiohttp lets a question that was asked go on when its caller gives up, and whoever asks for the
    same name meanwhile waits for the same answer. One that never comes would keep a task, and
    every later call from asking anew.

    Args:
        resolver: Answers.
        seconds: How long an answer may take; infinite for any time.
    """
    return resolver if seconds == math.inf else _BoundedResolver(resolver, seconds)


def _is_nameserver(entry: str) -> bool:
    try:
        ipaddress.ip_address(split_port(entry)[0])
    except ValueError:
        return False
    return True


class _BoundedResolver(AbstractResolver):
    def __init__(self, resolver: AbstractResolver, seconds: float) -> None:
        self._resolver = resolver
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host*.

        Raises:
            OSError: If there is none, or no answer in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._resolver.resolve(host, port, family)
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None

    async def close(self) -> None:
        """Release what the resolver holds."""
        await self._resolver.close()


class _OnlyOsErrors(AbstractResolver):
    """Makes every failure to resolve an ``OSError`` with a number.

    aiohttp takes ``OSError`` for a DNS failure and nothing else. An empty answer would surface as
    a ``RuntimeError`` from its cache, a name that IDNA cannot encode (``a..b``) as the
    ``UnicodeError`` of ``getaddrinfo``, and c-ares' errors come without a number.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host*, at least one.

        Raises:
            socket.gaierror: If there is none, or no server answered.
        """
        try:
            addresses = await self._resolver.resolve(host, port, family)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise socket.gaierror(socket.EAI_FAIL, str(error.args[-1])) from error
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "the answer holds no address")
        return addresses

    async def close(self) -> None:
        """Release what the resolver holds."""
        await self._resolver.close()

from __future__ import annotations

import asyncio
import math
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from platform_http.errors import ConfigurationError
from platform_http.settings import DnsSettings
from platform_http.transport import dns
from platform_http.transport.dns import make_resolver
from tests.servers import dnsmasq, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    """A name server that knows ``api.test`` and that ``empty.test`` has no address."""
    with dnsmasq({"api.test": "127.0.0.7"}, without_address=["empty.test"]) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def resolver(nameserver: str) -> AsyncIterator[AbstractResolver]:
    resolver = make_resolver(DnsSettings(nameservers=(nameserver,)))
    yield resolver
    await resolver.close()


@pytest.fixture
async def system_resolver() -> AsyncIterator[AbstractResolver]:
    resolver = make_resolver(DnsSettings())
    yield resolver
    await resolver.close()


async def addresses(resolver: AbstractResolver, host: str) -> list[tuple[str, int]]:
    answers = await resolver.resolve(host, 8080, socket.AF_UNSPEC)
    return [(answer["host"], answer["port"]) for answer in answers]


class TestNameserversOfTheSettings:
    async def test_are_asked(self, resolver: AbstractResolver) -> None:
        assert await addresses(resolver, "api.test") == [("127.0.0.7", 8080)]

    async def test_may_be_on_any_port_after_one_that_does_not_answer(self, nameserver: str) -> None:
        dead = f"127.0.0.1:{free_port()}"
        resolver = make_resolver(DnsSettings(nameservers=(dead, nameserver)))
        try:
            assert await addresses(resolver, "api.test") == [("127.0.0.7", 8080)]
        finally:
            await resolver.close()

    @pytest.mark.parametrize("host", ["unknown.test", "empty.test", "a..b", f"{'x' * 64}.test"])
    async def test_that_know_no_address_make_a_dns_error(
        self, resolver: AbstractResolver, host: str
    ) -> None:
        with pytest.raises(socket.gaierror) as caught:
            await addresses(resolver, host)

        assert caught.value.errno is not None

    async def test_serve_a_session(self, resolver: AbstractResolver) -> None:
        connector = aiohttp.TCPConnector(resolver=resolver)
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://empty.test/")
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://a..b/")

    @pytest.mark.parametrize(
        "entry",
        ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353"],
    )
    async def test_may_be_addresses_with_or_without_a_port(self, entry: str) -> None:
        resolver = make_resolver(DnsSettings(nameservers=(entry,)))
        await resolver.close()

    @pytest.mark.parametrize(
        "entry",
        [
            "dns.example",
            "dns.example:53",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "192.0.2.1:dns",
            "x::y",
        ],
    )
    async def test_are_refused_when_they_are_not_addresses(self, entry: str) -> None:
        settings = DnsSettings.model_construct(nameservers=("192.0.2.1", entry))

        with pytest.raises(ConfigurationError) as caught:
            make_resolver(settings)

        assert caught.value.violations == (
            "DNS__NAMESERVERS: entry 2 is neither an IP address nor ip:port",
        )

    async def test_are_refused_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aiohttp.resolver.aiodns", None)

        with pytest.raises(ConfigurationError, match=r"install platform-http\[dns\]"):
            make_resolver(DnsSettings(nameservers=("192.0.2.1",)))


class TestTheSystem:
    async def test_is_asked_when_no_nameserver_is_set(
        self, system_resolver: AbstractResolver
    ) -> None:
        assert ("127.0.0.1", 8080) in await addresses(system_resolver, "localhost")

    @pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.test"])
    async def test_gives_a_dns_error_for_what_cannot_be_a_name(
        self, system_resolver: AbstractResolver, host: str
    ) -> None:
        with pytest.raises(socket.gaierror) as caught:
            await addresses(system_resolver, host)

        assert caught.value.errno == socket.EAI_NONAME

    async def test_gives_its_own_error_for_a_name_that_does_not_exist(
        self, system_resolver: AbstractResolver
    ) -> None:
        with pytest.raises(socket.gaierror):
            await addresses(system_resolver, "unknown.invalid")


async def test_an_empty_answer_is_a_dns_error() -> None:
    class NoAnswers(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            return []

        async def close(self) -> None:
            pass

    with pytest.raises(socket.gaierror) as caught:
        await addresses(dns._OnlyOsErrors(NoAnswers()), "api.test")

    assert caught.value.errno == socket.EAI_NONAME


class _Silent(AbstractResolver):
    closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def close(self) -> None:
        self.closed = True


class TestABoundedResolver:
    async def test_gives_an_answer_up_in_time(self) -> None:
        silent = _Silent()
        bounded = dns.bounded(silent, 0.02)
        with pytest.raises(socket.gaierror, match="no answer in time") as caught:
            await bounded.resolve("api.test")
        assert caught.value.errno == socket.EAI_AGAIN
        await bounded.close()
        assert silent.closed

    async def test_that_has_all_the_time_is_left_alone(self) -> None:
        silent = _Silent()
        assert dns.bounded(silent, math.inf) is silent

"""The attack and pass lists: no attack reaches a socket, everything else does."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from platform_http.errors import EgressDeniedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, raw
from tests.functional.conftest import Observed
from tests.functional.fake_network import FakeNetwork, on_fake_network

CORPUS = json.loads((Path(__file__).parent.parent / "egress-cases.json").read_text())
PUBLIC = {"egress": {"mode": "public"}}
DENIED = "platform_http_egress_denied_total"
HOP = "93.184.216.35"
STATUSES = (302, 303, 307, 308)
REASONS = {
    "embedded",
    "host_syntax",
    "link_local",
    "loopback",
    "metadata",
    "multicast",
    "port",
    "private",
    "reserved",
    "scheme",
    "unspecified",
    "userinfo",
    "zone_id",
}
# aiohttp takes these for no URL that it could request, and says so before the guard is asked.
OF_AIOHTTP = {
    "http://127.0.0.1\\@public.test/",
    "http:///127.0.0.1/",
    "//127.0.0.1/",
    "unix:///var/run/docker.sock",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
}


# And this for no scheme that a redirect may have.
OF_AIOHTTP_AS_REDIRECT = OF_AIOHTTP | {"ws://127.0.0.1/"}


def redirect(status: int, location: str) -> Action:
    head = f"HTTP/1.1 {status} Elsewhere\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
    return raw(head.encode())


def network() -> FakeNetwork:
    return FakeNetwork({**CORPUS["dns"], "hop.test": [HOP]})


@pytest.mark.parametrize("url", [case[0] for case in CORPUS["block"]])
async def test_an_attack_reaches_no_socket(observed: Observed, url: str) -> None:
    fake = network()
    async with on_fake_network(observed, fake, **PUBLIC) as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            await session.get(url)
    assert fake.sockets == []
    if url in OF_AIOHTTP:
        assert not isinstance(caught.value, EgressDeniedError)
        return
    assert isinstance(caught.value, EgressDeniedError)
    assert caught.value.attempts == 0
    assert caught.value.reason in REASONS
    assert observed.value(DENIED, reason=caught.value.reason) == 1
    assert observed.value(DENIED) == 1
    assert observed.value("platform_http_calls_total", outcome="rejected") == 1
    observed.assert_quiet()


@pytest.mark.parametrize("url", CORPUS["pass"])
async def test_a_public_destination_reaches_a_socket(observed: Observed, url: str) -> None:
    fake = network()
    async with on_fake_network(observed, fake, **PUBLIC) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    assert fake.sockets != []
    assert observed.value(DENIED) == 0


@pytest.mark.parametrize("url", [case[0] for case in CORPUS["block"]])
async def test_an_attack_by_redirect_reaches_no_socket(observed: Observed, url: str) -> None:
    fake = network()
    async with FaultServer([redirect(status, url) for status in STATUSES]) as server:
        fake.routes[HOP] = server.port
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            for sent in range(1, len(STATUSES) + 1):
                with pytest.raises(aiohttp.ClientError) as caught:
                    await session.get("http://hop.test/")
                assert session.connector._acquired == set()
                assert len(server.requests) == sent
    assert set(fake.sockets) == {HOP}
    if not isinstance(caught.value, EgressDeniedError):
        assert isinstance(caught.value, aiohttp.RedirectClientError)
        assert url in OF_AIOHTTP_AS_REDIRECT
        return
    assert caught.value.attempts == 1
    assert observed.value(DENIED, reason=caught.value.reason) == len(STATUSES)
    assert observed.value("platform_http_calls_total", error_type="egress_denied") == len(STATUSES)
    observed.assert_quiet()


@pytest.mark.parametrize("url", CORPUS["pass"])
async def test_a_public_destination_is_reached_by_redirect(observed: Observed, url: str) -> None:
    fake = network()
    async with FaultServer([redirect(307, url)]) as server:
        fake.routes[HOP] = server.port
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://hop.test/")
    assert fake.sockets[0] == HOP
    assert len(fake.sockets) > 1
    assert observed.value(DENIED) == 0

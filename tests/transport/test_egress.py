"""The guard by itself: the policy that settings make, its sockets and its resolver."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from yarl import URL

from platform_http.call import Client, Origin
from platform_http.errors import ConfigurationError, EgressDeniedError
from platform_http.settings import EgressSettings, HttpSettings
from platform_http.timers import Timers
from platform_http.transport.egress import EgressGuard, make_policy
from tests.contract.fixed_resolver import FixedResolver
from tests.policies.address_ranges import NOT_PUBLIC_V4, addresses_in, spellings


class Observer:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def egress_denied(self, reason: str, *, enforced: bool = True) -> None:
        self.reasons.append(reason)


def guard(**egress: object) -> EgressGuard:
    settings = HttpSettings(egress=egress).client()
    # Of the loop only the time is looked at.
    client = Client(settings, Observer(), Timers(SimpleNamespace(time=time.monotonic)))
    policy = make_policy(settings.egress)
    assert policy is not None
    return EgressGuard(policy, client)


class TestThePolicyOfSettings:
    def test_is_none_when_it_is_off(self) -> None:
        assert make_policy(EgressSettings(mode="off")) is None

    def test_holds_every_list(self) -> None:
        policy = make_policy(
            EgressSettings(
                mode="allowlist",
                allowed_hosts=("B\u00fccher.test.", "*.Wide.test", "10.0.0.1"),
                denied_hosts=("no.wide.test",),
                allowed_ports=(443,),
                allowed_networks=("10.1.0.0/16",),
            )
        )
        assert policy is not None
        assert policy.mode == "allowlist"
        assert policy.allowed_networks == (ip_network("10.1.0.0/16"),)
        reached = ["xn--bcher-kva.test", "a.wide.test", "10.0.0.1", "10.1.2.3"]
        refused = ["wide.test", "no.wide.test", "10.0.0.2"]
        for host in reached:
            assert policy.judge_destination("https", host, 443) is None
            assert policy.judge_destination("https", host, 80) is not None
        for host in refused:
            assert policy.judge_destination("https", host, 443) is not None

    @pytest.mark.parametrize("host", ["*..", ".", "a\u200bb"])
    def test_refuses_what_is_no_host(self, host: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            make_policy(EgressSettings(denied_hosts=("ok.test", host)))
        (line,) = caught.value.violations
        assert line.startswith("EGRESS__DENIED_HOSTS: entry 2 is no host name")


class TestTheSocketFactory:
    ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

    async def test_judges_outside_of_a_connection_too(self) -> None:
        with pytest.raises(OSError, match="egress policy"):
            guard().make_socket((*self.ADDRESS, ("169.254.169.254", 80)))

    async def test_makes_the_socket_that_was_asked_for(self) -> None:
        with guard().make_socket((*self.ADDRESS, ("127.0.0.1", 80))) as made:
            assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)

    async def test_refuses_what_would_be_resolved_once_more(self) -> None:
        with pytest.raises(OSError, match="egress policy"):
            guard().make_socket((*self.ADDRESS, ("localhost", 80)))


class TestTheResolver:
    async def test_passes_on_what_is_admitted(self) -> None:
        inner = FixedResolver("127.0.0.1", "10.0.0.1")
        answers = await guard().guarded(inner).resolve("a.test", 80, socket.AF_INET)
        assert [answer["host"] for answer in answers] == ["127.0.0.1", "10.0.0.1"]
        assert inner.names == ["a.test"]

    async def test_fails_for_one_that_is_refused(self) -> None:
        resolver = guard().guarded(FixedResolver("10.0.0.1", "169.254.169.254"))
        with pytest.raises(OSError, match="egress policy") as caught:
            await resolver.resolve("a.test", 80, socket.AF_INET)
        assert caught.value.errno is not None

    async def test_passes_everything_on_where_nothing_is_enforced(self) -> None:
        resolver = guard(enforce=False).guarded(FixedResolver("169.254.169.254"))
        (answer,) = await resolver.resolve("a.test", 80, socket.AF_INET)
        assert answer["host"] == "169.254.169.254"

    async def test_closes_the_one_that_it_asks(self) -> None:
        closed = []

        class Closing(FixedResolver):
            async def close(self) -> None:
                closed.append(True)

        await guard().guarded(Closing()).close()
        assert closed == [True]


# What IDNA takes for a digit, a letter of a hexadecimal number, or a dot.
_ALIKE = {
    ".": "\u3002\uff0e\uff61",
    "0": "\u24ea\uff10\u2070",
    **{str(digit): chr(0x2460 + digit - 1) + chr(0xFF10 + digit) for digit in range(1, 10)},
    **{letter: chr(0xFF21 + ord(letter) - 65) for letter in "ABCDEFX"},
    **{
        letter: chr(0xFF41 + ord(letter) - 97) + chr(0x24D0 + ord(letter) - 97)
        for letter in "abcdefx"
    },
}


@st.composite
def disguised(draw: st.DrawFn, text: str) -> URL:
    """A URL of the host *text*, spelled as ``URL`` takes it."""
    host = "".join(draw(st.sampled_from(char + _ALIKE.get(char, ""))) for char in text)
    return URL(f"http://{host}/")


@pytest.fixture(scope="module")
def admit() -> Callable[[URL], object]:
    public = guard(mode="public")
    return lambda url: public.admit(None, url, Origin.of(url))


class TestNoDisguise:
    @given(st.sampled_from(NOT_PUBLIC_V4).flatmap(addresses_in).flatmap(spellings), st.data())
    def test_gets_an_address_past_the_guard(self, admit, text: str, data: st.DataObject) -> None:
        url = data.draw(disguised(text))
        with pytest.raises(EgressDeniedError):
            admit(url)

    @given(st.ip_addresses(v=4), st.data())
    def test_keeps_a_public_address_out(self, admit, address, data: st.DataObject) -> None:
        assume(not any(address in ip_network(network) for network in NOT_PUBLIC_V4))
        admit(data.draw(disguised(str(address))))

    @given(st.sampled_from(NOT_PUBLIC_V4).flatmap(addresses_in), st.integers(0, 6))
    def test_reaches_a_proxy_that_would_decode_it(self, admit, address, place: int) -> None:
        text = str(address)
        host = f"{text[:place]}%{ord(text[place]):02x}{text[place + 1 :]}"
        with pytest.raises(EgressDeniedError):
            admit(URL(f"http://{host}/"))

"""The egress policy: what each mode says of a URL's destination and of an address."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from platform_http.policies.egress import EgressPolicy, HostList
from tests.policies.address_ranges import (
    NEVER_MEANT,
    NEVER_MEANT_KINDS,
    NOT_PUBLIC_V4,
    NOT_PUBLIC_V6,
    addresses_in,
    isatap,
    spellings,
)

PUBLIC = EgressPolicy("public")
INTERNAL = EgressPolicy("internal")
ALLOWLIST = EgressPolicy("allowlist", allowed_hosts=HostList(["api.test", "*.wide.test"]))
MODES = [PUBLIC, INTERNAL, ALLOWLIST]


def reason(policy: EgressPolicy, host: str, port: int = 80, scheme: str = "http") -> str | None:
    refusal = policy.judge_destination(scheme, host, port)
    return refusal and refusal.reason


def spelled(networks: list[str]) -> st.SearchStrategy[str]:
    """An address of one of *networks* as it might stand in a URL."""

    def texts(address):
        if isinstance(address, IPv4Address):
            return st.builds(str.__add__, spellings(address), st.sampled_from(["", "."]))
        return st.sampled_from([str(address), str(address).upper(), address.exploded])

    return st.sampled_from(networks).flatmap(addresses_in).flatmap(texts)


class TestPublic:
    @given(spelled([*NOT_PUBLIC_V4, *NOT_PUBLIC_V6]))
    def test_refuses_every_address_that_is_not_public_in_every_spelling(self, text):
        assert reason(PUBLIC, text) is not None

    @given(st.ip_addresses(v=4).flatmap(lambda a: st.tuples(st.just(a), spellings(a))))
    def test_admits_every_public_ipv4_address_in_every_spelling(self, case):
        address, text = case
        assume(not any(address in ip_network(network) for network in NOT_PUBLIC_V4))
        assert reason(PUBLIC, text) is None
        assert PUBLIC.judge_address(str(address)) is None

    @given(addresses_in("2000::/3"))
    def test_admits_every_public_ipv6_address_in_every_spelling(self, address):
        assume(not any(address in ip_network(network) for network in NOT_PUBLIC_V6))
        assume(not isatap(address))
        for text in (str(address), address.exploded, str(address).upper()):
            assert reason(PUBLIC, text) is None

    @pytest.mark.parametrize("host", ["::ffff:8.8.8.8", "2606:4700::1%25eth0", "2606:4700::1%1"])
    def test_refuses_mapped_addresses_and_zones_although_what_they_stand_for_is_public(self, host):
        assert reason(PUBLIC, host) in {"embedded", "zone_id"}

    @pytest.mark.parametrize("port", [80, 443, 8080, 8443])
    @pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
    def test_reaches_names_on_the_ports_of_the_web(self, scheme, port):
        assert reason(PUBLIC, "public.test", port, scheme) is None
        assert reason(PUBLIC, "93.184.216.34", port, scheme) is None

    @pytest.mark.parametrize("port", [0, 1, 22, 79, 81, 444, 6379, 65535])
    def test_reaches_no_other_port(self, port):
        assert reason(PUBLIC, "public.test", port) == "port"
        assert reason(PUBLIC, "93.184.216.34", port) == "port"

    def test_reaches_the_listed_ports_instead(self):
        policy = EgressPolicy("public", allowed_ports=frozenset({9000}))
        assert reason(policy, "public.test", 9000) is None
        assert reason(policy, "public.test", 80) == "port"

    @pytest.mark.parametrize(
        "host",
        [
            "a_b.test",
            "-a.test",
            "a-.test",
            "a..test",
            ".test",
            "public.test..",
            f"{'a' * 64}.test",
            ".".join(["a" * 60] * 5),
            "den%69ed.test",
            "127.0.0.1%00.public.test",
            "b\u00fccher.test",
            "a b",
            "a\x00b",
            "a\x7fb",
            "a@b",
            "a\n",
            "",
            ".",
            "::g",
            "1.2.3.4.5",
            "256.1.1.1",
            "08.1.1.1",
            "a.0x7f",
            "a.1",
        ],
    )
    def test_refuses_hosts_that_are_not_well_formed(self, host):
        assert reason(PUBLIC, host) == "host_syntax"

    @pytest.mark.parametrize(
        "host", ["a", "public.test.", "PUBLIC.test", "xn--bcher-kva.test", "1a.test", f"{'a' * 63}"]
    )
    def test_admits_well_formed_names(self, host):
        assert reason(PUBLIC, host) is None


class TestInternal:
    @given(spelled(NEVER_MEANT))
    def test_refuses_what_no_service_is_meant_at_in_every_spelling(self, text):
        assert reason(INTERNAL, text) in NEVER_MEANT_KINDS

    @given(st.sampled_from(["169.254.0.0/16", "168.63.129.16", "0.0.0.0"]).flatmap(addresses_in))
    def test_refuses_it_inside_of_another_address_too(self, inner):
        for carrier in (f"::ffff:{inner}", f"64:ff9b::{inner}", f"2001:4860::5efe:{inner}"):
            assert reason(INTERNAL, carrier) is not None
            assert INTERNAL.judge_address(carrier) is not None

    @given(st.ip_addresses(v=4).flatmap(lambda a: st.tuples(st.just(a), spellings(a))))
    def test_reaches_every_other_ipv4_address(self, case):
        address, text = case
        assume(not any(address in ip_network(network) for network in NEVER_MEANT))
        assert reason(INTERNAL, text, 12345) is None
        assert INTERNAL.judge_address(str(address)) is None

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "10.0.0.1", "192.168.0.1", "::1", "fd00::1", "my_service", "a..b"],
    )
    def test_reaches_what_a_company_has(self, host):
        assert reason(INTERNAL, host, 12345) is None

    @pytest.mark.parametrize("host", ["", ".", "a b", "den%69ed.test", "b\u00fccher.test", "a\n"])
    def test_refuses_hosts_that_a_proxy_or_a_resolver_would_read_differently(self, host):
        assert reason(INTERNAL, host) == "host_syntax"

    def test_reaches_the_local_prefix_of_nat64_where_it_is_listed(self):
        prefix = ip_network("64:ff9b:1::/48")
        listed = EgressPolicy("internal", allowed_networks=(prefix,))

        assert reason(INTERNAL, "64:ff9b:1::a00:1") == "embedded"
        assert reason(listed, "64:ff9b:1::a00:1") is None

    def test_refuses_zones_unless_their_network_is_listed(self):
        assert reason(INTERNAL, "::1%25lo") == "zone_id"
        policy = EgressPolicy("internal", allowed_networks=(ip_network("fe80::/10"),))
        assert policy.judge_address("fe80::1%1") is None

    def test_holds_to_the_listed_ports(self):
        policy = EgressPolicy("internal", allowed_ports=frozenset({443}))
        assert reason(policy, "10.0.0.1", 443) is None
        assert reason(policy, "10.0.0.1", 80) == "port"


class TestAllowlist:
    @pytest.mark.parametrize(
        "host", ["api.test", "API.test", "api.test.", "a.wide.test", "a.b.wide.test"]
    )
    def test_reaches_hosts_on_the_list(self, host):
        assert reason(ALLOWLIST, host, 12345) is None

    @pytest.mark.parametrize(
        "host", ["other.test", "xapi.test", "a.api.test", "wide.test", "xwide.test", "127.0.0.1"]
    )
    def test_reaches_nothing_else(self, host):
        assert reason(ALLOWLIST, host) == "host_not_allowed"

    def test_judges_the_addresses_of_its_hosts_as_internal_does(self):
        assert ALLOWLIST.judge_address("10.0.0.1") is None
        refusal = ALLOWLIST.judge_address("169.254.169.254")
        assert refusal is not None
        assert refusal.reason == "link_local"
        assert "EGRESS__MODE=allowlist" in refusal.rule

    @given(addresses_in("10.1.0.0/16").flatmap(spellings))
    def test_reaches_literals_in_listed_networks(self, text):
        policy = EgressPolicy("allowlist", allowed_networks=(ip_network("10.1.0.0/16"),))
        assert reason(policy, text) is None
        assert reason(policy, "10.2.0.1") == "host_not_allowed"

    def test_reaches_a_listed_literal_unless_no_service_is_meant_there(self):
        hosts = HostList(["10.0.0.1", "169.254.169.254"])
        policy = EgressPolicy("allowlist", allowed_hosts=hosts)
        assert reason(policy, "10.0.0.1") is None
        assert reason(policy, "0xa000001") is None
        assert reason(policy, "169.254.169.254") == "link_local"


@pytest.mark.parametrize("policy", MODES)
@pytest.mark.parametrize("scheme", ["", "ftp", "file", "unix", "gopher", "tcp", "http+unix"])
def test_only_the_web_has_schemes(policy, scheme):
    assert reason(policy, "api.test", 80, scheme) == "scheme"


@pytest.mark.parametrize("policy", MODES)
@pytest.mark.parametrize(
    "text", ["not-an-ip", "", "127.0.0.1%lo", "127.1", "0x7f.1", "localhost", "[::1]", "1.2.3.4 "]
)
def test_an_answer_that_is_no_canonical_address_is_refused(policy, text):
    refusal = policy.judge_address(text)
    assert refusal is not None
    assert refusal.reason == "invalid_answer"


@pytest.mark.parametrize("mode", ["internal", "public", "allowlist"])
class TestDeniedHosts:
    def test_win_over_every_list(self, mode):
        policy = EgressPolicy(
            mode,
            allowed_hosts=HostList(["api.test", "*.wide.test", "10.0.0.1"]),
            denied_hosts=HostList(["api.test", "*.wide.test", "10.0.0.1"]),
            allowed_networks=(ip_network("10.0.0.0/8"),),
        )
        for host in ("api.test", "API.TEST.", "a.wide.test", "10.0.0.1", "10.1", "::ffff:10.0.0.1"):
            assert reason(policy, host) == "host_denied"

    def test_deny_an_address_as_an_answer_too(self, mode):
        policy = EgressPolicy(mode, denied_hosts=HostList(["8.8.8.8"]))
        refusal = policy.judge_address("8.8.8.8")
        assert refusal is not None
        assert refusal.reason == "host_denied"
        assert policy.judge_address("8.8.4.4") is None


@given(st.sampled_from([*NOT_PUBLIC_V4, *NOT_PUBLIC_V6]).flatmap(addresses_in))
def test_a_listed_network_exempts_its_addresses_from_the_rule_of_public(address):
    exempt = EgressPolicy("public", allowed_networks=(ip_network(f"{address}"),))
    assert exempt.judge_address(str(address)) is None
    assert reason(exempt, str(address)) is None


def test_a_listed_network_exempts_what_another_address_carries_in_internal():
    policy = EgressPolicy("internal", allowed_networks=(ip_network("169.254.1.0/24"),))
    assert policy.judge_address("::ffff:169.254.1.9") is None
    assert policy.judge_address("169.254.1.9") is None
    assert policy.judge_address("169.254.2.9") is not None


def test_a_listed_network_opens_no_port_and_no_syntax():
    policy = EgressPolicy("public", allowed_networks=(ip_network("10.0.0.0/8"),))
    assert reason(policy, "10.0.0.1", 22) == "port"
    assert reason(policy, "10.0.0.1.5") == "host_syntax"


def test_every_refusal_names_its_rule_without_repeating_the_host():
    policy = EgressPolicy("public", denied_hosts=HostList(["denied.test"]))
    for host in ("denied.test", "10.9.8.7", "bad_host.test"):
        refusal = policy.judge_destination("http", host, 80)
        assert refusal is not None
        assert refusal.rule.startswith("its ")
        assert host not in refusal.rule


def test_a_list_of_hosts_knows_whether_it_is_empty_of_names():
    assert not HostList().has_name("a")
    assert not HostList(["10.0.0.1"]).has_name("10.0.0.1")
    assert HostList(["10.0.0.1"]).has_address(ip_address("10.0.0.1"))

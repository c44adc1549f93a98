"""Egress through whole sessions: no way round the guard, and nothing else is touched by it."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest
from yarl import URL

from platform_http.errors import ConfigurationError, EgressDeniedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, respond
from platform_http.transport import egress
from tests.functional.conftest import Observed
from tests.functional.fake_network import FakeNetwork, on_fake_network
from tests.servers import SocksServer, socks_server

PUBLIC = {"egress": {"mode": "public"}}
TRUSTED = {"egress": {"mode": "public", "trust_proxy": True}}
COUNTING = {"egress": {"mode": "public", "enforce": False}}
DENIED = "platform_http_egress_denied_total"
HERE = "93.184.216.35"
NAMES = {
    "here.test": [HERE],
    "private.test": ["10.1.2.3"],
    "mixed.test": [HERE, "10.1.2.3"],
    "meta.test": ["169.254.169.254"],
}


def redirect(location: str) -> Action:
    return respond(307, headers={"Location": location})


async def denied(session: aiohttp.ClientSession, url: str | URL, **options) -> EgressDeniedError:
    with pytest.raises(EgressDeniedError) as caught:
        await session.get(url, **options)
    return caught.value


class TestNames:
    async def test_that_resolve_differently_the_second_time_are_refused_then(
        self, observed: Observed
    ) -> None:
        async with FaultServer() as server:
            fake = FakeNetwork({"rebind.test": [[HERE], ["127.0.0.1"]]}, {HERE: server.port})
            uncached = {"dns": {"cache_ttl": 0}, "pool": {"keepalive": 0}}
            async with on_fake_network(observed, fake, **PUBLIC, **uncached) as session:
                await session.get("http://rebind.test/")
                error = await denied(session, "http://rebind.test/")
        assert error.reason == "loopback"
        assert len(server.requests) == 1
        assert fake.sockets == [HERE]

    async def test_are_refused_for_a_single_answer(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            assert (await denied(session, "http://mixed.test/")).reason == "private"
        assert fake.sockets == []

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("not-an-ip", "invalid_answer"),
            ("", "invalid_answer"),
            ("127.0.0.1%lo", "invalid_answer"),
            ((HERE, 22), "invalid_answer"),
            ("fe80::1%1", "zone_id"),
            ("2606:4700::1%1", "zone_id"),
        ],
    )
    async def test_are_refused_for_an_answer_that_is_none(
        self, observed: Observed, answer: object, reason: str
    ) -> None:
        fake = FakeNetwork({"odd.test": [HERE, answer]})
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            assert (await denied(session, "http://odd.test/")).reason == reason
        assert fake.sockets == []

    async def test_that_are_denied_are_not_even_looked_up(self, observed: Observed) -> None:
        egress = {"denied_hosts": ["*.here.test", "b\u00fccher.test"]}
        fake = FakeNetwork({"a.here.test": [HERE]})
        async with on_fake_network(observed, fake, egress=egress) as session:
            assert (await denied(session, "http://A.here.test./")).reason == "host_denied"
            assert (await denied(session, "http://B\u00dcCHER.test/")).reason == "host_denied"
        assert fake.names == []

    async def test_are_reached_in_allowlist_when_listed_and_harmless(
        self, observed: Observed
    ) -> None:
        egress = {"mode": "allowlist", "allowed_hosts": ["private.test", "meta.test"]}
        async with FaultServer() as server:
            fake = FakeNetwork(NAMES, {"10.1.2.3": server.port})
            async with on_fake_network(observed, fake, egress=egress) as session:
                await session.get("http://private.test/")
                assert (await denied(session, "http://meta.test/")).reason == "link_local"
                assert (await denied(session, "http://here.test/")).reason == "host_not_allowed"
        assert fake.sockets == ["10.1.2.3"]

    async def test_that_many_wait_for_are_refused_to_each_of_them(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            calls = [denied(session, "http://private.test/") for _ in range(5)]
            errors = await asyncio.gather(*calls)
        assert fake.names == ["private.test"]
        assert {error.reason for error in errors} == {"private"}
        assert observed.value(DENIED, reason="private") == 5


class TestSockets:
    async def test_are_refused_to_addresses_that_no_resolver_judged(
        self, observed: Observed
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            poison(session, "here.test", "10.1.2.3", "10.9.9.9")
            error = await denied(session, "http://here.test/")
        assert error.reason == "private"
        assert fake.sockets == []
        assert observed.value(DENIED) == 1

    async def test_are_closed_when_another_address_of_the_name_is_refused(
        self, observed: Observed
    ) -> None:
        async with FaultServer() as server:
            fake = FakeNetwork(NAMES, {HERE: server.port})
            eager = {"dns": {"happy_eyeballs_delay": 0.0001}}
            async with on_fake_network(observed, fake, **PUBLIC, **eager) as session:
                for _ in range(5):
                    poison(session, "here.test", HERE, "10.1.2.3")
                    assert (await denied(session, "http://here.test/")).reason == "private"
                assert session.connector._acquired == set()
                assert session.connector._conns == {}
        assert server.requests == []


def poison(session: aiohttp.ClientSession, host: str, *addresses: str) -> None:
    """Put into aiohttp's own cache what no resolver has said."""
    session.connector._cached_hosts.add(
        (host, 80),
        [
            {"hostname": host, "host": address, "port": 80, "family": 0, "proto": 0, "flags": 0}
            for address in addresses
        ],
    )


class TestNothingOfARequestSwitchesItOff:
    @pytest.mark.parametrize(
        "options",
        [
            {"middlewares": ()},
            {"ssl": True},
            {"server_hostname": "here.test"},
            {"allow_redirects": False},
            {"timeout": aiohttp.ClientTimeout(total=1)},
        ],
        ids=lambda options: next(iter(options)),
    )
    @pytest.mark.parametrize("url", ["http://10.1.2.3/", "http://private.test/"])
    async def test_by_its_options(self, observed: Observed, options: dict, url: str) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            error = await denied(session, url, **options)
        assert error.attempts == 0
        assert fake.sockets == []
        assert observed.value(DENIED, reason="private") == 1
        assert observed.value("platform_http_calls_total", outcome="rejected") == 1

    async def test_by_a_middleware_that_changes_its_url(self, observed: Observed) -> None:
        async def lead_astray(request, handler):
            request.url = URL("http://10.1.2.3/")
            return await handler(request)

        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            session._middlewares = (*session._middlewares, lead_astray)
            assert (await denied(session, "http://here.test/")).reason == "private"
        assert fake.sockets == []
        assert observed.value(DENIED) == 1

    async def test_by_a_session_that_only_shares_the_connector(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            connector = session.connector
            async with aiohttp.ClientSession(connector=connector, connector_owner=False) as other:
                for url in ("http://10.1.2.3/", "http://private.test/", "http://here.test:22/"):
                    await denied(other, url)
        assert fake.sockets == []

    async def test_by_a_redirect_to_another_port(self, observed: Observed) -> None:
        async with FaultServer([redirect("http://here.test:22/")]) as server:
            fake = FakeNetwork(NAMES, {HERE: server.port})
            async with on_fake_network(observed, fake, **PUBLIC) as session:
                error = await denied(session, "http://here.test/")
        assert error.reason == "port"
        assert error.attempts == 1
        assert len(server.requests) == 1

    async def test_by_being_a_websocket(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            for url in ("ws://10.1.2.3/", "wss://private.test/", "ws://here.test:22/"):
                with pytest.raises(EgressDeniedError):
                    await session.ws_connect(url)
        assert fake.sockets == []
        assert observed.value("platform_http_calls_total", outcome="rejected") == 3

    async def test_by_a_redirect_of_a_websockets_handshake(self, observed: Observed) -> None:
        async with FaultServer([redirect("http://10.1.2.3/")]) as server:
            fake = FakeNetwork(NAMES, {HERE: server.port})
            async with on_fake_network(observed, fake, **PUBLIC) as session:
                with pytest.raises(EgressDeniedError):
                    await session.ws_connect("ws://here.test/")
        assert fake.sockets == [HERE]


class TestProxies:
    @pytest.mark.parametrize(
        ("proxy", "reason"),
        [
            ("http://10.1.2.3:8080", "private"),
            ("http://private.test:8080", "private"),
            ("http://here.test:3128", "port"),
            ("socks5://here.test:8080", "scheme"),
        ],
    )
    async def test_of_a_single_request_are_judged_like_destinations(
        self, observed: Observed, proxy: str, reason: str
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **TRUSTED) as session:
            error = await denied(session, "http://here.test/", proxy=f"{proxy}/")
        assert error.reason == reason
        assert "of its proxy, " in str(error)
        assert fake.sockets == []
        assert observed.value(DENIED) == 1

    async def test_of_a_single_request_are_judged_at_their_sockets_too(
        self, observed: Observed
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **TRUSTED) as session:
            poison(session, "here.test", "10.1.2.3")
            error = await denied(session, "http://elsewhere.test/", proxy="http://here.test:80")
        assert error.reason == "private"
        assert "of its proxy, " in str(error)
        assert fake.sockets == []

    async def test_of_a_single_request_need_trust_where_only_they_see_addresses(
        self, observed: Observed
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            proxy = "http://user:secret@here.test:8080"
            error = await denied(session, "http://private.test/", proxy=proxy)
        assert error.reason == "proxy"
        assert "EGRESS__TRUST_PROXY" in str(error)
        assert "secret" not in str(error)
        assert fake.names == []

    @pytest.mark.parametrize("kind", ["name", "literal"])
    async def test_of_the_settings_may_be_private(self, observed: Observed, kind: str) -> None:
        host = {"name": "proxy.test", "literal": "169.254.9.9"}[kind]
        async with FaultServer() as upstream:
            fake = FakeNetwork({"proxy.test": ["169.254.9.9"]}, {"169.254.9.9": upstream.port})
            proxy = {"url": f"http://{host}:3128"}
            async with on_fake_network(observed, fake, proxy=proxy, **TRUSTED) as session:
                # Only the proxy knows what it resolves to.
                await session.get("http://private.test/")
                await session.get("http://here.test/", proxy=f"http://{host}:3128")
                assert (await denied(session, "http://10.1.2.3/")).reason == "private"
                assert (await denied(session, "http://here.test:22/")).reason == "port"
        assert set(fake.sockets) == {"169.254.9.9"}
        assert [request.target for request in upstream.requests] == [
            "http://private.test/",
            "http://here.test/",
        ]
        assert "private.test" not in fake.names

    async def test_of_the_settings_are_no_destinations(self, observed: Observed) -> None:
        fake = FakeNetwork({"proxy.test": ["169.254.9.9"]})
        proxy = {"url": "http://proxy.test:3128", "no_proxy": ["proxy.test"]}
        async with on_fake_network(observed, fake, proxy=proxy) as session:
            error = await denied(session, "http://proxy.test:3128/")
        assert error.reason == "link_local"
        assert fake.sockets == []

    async def test_of_socks_judge_targets_by_name_and_by_literal(self, observed: Observed) -> None:
        async with FaultServer() as server, socks_server(SocksServer()) as socks:
            proxy = {"url": f"socks5://127.0.0.1:{socks.port}"}
            egress = {"mode": "public", "trust_proxy": True, "denied_hosts": ["no.test"]}
            egress |= {"allowed_ports": [80, server.port]}
            socks.addresses["private.test"] = "127.0.0.1"
            async with observed.session(proxy=proxy, egress=egress) as session:
                await session.get(f"http://private.test:{server.port}/")
                assert (await denied(session, "http://10.1.2.3/")).reason == "private"
                assert (await denied(session, "http://no.test/")).reason == "host_denied"
        assert socks.destinations == [("private.test", server.port)]


class TestARefusal:
    async def test_touches_no_other_policy(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(
            observed,
            fake,
            **PUBLIC,
            retry={"enabled": True},
            # Longer than a look-up may take on a busy machine.
            hedging={"enabled": True, "delay": 5},
            throttle={"enabled": True},
            circuit_breaker={"minimum_calls": 1},
            concurrency={"limit": 1},
        ) as session:
            for url in ("http://10.1.2.3/", "http://private.test/") * 3:
                error = await denied(session, url)
                assert error.attempts == 0
                assert "10.1.2.3" not in str(error) or "10.1.2.3" in url
        assert fake.names == ["private.test"] * 3
        assert fake.sockets == []
        assert observed.value("platform_http_retries_total") == 0
        assert observed.value("platform_http_hedges_total") == 0
        assert observed.value("platform_http_circuit_transitions_total") == 0
        assert observed.value("platform_http_retry_budget_tokens") == 100
        assert observed.value("platform_http_concurrency_in_use") == 0
        assert observed.value("platform_http_calls_total", outcome="rejected") == 6
        rejections = "platform_http_rejections_total"
        assert observed.value(rejections, reason="egress_denied", server_address="") == 6
        assert observed.value(rejections) == 6
        observed.assert_quiet()

    async def test_does_not_hide_what_an_earlier_attempt_got(self, observed: Observed) -> None:
        async with FaultServer([respond(503)]) as server:
            fake = FakeNetwork({"rebind.test": [[HERE], ["127.0.0.1"]]}, {HERE: server.port})
            async with on_fake_network(
                observed,
                fake,
                **PUBLIC,
                retry={"enabled": True},
                dns={"cache_ttl": 0},
                pool={"keepalive": 0},
            ) as session:
                async with session.get("http://rebind.test/") as response:
                    assert response.status == 503
        assert fake.names == ["rebind.test"] * 2
        assert observed.value(DENIED, reason="loopback") == 1

    async def test_names_rule_and_setting_and_never_a_secret(
        self, observed: Observed, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            for url in (
                "http://canary-user:canary-pass@10.1.2.3/canary-path?canary=query#canary-fragment",
                "http://canary-user:canary-pass@here.test/?canary=query",
                "http://canary host/",
            ):
                error = await denied(session, url)
                for text in (str(error), repr(error), caplog.text):
                    assert "canary" not in text
        assert "client 'default'" in str(error)
        assert caplog.records[0].origin == "http://10.1.2.3:80"
        assert caplog.records[0].levelno == logging.WARNING
        assert observed.value(DENIED, reason="userinfo") == 1
        assert observed.value(DENIED, reason="host_syntax") == 1

    async def test_tells_what_to_change(self, observed: Observed) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            error = await denied(session, "http://private.test/?q=1")
            assert str(error) == (
                "a request to http://private.test:80 of client 'default' is refused: its address "
                "is private, which EGRESS__MODE=public refuses; list its network in "
                "EGRESS__ALLOWED_NETWORKS if the service is meant"
            )

    async def test_of_control_characters_comes_before_the_connection(
        self, observed: Observed
    ) -> None:
        fake = FakeNetwork(NAMES)
        url = URL.build(scheme="http", host="here.test", path="/a\r\nX: y", encoded=True)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            assert (await denied(session, url)).reason == "control_character"
        assert fake.names == []


class TestCredentialsInAUrl:
    async def test_are_a_header_in_every_mode_but_public(self, observed: Observed) -> None:
        async with FaultServer() as server, observed.session() as session:
            await session.get(server.url.with_user("user").with_password("pass"))
        assert server.requests[0].headers["Authorization"].startswith("Basic ")

    @pytest.mark.parametrize("userinfo", ["user:pass", "user", ":pass"])
    async def test_are_refused_in_public(self, observed: Observed, userinfo: str) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **PUBLIC) as session:
            error = await denied(session, f"http://{userinfo}@here.test/")
        assert error.reason == "userinfo"
        assert fake.names == []


class TestWithoutEnforcement:
    async def test_everything_is_reached_and_counted_once_per_request(
        self, observed: Observed
    ) -> None:
        script = [respond(), respond(), redirect("http://private.test/"), respond()]
        async with FaultServer(script) as server:
            fake = FakeNetwork(NAMES, {"10.1.2.3": server.port})
            async with on_fake_network(observed, fake, **COUNTING) as session:
                # By its URL; then by its name, in a new connection and in a pooled one.
                for sent, url in enumerate(("http://10.1.2.3/", "http://private.test/"), start=1):
                    async with session.get(url) as response:
                        assert response.status == 200
                    assert observed.value(DENIED, reason="private_observed") == sent
                async with session.get("http://private.test/") as response:
                    assert len(response.history) == 1
                assert observed.value(DENIED, reason="private_observed") == 4
        assert len(server.requests) == 4
        assert observed.value(DENIED) == 4
        assert observed.value("platform_http_calls_total", outcome="success") == 3

    async def test_a_cached_answer_is_counted_by_its_socket(self, observed: Observed) -> None:
        async with FaultServer() as server:
            fake = FakeNetwork(NAMES, {"10.1.2.3": server.port})
            settings = COUNTING | {"pool": {"keepalive": 0}}
            async with on_fake_network(observed, fake, **settings) as session:
                await session.get("http://private.test/")
                await session.get("http://private.test/")
        assert fake.names == ["private.test"]
        assert observed.value(DENIED, reason="private_observed") == 2

    async def test_what_is_admitted_is_not_counted(self, observed: Observed) -> None:
        async with FaultServer() as server:
            fake = FakeNetwork(NAMES, {HERE: server.port})
            async with on_fake_network(observed, fake, **COUNTING) as session:
                await session.get("http://here.test/")
                await session.get("http://here.test/")
        assert observed.value(DENIED) == 0

    @pytest.mark.parametrize("url", ["http://private.test/", "http://10.1.2.3/"])
    async def test_a_failure_stays_the_failure_that_it_is(
        self, observed: Observed, url: str
    ) -> None:
        fake = FakeNetwork(NAMES)
        async with on_fake_network(observed, fake, **COUNTING) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url)
        assert observed.value(DENIED, reason="private_observed") == 1


async def test_a_unix_socket_is_not_judged(observed: Observed, tmp_path) -> None:
    async with FaultServer(path=str(tmp_path / "s")) as server:
        async with observed.session(base_url=str(server.url), **PUBLIC) as session:
            async with session.get("http://10.1.2.3:22/") as response:
                assert response.status == 200


async def test_off_judges_nothing(observed: Observed) -> None:
    fake = FakeNetwork(NAMES)
    async with on_fake_network(observed, fake, egress={"mode": "off"}) as session:
        for url in ("http://169.254.169.254/", "http://meta.test/"):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url)
    assert fake.sockets == ["169.254.169.254"] * 2


async def test_verdicts_are_kept_for_a_bounded_number_of_destinations(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "_CACHE_SIZE", 1024)
    fake = FakeNetwork()
    async with on_fake_network(observed, fake, **PUBLIC) as session:
        for number in range(1100):
            await denied(session, f"http://10.0.{number >> 8}.{number & 255}/")
        guard = session._connector.route.egress
        assert len(guard._verdicts) == 1024
        # The oldest ones went.
        assert next(origin.host for origin in guard._verdicts) == "10.0.0.76"


async def test_a_host_that_is_none_refuses_to_start(observed: Observed) -> None:
    hosts = {"allowed_hosts": ["ok.test", "*.\u200b"], "denied_hosts": ["*.."]}
    with pytest.raises(ConfigurationError) as caught:
        async with observed.factory(egress={"mode": "allowlist", **hosts}):
            pass
    assert caught.value.violations == (
        "EGRESS__ALLOWED_HOSTS: entry 2 is no host name; correct or remove it",
        "EGRESS__DENIED_HOSTS: entry 1 is no host name; correct or remove it",
    )

from __future__ import annotations

import logging

import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings


def test_a_client_differs_from_the_defaults_field_by_field(load):
    settings = load(
        TIMEOUT__TOTAL="20",
        TIMEOUT__READ="7",
        CLIENTS__BILLING__TIMEOUT__TOTAL="30",
        CLIENTS__BILLING__BASE_URL="https://billing.test/v1/",
    )
    billing, other = settings.client("billing"), settings.client("other")
    assert (billing.timeout.total, billing.timeout.read) == (30, 7)
    assert (other.timeout.total, other.timeout.read) == (20, 7)
    assert billing.base_url is not None
    assert other.base_url is None


def test_a_value_of_a_client_beats_a_default_from_a_stronger_source(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL", "30")
    settings = HttpSettings(timeout={"total": 20})
    assert settings.client("billing").timeout.total == 30
    assert settings.client("other").timeout.total == 20


def test_one_client_is_configured_by_several_sources(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING_API__TIMEOUT__TOTAL", "30")
    settings = HttpSettings(clients={"billing-api": {"timeout": {"read": 3}}})
    timeout = settings.client("billing-api").timeout
    assert (timeout.total, timeout.read) == (30, 3)
    assert settings.client_names == ("billing_api",)


def test_names_are_the_same_in_any_case_and_with_dash_or_underscore(load):
    settings = load(CLIENTS__Billing_API__TIMEOUT__TOTAL="30")
    first = settings.client("billing-api")
    assert first.name == "billing_api"
    assert settings.client("billing_api") is first
    assert settings.client("BILLING-API") is first
    assert first.timeout.total == 30


def test_a_name_spelled_with_dash_and_underscore_refuses():
    with pytest.raises(ConfigurationError, match="also there with - for _"):
        HttpSettings(clients={"billing-api": {}, "billing_api": {}})


def test_a_name_spelled_with_dash_and_underscore_refuses_in_variables(violations):
    lines = violations(**{"CLIENTS__A-B__TIMEOUT__TOTAL": "1", "CLIENTS__A_B__TIMEOUT__READ": "1"})
    assert len(lines) == 1
    assert "also there with - for _" in lines[0]


@pytest.mark.parametrize("name", ["1a", "_a", "a.b", "ä", "", "a b"])
def test_an_impossible_name_refuses(name):
    with pytest.raises(ConfigurationError, match="impossible client"):
        HttpSettings(clients={name: {}})
    with pytest.raises(ConfigurationError, match="a client name"):
        HttpSettings().client(name)


def test_an_impossible_name_refuses_in_variables(violations):
    (line,) = violations(CLIENTS__1A__TIMEOUT__TOTAL="1")
    assert line.startswith("PLATFORM_HTTP_CLIENTS__1A__TIMEOUT__TOTAL names an impossible client")


def test_a_name_without_settings_uses_the_defaults_and_says_so_once(load, caplog):
    settings = load(TIMEOUT__TOTAL="20", CLIENTS__BILLING__TIMEOUT__TOTAL="30")
    with caplog.at_level(logging.INFO, "platform_http"):
        for name in ("orders", "Orders", "billing", "default"):
            settings.client(name)
    assert settings.client("orders").timeout.total == 20
    assert settings.client("orders").name == "orders"
    assert [record.getMessage() for record in caplog.records] == [
        "client orders has no settings of its own and uses the defaults"
    ]
    assert caplog.records[0].levelno == logging.INFO


def test_only_clients_with_settings_of_their_own_are_listed(load):
    settings = load(CLIENTS__ORDERS__TIMEOUT__TOTAL="20", CLIENTS__BILLING__TIMEOUT__TOTAL="30")
    settings.client("other")
    assert settings.client_names == ("billing", "orders")
    assert repr(settings) == "HttpSettings(client_names=('billing', 'orders'))"


def test_the_client_named_default_may_have_settings_of_its_own(load):
    settings = load(CLIENTS__DEFAULT__TIMEOUT__TOTAL="20")
    assert settings.client().timeout.total == 20
    assert settings.client("other").timeout.total == 10


def test_every_client_is_checked_with_the_defaults_that_it_inherits(violations):
    (line,) = violations(TIMEOUT__ATTEMPT="3", CLIENTS__BILLING__TIMEOUT__TOTAL="2")
    assert line == (
        "PLATFORM_HTTP_TIMEOUT__ATTEMPT is longer than "
        "PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL; lower the first or raise the second"
    )


def test_what_is_wrong_with_the_defaults_is_told_once(violations):
    lines = violations(
        TLS__VERIFY="false",
        TIMEOUT__READ="x",
        CLIENTS__A__POOL__LIMIT="3",
        CLIENTS__B__POOL__LIMIT="3",
    )
    assert len(lines) == 2


def test_a_client_that_contradicts_itself_is_told_its_own_variable(violations):
    (line,) = violations(CLIENTS__A__TLS__VERIFY="false")
    assert "PLATFORM_HTTP_CLIENTS__A__TLS__ALLOW_INSECURE" in line


def test_an_inherited_proxy_is_switched_off_with_its_credentials(load):
    settings = load(
        PROXY__URL="http://proxy.test",
        PROXY__USERNAME="u",
        PROXY__PASSWORD="p",
        CLIENTS__A__PROXY__URL="none",
    )
    assert settings.client("a").proxy.url is None
    assert settings.origin_of("a", "proxy.url").endswith("CLIENTS__A__PROXY__URL")
    assert settings.origin_of("a", "proxy.username") == "environment PLATFORM_HTTP_PROXY__USERNAME"


def test_asking_for_the_origin_of_what_does_not_exist_is_an_error():
    settings = HttpSettings()
    with pytest.raises(KeyError):
        settings.origin_of("default", "timeout.nothing")
    with pytest.raises(ConfigurationError):
        settings.origin_of("1", "timeout.total")


def test_resolved_settings_are_frozen():
    client = HttpSettings(headers={"A": "b"}).client()
    with pytest.raises(ValueError, match="frozen"):
        client.timeout.total = 3  # type: ignore[misc]  # what the type forbids is the test
    with pytest.raises(TypeError):
        client.headers["A"] = "c"  # type: ignore[index]  # as above

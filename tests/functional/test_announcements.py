"""What a factory says about its settings when it is entered."""

from __future__ import annotations

import logging

import pytest

from tests.functional.conftest import Observed

LOOSENED = {
    "TLS__VERIFY": {"tls": {"verify": False, "allow_insecure": True}},
    "COOKIES__UNSAFE": {"cookies": {"enabled": True, "unsafe": True}},
    "EGRESS__MODE": {"egress": {"mode": "off"}},
    "EGRESS__ENFORCE": {"egress": {"enforce": False}},
    "EGRESS__TRUST_PROXY": {"egress": {"mode": "public", "trust_proxy": True}},
    "REDIRECTS__MODE": {"redirects": {"mode": "follow"}},
    "BASE_URL": {"base_url": "http://api.test/", "auth": {"scheme": "bearer", "token": "t"}},
    "AUTH__TOKEN_URL": {
        "base_url": "https://api.test/",
        "auth": {
            "scheme": "oauth2_client_credentials",
            "token_url": "http://login.test/token",
            "client_id": "c",
            "client_secret": "s",
        },
    },
    "WEB__STATUS_HOST": {"web": {"status_page": True, "status_host": "0.0.0.0"}},
}
EXPORTED = "platform_http_insecure_settings"


def _warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.client, record.setting)
        for record in caplog.records
        if record.levelno == logging.WARNING and hasattr(record, "setting")
    ]


@pytest.mark.parametrize("setting", LOOSENED)
async def test_an_insecure_setting_is_logged_and_exported_before_the_first_session(
    observed: Observed, caplog: pytest.LogCaptureFixture, setting: str
) -> None:
    async with observed.factory(**LOOSENED[setting]) as factory:
        assert _warnings(caplog) == [("default", setting)]
        assert observed.value(EXPORTED, client="default", setting=setting) == 1
        assert observed.value(EXPORTED) == 1
        factory.session()
        assert len(_warnings(caplog)) == 1


async def test_an_insecure_setting_of_one_client_is_its_own(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    async with observed.factory(clients={"billing-api": LOOSENED["TLS__VERIFY"]}):
        assert _warnings(caplog) == [("billing_api", "TLS__VERIFY")]
        assert observed.value(EXPORTED, client="default") == 0


async def test_a_client_without_settings_of_its_own_inherits_what_is_insecure(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    async with observed.factory(**LOOSENED["TLS__VERIFY"]) as factory:
        factory.session("reports")
    assert _warnings(caplog) == [("default", "TLS__VERIFY"), ("reports", "TLS__VERIFY")]


async def test_safe_settings_are_not_announced(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    loopback = {"base_url": "http://127.0.0.1:1/", "auth": {"scheme": "bearer", "token": "t"}}
    in_the_clear = {"base_url": "http://api.test/"}
    async with observed.factory(clients={"loopback": loopback, "in-the-clear": in_the_clear}):
        pass
    assert _warnings(caplog) == []
    assert observed.value(EXPORTED) == 0


async def test_the_settings_of_every_client_are_logged_once(
    observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "platform_http")
    clients = {"billing": {"timeout": {"total": 7}, "headers": {"X-Key": "header-secret"}}}
    async with observed.factory(clients=clients) as factory:
        factory.session("billing")
    totals = [
        (record.client, record.timeout_total)
        for record in caplog.records
        if hasattr(record, "timeout_total")
    ]
    assert totals == [("default", 10), ("billing", 7)]
    assert "header-secret" not in caplog.text

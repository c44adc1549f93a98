"""What goes wrong beside a call tells no secret of it: hooks, warnings, programs, settings."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Mapping

import aiohttp
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from platform_http.errors import ConfigurationError
from platform_http.factory import SessionFactory
from platform_http.settings import HttpSettings
from platform_http.telemetry.observer import ClientTelemetry
from platform_http.telemetry.session_series import SessionSeries
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.security.canaries import CANARIES, found_in
from tests.security.stage import BODY, HEADERS, PROXY_LOGIN, answer, planted, stage
from tests.security.witness import witness


class TestAHookThatFails:
    @pytest.mark.parametrize(
        ("owner", "hook"), [(SessionSeries, "call_ended"), (ClientTelemetry, "_new_record")]
    )
    async def test_within_our_telemetry_is_logged_by_its_type(
        self, monkeypatch: pytest.MonkeyPatch, owner: type, hook: str
    ) -> None:
        def fail(*arguments: object) -> None:
            raise RuntimeError(CANARIES["query"], arguments)

        monkeypatch.setattr(owner, hook, fail)
        async with FaultServer([answer()]) as server, stage() as made:
            assert await made.call(server.url) == 200
            assert "RuntimeError" in str([each.getMessage() for each in made.heard.records])
            assert made.heard.observed.value("platform_http_telemetry_errors_total")

    async def test_within_a_span_processor_is_logged_by_its_type(self) -> None:
        class Broken(SpanProcessor):
            def on_start(self, span, parent_context=None) -> None:
                raise RuntimeError(CANARIES["query"])

        async with FaultServer([answer()]) as server, stage() as made:
            made.heard.observed.provider.add_span_processor(Broken())
            assert await made.call(server.url) == 200

    @pytest.mark.parametrize(
        "signal", ["on_request_start", "on_request_end", "on_request_exception"]
    )
    async def test_of_the_application_fails_the_call_with_its_own_words(self, signal: str) -> None:
        async def fail(session, context, params) -> None:
            raise RuntimeError("my own words")

        config = aiohttp.TraceConfig()
        getattr(config, signal).append(fail)
        script = [answer(503 if signal == "on_request_exception" else 200)]
        async with FaultServer(script) as server, stage(trace_configs=(config,)) as made:
            ended = await made.call(server.url, raise_for_status=True)
            assert ended is RuntimeError


class TestAWarning:
    async def test_of_a_session_that_nobody_closed(self) -> None:
        async with FaultServer([answer()]) as server, stage() as made:
            assert await made.call(server.url) == 200
            connector = made.session.connector
            made.factory._sessions.clear()
            made.factory._clients.clear()
            made.session = None
            gc.collect()
            await connector.close()
            heard = made.heard
        assert any("Unclosed client session" in str(each.message) for each in heard.warned)
        assert any("Unclosed client session" in each.getMessage() for each in heard.records)

    async def test_of_a_response_that_nobody_closed(self) -> None:
        body = respond(headers={"Set-Cookie": CANARIES["answer-cookie"]}, body=BODY * 100_000)
        async with FaultServer([body]) as server, stage(timeout={"total": 0.5}) as made:
            response = await made.session.post(planted(server.url), headers=HEADERS, data=BODY)
            # Its buffer and its timer refer to it for as long as the connection lives.
            made.heard.show("response", response)
            response.__del__()
            response.close()
            heard = made.heard
        assert any("Unclosed response" in each.getMessage() for each in heard.records)

    async def test_of_a_connection_that_nobody_closed(self) -> None:
        async with FaultServer([respond(body=BODY * 100_000)]) as proxy:
            login = proxy.url.with_user(PROXY_LOGIN["user"]).with_password(PROXY_LOGIN["password"])
            way = {"url": str(login), "no_proxy": []}
            async with stage(proxy=way, timeout={"total": 0.5}) as made:
                url = planted(proxy.url.with_host("target.test"))
                response = await made.session.get(url, headers=HEADERS)
                response.connection.__del__()
                response.close()
                heard = made.heard
        assert any("Unclosed connection" in each.getMessage() for each in heard.records)


def _environment() -> dict[str, str]:
    """Return variables that put a secret wherever a setting may hold one."""
    values: Mapping[str, str] = {
        "CLIENTS__E__BASE_URL": (
            f"https://{CANARIES['base-url-user']}:{CANARIES['base-url-password']}@api.test/"
        ),
        "HEADERS": json.dumps({"X-Api-Key": CANARIES["settings-header"]}),
        "PROXY__URL": f"http://{CANARIES['proxy-user']}:{CANARIES['proxy-password']}@proxy.test",
        "CLIENTS__A__AUTH__SCHEME": "bearer",
        "CLIENTS__A__AUTH__TOKEN": CANARIES["token"],
        "CLIENTS__B__AUTH__SCHEME": "basic",
        "CLIENTS__B__AUTH__USERNAME": "me",
        "CLIENTS__B__AUTH__PASSWORD": CANARIES["auth-password"],
        "CLIENTS__C__AUTH__SCHEME": "oauth2_client_credentials",
        "CLIENTS__C__AUTH__TOKEN_URL": "https://tokens.test/",
        "CLIENTS__C__AUTH__CLIENT_ID": "c",
        "CLIENTS__C__AUTH__CLIENT_SECRET": CANARIES["client-secret"],
        "CLIENTS__D__RATE_LIMIT__RATE": "5",
        "CLIENTS__D__RATE_LIMIT__FALLBACK_RATE": "5",
        "CLIENTS__D__RATE_LIMIT__STORE": f"redis://:{CANARIES['auth-password']}@redis.test",
    }
    return {f"PLATFORM_HTTP_{name}": value for name, value in values.items()}


class TestSettings:
    def test_of_every_scheme_are_listed_and_dumped_without_secrets(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in _environment().items():
            monkeypatch.setenv(name, value)
        with witness() as heard:
            settings = HttpSettings()
            for name in ("default", *settings.client_names):
                client = settings.client(name)
                heard.show("settings", client, client.auth, client.model_dump())
                heard.show("settings", client.model_dump_json(), client.model_dump(mode="json"))
            heard.show("settings", settings)
        assert settings.client_names
        assert not found_in(heard.texts())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"TIMEOUT__TOTAL": CANARIES["token"]},
            {"TIMOUT__TOTAL": CANARIES["token"]},
            {"CLIENTS__A__AUTH__SCHEME": "basic"},
            {"CLIENTS__A__AUTH__TOKEN": f"{CANARIES['token']}\n"},
            {"CLIENTS__C__AUTH__TOKEN_URL": f"ftp://{CANARIES['client-secret']}@x.test/"},
            {"CLIENTS__D__RATE_LIMIT__STORE": f"mysql://:{CANARIES['auth-password']}@x.test"},
            {"HEADERS": CANARIES["settings-header"]},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_that_are_wrong_do_not_start_and_are_not_quoted(
        self, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
    ) -> None:
        prefixed = {f"PLATFORM_HTTP_{name}": value for name, value in wrong.items()}
        for name, value in (_environment() | prefixed).items():
            monkeypatch.setenv(name, value)
        with witness() as heard:
            with pytest.raises(ConfigurationError) as caught:
                await SessionFactory().__aenter__()
            heard.errors.append(caught.value)
        assert not found_in(heard.texts())

    @pytest.mark.parametrize(
        "command",
        [
            ["config"],
            ["config", "--json"],
            ["config", "--client", "a"],
            ["simulate", "outage", "--calls", "500", "--clients", "5"],
        ],
        ids=" ".join,
    )
    @pytest.mark.parametrize("wrong", [{}, {"PLATFORM_HTTP_TIMEOUT__TOTAL": CANARIES["token"]}])
    def test_are_not_told_by_our_programs(self, command: list[str], wrong: dict[str, str]) -> None:
        finished = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "platform_http", *command],
            env=_environment() | wrong,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not found_in([("output", finished.stdout), ("errors", finished.stderr)])
        assert finished.returncode == (2 if wrong else 0), finished.stderr


@pytest.mark.parametrize("protocol", ["http/protobuf", CANARIES["header"]], ids=["", "unknown"])
def test_the_set_up_of_telemetry_tells_no_secret_of_its_exporter(protocol: str) -> None:
    login = f"{CANARIES['url-user']}:{CANARIES['url-password']}"
    script = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from platform_http import configure_telemetry\n"
        "telemetry = configure_telemetry('service')\n"
        "from opentelemetry import trace\n"
        "trace.get_tracer('x').start_span('y').end()\n"
        "print(repr(telemetry)); telemetry.shutdown()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{login}@127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={CANARIES['header']}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = found_in([("output", finished.stdout), ("errors", finished.stderr)])
    assert not told, "\n".join(told)
    assert finished.stdout or finished.stderr

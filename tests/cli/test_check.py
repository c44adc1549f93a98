"""``platform-http check`` against real servers, certificates, proxies and sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import socket
import ssl
import sys
import threading

import jsonschema
import pytest
import trustme
from typer.testing import CliRunner

from platform_http.cli import build_app
from platform_http.cli.check import on_paper
from platform_http.cli.check.report import Report
from platform_http.testing import FaultServer, black_hole
from platform_http.testing.actions import close, respond
from tests.certificates import Certificates
from tests.cli.in_thread import run
from tests.functional.test_rate_limit import redis_server
from tests.servers import free_port, recording_proxy

CANARY = "c4naryc4nary"


@pytest.fixture
def configure(monkeypatch):
    """Set variables of the client ``api``."""

    def set_variables(client: str = "API", **variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"PLATFORM_HTTP_CLIENTS__{client}__{name}", str(value))

    return set_variables


async def _check(*arguments: object):
    result = await run("check", "--json", *arguments)
    report = json.loads(result.stdout)
    jsonschema.validate(report, Report.model_json_schema())
    items = {
        f"{item['client'] or ''}.{item['name']}".removeprefix("api."): item
        for item in report["items"]
    }
    return result, report, items


def _context(ca: trustme.CA, name: str, days: float) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    ca.issue_cert(name, not_after=ends).configure_cert(context)
    return context


async def test_a_client_that_can_connect_is_ok_and_nothing_is_sent(configure) -> None:
    async with FaultServer() as server:
        configure(BASE_URL=server.url)
        result, report, items = await _check()
    assert result.exit_code == 0, result.output
    assert report["status"] == "ok"
    assert items["connection"]["detail"].startswith(f"127.0.0.1 port {server.port} in ")
    assert items["dns"]["status"] == items["egress"]["status"] == "ok"
    assert items[".versions"]["detail"].startswith("platform_http ")
    assert "llhttp" in items[".parser"]["detail"]
    assert items["default.connection"]["detail"].startswith("no BASE_URL")
    assert server.requests == []
    assert server.malformed == []


async def test_a_request_is_sent_when_asked_for(configure) -> None:
    async with FaultServer([respond(404), respond(503), respond(401)]) as server:
        configure(BASE_URL=f"{server.url}v1/")
        found = [await _check("--send") for _ in range(3)]
    assert [items["request"]["status"] for _, _, items in found] == ["ok", "warning", "warning"]
    assert [(each.method, each.target) for each in server.requests] == [("HEAD", "/v1/")] * 3


async def test_a_refused_port_is_a_failure_with_a_remedy(configure) -> None:
    configure(BASE_URL=f"http://127.0.0.1:{free_port()}/")
    result, _, items = await _check()
    assert result.exit_code == 1
    assert items["connection"]["status"] == "failure"
    assert "connection_error" in items["connection"]["detail"]
    assert "BASE_URL" in items["connection"]["remedy"]


async def test_a_hanging_client_is_bounded_and_holds_no_other_up(configure) -> None:
    with black_hole() as port:
        async with FaultServer() as server:
            configure(BASE_URL=f"http://127.0.0.1:{port}/", TIMEOUT__CONNECT="none")
            configure("OTHER", BASE_URL=server.url)
            async with asyncio.timeout(5):
                result, _, items = await _check("--timeout", "0.3")
    assert result.exit_code == 1
    assert items["connection"]["status"] == "failure"
    assert items["other.connection"]["status"] == "ok"


async def test_a_request_that_fails_and_a_policy_that_only_counts_are_told(configure) -> None:
    async with FaultServer([close()]) as server:
        configure(BASE_URL=server.url)
        configure(EGRESS__DENIED_HOSTS="127.0.0.1", EGRESS__ENFORCE="false")
        _, _, items = await _check("--send")
    assert items["egress"]["status"] == "warning"
    assert items["connection"]["status"] == "ok"
    assert items["request"]["status"] == "failure"
    assert items["request"]["detail"].startswith("response_ended")


async def test_a_step_that_never_ends_is_named(configure) -> None:
    with black_hole() as port:
        configure(BASE_URL="http://127.0.0.1:1/", PROXY__URL=f"http://127.0.0.1:{port}")
        _, _, items = await _check("--timeout", "0.2")
    assert items["proxy"]["status"] == "failure"
    assert "0.2 s" in items["proxy"]["detail"]


@pytest.mark.parametrize("command", [("check",), ("request", "GET", "", "--client", "api")])
async def test_a_resolver_that_hangs_holds_up_no_output(configure, monkeypatch, command) -> None:
    over = threading.Event()
    waited_in_vain: list[bool] = []

    def hang(*_, **__):
        waited_in_vain.append(not over.wait(8))
        raise OSError("over")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    configure(BASE_URL="http://slow.invalid/")
    result = await run(*command, "--timeout", "0.2")
    assert result.exit_code == 1
    assert not waited_in_vain
    over.set()


async def test_a_name_that_does_not_resolve_and_a_destination_that_is_refused_fail(
    configure,
) -> None:
    configure(BASE_URL="https://no-such-host.invalid/")
    configure("METADATA", BASE_URL="http://169.254.169.254/")
    _, _, items = await _check()
    assert items["dns"]["status"] == "failure"
    assert "connection" not in items
    assert items["metadata.egress"]["status"] == "failure"
    assert "link-local" in items["metadata.egress"]["detail"]


async def test_an_address_that_is_refused_only_when_connecting_is_a_failure(configure) -> None:
    async with FaultServer() as server:
        configure(BASE_URL=f"http://localhost:{server.port}/", EGRESS__MODE="public")
        configure(EGRESS__ALLOWED_PORTS=f"[{server.port}]")
        _, _, items = await _check()
    assert "egress_denied" in items["connection"]["detail"]
    assert "EGRESS__" in items["connection"]["remedy"]


@pytest.mark.parametrize(("days", "status"), [(100, "ok"), (3.5, "warning")])
async def test_a_servers_certificate_that_ends_soon_is_a_warning(
    configure, tmp_path, days, status
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with FaultServer(ssl_context=_context(ca, "127.0.0.1", days)) as server:
        configure(BASE_URL=server.url, TLS__CA_FILE=tmp_path / "ca.pem")
        result, report, items = await _check("--client", "api")
        strict, _, _ = await _check("--strict", "--client", "api")
    assert items["server_certificate"]["status"] == status
    assert "TLSv1.3" in items["connection"]["detail"]
    assert (result.exit_code, report["status"]) == (0, status)
    assert strict.exit_code == (0 if status == "ok" else 1)


@pytest.mark.parametrize(
    ("name", "expired", "said"),
    [("127.0.0.1", True, "expired"), ("other.example", False, "127.0.0.1")],
)
async def test_a_servers_certificate_that_cannot_be_trusted_is_a_failure(
    configure, tmp_path, name, expired, said
) -> None:
    certificates = Certificates(tmp_path)
    context = certificates.server(name, expired=expired)
    async with FaultServer(ssl_context=context) as server:
        configure(BASE_URL=server.url, TLS__CA_FILE=certificates.ca_file)
        result, _, items = await _check()
    assert result.exit_code == 1
    assert items["connection"]["detail"].startswith("secure_connection_error")
    assert said in items["connection"]["detail"]


async def test_the_ends_of_the_clients_own_files_are_told(configure, tmp_path) -> None:
    certificates = Certificates(tmp_path)
    files = certificates.files("old.example", expired=True)
    configure(TLS__CA_FILE=certificates.ca_file)
    configure(TLS__CERT_FILE=files.cert, TLS__KEY_FILE=files.key)
    result, _, items = await _check()
    assert result.exit_code == 1
    assert items["authorities"]["status"] == "ok"
    assert items["client_certificate"]["status"] == "failure"
    assert "2020" in items["client_certificate"]["detail"]


async def test_authorities_that_ended_beside_others_are_a_warning(configure, tmp_path) -> None:
    certificates = Certificates(tmp_path)
    old = certificates.files("old.example", expired=True)
    broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.ca_pem + old.cert.read_bytes())
    assert len(on_paper._ends(both)) == 2
    configure(TLS__CA_FILE=both)
    result, _, items = await _check()
    assert result.exit_code == 0
    assert items["authorities"]["status"] == "warning"
    assert "1 of 2" in items["authorities"]["detail"]
    both.write_text(broken)
    assert on_paper._ends(both) == []


async def test_a_proxy_is_named_and_carries_the_handshake(configure, tmp_path) -> None:
    certificates = Certificates(tmp_path)
    async with (
        FaultServer(ssl_context=certificates.server("127.0.0.1")) as server,
        recording_proxy() as proxy,
    ):
        configure(BASE_URL=server.url, TLS__CA_FILE=certificates.ca_file)
        configure(PROXY__URL=f"http://user:{CANARY}@127.0.0.1:{proxy.port}")
        result, _, items = await _check()
    assert items["proxy"]["detail"].startswith(f"through http://127.0.0.1:{proxy.port}")
    assert items["connection"]["status"] == items["server_certificate"]["status"] == "ok"
    assert [head.split()[0] for head in proxy.heads] == ["CONNECT"]
    assert server.requests == []
    assert CANARY not in result.output


async def test_a_proxy_that_is_away_is_a_failure(configure) -> None:
    configure(BASE_URL="http://127.0.0.1:1/", PROXY__URL=f"http://127.0.0.1:{free_port()}")
    result, _, items = await _check()
    assert result.exit_code == 1
    assert items["proxy"]["status"] == "failure"
    assert "connection" not in items


async def test_a_unix_socket_is_reached_by_its_path(configure, tmp_path) -> None:
    path = str(tmp_path / "api.sock")
    async with FaultServer(path=path) as server:
        configure(BASE_URL=f"http+unix://{path.replace('/', '%2F')}/v1/")
        result, _, items = await _check("--send")
    assert result.exit_code == 0, result.output
    assert items["connection"]["detail"].startswith(path)
    assert [each.target for each in server.requests] == ["/v1/"]


async def test_a_shared_store_is_asked_whether_it_is_there(configure, tmp_path) -> None:
    port = free_port()
    async with FaultServer() as server:
        configure(BASE_URL=server.url, RATE_LIMIT__RATE=5, RATE_LIMIT__FALLBACK_RATE=1)
        configure(RATE_LIMIT__STORE=f"redis://:{CANARY}@127.0.0.1:{port}/0")
        away, _, items = await _check()
        configure(RATE_LIMIT__STORE=f"redis://127.0.0.1:{port}/0")
        async with redis_server(port, tmp_path):
            _, _, there = await _check()
    assert items["rate_limit_store"]["status"] == "failure"
    assert CANARY not in away.output
    assert there["rate_limit_store"]["status"] == "ok"


async def test_insecure_settings_and_credentials_are_listed(configure) -> None:
    async with FaultServer() as server:
        configure(BASE_URL=server.url, EGRESS__MODE="off")
        configure(AUTH__SCHEME="bearer", AUTH__TOKEN=CANARY)
        result, report, items = await _check()
    assert report["status"] == "warning"
    assert "EGRESS__MODE" in items["settings"]["detail"]
    assert items["egress"]["detail"] == "the policy is off"
    assert items["auth"]["detail"].startswith("bearer")
    assert CANARY not in result.output


async def test_one_client_can_be_asked_for(configure) -> None:
    configure(BASE_URL="http://127.0.0.1:1/")
    result, report, _ = await _check("--client", "another")
    assert result.exit_code == 0
    assert {item["client"] for item in report["items"]} == {None, "another"}
    assert "no settings of its own" in result.stderr


def test_invalid_settings_are_listed_in_text_and_json(configure) -> None:
    configure(TIMEOUT__TOTAL="soon", POOL__LIMIT=-1)
    text = CliRunner().invoke(build_app(), ["check"])
    machine = CliRunner().invoke(build_app(), ["check", "--json"])
    assert (text.exit_code, machine.exit_code) == (2, 2)
    assert "invalid: PLATFORM_HTTP_CLIENTS__API__TIMEOUT__TOTAL" in text.stdout
    assert len(json.loads(machine.stdout)["violations"]) == 2
    assert json.loads(machine.stdout)["status"] == "failure"


def test_files_that_cannot_be_used_are_an_invalid_configuration(configure, tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    configure(TLS__CA_FILE=tmp_path / "ca.pem")
    result = CliRunner().invoke(build_app(), ["check"])
    assert result.exit_code == 2
    assert "TLS__CA_FILE" in result.stdout


def test_nothing_is_cut_off_where_the_terminal_is_narrow(monkeypatch) -> None:
    monkeypatch.setattr("platform_http.cli.check.command._PIPE_WIDTH", 20)
    result = CliRunner().invoke(build_app(), ["check"])
    assert result.stdout.startswith("ok")
    assert "…" not in result.stdout


async def test_the_text_names_every_item_and_is_plain_when_piped(configure) -> None:
    configure(BASE_URL=f"http://127.0.0.1:{free_port()}/")
    result = await run("check")
    lines = result.stdout.splitlines()
    assert any(line.split()[:3] == ["failure", "api", "connection"] for line in lines)
    assert "\x1b" not in result.stdout


def test_the_schema_is_printed() -> None:
    result = CliRunner().invoke(build_app(), ["check", "--schema"])
    assert json.loads(result.stdout) == Report.model_json_schema()


async def test_a_parser_in_python_is_a_warning() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "platform_http", "check", "--json", "--strict"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
    )
    out, _ = await process.communicate()
    [item] = [item for item in json.loads(out)["items"] if item["name"] == "parser"]
    assert item["status"] == "warning"
    assert process.returncode == 1

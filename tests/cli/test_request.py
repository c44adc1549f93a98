"""``platform-http request`` against real servers."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import sys

import jsonschema
import pytest
from typer.testing import CliRunner

from platform_http.cli import build_app
from platform_http.cli.request.report import Report
from platform_http.testing import FaultServer, black_hole
from platform_http.testing.actions import (
    close,
    delay,
    hang,
    partial_body,
    reset,
    respond,
)
from tests.certificates import Certificates
from tests.cli.in_thread import run

CANARY = "c4naryc4nary"


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__BACKOFF_INITIAL", "0.02")


def _report(result) -> dict:
    report = json.loads(result.stdout)
    jsonschema.validate(report, Report.model_json_schema())
    return report


def _phases(attempt) -> list[str]:
    return [phase["name"] for phase in attempt["phases"]]


async def test_a_call_is_reported_from_its_start_to_the_end_of_its_body() -> None:
    async with FaultServer([delay(0.03, respond(200, body=b"hello"))]) as server:
        result = await run("request", "get", server.url, "--json")
    assert result.exit_code == 0, result.output
    report = _report(result)
    assert (report["outcome"], report["status"], report["response_bytes"]) == ("success", 200, 5)
    [attempt] = report["attempts"]
    assert _phases(attempt) == ["connect", "ttfb", "body"]
    assert attempt["phases"][1]["duration"] >= 0.03
    assert attempt["peer"] == f"127.0.0.1:{server.port}"
    assert report["duration"] >= attempt["duration"] >= 0.03
    assert report["deadline"] == 10
    assert report["remaining"] == pytest.approx(10 - report["duration"], abs=1e-4)


async def test_a_resend_shows_the_backoff_and_its_reason() -> None:
    async with FaultServer([respond(503), reset(), respond(200)]) as server:
        report = _report(await run("request", "GET", server.url, "--json"))
    assert [each["resend_reason"] for each in report["attempts"]] == [
        None,
        "503",
        "connection_error",
    ]
    backoffs = [wait for wait in report["waits"] if wait["name"] == "backoff"]
    assert [wait["before"] for wait in backoffs] == [2, 3]
    for wait, attempt in zip(backoffs, report["attempts"][1:], strict=True):
        assert wait["start"] + wait["duration"] <= attempt["start"] + 1e-5


async def test_a_client_with_every_policy_off_is_called_all_the_same(monkeypatch) -> None:
    off = {
        "TELEMETRY__TRACES": "false",
        "TELEMETRY__METRICS": "false",
        "RETRY__ENABLED": "false",
        "CIRCUIT_BREAKER__MODE": "off",
        "CONCURRENCY__LIMIT": "0",
        "PROPAGATION__ENABLED": "false",
        "EGRESS__MODE": "off",
        "REDIRECTS__MODE": "follow",
        "REDIRECTS__MAX": "10",
        "TIMEOUT__ATTEMPT": "none",
        "TIMEOUT__TOTAL": "none",
        "TIMEOUT__READ": "none",
        "TIMEOUT__POOL": "none",
    }
    for name, value in off.items():
        monkeypatch.setenv(f"PLATFORM_HTTP_{name}", value)
    async with FaultServer([respond(200, body=b"x"), respond(503)]) as server:
        report = _report(await run("request", "GET", server.url, "--json"))
        failed = await run("request", "GET", server.url)
        monkeypatch.setenv("PLATFORM_HTTP_BASE_URL", str(server.url))
        checked = await run("check")
    assert (report["outcome"], report["status"], report["attempts"]) == ("success", 200, [])
    assert report["duration"] > 0
    assert failed.exit_code == 1
    assert checked.exit_code == 0, checked.output


async def test_a_redirect_shows_its_hops_without_their_secrets() -> None:
    def answer(request):
        if request.target.startswith("/next"):
            return respond(200)
        return respond(302, headers={"Location": f"/next?token={CANARY}"})

    async with FaultServer(answer) as server:
        result = await run("request", "GET", f"{server.url}?sig={CANARY}", "--include")
        report = _report(await run("request", "GET", f"{server.url}?sig={CANARY}", "--json"))
    assert [attempt["hop"] for attempt in report["attempts"]] == [1, 2]
    assert report["url"].endswith("?sig=REDACTED")
    assert "redirect to " in result.stdout
    assert CANARY not in result.output + json.dumps(report)


async def test_phases_of_a_name_tell_its_resolution_from_the_connection(monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_DNS__HAPPY_EYEBALLS_DELAY", "none")
    async with FaultServer() as server:
        report = _report(await run("request", "GET", f"http://localhost:{server.port}", "--json"))
    dns, connect, *_ = report["attempts"][0]["phases"]
    assert (dns["name"], connect["name"]) == ("dns", "connect")
    assert connect["start"] >= dns["start"] + dns["duration"] - 1e-5


async def test_a_connection_that_is_never_made_is_a_phase_without_an_end() -> None:
    with black_hole() as port:
        result = await run(
            "request", "GET", f"http://127.0.0.1:{port}", "--json", "--timeout", "0.3"
        )
    assert result.exit_code == 1
    report = _report(result)
    assert report["outcome"] == "error"
    assert report["attempts"][-1]["phases"][-1]["name"] == "connect"
    assert report["attempts"][-1]["phases"][-1]["duration"] > 0


async def test_a_failed_body_is_the_failure_of_the_call() -> None:
    async with FaultServer([partial_body(b"half", content_length=100)]) as server:
        result = await run("request", "GET", server.url, "--json")
    assert result.exit_code == 1
    report = _report(result)
    assert (report["status"], report["error_type"]) == (200, "payload_error")
    assert report["response_bytes"] == 4
    assert report["attempts"][0]["error_type"] == "payload_error"


async def test_the_last_attempt_says_why_there_is_no_other() -> None:
    async with FaultServer([respond(503)]) as server:
        result = await run("request", "GET", server.url, "--attempts", "2", "--json")
        posted = await run("request", "POST", server.url, "--json", "--data", "x")
    assert result.exit_code == 1
    assert _report(result)["stop_reason"] == "exhausted"
    assert len(_report(result)["attempts"]) == 2
    assert _report(posted)["stop_reason"] == "not_idempotent"


async def test_a_refused_call_is_rejected_and_sends_nothing() -> None:
    result = await run("request", "GET", "http://169.254.169.254/", "--json")
    assert result.exit_code == 1
    report = _report(result)
    assert (report["outcome"], report["error_type"]) == ("rejected", "egress_denied")
    assert report["attempts"] == []


async def test_a_relative_url_that_is_refused_is_shown_as_it_would_have_been(monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__META__BASE_URL", "http://169.254.169.254/latest/")
    result = await run("request", "GET", f"data?token={CANARY}", "--client", "meta", "--json")
    assert _report(result)["url"] == "http://169.254.169.254/latest/data?token=REDACTED"
    assert CANARY not in result.output


async def test_a_client_without_settings_of_its_own_is_named() -> None:
    async with FaultServer() as server:
        result = await run("request", "GET", server.url, "--client", "typo")
    assert result.exit_code == 0
    assert "client typo has no settings of its own" in result.stderr


async def test_a_hedge_and_the_attempt_that_it_replaced_are_both_shown(monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_HEDGING__ENABLED", "true")
    monkeypatch.setenv("PLATFORM_HTTP_HEDGING__DELAY", "0.05")
    monkeypatch.setenv("PLATFORM_HTTP_HEDGING__MAX_RATIO", "1")
    async with FaultServer([hang(), respond(200)]) as server:
        report = _report(await run("request", "GET", server.url, "--json"))
    first, second = report["attempts"]
    assert report["hedge"] == "won"
    assert (first["cancelled"], second["status"]) == (True, 200)
    assert second["start"] < first["start"] + first["duration"]
    assert [wait for wait in report["waits"] if wait["name"] == "backoff"] == []


async def test_waits_for_the_clients_own_limits_are_told_apart(monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_RATE_LIMIT__RATE", "20")
    monkeypatch.setenv("PLATFORM_HTTP_RATE_LIMIT__BURST", "1")
    monkeypatch.setenv("PLATFORM_HTTP_RATE_LIMIT__MAX_WAIT", "1")
    async with FaultServer([respond(503), respond(200)]) as server:
        report = _report(await run("request", "GET", server.url, "--json"))
    waits = [wait for wait in report["waits"] if wait["before"] == 2]
    assert [wait["name"] for wait in waits] == ["backoff", "rate_limit"], report["waits"]


async def test_a_clients_settings_apply_and_a_relative_url_joins_its_base_url(monkeypatch) -> None:
    async with FaultServer() as server:
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL", f"{server.url}api/")
        monkeypatch.setenv(
            "PLATFORM_HTTP_CLIENTS__BILLING__HEADERS", json.dumps({"X-Api-Key": CANARY})
        )
        result = await run("request", "GET", "invoices/42", "--client", "billing")
    assert result.exit_code == 0
    assert server.requests[0].target == "/api/invoices/42"
    assert server.requests[0].headers["X-Api-Key"] == CANARY
    assert "client billing" in result.stdout
    assert CANARY not in result.output


async def test_headers_and_body_come_from_files_and_standard_input(tmp_path) -> None:
    (tmp_path / "headers").write_text(f"Authorization: Bearer {CANARY}\n\nX-One: 1\n")
    (tmp_path / "body").write_bytes(b"\x00\x01")
    async with FaultServer() as server:
        from_file = await run(
            *("request", "POST", server.url, "--header", f"@{tmp_path}/headers"),
            *("--data", f"@{tmp_path}/body", "--content-type", "application/x-two"),
            *("--idempotency-key", "auto"),
        )
        from_stdin = await run("request", "POST", server.url, "--data", "-", stdin=b"typed")
    assert (from_file.exit_code, from_stdin.exit_code) == (0, 0)
    first, second = server.requests
    assert first.headers["Authorization"] == f"Bearer {CANARY}"
    assert first.headers["X-One"] == "1"
    assert first.headers["Content-Type"] == "application/x-two"
    assert first.headers["Idempotency-Key"]
    assert (first.body, second.body) == (b"\x00\x01", b"typed")
    assert CANARY not in from_file.output


async def test_a_body_that_is_no_text_goes_out_as_the_bytes_that_were_typed() -> None:
    async with FaultServer() as server:
        result = await run("request", "POST", server.url, "--data", "ä\udcff")
    assert result.exit_code == 0, result.output
    assert server.requests[0].body == b"\xc3\xa4\xff"


async def test_text_that_the_terminal_has_no_characters_for_is_escaped() -> None:
    headers = {"X-City": "Zürich".encode().decode("latin-1")}
    async with FaultServer([respond(200, headers=headers)]) as server:
        for option, shown in (("--include", b"X-City: Z\\xfcrich"), ("--json", b"Z\\u00fcrich")):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "platform_http", "request", "GET", str(server.url)),
                *("--include", option),
                env={**os.environ, "PYTHONIOENCODING": "ascii"},
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            assert shown in output


async def test_the_body_goes_to_a_file_or_to_standard_output_and_nowhere_else(tmp_path) -> None:
    body = gzip.compress(b"payload" * 10)
    headers = {"Content-Encoding": "gzip"}
    async with FaultServer([respond(200, body=body, headers=headers)]) as server:
        kept = await run("request", "GET", server.url, "--output", tmp_path / "body")
        piped = await run("request", "GET", server.url, "--output", "-")
        plain = await run("request", "GET", server.url)
    assert (tmp_path / "body").read_bytes() == b"payload" * 10
    assert piped.stdout == "payload" * 10
    assert "attempt 1" in piped.stderr
    assert "payload" not in kept.output + plain.output
    assert "70 B" in plain.stdout


async def test_a_failed_call_leaves_a_file_as_it_was(tmp_path) -> None:
    file = tmp_path / "body"
    file.write_text("before")
    async with FaultServer([close()]) as server:
        await run("request", "POST", server.url, "--output", file)
    assert file.read_text() == "before"


async def test_a_file_that_cannot_be_written_is_wrong_usage(tmp_path) -> None:
    async with FaultServer([respond(200, body=b"x")]) as server:
        result = await run("request", "GET", server.url, "--output", tmp_path / "no" / "file")
    assert result.exit_code == 2
    assert "--output" in result.stderr
    assert not server.requests


async def test_shown_headers_hide_secrets_and_cannot_steer_a_terminal() -> None:
    headers = {
        "Set-Cookie": f"session={CANARY}",
        "X-Auth-Token": CANARY,
        "WWW-Authenticate": "Bearer",
        "X-Plain": "a\x9bb",
        "Link": f"<https://user:{CANARY}@other.example/?sig={CANARY}>; rel=next",
    }
    async with FaultServer([respond(200, headers=headers)]) as server:
        result = await run("request", "GET", server.url, "--include")
        hidden = await run("request", "GET", server.url)
    assert "Set-Cookie: REDACTED" in result.stdout
    assert "X-Auth-Token: REDACTED" in result.stdout
    assert "WWW-Authenticate: Bearer" in result.stdout
    assert "Link: <https://other.example/?REDACTED>; rel=next" in result.stdout
    assert "\x9b" not in result.stdout
    assert CANARY not in result.output
    assert "X-Plain" not in hidden.stdout


async def test_what_is_piped_is_ascii_without_colours() -> None:
    async with FaultServer([respond(503), respond(200)]) as server:
        result = await run("request", "GET", server.url)
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert "attempt 1  503" in result.stdout
    assert "after 503" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["GET"], "name METHOD and URL"),
        (["GET", "relative"], "has no BASE_URL"),
        (["GET", f"ftp://{CANARY}@host/"], "neither http:// nor https://"),
        (["GET", f"mailto:{CANARY}@host"], "begins with ./"),
        (["GET", "http:///path"], "names no host"),
        (["GET", "http://host:99999/"], "cannot be parsed"),
        (["G T", "http://host/"], "METHOD"),
        (["GET", "http://host/", "--header", CANARY], "NAME:VALUE"),
        (["GET", "http://host/", "--header", "@/no/such/file"], "/no/such/file"),
        (["GET", "http://host/", "--data", "@/no/such/file"], "/no/such/file"),
        (["GET", "http://host/", "--timeout", "0"], "--timeout must be > 0"),
        (["GET", "http://host/", "--attempts", "6"], "--attempts must be 1 to 5"),
        (["GET", "http://host/", "--idempotency-key", ""], "--idempotency-key is one or more"),
        (["GET", "http://host/", "--idempotency-key", "a\nb"], "--idempotency-key is one or more"),
        (["GET", "http://host/", "--idempotency-key", "ä"], "--idempotency-key is one or more"),
        (["GET", "http://host/", "--json", "--output", "-"], "exclude each other"),
        (["GET", "http://host/", "--client", "9"], "a client name is not"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_sent(arguments, said) -> None:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(build_app(), ["request", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert CANARY not in result.output


def test_invalid_settings_are_listed(monkeypatch) -> None:
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "soon")
    result = CliRunner().invoke(build_app(), ["request", "GET", "http://host/"])
    assert result.exit_code == 2
    assert "PLATFORM_HTTP_TIMEOUT__TOTAL" in result.stderr


def test_the_schema_is_printed() -> None:
    result = CliRunner().invoke(build_app(), ["request", "--schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == Report.model_json_schema()


async def test_an_interrupted_call_prints_what_is_known() -> None:
    hanging = asyncio.Event()
    received = 0

    def answer(_):
        nonlocal received
        received += 1
        if received == 1:
            return respond(503)
        hanging.set()
        return hang()

    async with FaultServer(answer) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "platform_http", "request", "GET", str(server.url), "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PLATFORM_HTTP_TIMEOUT__TOTAL": "60"},
        )
        try:
            async with asyncio.timeout(20):
                await hanging.wait()
                process.send_signal(signal.SIGINT)
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 130, err
    report = json.loads(out)
    jsonschema.validate(report, Report.model_json_schema())
    assert report["outcome"] == "cancelled"
    assert [attempt["status"] for attempt in report["attempts"]] == [503, None]
    assert report["attempts"][1]["cancelled"]
    assert b"Traceback" not in err


async def test_a_tls_connection_is_one_phase_and_is_closed(monkeypatch, tmp_path) -> None:
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("PLATFORM_HTTP_TLS__CA_FILE", str(certificates.ca_file))
    context = certificates.server("127.0.0.1")
    async with FaultServer([respond(503), respond(200)], ssl_context=context) as server:
        report = _report(await run("request", "GET", server.url, "--json"))
    first, second = report["attempts"]
    assert "connect" in _phases(first)
    assert (second["reused"], "connect" in _phases(second)) == (True, False)

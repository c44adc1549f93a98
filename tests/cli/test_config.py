from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from platform_http.cli import build_app, main
from platform_http.cli.config import BEGIN, END, settings_table
from platform_http.settings.variables import variables

if TYPE_CHECKING:
    from click.testing import Result

CANARY = "c4naryc4nary"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["config", *map(str, arguments)])


def test_every_client_is_shown_with_the_origin_of_each_value(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "20")
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL", "2")
    result = _run("--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert list(shown) == ["default", "billing"]
    assert set(shown["billing"]) == set(variables())
    assert shown["default"]["timeout.total"] == {
        "value": 20.0,
        "origin": "environment PLATFORM_HTTP_TIMEOUT__TOTAL",
    }
    assert shown["billing"]["timeout.total"] == {
        "value": 2.0,
        "origin": "environment PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL",
    }
    assert shown["billing"]["timeout.attempt"] == {
        "value": 2.0,
        "origin": "adapted default",
    }
    assert shown["billing"]["pool.limit"] == {"value": 100, "origin": "default"}


def test_the_table_says_the_same_for_people(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL", "none")
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__PROXY__NO_PROXY", "[::1]:80")
    lines = [line.split() for line in _run().stdout.splitlines()]
    assert ["client", "default"] in lines
    assert ["client", "billing"] in lines
    assert [
        "timeout.total",
        "environment",
        "PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL",
        "none",
    ] in lines
    assert ["tls.verify", "default", "true"] in lines
    assert any(line[0:1] == ["proxy.no_proxy"] and line[-1] == "[::1]:80" for line in lines)


def test_values_are_shown_as_a_variable_would_hold_them(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TLS__CA_FILE", "/run/ca.pem")
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__STATUSES", "504,502")
    shown = json.loads(_run("--json").stdout)["default"]
    assert shown["tls.ca_file"]["value"] == "/run/ca.pem"
    assert (shown["tls.trust"]["value"], shown["tls.trust"]["origin"]) == (
        "file",
        "adapted default",
    )
    assert shown["retry.statuses"]["value"] == [502, 504]
    assert shown["proxy.url"]["value"] is None
    lines = [line.split() for line in _run().stdout.splitlines()]
    assert any(line[0:1] == ["retry.statuses"] and line[-1] == "502,504" for line in lines)


def test_lines_that_do_not_go_to_a_terminal_are_whole_and_end_in_no_blanks(monkeypatch):
    hosts = ",".join(f"host-{number}.test" for number in range(100))
    monkeypatch.setenv("PLATFORM_HTTP_PROXY__NO_PROXY", hosts)
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = _run().stdout.splitlines()
    assert len(lines) == 2 + len(variables())
    assert [line for line in lines if line != line.rstrip()] == []
    assert any(line.startswith("proxy.no_proxy ") and line.endswith(hosts) for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_one_client_is_shown_by_any_spelling_of_its_name(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING_API__TIMEOUT__TOTAL", "none")
    shown = json.loads(_run("--json", "--client", "Billing-API").stdout)
    assert list(shown) == ["billing_api"]
    assert shown["billing_api"]["timeout.total"]["value"] == "none"


def test_a_client_without_settings_of_its_own_is_shown_and_that_is_said(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__TOTAL", "2")
    result = _run("--json", "--client", "Ordres")
    assert result.exit_code == 0
    assert list(json.loads(result.stdout)) == ["ordres"]
    assert result.stderr == "client ordres has no settings of its own, the defaults apply\n"
    for known in (("--client", "billing"), ("--client", "default"), ()):
        assert _run("--json", *known).stderr == ""


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_shown_as_set_and_nothing_more(monkeypatch, form):
    for variable, value in {
        "HEADERS": json.dumps({"X-Api-Key": CANARY}),
        "PROXY__URL": f"http://user:{CANARY}@proxy.test:3128",
        "PROXY__PASSWORD": CANARY,
        "BASE_URL": f"https://{CANARY}@api.test/",
    }.items():
        monkeypatch.setenv(f"PLATFORM_HTTP_{variable}", value)
    result = _run(*form)
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert "set (hidden)" in result.stdout
    assert "http://***@proxy.test:3128" in result.stdout
    assert "X-Api-Key" in result.stdout


def test_a_wrong_configuration_is_told_on_stderr_without_a_traceback(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", CANARY)
    monkeypatch.setenv("PLATFORM_HTTP_TIMOUT__READ", CANARY)
    result = _run()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "PLATFORM_HTTP_TIMEOUT__TOTAL is not a number" in result.stderr
    assert "PLATFORM_HTTP_TIMOUT__READ is unknown" in result.stderr
    assert "Traceback" not in result.stderr
    assert CANARY not in result.output


@pytest.mark.parametrize("name", ["1", ""])
def test_an_impossible_client_is_a_wrong_configuration(name):
    result = _run("--client", name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "a client name" in result.stderr


def test_the_documentation_has_a_row_for_every_variable():
    lines = settings_table().splitlines()
    assert lines[0] == "| variable | type | default | meaning |"
    assert len(lines) == 2 + len(variables())
    rows = {line.split("`")[1]: line for line in lines[2:]}
    for variable in variables().values():
        row = rows[f"PLATFORM_HTTP_{variable.suffix}"]
        assert row.count(" | ") == 3
        assert row.endswith(" |")
    assert "`10`" in rows["PLATFORM_HTTP_TIMEOUT__TOTAL"]
    assert "not set" in rows["PLATFORM_HTTP_BASE_URL"]
    assert _run("--docs").stdout == settings_table()


def test_the_documentation_does_not_depend_on_the_environment(monkeypatch):
    before = _run("--docs").stdout
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "wrong")
    assert _run("--docs").stdout == before


def test_the_table_in_a_file_is_written_and_then_up_to_date(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    stale = _run("--docs", "--check", readme)
    assert stale.exit_code == 1
    assert "-old" in stale.stderr
    assert "--docs --write" in stale.stderr
    assert readme.read_text(encoding="utf-8").splitlines()[2] == "old"

    assert _run("--docs", "--write", readme).exit_code == 0
    text = readme.read_text(encoding="utf-8")
    assert text == f"before\n{BEGIN}\n\n{settings_table()}\n{END}\nafter\n"
    assert _run("--docs", "--check", readme).exit_code == 0
    assert _run("--docs", "--write", readme).exit_code == 0
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("option", ["--check", "--write"])
def test_a_file_without_a_place_for_the_table_fails(tmp_path, option):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\nno end\n", encoding="utf-8")
    result = _run("--docs", option, readme)
    assert result.exit_code == 1
    assert END in result.stderr
    assert readme.read_text(encoding="utf-8") == f"{BEGIN}\nno end\n"


@pytest.mark.parametrize(
    "arguments", [("--check", "x"), ("--docs", "--check", "missing"), ("--nothing",)]
)
def test_wrong_usage_exits_with_2(arguments):
    assert _run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--check FILE", "--check goes with --docs; add it"),
        ("--write FILE", "--write goes with --docs; add it"),
        ("--write FILE --json", "--write goes with --docs; add it"),
        ("--docs --schema", "--docs and --schema exclude each other"),
        ("--docs --json", "--docs and --json exclude each other"),
        ("--docs --write FILE --json", "--docs and --json exclude each other"),
        ("--docs --client a", "--docs and --client exclude each other"),
        ("--schema --json", "--schema and --json exclude each other"),
        ("--schema --client a", "--schema and --client exclude each other"),
        ("--docs --check FILE --write FILE", "--check and --write exclude each other"),
    ],
)
def test_options_that_contradict_each_other_refuse_in_one_line(tmp_path, options, expected):
    file = tmp_path / "README.md"
    file.write_text(f"{BEGIN}{END}", encoding="utf-8")
    result = _run(*(file if word == "FILE" else word for word in options.split()))
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(expected)
    assert file.read_text(encoding="utf-8") == f"{BEGIN}{END}"


def test_the_schema_is_that_of_the_environment():
    schema = json.loads(_run("--schema").stdout)
    assert schema["additionalProperties"] is False
    assert {"timeout", "clients", "json", "base_url"} <= set(schema["properties"])
    attempts = schema["$defs"]["RetrySettings"]["properties"]["max_attempts"]
    assert (attempts["minimum"], attempts["maximum"], attempts["default"]) == (1, 5, 3)
    timeout = schema["$defs"]["TimeoutSettings"]["properties"]["total"]
    assert timeout["anyOf"] == [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "const": "none"},
    ]
    assert timeout["default"] == 10


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_what_to_install(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from platform_http.cli import main; main()"
    )
    result = _python(code)
    assert result.returncode == 2
    assert result.stderr == 'platform-http needs more libraries: pip install "platform-http[cli]"\n'


def test_settings_load_neither_typer_nor_rich():
    code = (
        "import sys, platform_http.settings, platform_http.cli\n"
        "platform_http.settings.HttpSettings()\n"
        "sys.exit(bool({'typer', 'rich', 'click'} & set(sys.modules)))"
    )
    assert _python(code).returncode == 0


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "platform_http", "config", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0
    assert "default" in json.loads(result.stdout)


def test_a_terminal_gets_lines_of_its_own_width(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_PROXY__NO_PROXY", ",".join(["host.test"] * 20))
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("TERM", "dumb")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "platform_http", "config"], stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    shown = b""
    # Linux reports the end of a terminal that nobody writes to any more as an error.
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
        while chunk := terminal.read(4096):
            shown += chunk
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    lines = shown.decode().splitlines()
    assert lines[0].rstrip() == "client default"
    assert len(lines) > 2 + len(variables())
    assert max(map(len, lines)) <= 90


def test_main_exits_with_the_code_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["platform-http", "config", "--schema"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out)

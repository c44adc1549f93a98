from __future__ import annotations

import logging
from itertools import combinations
from pathlib import Path

import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings, TimeoutSettings, load_settings, plain_settings

SOURCES = ("constructor", "environment", ".env", "secrets directory")


def _say(
    source: str, seconds: int, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> dict[str, object]:
    match source:
        case "constructor":
            return {"timeout": {"total": seconds}}
        case "environment":
            monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", str(seconds))
        case ".env":
            file = folder / "settings.env"
            file.write_text(f"PLATFORM_HTTP_TIMEOUT__TOTAL={seconds}\n", encoding="utf-8")
            monkeypatch.setenv("PLATFORM_HTTP_ENV_FILE", str(file))
        case _:
            directory = folder / "secrets"
            directory.mkdir()
            (directory / "timeout__total").write_text(f"{seconds}\n", encoding="utf-8")
            monkeypatch.setenv("PLATFORM_HTTP_SECRETS_DIR", str(directory))
    return {}


@pytest.mark.parametrize(("stronger", "weaker"), list(combinations(SOURCES, 2)))
def test_the_stronger_of_two_sources_wins(stronger, weaker, monkeypatch, tmp_path):
    values = _say(weaker, 20, monkeypatch, tmp_path) | _say(stronger, 30, monkeypatch, tmp_path)
    settings = HttpSettings(**values)
    assert settings.client().timeout.total == 30
    assert settings.origin_of("default", "timeout.total").startswith(stronger)


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_alone_is_read_and_named(source, monkeypatch, tmp_path):
    settings = HttpSettings(**_say(source, 20, monkeypatch, tmp_path))
    assert settings.client().timeout.total == 20
    expected = {
        "constructor": "constructor",
        "environment": "environment PLATFORM_HTTP_TIMEOUT__TOTAL",
        ".env": ".env PLATFORM_HTTP_TIMEOUT__TOTAL",
        "secrets directory": "secrets directory timeout__total",
    }
    assert settings.origin_of("default", "timeout.total") == expected[source]
    assert settings.origin_of("default", "timeout.read") == "default"


def test_an_object_of_a_stronger_source_replaces_the_whole_object(load, monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_HEADERS", '{"A": "1", "B": "2"}')
    assert set(HttpSettings().client().headers) == {"A", "B"}
    assert set(HttpSettings(headers={"C": "3"}).client().headers) == {"C"}


def test_a_list_of_a_client_replaces_the_whole_default_list(load):
    settings = load(RETRY__STATUSES="502,503", CLIENTS__BILLING__RETRY__STATUSES="[504]")
    assert settings.client("billing").retry.statuses == {504}
    assert settings.client("other").retry.statuses == {502, 503}


def test_variables_are_read_in_any_case(monkeypatch):
    monkeypatch.setenv("platform_http_timeout__total", "20")
    settings = HttpSettings()
    assert settings.client().timeout.total == 20
    assert (
        settings.origin_of("default", "timeout.total") == "environment PLATFORM_HTTP_TIMEOUT__TOTAL"
    )


def test_a_variable_in_two_spellings_refuses(monkeypatch, violations):
    monkeypatch.setenv("platform_http_timeout__total", "20")
    (line,) = violations(TIMEOUT__TOTAL="30")
    assert "PLATFORM_HTTP_TIMEOUT__TOTAL" in line
    assert "platform_http_timeout__total" in line
    assert "remove one" in line


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TIMEOUT__ATEMPT", "PLATFORM_HTTP_TIMEOUT__ATTEMPT"),
        ("TIMEOUT_ATTEMPT", "PLATFORM_HTTP_TIMEOUT__ATTEMPT"),
        ("RETRY__MAX_ATTEMPT", "PLATFORM_HTTP_RETRY__MAX_ATTEMPTS"),
        ("SECRET_DIR", "PLATFORM_HTTP_SECRETS_DIR"),
        ("CLIENTS__BILLING__BASEURL", "PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL"),
        ("CLIENTS__BILLING__TIMOUT__READ", "PLATFORM_HTTP_CLIENTS__BILLING__TIMEOUT__READ"),
        # A typo that has the form of a variable that Kubernetes makes.
        ("WEB__STATSU_PORT", "PLATFORM_HTTP_WEB__STATUS_PORT"),
    ],
)
def test_an_unknown_variable_refuses_with_what_may_have_been_meant(violations, variable, meant):
    (line,) = violations(**{variable: "1"})
    assert line == f"PLATFORM_HTTP_{variable} is unknown; did you mean {meant}?"


def test_an_unknown_variable_like_no_other_refuses_without_a_guess(violations):
    assert violations(QQQ="1") == ("PLATFORM_HTTP_QQQ is unknown",)


@pytest.mark.parametrize("variable", ["CLIENTS", "CLIENTS__BILLING", "CLIENTS__"])
def test_a_variable_that_names_no_field_refuses(violations, variable):
    (line,) = violations(**{variable: "{}"})
    assert line.startswith(f"PLATFORM_HTTP_{variable} is unknown")


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("TIMEOUT", ["TOTAL", "ATTEMPT", "CONNECT", "READ", "POOL"]),
        ("CLIENTS__A__TIMEOUT", ["TOTAL", "ATTEMPT", "CONNECT", "READ", "POOL"]),
        ("RETRY__BUDGET", ["CAPACITY", "COST", "COST_TIMEOUT", "REFUND", "TRICKLE"]),
        ("JSON", ["SERIALIZER"]),
    ],
)
def test_the_name_of_a_section_refuses_with_what_is_in_it(violations, section, fields):
    (line,) = violations(**{section: "5"})
    names = ", ".join(f"PLATFORM_HTTP_{section}__{field}" for field in fields)
    assert line == (
        f"PLATFORM_HTTP_{section} is a section, not a setting; set what is in it: {names}"
    )


def test_the_name_of_a_section_refuses_in_files_too(violations, tmp_path):
    env_file = tmp_path / "settings.env"
    env_file.write_text("PLATFORM_HTTP_COOKIES=true\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    lines = violations(
        ENV_FILE=str(env_file), SECRETS_DIR=_secrets(secrets, platform_http_cookies=b"true")
    )
    for line, label in zip(
        lines,
        ("PLATFORM_HTTP_COOKIES in the .env file", "platform_http_cookies in the secrets dir"),
        strict=True,
    ):
        assert line.startswith(label)
        assert "PLATFORM_HTTP_COOKIES__ENABLED, PLATFORM_HTTP_COOKIES__UNSAFE" in line


@pytest.mark.parametrize(
    "variable",
    [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "PORT_80_TCP_PROTO",
        "PORT_53_UDP_PORT",
        "DEMO_SERVICE_HOST",
        "DEMO_API_SERVICE_PORT_METRICS",
        "DEMO_PORT",
        "DEMO_PORT_8080_TCP",
    ],
)
def test_variables_that_kubernetes_makes_for_a_service_are_ignored(load, caplog, variable):
    with caplog.at_level(logging.INFO, "platform_http"):
        load(**{variable: "tcp://10.0.0.1:80"})
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert f"PLATFORM_HTTP_{variable}" in record.getMessage()
    assert "10.0.0.1" not in record.getMessage()


def test_service_variables_are_told_in_one_line(load, caplog):
    with caplog.at_level(logging.INFO, "platform_http"):
        load(SERVICE_HOST="10.0.0.1", SERVICE_PORT="80", PORT="tcp://10.0.0.1:80")
    assert len(caplog.records) == 1


def test_a_setting_that_looks_like_a_service_variable_is_a_setting(violations):
    (line,) = violations(WEB__STATUS_PORT="70000")
    assert line.startswith("PLATFORM_HTTP_WEB__STATUS_PORT is too large")


def test_no_env_file_is_read_unless_it_is_named(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("PLATFORM_HTTP_TIMEOUT__TOTAL=20\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert HttpSettings().client().timeout.total == 10


def test_an_env_file_holds_foreign_variables_too(load, tmp_path):
    file = tmp_path / "dev.env"
    file.write_text('OTHER=1\nexport PLATFORM_HTTP_TIMEOUT__TOTAL="20"\n', encoding="utf-8")
    assert load(ENV_FILE=str(file)).client().timeout.total == 20


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("PLATFORM_HTTP_TIMEOUT__TOTL=1", "PLATFORM_HTTP_TIMEOUT__TOTL in the .env file is unkn"),
        ("PLATFORM_HTTP_TIMEOUT__TOTAL", "PLATFORM_HTTP_TIMEOUT__TOTAL in the .env file has no v"),
        ("PLATFORM_HTTP_TIMEOUT__TOTAL=x", "PLATFORM_HTTP_TIMEOUT__TOTAL in the .env file is not"),
        ("PLATFORM_HTTP_SECRETS_DIR=/x", "PLATFORM_HTTP_SECRETS_DIR in the .env file has no eff"),
        ("PLATFORM_HTTP_PORT=1", "PLATFORM_HTTP_PORT in the .env file is unknown"),
    ],
)
def test_a_wrong_line_of_the_env_file_refuses(violations, tmp_path, content, expected):
    file = tmp_path / "dev.env"
    file.write_text(f"{content}\n", encoding="utf-8")
    (line,) = violations(ENV_FILE=str(file))
    assert line.startswith(expected)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_an_env_file_that_cannot_be_read_refuses(violations, tmp_path, content):
    file = tmp_path / "dev.env"
    if content is not None:
        file.write_bytes(content)
    (line,) = violations(ENV_FILE=str(file))
    assert line.startswith("PLATFORM_HTTP_ENV_FILE names no readable UTF-8 file")


def _secrets(tmp_path: Path, **files: bytes) -> str:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return str(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "PLATFORM_HTTP_PROXY__PASSWORD",
        "platform_http_proxy__password",
        "proxy__password",
        "PROXY__PASSWORD",
    ],
)
@pytest.mark.parametrize("content", [b" pass word ", b" pass word \n", b" pass word \r\n"])
def test_a_secret_file_is_a_variable_without_its_last_newline(load, tmp_path, name, content):
    directory = _secrets(tmp_path, **{name: content})
    settings = load(SECRETS_DIR=directory, PROXY__URL="http://proxy.test")
    password = settings.client().proxy.password
    assert password is not None
    assert password.get_secret_value() == " pass word "
    assert settings.origin_of("default", "proxy.password") == f"secrets directory {name}"


def test_a_secret_file_belongs_to_one_client(load, tmp_path):
    directory = _secrets(tmp_path, clients__billing__timeout__total=b"3")
    settings = load(SECRETS_DIR=directory)
    assert settings.client("billing").timeout.total == 3
    assert settings.client("other").timeout.total == 10


def test_a_mounted_kubernetes_secret_is_read_through_its_links(load, tmp_path):
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    (data / "timeout__total").write_text("20", encoding="utf-8")
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "timeout__total").symlink_to(tmp_path / "..data" / "timeout__total")
    assert load(SECRETS_DIR=str(tmp_path)).client().timeout.total == 20


def test_files_of_others_in_the_secrets_directory_are_left_alone(load, tmp_path):
    load(SECRETS_DIR=_secrets(tmp_path, database_password=b"x", **{"tls.crt": b"\xff"}))


def test_an_unknown_secret_file_with_the_prefix_refuses(violations, tmp_path):
    (line,) = violations(SECRETS_DIR=_secrets(tmp_path, platform_http_proxy__pasword=b"x"))
    assert line == (
        "platform_http_proxy__pasword in the secrets directory is unknown; "
        "did you mean PLATFORM_HTTP_PROXY__PASSWORD?"
    )


def test_two_secret_files_for_one_variable_refuse(violations, tmp_path):
    files = {"timeout__total": b"1", "platform_http_timeout__total": b"2"}
    (line,) = violations(SECRETS_DIR=_secrets(tmp_path, **files))
    assert "sets the same as" in line


def test_a_secret_file_that_is_not_text_refuses(violations, tmp_path):
    (line,) = violations(SECRETS_DIR=_secrets(tmp_path, proxy__password=b"\xff\xfe"))
    assert line.startswith(
        "PLATFORM_HTTP_PROXY__PASSWORD (secrets file proxy__password) is not readable UTF-8"
    )


def test_a_wrong_value_in_a_secret_file_names_variable_and_file(violations, tmp_path):
    (line,) = violations(SECRETS_DIR=_secrets(tmp_path, timeout__total=b"soon"))
    assert line.startswith("PLATFORM_HTTP_TIMEOUT__TOTAL (secrets file timeout__total) is not a nu")


def test_a_secrets_directory_that_is_not_there_refuses(violations, tmp_path):
    (line,) = violations(SECRETS_DIR=str(tmp_path / "missing"))
    assert line.startswith("PLATFORM_HTTP_SECRETS_DIR names no readable directory")


def test_the_constructor_takes_models_of_which_only_set_fields_count(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__READ", "3")
    timeout = HttpSettings(timeout=TimeoutSettings(total=20)).client().timeout
    assert (timeout.total, timeout.read) == (20, 3)


def test_the_constructor_takes_nested_sections_and_both_spellings_of_json():
    settings = HttpSettings(
        retry={"budget": {"capacity": 100}}, json_={"serializer": "json"}, json={}
    )
    assert settings.origin_of("default", "retry.budget.capacity") == "constructor"
    assert settings.origin_of("default", "json.serializer") == "constructor"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"timout": {}}, "timout is unknown"),
        ({"timeout": {"totl": 1}}, "timeout.totl is unknown; did you mean timeout.total?"),
        ({"timeout": 3}, "timeout is not a mapping"),
        ({"retry": {"budget": 3}}, "retry.budget is not a mapping"),
        ({"clients": 3}, "clients is not a mapping"),
        ({"clients": {"billing": 3}}, "clients.billing is not a mapping"),
        ({"clients": {"billing": {"x": 1}}}, "clients.billing.x is unknown"),
        ({"clients": {"billing": {"timeout": {"total": "x"}}}}, "clients.billing.timeout.total is"),
        ({"timeout": {"total": [1]}}, "timeout.total is not a number"),
        ({"tls": {"ca_file": 3}}, "tls.ca_file is not a path"),
        ({"headers": {1: "x"}}, "headers is not text"),
    ],
)
def test_a_wrong_constructor_argument_refuses(values, expected):
    with pytest.raises(ConfigurationError) as caught:
        HttpSettings(**values)
    (line,) = caught.value.violations
    assert line.startswith(expected)


def test_load_settings_is_the_constructor(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__READ", "3")
    timeout = load_settings(timeout={"total": 20}).client().timeout
    assert (timeout.total, timeout.read) == (20, 3)


def test_the_plain_profile_does_not_read_the_environment(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_TIMEOUT__TOTAL", "20")
    monkeypatch.setenv("PLATFORM_HTTP_UNKNOWN", "20")
    settings = plain_settings()
    assert settings.client().timeout.total == 300
    assert settings.origin_of("default", "timeout.total") == "profile"

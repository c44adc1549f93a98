"""The recording and alert rules: sound, complete, and proven by promtool's unit tests."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from dashboards.source.promql import Vocabulary, judge, violations
from platform_http import CallOptions, SessionFactory
from platform_http.settings import HttpSettings
from platform_http.telemetry.exposition import render
from tests.servers import program

ROOT = Path(__file__).parents[2] / "dashboards"
FOLDER = ROOT / "prometheus"
RECORDING = FOLDER / "recording.yaml"
ALERTS = FOLDER / "alerts.yaml"
EXAMPLES = sorted((FOLDER / "examples").glob("*.yaml"))
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yaml"))

CONTRACT = {
    "CertificateExpiring",
    "CircuitFlapping",
    "CircuitOpen",
    "ConcurrencyRejecting",
    "DnsOrTlsFailures",
    "EgressDenied",
    "ErrorBudgetBurn",
    "LatencyBudgetBurn",
    "PoolSaturated",
    "QueueWaitHigh",
    "RetryAmplification",
    "RetryBudgetExhausted",
    "TelemetryAbsent",
    "TelemetryErrors",
    "TimeoutSpike",
}
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
RECORDED = {
    *(f"job_client:platform_http_calls:rate{window}" for window in WINDOWS),
    *(f"job_client:platform_http_calls_bad:rate{window}" for window in WINDOWS),
    *(f"job_client:platform_http_calls_bad:ratio_rate{window}" for window in WINDOWS),
    *(f"job_client:platform_http_calls_slow:ratio_rate{window}" for window in WINDOWS),
    "job_client:platform_http_availability_objective:ratio",
    "job_client:platform_http_latency_objective:ratio",
    "job_client:platform_http_attempts_per_call:ratio_rate5m",
    "job_client:platform_http_calls_bad:ratio_rate30d",
    "job_client:platform_http_pool_used:ratio5m",
    "job_client_server:platform_http_pool_used:ratio5m",
}


def _rules(path: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


ALERT_RULES = _rules(ALERTS)
RECORDING_RULES = _rules(RECORDING)
VOCABULARY = Vocabulary.of_library().with_rules([RECORDING])


def _name(rule: dict[str, Any]) -> str:
    return rule.get("record") or f"{rule['alert']}-{rule['labels']['severity']}"


def _promtool(*arguments: object, page: bytes | None = None) -> tuple[int, str]:
    """Return the exit code of promtool and what it says."""
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)],
        check=False,
        input=page,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return done.returncode, done.stdout.decode()


def test_promtool_finds_nothing_to_complain_about():
    code, output = _promtool(
        "check", "rules", "--lint=all", "--lint-fatal", RECORDING, ALERTS, *EXAMPLES
    )
    assert code == 0, output


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_unit_tests_of_the_rules_pass(path):
    code, output = _promtool("test", "rules", path)
    assert code == 0, output


def test_there_is_an_alert_for_each_name_of_the_contract_and_no_other():
    assert {rule["alert"] for rule in ALERT_RULES} == CONTRACT


def test_the_names_that_dashboards_read_are_recorded():
    assert {rule["record"] for rule in RECORDING_RULES} >= RECORDED


@pytest.mark.parametrize("rule", RECORDING_RULES, ids=_name)
def test_recorded_names_are_level_metric_operation_and_their_labels_are_the_level(rule):
    level, metric, operation = rule["record"].split(":")
    assert "platform_http" in metric
    assert operation
    shape, _ = judge(rule["expr"], VOCABULARY)
    labels = set(shape.labels)
    if {"server_address", "server_port"} <= labels:
        labels = labels - {"server_address", "server_port"} | {"server"}
    assert labels == set(level.split("_"))


@pytest.mark.parametrize("rule", [*RECORDING_RULES, *ALERT_RULES], ids=_name)
def test_expressions_ask_for_what_the_library_registers(rule):
    assert violations(rule["expr"], VOCABULARY) == []


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_an_alert_says_what_how_bad_and_where_to_read_on(rule):
    assert rule["labels"].keys() == {"severity", "component"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["component"] == "platform_http"
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert "\n" not in notes["summary"]
    assert "$value" in notes["summary"]
    assert "Look first at" in notes["description"]
    assert notes["runbook_url"] == f"https://runbooks.example.com/platform_http/{rule['alert']}"
    assert (ROOT / "runbooks" / f"{rule['alert']}.md").is_file()


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_a_message_names_only_labels_that_the_alert_has(rule):
    text = " ".join(rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", text))
    optional = set(re.findall(r"{{ (?:if|with) \$labels\.(\w+) }}", text))
    shape, _ = judge(rule["expr"], VOCABULARY)
    assert named - optional <= shape.labels
    # Whoever is paged sees in the message all that tells this alert from its neighbours.
    assert shape.labels <= named


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_an_alert_waits_before_it_fires_and_before_it_ends(rule):
    assert {"for", "keep_firing_for"} <= rule.keys()


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_the_link_leads_to_a_dashboard_that_exists_with_its_variables_filled(rule):
    base, _, query = rule["annotations"]["dashboard_url"].partition("?")
    uid = base.removeprefix("https://grafana.example.com/d/")
    assert uid.startswith("platform-http-")
    path = ROOT / "grafana" / f"{uid.removeprefix('platform-http-')}.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    assert board["uid"] == uid
    variables = set(re.findall(r"var-(\w+)=", query))
    assert variables <= {variable["name"] for variable in board["templating"]["list"]}
    shape, _ = judge(rule["expr"], VOCABULARY)
    labels = {"job": "job", "client": "client", "server": "server_address"}
    assert variables - {"instance"} == {
        variable for variable, label in labels.items() if label in shape.labels
    }
    # A job may be called "shop/caller", and no value may break the address.
    values = re.findall(r"{{[^}]*(?:\$labels\.\w+|\.)[^}]*}}", query)
    for value in values:
        assert "urlquery" in value or re.fullmatch(r"{{ with \$labels\.\w+ }}", value)


@dataclass(frozen=True)
class Expectation:
    """What one unit test expects of one alert at one moment."""

    alert: str
    severities: frozenset[str]


def _expectations(path: Path) -> list[Expectation]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = []
    for group in content["tests"]:
        for test in group.get("alert_rule_test", ()):
            severities = {alert["exp_labels"]["severity"] for alert in test["exp_alerts"]}
            found.append(Expectation(test["alertname"], frozenset(severities)))
    return found


@pytest.mark.parametrize("rule", ALERT_RULES, ids=_name)
def test_an_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not(rule):
    expected = [
        each for path in UNIT_TESTS for each in _expectations(path) if each.alert == rule["alert"]
    ]
    severity = rule["labels"]["severity"]
    assert any(severity in each.severities for each in expected)
    assert any(not each.severities for each in expected)


@pytest.mark.parametrize("rule", RECORDING_RULES, ids=_name)
def test_a_recording_rule_has_a_unit_test_of_its_value(rule):
    tested = " ".join(
        test["expr"]
        for path in UNIT_TESTS
        if path.name.startswith(("recording", "objectives"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for test in group["promql_expr_test"]
    )
    assert re.search(rf"{re.escape(rule['record'])}\b", tested)


@dataclass(frozen=True)
class Mutant:
    """The alerts with one line changed."""

    alert: str
    line: str
    changed: str
    text: str


_COMPARISON = re.compile(r"(>=|>|<) *(\d+(?:\.\d+)?)?")
_WAIT = re.compile(r"^(\s+(?:for|keep_firing_for): )(\d+)m$")


def _variants(line: str) -> list[str]:
    """Return *line* with a threshold moved by a fifth, a comparison turned or a wait changed."""
    if wait := _WAIT.match(line):
        minutes = int(wait[2])
        return [f"{wait[1]}{minutes - 1}m", f"{wait[1]}{minutes + 1}m"]
    found = []
    for match in _COMPARISON.finditer(line):
        before, after = line[: match.start()], line[match.end() :]
        threshold = float(match[2] or 0)
        if threshold:
            # Whoever notices that just above no longer fires notices a turned comparison too.
            found += [f"{before}{match[1]} {threshold * factor:g}{after}" for factor in (0.8, 1.25)]
        else:
            found.append(f"{before}< {match[2] or ''}{after}")
    return found


def _mutants() -> list[Mutant]:
    lines = ALERTS.read_text(encoding="utf-8").splitlines()
    mutants = []
    alert = ""
    for number, line in enumerate(lines):
        if match := re.match(r" +- alert: (\w+)$", line):
            alert = match[1]
        elif line.strip() in {"annotations:", "rules:"}:
            alert = ""
        if alert and "#" not in line:
            for changed in _variants(line):
                text = "\n".join([*lines[:number], changed, *lines[number + 1 :]])
                mutants.append(Mutant(alert, line.strip(), changed.strip(), text))
    return mutants


def _kept(content: dict[str, Any], names: set[str]) -> str:
    """Return a rule file with the rules called *names* alone: evaluating the others takes time."""
    for group in content["groups"]:
        rules = group["rules"]
        group["rules"] = [rule for rule in rules if names & {rule.get("record"), rule.get("alert")}]
    return yaml.safe_dump(content)


def _survives(mutant: Mutant, folder: Path) -> bool:
    """Tell whether the unit tests of the alert pass all the same."""
    alerts = _kept(yaml.safe_load(mutant.text), {mutant.alert})
    # The longer name stands in the text of the shorter one, and then both are kept.
    read = {rule["record"] for rule in RECORDING_RULES if rule["record"] in alerts}
    for rule in reversed(RECORDING_RULES):
        if rule["record"] in read:
            read |= {each["record"] for each in RECORDING_RULES if each["record"] in rule["expr"]}
    recording = _kept(yaml.safe_load(RECORDING.read_text(encoding="utf-8")), read)
    (folder / "tests").mkdir(parents=True)
    (folder / RECORDING.name).write_text(recording, encoding="utf-8")
    (folder / ALERTS.name).write_text(alerts, encoding="utf-8")
    tests = [path for path in UNIT_TESTS if path.name.startswith(f"{mutant.alert}.")]
    # The tables of thresholds need no recording rules, and find most.
    for path in sorted(tests, key=lambda path: "thresholds" not in path.name):
        copy = folder / "tests" / path.name
        copy.write_bytes(path.read_bytes())
        if _promtool("test", "rules", copy)[0] != 0:
            return False
    return True


def test_the_unit_tests_notice_a_threshold_a_comparison_or_a_wait_that_is_changed(tmp_path):
    mutants = _mutants()
    assert {mutant.alert for mutant in mutants} == CONTRACT
    folders = [tmp_path / str(number) for number in range(len(mutants))]
    with ThreadPoolExecutor(2) as pool:
        survived = pool.map(_survives, mutants, folders)
        unnoticed = [
            f"{mutant.alert}: {mutant.line!r} became {mutant.changed!r}"
            for mutant, alive in zip(mutants, survived, strict=True)
            if alive
        ]
    assert unnoticed == []


async def test_promtool_finds_nothing_to_complain_about_on_a_page_of_metrics():
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), text="answer")

    application = web.Application()
    application.router.add_get("/{status}", handler)
    registry = CollectorRegistry()
    retry = {"backoff_initial": 0.001, "backoff_max": 0.002}
    async with TestServer(application, host="127.0.0.1") as server:
        clients = {"billing": {"base_url": str(server.make_url("/")), "retry": retry}}
        settings = HttpSettings(clients=clients)
        async with SessionFactory(settings, registry=registry) as factory:
            billing = factory.session("billing")
            for status in ("200", "404", "503"):
                options = CallOptions(operation="get", url_template="/{status}")
                async with billing.get(status, trace_request_ctx=options) as response:
                    await response.read()
            page, _ = render(registry, None)
    assert b"platform_http_calls_total" in page
    code, output = _promtool("check", "metrics", page=page)
    assert (code, output) == (0, "")

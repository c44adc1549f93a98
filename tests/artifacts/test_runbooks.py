"""The runbooks: one per alert, with queries that can be pasted and settings that exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from dashboards.source.promql import Vocabulary, violations
from platform_http.settings import load_settings
from platform_http.settings.variables import sections, split_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards" / "runbooks"
RULES = ROOT / "dashboards" / "prometheus"
INDEX = FOLDER / "README.md"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path != INDEX)
PAGES = [*RUNBOOKS, INDEX, RULES / "README.md"]

SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
VOCABULARY = Vocabulary.of_library().with_rules([RULES / "recording.yaml"])

# A variable as it stands in a runbook, perhaps shortened and perhaps with the value to set.
_SETTING = re.compile(
    r"(?<![\w/])(?P<prefix>PLATFORM_HTTP_(?:CLIENTS__<CLIENT>__)?|…__)?"
    r"(?P<name>[A-Z]+(?:_[A-Z]+)*(?:__[A-Z]+(?:_[A-Z]+)*)+)(?:=(?P<value>[\w.]+))?"
)


def _severities() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for group in yaml.safe_load((RULES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            found.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    return found


SEVERITIES = _severities()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _parts(path: Path) -> dict[str, str]:
    """Return the text of each section by its heading."""
    headings = re.split(r"^## (.+)$", _text(path), flags=re.MULTILINE)
    return dict(zip(headings[1::2], headings[2::2], strict=True))


def _queries(text: str) -> list[str]:
    return re.findall(r"^```promql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def _bullets(text: str) -> list[str]:
    return [" ".join(each.split()) for each in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]


def _anchors(path: Path) -> set[str]:
    """Return what the headings of a page can be linked by, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", _text(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_there_is_a_runbook_for_each_alert_and_no_other():
    assert {path.stem for path in RUNBOOKS} == SEVERITIES.keys()


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_the_four_sections_and_fits_on_a_screen_and_a_half(path):
    text = _text(path)
    assert text.startswith(f"# {path.stem}\n")
    assert list(_parts(path)) == SECTIONS
    assert all(part.strip() for part in _parts(path).values())
    assert len(text.splitlines()) <= 75


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_names_the_severity_of_its_alert_and_the_dashboard_of_its_link(path):
    first = _text(path).splitlines()[2]
    severities, _, boards = first.partition(" · ")
    assert {word.lower() for word in severities.split(" or ")} == SEVERITIES[path.stem]
    rules = _text(RULES / "alerts.yaml")
    alert = rf"- alert: {path.stem}\n(?:(?! +- alert).*\n)*?.*/d/platform-http-(\w+)\?"
    linked = set(re.findall(alert, rules))
    assert set(re.findall(r"\.\./grafana/(\w+)\.json", boards)) == linked


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_queries_stand_in_the_diagnosis_and_ask_for_what_exists(path):
    queries = _queries(_parts(path)["Diagnosis"])
    assert len(queries) >= 2
    assert queries == _queries(_text(path))
    for query in queries:
        assert violations(query, VOCABULARY) == []
        # As it is pasted: no variable, no name of a client that others do not have.
        assert "$" not in query
        assert not re.search(r'(?:client|job|instance|server_address)="', query)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_settings_that_are_named_exist(path):
    for match in _SETTING.finditer(_text(path)):
        name = match["name"]
        if name.startswith("CLIENTS__"):
            continue
        _, setting = split_name(name)
        assert setting or name.lower().replace("__", ".") in sections(), name


def test_the_cure_of_every_runbook_names_settings_in_full():
    named = {path.stem: "PLATFORM_HTTP_" in _parts(path)["Mitigation"] for path in RUNBOOKS}
    assert [stem for stem, full in named.items() if not full] == []


ADVICE = [
    pytest.param(bullet, id=f"{path.stem}-{number}")
    for path in RUNBOOKS
    for number, bullet in enumerate(_bullets(_parts(path)["Mitigation"]), 1)
    if not bullet.startswith("Do not") and any(each["value"] for each in _SETTING.finditer(bullet))
]


@pytest.mark.parametrize("bullet", ADVICE)
def test_values_that_are_recommended_together_start_a_service(bullet, monkeypatch):
    for name in os.environ:
        if name.startswith("PLATFORM_HTTP_"):
            monkeypatch.delenv(name)
    for match in _SETTING.finditer(bullet):
        if match["value"]:
            monkeypatch.setenv(
                f"PLATFORM_HTTP_CLIENTS__BILLING__{match['name']}", match["value"].rstrip(".")
            )
    load_settings().client("billing")


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_the_cure_says_what_it_costs_and_what_not_to_do(path):
    bullets = _bullets(_parts(path)["Mitigation"])
    assert any("Cost:" in bullet for bullet in bullets)
    assert bullets[-1].startswith("Do not ")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)]+)\)", _text(path)):
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_index_has_a_line_for_each_alert_with_its_severity():
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| ([\w, ]+) \|", _text(INDEX), re.MULTILINE)
    assert all(title == link for title, link, _ in rows)
    assert {title: set(severities.split(", ")) for title, _, severities in rows} == SEVERITIES


def test_the_rules_example_in_the_readme_is_what_the_unit_tests_load():
    text = _text(RULES / "README.md")
    (shown,) = re.findall(r"```yaml\n(groups:.*?)```", text, re.DOTALL)
    example = yaml.safe_load(_text(RULES / "examples" / "objectives.yaml"))
    shown_rules = yaml.safe_load(shown)["groups"][0]["rules"]
    assert all(rule in example["groups"][0]["rules"] for rule in shown_rules)

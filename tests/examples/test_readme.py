"""What the README of the service says can be typed in."""

from __future__ import annotations

import json
import re

import pytest

from platform_http.cli.demo.roles.incident import Incident
from platform_http.settings.sources import from_variables
from tests.examples.commands import ROOT

FOLDER = ROOT / "examples" / "service"
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")
INCIDENTS = re.findall(r"^curl -X PUT localhost:9000/phases -d '(.+)'$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("body", INCIDENTS)
def test_its_incidents_are_accepted(body: str) -> None:
    assert Incident.model_validate_json(body).seconds == json.loads(body)["seconds"]


def test_there_are_three_incidents() -> None:
    assert len(INCIDENTS) == 3


def test_every_field_of_an_incident_is_in_its_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\S*) \|$", TEXT, re.MULTILINE))
    fields = Incident.model_fields
    assert [name for name in fields if name not in TEXT] == []
    for name in ("share", "latency", "seconds"):
        assert float(rows[name]) == fields[name].default
    assert rows["listens"] == "true"


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_the_ports_of_the_settings_are_those_of_the_table() -> None:
    environment = dict(
        line.split("=", 1)
        for line in (FOLDER / "settings.env").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert from_variables(environment)[0].violations == []
    ports = {value[-5:-1] for name, value in environment.items() if name.endswith("BASE_URL")}
    assert ports == {"9001", "9002", "9003"}
    assert all(port in TEXT for port in ports)

from __future__ import annotations

import pytest

from platform_http.errors import ConfigurationError
from platform_http.simulation import load, shipped
from platform_http.simulation.reading import parse
from platform_http.simulation.scenario import Herd
from platform_http.simulation.variants import resolve

WHOLE = """
title = "a"
duration = 10
clients = 2
[arrivals]
pattern = "poisson"
rate = 5
[[upstream]]
name = "api"
workers = 2
service_time = { distribution = "constant", mean = 0.1 }
"""


def _wrong(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, name="mine.toml")
    return caught.value.violations


def test_the_shipped_scenarios_are_those_of_the_failure_stories():
    assert list(shipped()) == [
        "capacity_dip",
        "chain",
        "metastable_dip",
        "outage",
        "slow_down",
        "slow_replica",
        "steady",
        "thundering_herd",
    ]


@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_scenario_says_what_it_is_about_and_has_valid_settings(name):
    scenario = shipped()[name]
    assert scenario.description
    assert resolve(scenario.settings)


def test_a_scenario_is_read_from_a_path(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE, encoding="utf-8")
    assert load(str(file)).title == "a"


def test_what_is_not_said_has_a_default():
    scenario = parse(WHOLE, name="mine.toml")
    assert scenario.method == "GET"
    assert scenario.upstream[0].replicas == 1
    assert scenario.upstream[0].queue == 1000
    assert scenario.disturbance == ()


def test_an_unknown_name_is_answered_with_the_known_ones_and_a_suggestion():
    with pytest.raises(ConfigurationError) as caught:
        load("metastable_dips")
    (line,) = caught.value.violations
    assert "steady, thundering_herd" in line
    assert line.endswith("did you mean metastable_dip?")


def test_text_that_is_no_toml_is_refused_with_its_place():
    (line,) = _wrong("title = [\n1 2]")
    assert line.startswith("mine.toml is no TOML: ")
    assert "line 2" in line


def test_everything_that_is_wrong_is_told_at_once_with_its_place():
    text = WHOLE.replace("clients", "client").replace("workers = 2", "workers = 0\nqeue = 7")
    text = text.replace("rate = 5", "rate = 0")
    assert set(_wrong(text)) == {
        "mine.toml: clients: field required",
        "mine.toml: client is unknown; did you mean clients?",
        "mine.toml: arrivals.poisson.rate: input should be greater than 0",
        "mine.toml: upstream[1].workers: input should be greater than or equal to 1",
        "mine.toml: upstream[1].qeue is unknown; did you mean queue?",
    }


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ('kind = "crash"\nstart = 1\nend = 2', "disturbance[1].crash.end is unknown"),
        (
            'kind = "slow_down"\nstart = 1\nduration = 1\nfaktor = 2',
            "disturbance[1].slow_down.faktor is unknown; did you mean factor?",
        ),
        ('kind = "capacity"\nstart = 1\nduration = 1\nfactor = 2', "should be less than 1"),
        ('kind = "nap"\nstart = 1\nduration = 1', "'crash', 'refuse', 'status', 'slow_down'"),
        ("start = 1\nduration = 1", "'kind'"),
        (
            'kind = "crash"\nstart = 1\nduration = 1\nupstream = "apy"',
            "disturbance[1].upstream names none; did you mean api?",
        ),
        (
            'kind = "crash"\nstart = 1\nduration = 1\nreplicas = 3',
            "disturbance[1].replicas is more than api has; it has 1",
        ),
    ],
)
def test_a_wrong_disturbance_is_refused(table, line):
    assert any(line in each for each in _wrong(f"{WHOLE}\n[[disturbance]]\n{table}"))


def test_percentiles_in_the_wrong_order_are_refused():
    text = WHOLE.replace(
        '{ distribution = "constant", mean = 0.1 }',
        '{ distribution = "lognormal", p50 = 0.2, p99 = 0.1 }',
    )
    (line,) = _wrong(text)
    assert line.endswith("p99 is less than p50; swap them")


SECOND = """
[[upstream]]
name = "{name}"
workers = 2
service_time = {{ distribution = "constant", mean = 0.1 }}
{more}
"""


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (SECOND.format(name="api", more=""), "two upstreams have the same name"),
        (SECOND.format(name="db", more=""), "upstream[2] is called by nobody"),
        (
            'calls = "databse"\n' + SECOND.format(name="database", more=""),
            "upstream[1].calls names no upstream after it; did you mean database?",
        ),
        (
            'calls = "db"\n' + SECOND.format(name="db", more='calls = "api"'),
            "upstream[2].calls names no upstream after it",
        ),
    ],
)
def test_upstreams_that_do_not_fit_together_are_refused(more, line):
    assert any(line in each for each in _wrong(WHOLE + more))


def test_a_scenario_without_an_upstream_is_refused():
    before, _, _ = WHOLE.partition("[[upstream]]")
    (line,) = _wrong(f"upstream = []\n{before}")
    assert line.endswith("add a table [[upstream]]")


def test_a_scenario_is_scaled_with_its_upstreams():
    scenario = load("metastable_dip")
    assert scenario.calls == 100_000
    smaller = scenario.scaled(10_000)
    assert smaller.calls == 10_000
    assert smaller.duration == scenario.duration
    assert (smaller.upstream[0].workers, smaller.upstream[0].queue) == (7, 2000)
    assert scenario.scaled(1).upstream[0].workers == 1


def test_a_herd_is_scaled_too():
    arrivals = load("thundering_herd").scaled(100).arrivals
    assert isinstance(arrivals, Herd)
    assert arrivals.calls == 100

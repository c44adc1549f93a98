"""Everything that the dashboards, rules and runbooks ask is answered when the demo has faults."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dashboards.source.promql import Vocabulary, violations
from dashboards.source.samples import TARGET_LABELS
from tests.artifacts.live import queries
from tests.artifacts.live.grafana import ALL, Screen
from tests.artifacts.live.story import DASHBOARDS, RULES, RUNBOOKS

_NO_HOOK_RAISES = "a telemetry hook that raises: none of the demo's does"
# What stays without data, by where it stands, and what will fill it. At most five.
NOT_YET = {
    "alerts.yaml, TelemetryErrors, part 1": _NO_HOOK_RAISES,
    "TelemetryErrors.md, query 1": _NO_HOOK_RAISES,
}
# What no page of the demo shows, by sample and label, and what will make one show it.
NOT_SHOWN = {
    ("platform_http_telemetry_errors_total", "hook"): _NO_HOOK_RAISES,
}

PANELS = queries.of_panels(DASHBOARDS)
ANNOTATIONS = queries.of_annotations(DASHBOARDS)
VARIABLES = queries.of_variables(DASHBOARDS)
RULE_QUERIES = queries.of_rules(*RULES)
RUNBOOK_QUERIES = queries.of_runbooks(RUNBOOKS)
QUERIES = [*PANELS, *ANNOTATIONS, *RULE_QUERIES, *RUNBOOK_QUERIES]


@pytest.fixture(scope="module")
def screen(story):
    return Screen(story.scraped, story.began, (story.faulty, story.recovered), story.recovered)


@pytest.fixture(scope="module")
def shown(story, screen):
    """Return what each query shows; what alerts do is seen where they had the time to do it."""
    hasty = Screen(story.in_a_hurry, story.began, (story.faulty, story.recovered), story.recovered)
    return {query: (hasty if "ALERTS" in query.expr else screen).shows(query) for query in QUERIES}


def silent(found, asked):
    return [str(query) for query in asked if not found[query] and query.where not in NOT_YET]


def test_every_panel_has_data(shown):
    assert len(PANELS) > 50
    assert silent(shown, PANELS) == []


def test_every_annotation_has_happened(shown):
    assert ANNOTATIONS
    assert silent(shown, ANNOTATIONS) == []


def test_every_rule_records_something_and_every_alert_compares_something(shown):
    assert len(RULE_QUERIES) > 40
    assert silent(shown, RULE_QUERIES) == []


def test_every_query_of_the_runbooks_works_as_it_is_pasted(shown):
    assert RUNBOOK_QUERIES
    assert silent(shown, RUNBOOK_QUERIES) == []


def test_what_is_excused_for_having_no_data_is_little_and_has_none(shown):
    assert len(NOT_YET) <= 5
    assert {query.where for query in QUERIES if not shown[query]} == NOT_YET.keys()


def test_every_variable_offers_something(screen):
    assert VARIABLES
    assert [str(choice) for choice in VARIABLES if not screen.offers(choice)] == []


def test_every_panel_has_data_for_some_single_client(screen, shown):
    choices = list(screen.single_choices())
    assert {"billing", "inventory", "search", "partner"} <= {choice["client"] for choice in choices}
    asked = [query for query in PANELS if shown[query] and "ALERTS" not in query.expr]
    found = {query: any(screen.shows(query, choice) for choice in choices) for query in asked}
    assert silent(found, asked) == []


def test_every_variable_offers_something_for_some_single_client(screen):
    choices = list(screen.single_choices())
    assert [
        str(variable)
        for variable in VARIABLES
        if not any(screen.offers(variable, choice) for choice in choices)
    ] == []


def test_every_rule_is_evaluated_without_an_error(story):
    for server in (story.scraped, story.pushed, story.in_a_hurry):
        assert server.unhealthy_rules() == []


def test_only_what_the_library_registers_is_asked_for():
    vocabulary = Vocabulary.of_library().with_rules(RULES)
    assert wrong(vocabulary, QUERIES) == []


def test_only_what_the_pages_really_show_is_asked_for(story):
    library = Vocabulary.of_library().samples
    shown = _labels_on_pages(story)
    for name, label in NOT_SHOWN:
        assert label not in shown.get(name, ())
        shown.setdefault(name, set(library[name].labels)).add(label)
    vocabulary = Vocabulary(
        {
            name: replace(library[name], labels=frozenset(labels | TARGET_LABELS))
            for name, labels in shown.items()
        }
    )
    assert wrong(vocabulary.with_rules(RULES), QUERIES) == []


def wrong(vocabulary, asked):
    return [f"{query}: {found}" for query in asked for found in violations(query.expr, vocabulary)]


def _labels_on_pages(story):
    """Return the library's samples with the labels that had a value on some page."""
    library = Vocabulary.of_library().samples
    shown = {"up": set(), "ALERTS": set()}
    for series in story.in_a_hurry.between(story.began, story.recovered, "ALERTS"):
        shown["ALERTS"] |= series.labels.keys()
    for page in story.pages.values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name in library:
                    labels = {label for label, value in sample.labels.items() if value}
                    shown.setdefault(sample.name, set()).update(labels)
    return shown


def test_no_query_names_an_integer_bound():
    integer = re.compile(r'\ble\s*=~?\s*"\d+(\.0*)?"')
    assert [str(query) for query in QUERIES if integer.search(query.expr)] == []


def test_no_panel_shows_a_raw_path_or_a_label_without_a_bound(shown):
    values = {}
    for query in [*PANELS, *ANNOTATIONS]:
        for series in shown[query]:
            for label, value in series.labels.items():
                values.setdefault(label, set()).add(value)
    raw = re.compile(r"://|\?|^/.*\d")
    assert {value for several in values.values() for value in several if raw.search(value)} == set()
    # 16 bounds of a histogram are the most.
    assert {label: len(several) for label, several in values.items() if len(several) > 20} == {}


def test_every_legend_names_labels_that_its_series_have(shown):
    missing = [
        f"{query}: {label}"
        for query in PANELS
        if shown[query]
        for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", query.legend)
        if not any(label in series.labels for series in shown[query])
    ]
    assert missing == []


def test_latency_panels_find_exemplars_that_lead_to_a_trace(story):
    asked = [query for query in PANELS if query.exemplars]
    assert asked
    for query in asked:
        expr = queries.filled(query.expr, ALL)
        found = story.scraped.exemplars(expr, story.began, story.recovered)
        exemplars = [exemplar for series in found for exemplar in series["exemplars"]]
        assert exemplars, query
        for exemplar in exemplars:
            assert re.fullmatch("[0-9a-f]{32}", exemplar["labels"]["trace_id"])
            assert re.fullmatch("[0-9a-f]{16}", exemplar["labels"]["span_id"])


def test_long_windows_hold_the_days_before_the_demo(story):
    lately, for_days = (
        story.scraped.at(
            story.healthy, f'job_client:platform_http_calls:{name}{{client="billing"}}'
        )
        for name in ("rate5m", "rate3d")
    )
    # Calls of this minute alone would be a thousandth of it.
    assert for_days[0].points[0][1] > 0.2 * lately[0].points[0][1]

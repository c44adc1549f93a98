"""Dashboards show the same whether metrics were scraped or came over OTLP."""

from __future__ import annotations

import pytest

from tests.artifacts.live import queries
from tests.artifacts.live.grafana import Screen
from tests.artifacts.live.story import DASHBOARDS, RULES, RUNBOOKS, differing_counts

# What one way has and the other cannot have, by where it stands, with the reason.
PAGE = "`up` is about who is scraped: for pushed metrics that is the receiver"
INHERENT: dict[str, str] = {"alerts.yaml, TelemetryAbsent, part 3": PAGE}

QUERIES = [
    *queries.of_panels(DASHBOARDS),
    *queries.of_annotations(DASHBOARDS),
    *queries.of_rules(*RULES),
    *queries.of_runbooks(RUNBOOKS),
]


@pytest.fixture(scope="module")
def screens(story):
    return [
        Screen(server, story.began, (story.faulty, story.recovered), story.recovered)
        for server in (story.scraped, story.pushed)
    ]


@pytest.fixture(scope="module")
def shown(screens):
    return {query: [screen.shows(query) for screen in screens] for query in QUERIES}


def label_names(found):
    return {label for series in found for label in series.labels}


def test_every_query_has_data_on_both_ways_or_on_neither(shown):
    assert {
        query.where for query, (scraped, pushed) in shown.items() if bool(scraped) != bool(pushed)
    } == INHERENT.keys()


def test_every_query_gives_the_same_labels_on_both_ways(shown):
    differences = [
        f"{query}: {sorted(label_names(scraped) ^ label_names(pushed))}"
        for query, (scraped, pushed) in shown.items()
        if query.where not in INHERENT and label_names(scraped) != label_names(pushed)
    ]
    assert differences == []


def test_every_variable_offers_the_same_on_both_ways(story, screens):
    # The upstream is scraped and pushes nothing.
    (upstream,) = story.scraped.at(story.faulty, 'up{job="upstream"}')
    for choice in queries.of_variables(DASHBOARDS):
        scraped, pushed = (set(screen.offers(choice)) for screen in screens)
        assert pushed, choice
        assert scraped - set(upstream.labels.values()) == pushed, choice


def test_counts_are_equal_once_nothing_is_counted_any_more(story):
    assert differing_counts(story.scraped, story.pushed, story.still) == []


def test_bounds_are_written_differently_which_is_why_no_query_may_name_a_whole_one(story):
    bounds = [
        set(
            server.label_values(
                "le", "platform_http_call_duration_seconds_bucket", story.began, story.still
            )
        )
        for server in (story.scraped, story.pushed)
    ]
    assert bounds[0] - bounds[1] == {"1.0", "5.0", "10.0", "30.0", "60.0"}
    assert bounds[1] - bounds[0] == {"1", "5", "10", "30", "60"}


def test_who_reports_is_told_by_the_resource(story):
    (caller,) = story.pushed.at(story.faulty, 'target_info{job="caller"}')
    assert caller.labels["deployment_environment"] == "test"
    scraped, pushed = (
        {tuple(sorted(series.labels.items())) for series in server.at(story.faulty, expr)}
        for expr in ['platform_http_build_info{job="caller"}']
        for server in (story.scraped, story.pushed)
    )
    assert scraped == pushed != set()


def test_exemplars_come_along(story):
    expr = "platform_http_call_duration_seconds_bucket"
    scraped, pushed = (
        {
            exemplar["labels"]["trace_id"]
            for series in server.exemplars(expr, story.began, story.still)
            for exemplar in series["exemplars"]
        }
        for server in (story.scraped, story.pushed)
    )
    assert scraped & pushed

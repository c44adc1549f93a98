"""Rates and quantiles from two hand-made snapshots."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from platform_http.cli.demo.figures import Figures
from platform_http.cli.demo.readings import Reading
from platform_http.telemetry.metrics import Metrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_total_sums_the_series_with_the_labels(registry):
    calls = Counter("calls", "-", ("client", "outcome"), registry=registry)
    calls.labels("a", "success").inc(3)
    calls.labels("a", "error").inc(2)
    calls.labels("b", "success").inc(7)
    reading = Reading.of(registry, 0.0)
    assert reading.total("calls_total") == 12
    assert reading.total("calls_total", client="a") == 5
    assert reading.total("calls_total", client=("a", "b"), outcome="success") == 10
    assert reading.total("calls_total", client="c") == 0
    assert reading.total("other_total") == 0


def test_a_level_of_zero_is_not_a_level_that_nobody_set(registry):
    tokens = Gauge("tokens", "-", ("client", "origin"), registry=registry)
    tokens.labels("a", "x").set(0)
    tokens.labels("b", "x").set(3)
    tokens.labels("b", "y").set(4)
    reading = Reading.of(registry, 0.0)
    assert reading.level("tokens", client="a") == 0
    assert reading.level("tokens", client=("a", "b")) == 7
    assert reading.level("tokens", client="c") is None
    assert reading.level("other") is None


def test_sums_by_a_label_leave_out_what_did_not_happen(registry):
    stops = Counter("stops", "-", ("client", "reason"), registry=registry)
    stops.labels("a", "exhausted").inc(2)
    stops.labels("b", "exhausted").inc(1)
    stops.labels("a", "deadline").inc(4)
    stops.labels("a", "budget")
    reading = Reading.of(registry, 0.0)
    assert reading.by("reason", "stops_total") == {"deadline": 4, "exhausted": 3}
    assert reading.by("reason", "stops_total", client="b") == {"exhausted": 1}


def test_an_increase_counts_series_that_were_not_there_before(registry):
    calls = Counter("calls", "-", ("outcome",), registry=registry)
    calls.labels("success").inc(10)
    earlier = Reading.of(registry, 5.0)
    calls.labels("success").inc(6)
    calls.labels("error").inc(2)
    increase = Reading.of(registry, 9.0).since(earlier)
    assert increase.seconds == 4.0
    assert increase.total("calls_total") == 8
    assert increase.rate("calls_total") == 2.0
    assert increase.by("outcome", "calls_total") == {"error": 2, "success": 6}


def test_a_rate_over_no_time_is_zero(registry):
    Counter("calls", "-", registry=registry).inc()
    now = Reading.of(registry, 3.0)
    assert now.since(now).rate("calls_total") == 0


def test_a_reading_does_not_move_with_the_registry(registry):
    gauge = Gauge("in_flight", "-", registry=registry)
    gauge.set(4)
    reading = Reading.of(registry, 0.0)
    gauge.set(9)
    assert reading.total("in_flight") == 4


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, 0.0),
        (0.25, 0.05),
        (0.5, 0.1),
        (0.75, 0.15),
        (0.95, 0.19),
        (1.0, 0.2),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(registry, share, expected):
    histogram = Histogram("took", "-", buckets=(0.1, 0.2, 1.0), registry=registry)
    for value in (0.02, 0.08, 0.11, 0.19):
        histogram.observe(value)
    assert Reading.of(registry, 0.0).quantile(share, "took") == pytest.approx(expected)


def test_a_quantile_merges_series_and_skips_empty_buckets(registry):
    histogram = Histogram("took", "-", ("client",), buckets=(0.1, 0.2, 0.4), registry=registry)
    histogram.labels("a").observe(0.05)
    histogram.labels("b").observe(0.3)
    reading = Reading.of(registry, 0.0)
    assert reading.quantile(1.0, "took") == pytest.approx(0.4)
    assert reading.quantile(1.0, "took", client="a") == pytest.approx(0.1)
    assert reading.quantile(0.75, "took") == pytest.approx(0.3)


def test_the_lowest_quantile_is_where_the_first_bucket_in_use_begins(registry):
    histogram = Histogram("took", "-", buckets=(0.1, 0.2), registry=registry)
    histogram.observe(0.15)
    assert Reading.of(registry, 0.0).quantile(0.0, "took") == pytest.approx(0.1)


def test_a_quantile_beyond_all_buckets_is_the_highest_bound(registry):
    histogram = Histogram("took", "-", buckets=(0.1, 0.2), registry=registry)
    histogram.observe(5)
    assert Reading.of(registry, 0.0).quantile(0.5, "took") == 0.2


def test_there_is_no_quantile_without_observations(registry):
    histogram = Histogram("took", "-", buckets=(0.1,), registry=registry)
    histogram.observe(0.05)
    reading = Reading.of(registry, 0.0)
    assert reading.since(reading).quantile(0.5, "took") is None
    assert reading.quantile(0.5, "other") is None


def test_figures_are_defined_by_the_metrics_of_the_library(registry):
    metrics = Metrics.of(registry)
    server = ("127.0.0.1", "8001")
    for outcome, count in {"success": 6, "error": 1, "rejected": 1, "cancelled": 2}.items():
        metrics.calls.labels("billing", "op", outcome, "").inc(count)
        metrics.call_duration.labels("billing", "op", outcome).observe(0.2)
    metrics.calls.labels("search", "op", "success", "").inc(5)
    for status, error in (("200", ""), ("503", "503"), ("", "connection_error")):
        labels = ("billing", "GET", *server, "/x", status, error)
        metrics.request_duration.labels(*labels).observe(0.1)
    metrics.retries.labels("billing", *server, "503").inc(4)
    metrics.retry_stops.labels("billing", "exhausted").inc(1)
    metrics.rejections.labels("billing", *server, "circuit_open").inc(1)
    metrics.circuit_transitions.labels("billing", *server, "open").inc(1)
    for state in ("open", "closed"):
        metrics.circuit_state.labels("billing", *server, state).set(state == "open")
    metrics.active_requests.labels("billing", "GET", *server).set(3)
    metrics.open_connections.labels("billing", *server, "idle").set(2)

    figures = Figures(Reading.of(registry, 0.0), "billing")

    assert figures.calls == 10
    assert figures.ended("success") == 6
    # Two of ten were cancelled by their callers and are nobody's fault.
    assert figures.percentage("success") == 75
    assert figures.percentage("error") == 12.5
    assert figures.attempts == 3
    assert figures.amplification == pytest.approx(0.3)
    assert figures.resends == {"503": 4}
    assert figures.retry_stops == {"exhausted": 1}
    assert figures.rejections == {"circuit_open": 1}
    assert figures.circuit_transitions == {"open": 1}
    assert figures.circuits == ("open",)
    assert figures.in_flight == 3
    assert figures.open_connections == 2
    assert figures.call_duration(1.0) == pytest.approx(0.25)


def test_figures_of_budgets_limits_and_hedges_are_defined_by_the_metrics_of_the_library(registry):
    metrics = Metrics.of(registry)
    server = ("127.0.0.1", "8001")
    metrics.retry_budget_tokens.labels("billing", *server).set(37)
    metrics.concurrency_in_use.labels("billing", *server).set(3)
    metrics.concurrency_limit.labels("billing", *server).set(20)
    metrics.retry_stops.labels("billing", "budget").inc(2)
    for result, count in {"won": 3, "lost": 2, "denied": 0}.items():
        metrics.hedges.labels("billing", result).inc(count)
    for _ in range(4):
        metrics.concurrency_wait.labels("billing").observe(0.2)
        metrics.rate_limit_wait.labels("billing").observe(0.02)
    metrics.concurrency_wait.labels("search").observe(8.0)

    figures = Figures(Reading.of(registry, 0.0), "billing")

    assert figures.budget_tokens == 37
    assert figures.permits == 3
    assert figures.concurrency_limit == 20
    assert figures.retry_stops == {"budget": 2}
    assert figures.hedges == {"won": 3, "lost": 2}
    assert figures.permit_wait(1.0) == pytest.approx(0.25)
    assert figures.rate_limit_wait(1.0) == pytest.approx(0.025)


def test_without_budget_limit_and_waits_there_are_no_such_figures(registry):
    metrics = Metrics.of(registry)
    # Nobody had to wait for the rate limit.
    metrics.rate_limit_wait.labels("billing").observe(0.0)
    figures = Figures(Reading.of(registry, 0.0), "billing")
    assert figures.budget_tokens is None
    assert figures.permits is None
    assert figures.concurrency_limit is None
    assert figures.hedges == {}
    assert figures.permit_wait(0.95) is None
    assert figures.rate_limit_wait(0.95) is None


def test_a_client_without_calls_has_no_percentages(registry):
    Metrics.of(registry)
    figures = Figures(Reading.of(registry, 0.0), "billing")
    assert figures.calls == 0
    assert figures.percentage("success") is None
    assert figures.amplification is None
    assert figures.call_duration(0.95) is None
    assert figures.circuits == ()


def test_rejected_and_cancelled_calls_have_no_part_in_durations(registry):
    metrics = Metrics.of(registry)
    for outcome, seconds in (("rejected", 0.001), ("cancelled", 9.0), ("error", 0.2)):
        metrics.call_duration.labels("billing", "op", outcome).observe(seconds)
    figures = Figures(Reading.of(registry, 0.0), "billing")
    assert 0.1 < figures.call_duration(0.5) <= 0.25
    assert 0.1 < figures.call_duration(1.0) <= 0.25

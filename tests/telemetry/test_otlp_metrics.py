"""The conversion, and that the translation back to Prometheus gives what a scrape gives."""

from __future__ import annotations

import time

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import Gauge, Histogram, MetricExporter, Sum
from opentelemetry.sdk.resources import Resource
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    Summary,
)
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram

from platform_http.telemetry.otlp_metrics import RegistryExporter, to_metrics_data
from tests.telemetry.otlp_to_prometheus import to_family
from tests.telemetry.test_metrics import exercise

RESOURCE = Resource({"service.name": "test"})


def converted(registry):
    data = to_metrics_data(registry.collect(), RESOURCE, started=1, now=2)
    return data.resource_metrics[0].scope_metrics[0].metrics


def translated(registry):
    data = to_metrics_data(registry.collect(), RESOURCE, started=1, now=2)
    samples = {}
    for resource in encode_metrics(data).resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            for sample in to_family(metric).samples:
                samples[sample.name, *sorted(_comparable(sample.labels).items())] = sample.value
    return samples


def scraped(registry):
    samples = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            labels = {key: value for key, value in sample.labels.items() if value}
            samples[sample.name, *sorted(_comparable(labels).items())] = sample.value
    return samples


def _comparable(labels):
    """Return *labels* with a bound as a number: one side writes 1.0, the other 1."""
    return {key: float(value) if key == "le" else value for key, value in labels.items()}


def test_what_is_pushed_translates_back_to_exactly_what_is_scraped(scene):
    exercise(scene)
    scene.metrics.event_loop_lag.observe(0.3)
    assert translated(scene.registry) == scraped(scene.registry)


def test_the_applications_own_metrics_survive_the_same_way():
    registry = CollectorRegistry()
    Counter("jobs", "d", ["kind"], registry=registry).labels("a").inc(3)
    Counter("work_seconds", "d", registry=registry).inc(1.5)
    PrometheusGauge("queue_bytes", "d", registry=registry).set(7)
    PrometheusHistogram("wait", "d", ["kind"], registry=registry).labels("a").observe(2)
    Summary("parse_seconds", "d", registry=registry).observe(2)
    Info("build", "d", registry=registry).info({"version": "1"})
    Enum("phase", "d", states=["on", "off"], registry=registry).state("off")
    GCCollector(registry)
    PlatformCollector(registry)
    assert translated(registry) == scraped(registry)
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    assert {key[0] for key in translated(process)} == {key[0] for key in scraped(process)}


def test_names_units_and_attributes_are_those_of_the_semantic_conventions(scene):
    exercise(scene)
    metrics = {metric.name: metric for metric in converted(scene.registry)}
    duration = metrics["http.client.request.duration"]
    assert duration.unit == "s"
    (point,) = duration.data.data_points
    assert point.attributes == {
        "client": "billing",
        "http.request.method": "GET",
        "server.address": "api.example.com",
        "server.port": 80,
        "url.template": "/invoices/{id}",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert metrics["http.client.response.body.size"].unit == "By"
    assert isinstance(metrics["platform_http.calls"].data, Sum)
    assert isinstance(metrics["platform_http.circuit_state"].data, Gauge)
    assert isinstance(metrics["platform_http.retry_budget_tokens"].data, Gauge)
    assert isinstance(metrics["platform_http.concurrency_in_use"].data, Gauge)
    assert isinstance(metrics["platform_http.concurrency_limit"].data, Gauge)
    for wait in ("platform_http.concurrency_wait", "platform_http.rate_limit_wait"):
        assert isinstance(metrics[wait].data, Histogram)
        assert metrics[wait].unit == "s"
    assert isinstance(metrics["platform_http.hedges"].data, Sum)
    assert isinstance(metrics["platform_http.rate_limit_store_errors"].data, Sum)
    assert "platform_http.call_duration" in metrics
    assert "dns.lookup.duration" in metrics
    assert "http.client.open_connections" in metrics


def test_a_series_starts_when_it_was_created_and_else_with_the_export(scene):
    before = time.time_ns()
    exercise(scene)
    metrics = {metric.name: metric for metric in converted(scene.registry)}
    (point,) = metrics["http.client.request.duration"].data.data_points
    assert before - 10**6 <= point.start_time_unix_nano <= time.time_ns()
    (gauge,) = metrics["platform_http.pool_limit"].data.data_points
    assert gauge.start_time_unix_nano == 1
    assert gauge.time_unix_nano == 2


def test_exemplars_go_along(scene):
    exercise(scene)
    attempt, _ = scene.exporter.get_finished_spans()
    metrics = {metric.name: metric for metric in converted(scene.registry)}
    (point,) = metrics["http.client.request.duration"].data.data_points
    (exemplar,) = point.exemplars
    assert exemplar.trace_id == attempt.context.trace_id
    assert exemplar.span_id == attempt.context.span_id
    assert exemplar.value == pytest.approx(0.02)
    assert exemplar.time_unix_nano > 10**18


class Recorder(MetricExporter):
    """Keeps what it is given, and may fail first."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.exports = []
        self.stopped_with = None

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.exports.append((metrics_data, timeout_millis))
        if len(self.exports) <= self.failures:
            raise ConnectionError("https://user:p4ss@collector/")

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.stopped_with = timeout_millis


def start(recorder, *, interval):
    return RegistryExporter(CollectorRegistry(), recorder, RESOURCE, interval=interval, timeout=3.0)


def test_a_last_export_happens_at_shutdown_however_long_the_interval():
    recorder = Recorder()
    exporter = start(recorder, interval=3600)
    assert not recorder.exports
    exporter.shutdown(5.0)
    ((_, timeout),) = recorder.exports
    assert timeout == 3000
    assert 0 < recorder.stopped_with <= 5000


def test_a_series_that_is_made_by_looking_at_it_began_before_it_was_looked_at(scene):
    recorder = Recorder()
    RegistryExporter(scene.registry, recorder, RESOURCE, interval=3600, timeout=3.0).shutdown(5.0)
    ((data, _),) = recorder.exports
    points = [
        point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    ]
    assert points
    assert all(point.start_time_unix_nano <= point.time_unix_nano for point in points)


def test_an_export_that_fails_is_logged_without_its_text_and_tried_again(caplog):
    recorder = Recorder(failures=2)
    exporter = start(recorder, interval=0.01)
    deadline = time.monotonic() + 10
    while len(recorder.exports) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    exporter.shutdown(5.0)
    assert len(recorder.exports) >= 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["metrics were not exported: ConnectionError"] * 2

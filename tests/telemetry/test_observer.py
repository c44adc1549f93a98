from __future__ import annotations

import logging
from contextvars import copy_context

import pytest
from prometheus_client import Counter

from platform_http.call import Origin, Tally
from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.telemetry.observer import _warn_of_double_spans
from platform_http.telemetry.series import ClientSeries
from platform_http.telemetry.session_series import AttemptSeries, ByReason, SessionSeries
from platform_http.telemetry.spans import ClientSpans
from platform_http.telemetry.tallies import Distribution, Ledger

ORIGIN = Origin("http", "api.example.com", 80)
ACTIVE = {
    "http_request_method": "GET",
    "server_address": "api.example.com",
    "server_port": "80",
}


def explode(*_: object, **__: object) -> None:
    raise RuntimeError("https://user:p4ss@api.example.com/?token=hush")


def failures(scene, hook):
    return scene.sample("platform_http_telemetry_errors_total", hook=hook)


def one_call(scene):
    call = scene.call()
    attempt, request = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    return request


@pytest.mark.parametrize("hook", ["call_started", "call_ended", "attempt_started", "attempt_ended"])
def test_a_span_that_fails_is_counted_and_breaks_neither_the_call_nor_the_gauges(
    scene, monkeypatch, hook
):
    monkeypatch.setattr(ClientSpans, hook, explode)
    one_call(scene)
    assert failures(scene, hook) == 1
    assert scene.sample("http_client_active_requests", **ACTIVE) == 0
    assert scene.sample("platform_http_calls_total", outcome="success") == 1


@pytest.mark.parametrize(
    ("owner", "verb", "hook"),
    [
        (Tally, "value", "attempt_started"),
        (AttemptSeries, "ended", "attempt_ended"),
        (SessionSeries, "call_ended", "call_ended"),
    ],
)
def test_a_metric_that_fails_is_counted_and_takes_no_span_with_it(
    scene, monkeypatch, owner, verb, hook
):
    one_call(scene)
    scene.exporter.clear()
    monkeypatch.setattr(owner, verb, property(explode) if owner is Tally else explode)
    request = one_call(scene)
    monkeypatch.undo()
    assert failures(scene, hook) == 1
    assert [span.name for span in scene.exporter.get_finished_spans()] == ["GET", "billing"]
    assert "traceparent" in request.headers


def test_an_attempt_that_was_not_counted_in_is_not_counted_out(scene, monkeypatch):
    one_call(scene)
    with monkeypatch.context() as failing:
        failing.setattr(Tally, "value", property(explode))
        one_call(scene)
    assert scene.sample("http_client_active_requests", **ACTIVE) == 0


def test_a_sample_that_fails_leaves_the_gauge_balanced(scene, monkeypatch):
    one_call(scene)
    monkeypatch.setattr(Distribution, "observe", explode)
    one_call(scene)
    assert scene.sample("http_client_active_requests", **ACTIVE) == 0
    assert failures(scene, "attempt_ended") == 1
    assert failures(scene, "call_ended") == 1
    assert len(scene.exporter.get_finished_spans()) == 4


def test_a_span_that_fails_while_it_is_described_still_ends(scene, monkeypatch):
    monkeypatch.setattr("platform_http.telemetry.redaction.UrlRedaction.__call__", explode)
    request = one_call(scene)
    assert failures(scene, "attempt_started") == 1
    assert [span.name for span in scene.exporter.get_finished_spans()] == ["GET", "billing"]
    assert "traceparent" in request.headers


def test_a_span_that_fails_at_its_end_still_ends(scene, monkeypatch):
    monkeypatch.setattr("platform_http.telemetry.spans._add_phases", explode)
    one_call(scene)
    assert failures(scene, "attempt_ended") == 1
    assert [span.name for span in scene.exporter.get_finished_spans()] == ["GET", "billing"]


def test_a_call_span_that_fails_at_its_end_still_ends(scene, monkeypatch):
    monkeypatch.setattr("platform_http.telemetry.sdk.KNOWN_SERIES", ())
    call = scene.call()
    monkeypatch.setattr("platform_http.telemetry.sdk.put", explode)
    call.close("success", "", scene.now)
    assert failures(scene, "call_ended") == 1
    assert [span.name for span in scene.exporter.get_finished_spans()] == ["billing"]


def test_no_exemplar_is_built_where_none_can_be_kept(make_scene, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "anywhere")
    scene = make_scene()
    monkeypatch.setattr("platform_http.telemetry.observer.context_of_sampled", explode)
    one_call(scene)
    assert failures(scene, "attempt_ended") is None


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        ("resent", lambda call, attempt: (attempt, "503", 0.1)),
        ("retry_stopped", lambda call, attempt: (call, "exhausted")),
        ("rejected", lambda call, attempt: (call, ORIGIN, "circuit_open")),
        ("circuit_changed", lambda call, attempt: (ORIGIN, "closed", "open")),
        ("budget_changed", lambda call, attempt: (ORIGIN, 90.0)),
        ("concurrency_watched", lambda call, attempt: (ORIGIN, ConcurrencyLimit(limit=1, queue=0))),
        ("concurrency_waited", lambda call, attempt: (0.1,)),
        ("rate_limit_waited", lambda call, attempt: (0.1,)),
        ("rate_limit_store_failed", lambda call, attempt: ()),
        ("hedge_ended", lambda call, attempt: ("won",)),
        ("policy_bypassed", lambda call, attempt: (call,)),
        ("egress_denied", lambda call, attempt: ("link_local",)),
        ("certificate_seen", lambda call, attempt: ("api.example.com", "peer", 4e9)),
        ("tls_reloaded", lambda call, attempt: ("success",)),
        ("token_refreshed", lambda call, attempt: ("success",)),
        ("pitfall_found", lambda call, attempt: ("unread_response",)),
        ("connections", lambda call, attempt: (ORIGIN,)),
        ("session_closed", lambda call, attempt: ()),
    ],
)
def test_every_other_hook_swallows_and_counts_too(scene, monkeypatch, hook, arguments):
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.metrics.telemetry_errors.labels("billing", hook)
    monkeypatch.setattr("prometheus_client.Counter.inc", explode)
    monkeypatch.setattr("prometheus_client.Gauge.inc", explode)
    monkeypatch.setattr("prometheus_client.Gauge.dec", explode)
    monkeypatch.setattr("prometheus_client.Gauge.set", explode)
    monkeypatch.setattr(ClientSeries, "server", explode)
    monkeypatch.setattr(SessionSeries, "server", explode)
    monkeypatch.setattr(Ledger, "settle", explode)
    monkeypatch.setattr(ByReason, "count", explode)
    monkeypatch.setattr("prometheus_client.Histogram.observe", explode)
    monkeypatch.setattr("platform_http.telemetry.tallies.Distribution.observe", explode)
    counted = []
    monkeypatch.setattr(
        type(scene.telemetry), "hook_failed", lambda self, name, error: counted.append(name)
    )
    getattr(scene.telemetry, hook)(*arguments(call, attempt))
    assert counted == [hook]


def test_refusals_and_stops_look_their_labels_up_once(scene, monkeypatch):
    call = scene.call()
    lookups = []
    labels = Counter.labels
    monkeypatch.setattr(
        Counter, "labels", lambda self, *values: lookups.append(values) or labels(self, *values)
    )
    for _ in range(3):
        scene.telemetry.rejected(call, ORIGIN, "circuit_open")
        scene.telemetry.rejected(call, ORIGIN, "circuit_open", enforced=False)
        scene.telemetry.retry_stopped(call, "circuit_open")
    assert len(lookups) == len(set(lookups))
    server = {"server_address": "api.example.com", "server_port": "80"}
    for reason in ("circuit_open", "circuit_open_observed"):
        assert scene.sample("platform_http_rejections_total", reason=reason, **server) == 3
    assert scene.sample("platform_http_retry_stops_total", reason="circuit_open") == 3


def test_a_connection_that_closes_swallows_and_counts(scene, monkeypatch):
    monkeypatch.setattr("prometheus_client.Histogram.observe", explode)
    monkeypatch.setattr("platform_http.telemetry.tallies.Distribution.observe", explode)
    scene.telemetry.connection_closed(ORIGIN, duration=1.0)
    assert failures(scene, "connection_closed") == 1


def test_a_failed_hook_is_logged_without_the_text_of_its_exception(scene, monkeypatch, caplog):
    monkeypatch.setattr(ClientSpans, "call_ended", explode)
    with caplog.at_level(logging.DEBUG, "platform_http"):
        one_call(scene)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == "telemetry hook call_ended failed: RuntimeError (client 'billing')"


def test_a_cancel_passes_through_the_guard(scene, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClientSpans, "call_started", interrupted)
    # In a context of its own: the call stays open, and must not be the next test's current one.
    with pytest.raises(KeyboardInterrupt):
        copy_context().run(scene.call)


def test_a_second_instrumentation_is_warned_of_once(make_scene, caplog):
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    def warnings():
        return [record for record in caplog.records if "AioHttpClient" in record.getMessage()]

    _warn_of_double_spans.cache_clear()
    make_scene()
    assert not warnings()
    AioHttpClientInstrumentor().instrument()
    try:
        make_scene(traces=False)
        assert not warnings()
        make_scene()
        make_scene()
        assert len(warnings()) == 1
    finally:
        AioHttpClientInstrumentor().uninstrument()
        _warn_of_double_spans.cache_clear()

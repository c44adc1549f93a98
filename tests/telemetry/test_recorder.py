"""Which calls are kept for the status page, and for how long."""

from __future__ import annotations

import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF

from platform_http.telemetry import recorder as module
from platform_http.telemetry.recorder import KEPT, PERIOD, CallRecorder, RecordingTelemetry
from tests.telemetry.stand_ins import Scene, telemetry_settings


@pytest.fixture
def scene():
    scene = Scene()
    scene.telemetry = scene.client.observer = RecordingTelemetry(
        "billing",
        telemetry_settings(),
        scene.metrics,
        tracer_provider=scene.provider,
        base_origin=None,
        can_resend=True,
        pool_limit=100,
    )
    yield scene
    scene.close()


def _make(scene, *, outcome="success", after=0.02, status=200, error_type="", **options):
    call = scene.call(**options)
    attempt, _ = scene.attempt(call, "http://api.test/invoices/42?token=canary")
    scene.answer(attempt, status, after)
    call.close(outcome, error_type, scene.now)
    return call


def test_a_call_is_kept_with_what_names_it_and_nothing_of_its_url(scene):
    _make(
        scene,
        outcome="error",
        status=503,
        error_type="503",
        after=0.25,
        operation="invoices.get",
        url_template="/invoices/{id}",
    )
    (kept,) = scene.telemetry.recorder.failed
    assert kept[:8] == (
        "invoices.get", "GET", "http://api.test:80", "/invoices/{id}", "error", 503, "503", 1
    )  # fmt: skip
    assert kept.duration == pytest.approx(0.25)
    assert abs(kept.ended_at - time.time()) < 60
    assert "canary" not in repr(kept)
    (span,) = (each for each in scene.exporter.get_finished_spans() if each.parent is None)
    assert kept.trace_id == trace.format_trace_id(span.context.trace_id)


def test_the_last_failures_are_kept_the_last_one_first(scene):
    for number in range(KEPT + 5):
        _make(scene, outcome="rejected", operation=f"call.{number}")
    failed = scene.telemetry.recorder.failed
    assert len(failed) == KEPT
    assert (failed[0].operation, failed[-1].operation) == (f"call.{KEPT + 4}", "call.5")


@pytest.mark.parametrize("outcome", ["success", "cancelled"])
def test_what_did_not_fail_is_not_among_the_failures(scene, outcome):
    _make(scene, outcome=outcome)
    assert scene.telemetry.recorder.failed == ()


def test_the_slowest_are_kept_the_slowest_first(scene):
    for number in range(KEPT + 5):
        _make(scene, after=(number * 7 % (KEPT + 5) + 1) / 100)
    slowest = [call.duration for call in scene.telemetry.recorder.slowest(scene.now)]
    expected = [number / 100 for number in range(KEPT + 5, 5, -1)]
    assert slowest == pytest.approx(expected)


def test_a_quick_success_among_slow_ones_is_not_kept(scene):
    for _ in range(KEPT):
        _make(scene, after=1)
    _make(scene, after=0.01, operation="quick")
    slowest = scene.telemetry.recorder.slowest(scene.now)
    assert {call.operation for call in slowest} == {""}


def test_a_slow_call_is_forgotten_after_two_periods(scene):
    recorder = scene.telemetry.recorder
    _make(scene, after=3)
    start = scene.now
    scene.now = start + PERIOD + 1
    _make(scene, after=1)
    assert [round(each.duration) for each in recorder.slowest(scene.now)] == [3, 1]
    assert [round(each.duration) for each in recorder.slowest(scene.now + PERIOD)] == [1]
    assert recorder.slowest(scene.now + 3 * PERIOD) == ()


def test_after_a_silence_nothing_old_is_shown(scene):
    _make(scene, after=3)
    assert scene.telemetry.recorder.slowest(scene.now + 10 * PERIOD) == ()


def test_long_names_are_cut(scene):
    _make(scene, outcome="error", operation="o" * 10_000, url_template="t" * 10_000)
    (kept,) = scene.telemetry.recorder.failed
    assert len(kept.operation) == len(kept.url_template) == 200


def test_a_call_that_got_to_no_server_has_no_status(scene):
    call = scene.call()
    call.close("rejected", "egress_denied", scene.now)
    (kept,) = scene.telemetry.recorder.failed
    assert (kept.origin, kept.status, kept.attempts) == ("", 0, 0)


def test_without_spans_there_is_no_trace():
    scene = Scene(sdk=False)
    recorder = CallRecorder()
    call = scene.call()
    call.close("error", "_OTHER", scene.now)
    recorder.record(call)
    scene.close()
    assert recorder.failed[0].trace_id == ""


def test_a_call_that_is_sampled_out_is_kept_with_the_trace_that_servers_saw():
    scene = Scene(sampler=DEFAULT_OFF)
    recorder = CallRecorder()
    call = scene.call()
    _, request = scene.attempt(call)
    call.outcome = "error"
    recorder.record(call)
    scene.close()
    assert call.span is None
    assert recorder.failed[0].trace_id == request.headers["traceparent"].split("-")[1]


def test_a_lone_attempt_is_the_trace_of_its_call():
    scene = Scene(call_span="never")
    scene.telemetry = scene.client.observer = RecordingTelemetry(
        "billing",
        telemetry_settings(call_span="never"),
        scene.metrics,
        tracer_provider=scene.provider,
        base_origin=None,
        can_resend=True,
        pool_limit=100,
    )
    _make(scene, outcome="error")
    scene.close()
    (span,) = scene.exporter.get_finished_spans()
    (kept,) = scene.telemetry.recorder.failed
    assert kept.trace_id == trace.format_trace_id(span.context.trace_id)


def test_a_recorder_that_fails_does_not_break_the_call(scene, monkeypatch):
    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(module, "_recorded", broken)
    _make(scene, outcome="error")
    assert scene.sample("platform_http_telemetry_errors_total", hook="call_ended") == 1

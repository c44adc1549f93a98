from __future__ import annotations

import io
import logging
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from yarl import URL

from platform_http.call import Attempt, Origin
from platform_http.telemetry.logging import TraceContextFilter, add_trace_context, log_settings

ORIGIN = Origin("http", "api.example.com", 80)


@pytest.fixture
def records(caplog):
    kept = []
    handler = logging.Handler()
    handler.emit = kept.append
    caplog.set_level(logging.DEBUG, "platform_http")
    logging.getLogger("platform_http").addHandler(handler)
    yield kept
    logging.getLogger("platform_http").removeHandler(handler)


def failed_call(scene, error_type="503", outcome="error", url="http://api.example.com/p?token=x"):
    call = scene.call(operation="invoices.get")
    target = URL(url)
    Attempt(call, Origin.of(target), "GET", target, scene.now)
    call.close(outcome, error_type, scene.now)


def test_a_failed_call_is_a_warning_with_fields_and_no_url(scene, records):
    failed_call(scene)
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "GET call to http://api.example.com:80 failed: 503 "
        "(client 'billing', attempts 1, 0.000 s, 0 more held back)"
    )
    assert record.client == "billing"
    assert record.origin == "http://api.example.com:80"
    assert record.operation == "invoices.get"
    assert record.error_type == "503"
    assert record.held_back == 0


def test_the_same_failure_is_logged_once_a_second_with_the_count_held_back(scene, records):
    for _ in range(50):
        failed_call(scene)
        scene.now += 0.01
    assert len(records) == 1
    scene.now += 0.6
    failed_call(scene)
    assert [record.held_back for record in records] == [0, 49]
    scene.now += 1.0
    failed_call(scene)
    assert [record.held_back for record in records] == [0, 49, 0]


def test_another_origin_or_error_type_is_logged_at_once(scene, records):
    failed_call(scene)
    failed_call(scene, "connection_error")
    failed_call(scene, url="http://other.example.com/")
    failed_call(scene)
    assert len(records) == 3


def test_rejected_calls_are_logged_and_cancelled_and_successful_ones_are_not(scene, records):
    failed_call(scene, "", "success")
    failed_call(scene, "", "cancelled")
    assert not records
    call = scene.call()
    call.close("rejected", "circuit_open", scene.now)
    (record,) = records
    assert record.outcome == "rejected"
    assert "an unknown origin" in record.getMessage()


def test_what_is_held_back_is_bounded(scene, records):
    for index in range(1100):
        failed_call(scene, url=f"http://h{index}.example.com/")
    assert len(scene.telemetry._failures._kinds) == 1024


def test_a_resend_is_debug(scene, records):
    attempt, _ = scene.attempt(scene.call())
    scene.telemetry.resent(attempt, "503", 0.125)
    (record,) = records
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == (
        "attempt 1 to http://api.example.com:80 failed: 503, resent after 0.125 s "
        "(client 'billing')"
    )


def test_a_circuit_transition_is_a_warning(scene, records):
    scene.telemetry.circuit_changed(ORIGIN, "closed", "open")
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "circuit of http://api.example.com:80 went from closed to open (client 'billing')"
    )


def test_the_summary_of_settings_names_switches_and_no_secret(records):
    log_settings(
        SimpleNamespace(
            name="billing",
            base_url="https://user:hush@api.example.com/",
            headers={"X-Api-Key": "hush"},
            timeout=SimpleNamespace(total=10.0, attempt=4.0),
            pool=SimpleNamespace(limit=100, limit_per_host=20),
            retry=SimpleNamespace(enabled=False, max_attempts=3),
            circuit_breaker=SimpleNamespace(mode="enforce"),
            tls=SimpleNamespace(verify=True, trust="system"),
            proxy=SimpleNamespace(url="http://u:hush@proxy:3128", from_env=False),
        )
    )
    (record,) = records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "client 'billing': total timeout 10 s, attempt timeout 4 s, 100 connections "
        "(20 per host), 1 attempts, circuit breaker enforce, TLS verification on by system trust, "
        "through a proxy"
    )
    assert "hush" not in str(vars(record))


@pytest.fixture
def tracer():
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider.get_tracer("application")
    provider.shutdown()


def test_the_filter_adds_the_current_span_to_every_record(tracer):
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(TraceContextFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(trace_id)s/%(span_id)s/%(trace_flags)s"))
    logger = logging.getLogger("application")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("outside")
    with tracer.start_as_current_span("work") as span:
        logger.warning("inside")
    logger.removeHandler(handler)
    named = span.get_span_context()
    assert out.getvalue().splitlines() == [
        "outside //",
        f"inside {named.trace_id:032x}/{named.span_id:016x}/{named.trace_flags:02x}",
    ]


def test_the_structlog_processor_adds_the_current_span_to_the_event(tracer):
    assert add_trace_context(None, "info", {"event": "outside"}) == {"event": "outside"}
    with tracer.start_as_current_span("work") as span:
        event = add_trace_context(None, "info", {"event": "inside"})
    named = span.get_span_context()
    assert event == {
        "event": "inside",
        "trace_id": f"{named.trace_id:032x}",
        "span_id": f"{named.span_id:016x}",
        "trace_flags": f"{named.trace_flags:02x}",
    }

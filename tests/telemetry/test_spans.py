from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanKind, StatusCode


def test_a_recovered_call_is_one_internal_span_over_one_client_span_per_attempt(scene):
    call = scene.call(operation="invoices.get", url_template="/invoices/{id}")
    parents = []
    for status in (503, 503, 200):
        attempt, request = scene.attempt(call)
        scene.answer(attempt, status)
        parents.append(request.headers["traceparent"])
    call.close("success", "", scene.now)

    *attempts, whole = scene.exporter.get_finished_spans()
    assert [span.name for span in attempts] == ["GET /invoices/{id}"] * 3
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 503, 200]
    assert [span.kind for span in attempts] == [SpanKind.CLIENT] * 3
    assert {span.parent.span_id for span in attempts} == {whole.context.span_id}
    named = [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-" for span in attempts]
    assert [parent.startswith(name) for parent, name in zip(parents, named, strict=True)] == [
        True
    ] * 3
    assert whole.name == "invoices.get"
    assert whole.kind is SpanKind.INTERNAL
    assert not [key for key in whole.attributes if key.startswith("http.")]
    assert dict(whole.attributes) == {
        "platform_http.client": "billing",
        "platform_http.operation": "invoices.get",
        "platform_http.attempts": 3,
        "platform_http.outcome": "success",
    }
    assert whole.status.status_code is StatusCode.UNSET


def test_a_client_span_has_the_attributes_of_the_contract(scene):
    call = scene.call(url_template="/invoices/{id}")
    attempt, _ = scene.attempt(call, "https://u:p4ss@api.example.com/invoices/42?a=1&token=hush#x")
    attempt.queue_started, attempt.queue_ended = 999.0, 999.25
    attempt.connect_started, attempt.connect_ended = 1000.0, 1000.5
    attempt.dns_started, attempt.dns_ended = 1000.0, 1000.125
    scene.answer(attempt, 200, after=0.5)

    (span,) = scene.exporter.get_finished_spans()
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "api.example.com",
        "server.port": 443,
        "url.full": "https://api.example.com/invoices/42?a=1&token=REDACTED",
        "url.template": "/invoices/{id}",
        "service.peer.name": "billing",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": 8080,
        "platform_http.connection.reused": False,
        "platform_http.phase.queue_ms": 250.0,
        "platform_http.phase.dns_ms": 125.0,
        "platform_http.phase.connect_ms": 500.0,
        "platform_http.phase.ttfb_ms": 500.0,
    }
    assert span.events == ()


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_status_is_an_error_without_description(scene, status):
    attempt, _ = scene.attempt(scene.call())
    scene.answer(attempt, status)
    (span,) = scene.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes["error.type"] == str(status)


@pytest.mark.parametrize("status", [200, 204, 302, 101])
def test_another_status_leaves_the_span_unset(scene, status):
    attempt, _ = scene.attempt(scene.call())
    scene.answer(attempt, status)
    (span,) = scene.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


def test_a_failed_attempt_is_an_error_with_its_type_and_its_unfinished_phase(scene):
    attempt, _ = scene.attempt(scene.call())
    attempt.connect_started = scene.now
    scene.fail(attempt, "connect_timeout", after=1.0)
    (span,) = scene.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "connect_timeout"
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["platform_http.phase.connect_ms"] == 1000.0
    assert span.events == ()


def test_a_cancelled_attempt_and_call_are_no_errors(scene):
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.cancel(attempt)
    call.close("cancelled", "", scene.now)
    client, whole = scene.exporter.get_finished_spans()
    assert client.attributes["platform_http.cancelled"] is True
    assert "error.type" not in client.attributes
    assert client.status.status_code is StatusCode.UNSET
    assert whole.status.status_code is StatusCode.UNSET
    assert whole.attributes["platform_http.outcome"] == "cancelled"


def test_a_failed_body_makes_the_call_an_error_and_not_its_attempt(scene):
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt, 200)
    call.close("error", "payload_error", scene.now)
    client, whole = scene.exporter.get_finished_spans()
    assert client.status.status_code is StatusCode.UNSET
    assert whole.status.status_code is StatusCode.ERROR
    assert whole.attributes["error.type"] == "payload_error"


def test_a_rejected_call_is_an_error_with_its_stop_reason(scene):
    call = scene.call()
    call.stop_reason = "circuit_open"
    call.close("rejected", "circuit_open", scene.now)
    (whole,) = scene.exporter.get_finished_spans()
    assert whole.status.status_code is StatusCode.ERROR
    assert whole.attributes["platform_http.stop_reason"] == "circuit_open"
    assert whole.attributes["platform_http.attempts"] == 0


@pytest.mark.parametrize(
    ("call_span", "can_resend", "max_attempts", "expected"),
    [
        ("auto", True, None, True),
        ("auto", True, 1, False),
        ("auto", False, None, False),
        ("always", False, 1, True),
        ("never", True, None, False),
    ],
)
def test_the_call_span_follows_its_setting(
    make_scene, call_span, can_resend, max_attempts, expected
):
    scene = make_scene(call_span=call_span, can_resend=can_resend)
    call = scene.call(max_attempts=max_attempts)
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    kinds = [span.kind for span in scene.exporter.get_finished_spans()]
    assert (SpanKind.INTERNAL in kinds) is expected
    assert kinds[0] is SpanKind.CLIENT


def test_spans_hang_below_the_span_that_was_current_when_the_call_began(scene):
    tracer = scene.provider.get_tracer("application")
    with tracer.start_as_current_span("server") as server:
        call = scene.call()
        # The call is not current: what the application does meanwhile is not below it.
        assert trace.get_current_span() is server
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    spans = scene.spans()
    assert spans["billing"].parent.span_id == spans["server"].context.span_id
    assert spans["GET"].parent.span_id == spans["billing"].context.span_id


def test_without_a_call_span_attempts_hang_below_the_span_of_the_application(make_scene):
    scene = make_scene(call_span="never")
    tracer = scene.provider.get_tracer("application")
    with tracer.start_as_current_span("server"):
        call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    spans = scene.spans()
    assert spans["GET"].parent.span_id == spans["server"].context.span_id


def test_an_unknown_method_is_named_http_and_keeps_its_original(scene):
    attempt, _ = scene.attempt(scene.call("PURGE"), method="PURGE")
    scene.answer(attempt)
    (span,) = scene.exporter.get_finished_spans()
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PURGE"


def test_headers_are_captured_by_list_but_never_the_denied_ones(make_scene):
    listed = ("X-Tenant", "Authorization", "COOKIE", "Set-Cookie", "Proxy-Authorization", "Vary")
    scene = make_scene(capture_request_headers=listed, capture_response_headers=listed)
    headers = {
        "X-Tenant": "t1",
        "Authorization": "Bearer hush",
        "Cookie": "hush",
        "Proxy-Authorization": "hush",
        "X-Other": "not listed",
    }
    attempt, _ = scene.attempt(scene.call(), headers=headers)
    answered = CIMultiDict([("vary", "a"), ("Vary", "b"), ("Set-Cookie", "hush=1")])
    attempt.response_headers = CIMultiDictProxy(answered)
    scene.answer(attempt)
    (span,) = scene.exporter.get_finished_spans()
    captured = {key: value for key, value in span.attributes.items() if ".header." in key}
    assert captured == {
        "http.request.header.x-tenant": ("t1",),
        "http.response.header.vary": ("a", "b"),
    }
    assert "hush" not in str(dict(span.attributes))


def test_nothing_is_built_for_a_span_that_does_not_record(make_scene, monkeypatch):
    scene = make_scene(sampler=sampling.ALWAYS_OFF)

    def explode(*_: object) -> None:
        raise AssertionError("redacted a URL for nobody")

    monkeypatch.setattr("platform_http.telemetry.redaction.UrlRedaction.__call__", explode)
    call = scene.call()
    attempt, request = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    assert attempt.span is None
    assert scene.exporter.get_finished_spans() == ()
    flags = int(request.headers["traceparent"][-2:], 16)
    assert not flags & trace.TraceFlags.SAMPLED
    assert not _failures(scene)


def test_a_call_that_is_sampled_out_takes_its_attempts_with_it(make_scene):
    class FirstNo(sampling.Sampler):
        """Drops the first root, keeps every other: a second decision would show."""

        def __init__(self) -> None:
            self.decisions = [sampling.Decision.DROP]

        def should_sample(self, *args, **kwargs):
            decision = (
                self.decisions.pop() if self.decisions else sampling.Decision.RECORD_AND_SAMPLE
            )
            return sampling.SamplingResult(decision)

        def get_description(self):
            return "first no"

    scene = make_scene(sampler=sampling.ParentBased(FirstNo()))
    call = scene.call()
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    assert scene.exporter.get_finished_spans() == ()


def test_traces_off_makes_no_span_and_leaves_headers_alone(make_scene):
    scene = make_scene(traces=False)
    call = scene.call()
    attempt, request = scene.attempt(call, headers={"traceparent": "mine"})
    scene.answer(attempt)
    call.close("success", "", scene.now)
    assert scene.exporter.get_finished_spans() == ()
    assert request.headers["traceparent"] == "mine"
    assert scene.sample("platform_http_calls_total", outcome="success") == 1


def _failures(scene):
    family = next(
        family
        for family in scene.registry.collect()
        if family.name == "platform_http_telemetry_errors"
    )
    return [sample for sample in family.samples if sample.name.endswith("_total") and sample.value]

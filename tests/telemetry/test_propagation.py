from __future__ import annotations

import pytest
from multidict import CIMultiDict
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from platform_http.call import Origin
from platform_http.errors import ConfigurationError
from platform_http.telemetry.propagation import Propagation, Rights

BASE = Origin("https", "api.example.com", 443)
OTHER = Origin("https", "other.example.net", 443)
STALE = {
    "traceparent": "00-11111111111111111111111111111111-2222222222222222-01",
    "tracestate": "stale=1",
    "baggage": "stale=1",
}


@pytest.fixture(autouse=True)
def a_clean_context():
    token = context.attach(context.Context())
    yield
    context.detach(token)


def headers_of(scene, url="https://api.example.com/", *, stale=False, hops=1):
    with_baggage = baggage.set_baggage("tenant", "t1")
    token = context.attach(with_baggage)
    try:
        call = scene.call()
    finally:
        context.detach(token)
    call.hops = hops
    attempt, request = scene.attempt(call, url, headers=STALE if stale else None)
    scene.answer(attempt)
    call.close("success", "", scene.now)
    return request.headers, attempt.span


@pytest.mark.parametrize(
    ("propagate_to", "origin", "expected"),
    [
        (["*"], OTHER, Rights(trace=True, baggage=False)),
        (["*"], BASE, Rights(trace=True, baggage=True)),
        ([], BASE, Rights(trace=False, baggage=False)),
        (["other.example.net"], BASE, Rights(trace=False, baggage=False)),
        (["OTHER.example.net"], OTHER, Rights(trace=True, baggage=True)),
        (["*.example.net"], OTHER, Rights(trace=True, baggage=True)),
        (["*.net"], OTHER, Rights(trace=True, baggage=True)),
        (
            ["*.example.net"],
            Origin("https", "example.net", 443),
            Rights(trace=False, baggage=False),
        ),
        (
            ["*.example.net"],
            Origin("https", "evilexample.net", 443),
            Rights(trace=False, baggage=False),
        ),
        (["https://other.example.net"], OTHER, Rights(trace=True, baggage=True)),
        (["https://other.example.net/"], OTHER, Rights(trace=True, baggage=True)),
        (["http://other.example.net"], OTHER, Rights(trace=False, baggage=False)),
        (["https://other.example.net:8443"], OTHER, Rights(trace=False, baggage=False)),
        (["[::1]"], Origin("http", "::1", 80), Rights(trace=True, baggage=True)),
        (
            ["bücher.example"],
            Origin("http", "xn--bcher-kva.example", 80),
            Rights(trace=True, baggage=True),
        ),
        (["*", "other.example.net"], OTHER, Rights(trace=True, baggage=True)),
    ],
)
def test_rights_follow_the_setting(propagate_to, origin, expected):
    assert Propagation(propagate_to, BASE).rights(origin) == expected


@pytest.mark.parametrize("entry", ["", "a/b", "https://", "*.", "user@host", "ht tp://x", "a.*"])
def test_an_entry_that_is_nothing_known_is_refused_by_name(entry):
    with pytest.raises(ConfigurationError, match="TELEMETRY__PROPAGATE_TO"):
        Propagation([entry], None)


def test_the_base_origin_gets_trace_and_baggage(make_scene):
    headers, span = headers_of(make_scene(base_origin=BASE))
    named = span.get_span_context()
    assert headers["traceparent"] == f"00-{named.trace_id:032x}-{named.span_id:016x}-03"
    assert headers["baggage"] == "tenant=t1"
    assert "tracestate" not in headers


def test_another_origin_gets_the_trace_but_no_baggage(make_scene):
    headers, _ = headers_of(make_scene(base_origin=BASE), "https://other.example.net/")
    assert "traceparent" in headers
    assert "baggage" not in headers


def test_an_origin_that_is_listed_gets_baggage_too(make_scene):
    scene = make_scene(propagate_to=("*", "*.example.net"))
    headers, _ = headers_of(scene, "https://other.example.net/")
    assert headers["baggage"] == "tenant=t1"


def test_an_origin_that_is_not_covered_gets_nothing(make_scene):
    headers, _ = headers_of(make_scene(propagate_to=("api.example.com",)), "https://x.example/")
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in headers}


@pytest.mark.parametrize("composite", ["default", "custom"])
def test_stale_values_are_overwritten_once(make_scene, monkeypatch, composite):
    if composite == "custom":
        monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CustomOrder())
    headers, span = headers_of(make_scene(base_origin=BASE), stale=True)
    assert f"{span.get_span_context().span_id:016x}" in headers["traceparent"]
    assert headers.getall("traceparent") == [headers["traceparent"]]
    assert "tracestate" not in headers
    assert headers.getall("baggage") == ["tenant=t1"]


def test_a_redirect_takes_nothing_to_an_origin_that_is_not_covered(make_scene):
    scene = make_scene(propagate_to=("api.example.com",), base_origin=BASE)
    headers, _ = headers_of(scene, "https://x.example/", stale=True, hops=2)
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in headers}


def test_a_redirect_takes_no_baggage_to_another_origin(make_scene):
    headers, span = headers_of(
        make_scene(base_origin=BASE), "https://x.example/", stale=True, hops=2
    )
    assert "baggage" not in headers
    assert f"{span.get_span_context().span_id:016x}" in headers["traceparent"]


def test_the_callers_own_headers_reach_the_origin_that_he_addressed(make_scene):
    headers, _ = headers_of(make_scene(propagate_to=()), stale=True)
    assert {name: headers[name] for name in STALE} == STALE


@pytest.mark.parametrize("sdk", [True, False])
def test_a_remote_parent_is_passed_on(make_scene, sdk):
    remote = SpanContext(
        0x1234,
        0x5678,
        is_remote=True,
        trace_flags=TraceFlags(1),
        trace_state=TraceState([("vendor", "v1")]),
    )
    scene = make_scene(sdk=sdk)
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
    try:
        call = scene.call()
    finally:
        context.detach(token)
    _, request = scene.attempt(call)
    assert request.headers["traceparent"].startswith(f"00-{0x1234:032x}-")
    assert request.headers["tracestate"] == "vendor=v1"
    # With an SDK the attempt has a span of its own, without one the parent speaks for it.
    assert (f"{0x5678:016x}" in request.headers["traceparent"]) is not sdk


def test_without_sdk_and_parent_nothing_is_written(make_scene):
    _, request = make_scene(sdk=False).attempt(make_scene(sdk=False).call())
    assert "traceparent" not in request.headers


def test_a_span_that_is_sampled_out_is_named_as_such(make_scene):
    scene = make_scene(sampler=sampling.ALWAYS_OFF)
    _, request = scene.attempt(scene.call())
    assert int(request.headers["traceparent"].rsplit("-", 1)[1], 16) & 1 == 0


class CustomOrder(CompositePropagator):
    """The same headers, but not the object whose output is known."""

    def __init__(self) -> None:
        super().__init__([W3CBaggagePropagator(), TraceContextTextMapPropagator()])


class TenantPropagator(TraceContextTextMapPropagator):
    """Writes the trace under a name of its own."""

    def inject(self, carrier, context=None, setter=None):
        span = trace.get_current_span(context).get_span_context()
        carrier["x-trace"] = f"{span.trace_id:032x}"
        carrier["x-baggage"] = str(dict(baggage.get_all(context)))

    @property
    def fields(self):
        return {"x-trace", "x-baggage"}


def test_another_global_propagator_is_asked_and_gets_no_baggage_it_may_not_send(
    make_scene, monkeypatch
):
    scene = make_scene(base_origin=BASE)
    headers_of(scene)
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", TenantPropagator())
    headers, span = headers_of(scene)
    assert headers["x-trace"] == f"{span.get_span_context().trace_id:032x}"
    assert headers["x-baggage"] == "{'tenant': 't1'}"
    assert "traceparent" not in headers
    headers, _ = headers_of(scene, "https://other.example.net/")
    assert headers["x-baggage"] == "{}"


def test_another_global_propagator_that_writes_nothing_leaves_headers_alone(
    make_scene, monkeypatch
):
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([]))
    headers, _ = headers_of(make_scene(), stale=True)
    assert {name: headers[name] for name in STALE} == STALE


def test_what_only_looks_like_a_context_is_left_to_the_propagator():
    class Lookalike:
        trace_id, span_id, is_remote, is_valid = 1, 2, False, True
        trace_flags, trace_state = TraceFlags(1), TraceState()

    headers: CIMultiDict[str] = CIMultiDict()
    rights = Rights(trace=True, baggage=False)
    span = NonRecordingSpan(Lookalike())
    Propagation(["*"], None).inject(headers, span, context.Context(), rights)
    assert headers["traceparent"] == f"00-{1:032x}-{2:016x}-01"


def test_the_direct_form_is_what_the_propagator_would_write():
    state = TraceState([("a", "1"), ("b", "2")])
    span = NonRecordingSpan(SpanContext(2**127, 2**63, is_remote=False, trace_state=state))
    expected: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(expected, trace.set_span_in_context(span))
    headers: CIMultiDict[str] = CIMultiDict()
    rights = Rights(trace=True, baggage=False)
    Propagation(["*"], None).inject(headers, span, context.Context(), rights)
    assert dict(headers) == expected

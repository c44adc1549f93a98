"""The short ways through OpenTelemetry's SDK, and where they are not taken."""

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider, _Span
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    ParentBasedTraceIdRatio,
    TraceIdRatioBased,
)
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, ProxyTracer

from platform_http.telemetry.sdk import drops_children, put

ATTRIBUTES = {"a": "text", "b": 1, "c": 0.5, "d": True, "e": ("x", "y")}


def span_of(**limits):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(span_limits=SpanLimits(**limits))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("x").start_span("s", attributes={"first": 1}), exporter


@pytest.mark.parametrize(
    "limits",
    [{}, {"max_span_attributes": 3}, {"max_span_attribute_length": 2}, {"max_attributes": 6}],
)
def test_a_span_gets_what_its_own_verb_would_give_it(limits) -> None:
    spans = []
    for setting in (put, lambda span, attributes: span.set_attributes(attributes)):
        span, exporter = span_of(**limits)
        setting(span, ATTRIBUTES)
        span.end()
        (finished,) = exporter.get_finished_spans()
        spans.append((dict(finished.attributes), finished.dropped_attributes))
    assert spans[0] == spans[1]


def test_the_short_way_is_taken_where_it_ends_in_the_same(monkeypatch) -> None:
    span, _ = span_of()
    monkeypatch.setattr(type(span), "set_attributes", None)
    put(span, ATTRIBUTES)
    assert span.attributes == {"first": 1, **ATTRIBUTES}


def test_a_span_of_another_class_is_asked_itself() -> None:
    class Scrubbing(_Span):
        def set_attributes(self, attributes):
            super().set_attributes(dict.fromkeys(attributes, "scrubbed"))

    span, _ = span_of()
    derived = Scrubbing("s", span.get_span_context(), limits=SpanLimits())
    derived.start()
    put(derived, ATTRIBUTES)
    assert set(derived.attributes.values()) == {"scrubbed"}


def test_a_wrapped_span_is_not_reached_behind_its_wrapper() -> None:
    class Wrapper:
        def __init__(self, wrapped):
            self.wrapped, self.asked = wrapped, []

        def __getattr__(self, name):
            return getattr(self.wrapped, name)

        def set_attributes(self, attributes):
            self.asked.append(attributes)

    wrapper = Wrapper(span_of()[0])
    put(wrapper, ATTRIBUTES)
    assert wrapper.asked == [ATTRIBUTES]
    assert dict(wrapper.wrapped.attributes) == {"first": 1}


def test_attributes_that_are_kept_elsewhere_are_set_all_the_same(monkeypatch) -> None:
    span, _ = span_of()
    asked = []
    monkeypatch.setattr(span, "_attributes", object())
    monkeypatch.setattr(
        type(span), "set_attributes", lambda _, attributes: asked.append(attributes)
    )
    put(span, ATTRIBUTES)
    assert asked == [ATTRIBUTES]


def test_what_does_not_record_is_left_to_itself() -> None:
    put(INVALID_SPAN, ATTRIBUTES)
    span, _ = span_of()
    span.end()
    put(span, ATTRIBUTES)
    assert dict(span.attributes) == {"first": 1}


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (None, True),
        (ParentBased(ALWAYS_ON), True),
        (ParentBasedTraceIdRatio(0.1), True),
        (ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON), False),
        (TraceIdRatioBased(0.1), False),
        (ALWAYS_ON, False),
    ],
)
def test_only_a_sampler_that_follows_the_parent_drops_its_children(sampler, expected) -> None:
    tracer = TracerProvider(sampler=sampler).get_tracer("x")
    assert drops_children(tracer) is expected


def test_no_sdk_drops_nothing() -> None:
    assert not drops_children(NoOpTracer())


def test_a_tracer_without_an_sdk_is_recognised() -> None:
    assert isinstance(ProxyTracer("x")._tracer, NoOpTracer)

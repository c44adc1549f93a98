"""Which spans are made by OpenTelemetry's SDK, and may take shorter ways that end in the same.

A call needs the API alone: the SDK is not imported here, only recognised. What is not recognised is
treated as any implementation of the API.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.trace import Status, StatusCode, set_span_in_context

from platform_http.telemetry.logging import LOGGER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

    AttributeValue = str | int | float | bool | tuple[str, ...]

KNOWN_SERIES: Final = ("1.45.",)
"""Releases of the SDK whose code was read; tests/telemetry/test_sdk_spans.py passes with each."""

FAILED: Final = Status(StatusCode.ERROR)


class Spans(Protocol):
    """Makes the spans of one tracer.

    Attributes are of plain types, and of names that a span has not got yet.
    """

    drops_children: bool
    """Whether no span is sampled below one of this process that is not."""

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue] | None,
    ) -> Span:
        """Start a span below that of *context*; samplers may decide by *attributes*."""

    def below(self, span: Span, context: Context) -> Context:
        """Return *context* with *span* in it; without a valid identity it is no parent."""

    def put(self, span: Span, attributes: Mapping[str, AttributeValue]) -> None:
        """Set *attributes* of *span*."""

    def end(self, span: Span, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        """End *span* with *attributes*, as an error if it *failed*."""


class ApiSpans:
    """Makes spans by the verbs of the API, whoever implements it.

    Args:
        tracer: Where the spans come from.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.drops_children = drops_children(tracer)

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue] | None,
    ) -> Span:
        """Start a span below that of *context*."""
        return self._tracer.start_span(name, context=context, kind=kind, attributes=attributes)

    def below(self, span: Span, context: Context) -> Context:
        """Return *context* with *span* in it; without a valid identity it is no parent."""
        if not span.get_span_context().is_valid:
            return context
        return set_span_in_context(span, context)

    def put(self, span: Span, attributes: Mapping[str, AttributeValue]) -> None:
        """Set *attributes* of *span*."""
        put(span, attributes)

    def end(self, span: Span, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        """End *span* with *attributes*, as an error if it *failed*."""
        try:
            self.put(span, attributes)
            if failed:
                span.set_status(FAILED)
        finally:
            span.end()


def spans_of(tracer: Tracer) -> Spans:
    """Return what makes the spans of *tracer*, the shorter way where it is known to be safe."""
    module: Any = sys.modules.get("opentelemetry.sdk.trace")
    if module is not None and type(tracer) is getattr(module, "Tracer", None):
        kind = _sdk_spans()
        if kind is not None:
            return kind(tracer)
    return ApiSpans(tracer)


def get_ready() -> None:
    """Find out what :func:`spans_of` asks for, if the SDK is loaded by now.

    It takes milliseconds, for which the first call would keep the event loop waiting.
    """
    if "opentelemetry.sdk.trace" in sys.modules:
        _sdk_spans()


def _sdk_spans() -> type[ApiSpans] | None:
    try:
        # Only where the SDK is loaded.
        from opentelemetry.sdk.version import __version__  # noqa: PLC0415 - see above

        if __version__.startswith(KNOWN_SERIES):
            from platform_http.telemetry.sdk_spans import SdkSpans, is_known  # noqa: PLC0415

            if is_known():
                return SdkSpans
    except Exception as error:  # noqa: BLE001 - an SDK that somebody has changed may raise anything
        LOGGER.debug("the SDK's spans are left to it: %s", type(error).__name__)
    return None


def put(span: Span, attributes: Mapping[str, AttributeValue]) -> None:
    """Set *attributes* that are of plain types, and of names that *span* has not got yet.

    The SDK looks at every value for what it may have to copy, cut or drop: two thirds of what a
    recorded span costs. Where its limits do not bite, there is nothing of the kind.
    """
    module: Any = sys.modules.get("opentelemetry.sdk.trace")
    # Whoever wraps spans, or derives from them, may have more to do with an attribute.
    if module is None or type(span) is not getattr(module, "_Span", None):
        span.set_attributes(attributes)
        return
    held: Any = getattr(span, "_attributes", None)
    kept = getattr(held, "_dict", None)
    if (
        type(kept) is dict
        and held.max_value_len is None
        and (held.maxlen is None or held.maxlen >= len(kept) + len(attributes))
        and span.is_recording()
    ):
        with held._lock:  # noqa: SLF001 - held by a canary in tests/telemetry/test_sdk.py
            kept.update(attributes)
    else:
        span.set_attributes(attributes)


def drops_children(tracer: Tracer) -> bool:
    """Tell whether *tracer* samples no span below one of this process that it did not sample.

    So it is with the SDK's default sampler, and with all that it makes of ``OTEL_TRACES_SAMPLER``
    and a parent.
    """
    sampling = sys.modules.get("opentelemetry.sdk.trace.sampling")
    if sampling is None:
        return False
    sampler: Any = getattr(tracer, "sampler", None)
    return (
        type(sampler) in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio)
        and getattr(sampler, "_local_parent_not_sampled", None) is sampling.ALWAYS_OFF
    )

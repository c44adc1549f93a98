"""Shorter ways through OpenTelemetry's SDK, taken only where they end in the same.

A call needs the API alone: the SDK is not imported here, only recognised. What is not recognised is
treated as any implementation of the API.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span, Tracer


def put(span: Span, attributes: Mapping[str, Any]) -> None:
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

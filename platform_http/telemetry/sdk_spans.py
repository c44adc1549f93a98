"""Spans of OpenTelemetry's SDK, made and ended at a third of its own cost.

What comes out is what the SDK makes: the same classes with the same contents, started and ended
before the same processors, by the same sampler, limits and generator of ids. What is saved are the
detours: six constructors a span, a search for the parent by every sampler, a look at every
attribute for what may have to be copied, cut or dropped.

It is done only for releases whose code is known, where nobody has patched it, and where a span made
either way comes out the same in this process. Whatever is out of the ordinary is left to the SDK,
span by span.
"""

# Each private name is held by a test in tests/telemetry/test_sdk_spans.py, all of them together by
# comparing the spans of both ways, there and in is_known().
# ruff: noqa: SLF001

from __future__ import annotations

import functools
import sys
from _thread import LockType
from collections import deque
from threading import Lock
from time import time_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider, _Span
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation import _SPAN_KEY

from platform_http.telemetry.sdk import FAILED, ApiSpans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import SpanLimits
    from opentelemetry.trace import Span

    from platform_http.telemetry.sdk import AttributeValue

# Whatever they make is filled by hand.
_new: Final[Any] = object.__new__

_DROP: Final = Decision.DROP
_SAMPLE: Final = Decision.RECORD_AND_SAMPLE
_UNSET: Final = Status(StatusCode.UNSET)
_FLAGS: Final = tuple(TraceFlags(flags) for flags in range(4))
_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_COMPARED_BITS: Final = TraceIdRatioBased.TRACE_ID_LIMIT
_MAX_TRACE_ID: Final = 2**128 - 1
_MAX_SPAN_ID: Final = 2**64 - 1

_START_SPAN: Final = Tracer.start_span
_END: Final = _Span.end

_REPLACED: Final = (
    (Tracer, ("start_span", "_is_enabled")),
    (_Span, ("__new__", "__init__", "start", "end", "set_attributes", "set_status")),
    (_Span, ("_new_events", "_new_links", "_readable_span", "is_recording")),
    (ReadableSpan, ("__init__",)),
    (SpanContext, ("__new__",)),
    (BoundedAttributes, ("__init__", "_set_items", "_setitem_locked")),
    (BoundedList, ("__init__", "append", "extend")),
    (ParentBased, ("should_sample",)),
    (ParentBasedTraceIdRatio, ("should_sample",)),
    (TraceIdRatioBased, ("should_sample",)),
    (StaticSampler, ("should_sample",)),
)
"""The functions whose work is done here."""


class SdkSpans(ApiSpans):
    """Makes the spans of a tracer of the SDK.

    Args:
        tracer: Exactly the SDK's; what it consists of may change at any time.
    """

    _tracer: Any

    def start(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue] | None,
    ) -> Span:
        """Start a span below that of *context*, step by step as ``Tracer.start_span`` does."""
        tracer = self._tracer
        parent = _parent(context)
        if (
            not tracer._tracer_config.is_enabled
            or (parent is not None and type(parent) is not SpanContext)
            # An instance may be wrapped, and so may be the class, at any time.
            or getattr(tracer.start_span, "__func__", None) is not _START_SPAN
        ):
            return super().start(name, context, kind, attributes)

        ids, sampler = tracer.id_generator, tracer.sampler
        trace_id = ids.generate_trace_id() if parent is None else parent[0]
        decision = _decision(sampler, trace_id, parent)
        if decision is not None:
            is_plain = True
            is_recording, is_sampled = decision is not _DROP, decision is _SAMPLE
            trace_state = None if parent is None else parent[4]
        else:
            is_plain = False
            result = sampler.should_sample(context, trace_id, name, kind, attributes, ())
            decision, attributes = result.decision, result.attributes
            is_recording, is_sampled = decision.is_recording(), decision.is_sampled()
            trace_state = result.trace_state
        is_random = ids.is_trace_id_random() if parent is None else parent[3] & _RANDOM
        span_id = ids.generate_span_id()
        span_context = tuple.__new__(
            SpanContext,
            (
                trace_id,
                span_id,
                False,
                _FLAGS[(_SAMPLED if is_sampled else 0) | (_RANDOM if is_random else 0)],
                DEFAULT_TRACE_STATE if trace_state is None else trace_state,
                0 < trace_id <= _MAX_TRACE_ID and 0 < span_id <= _MAX_SPAN_ID,
            ),
        )
        record_end = tracer._tracer_metrics.start_span(parent, decision)
        if not is_recording:
            return NonRecordingSpan(span_context)

        limits, processor = tracer._span_limits, tracer.span_processor
        span = _new(_Span)
        span._name = name
        span._context = span_context
        span._kind = kind
        span._instrumentation_info = tracer.instrumentation_info
        span._instrumentation_scope = tracer._instrumentation_scope
        span._parent = parent
        span._start_time = None
        span._end_time = None
        # One lock for all three: none of them is used while another one is locked.
        lock = Lock()
        span._attributes = _bounded_attributes(limits, attributes, lock, is_plain=is_plain)
        span._events = _bounded_list(limits.max_events, lock)
        span._links = _bounded_list(limits.max_links, lock)
        span._resource = tracer.resource
        span._status = _UNSET
        span._sampler = sampler
        span._trace_config = None
        span._record_exception = True
        span._set_status_on_exception = True
        span._span_processor = processor
        span._limits = limits
        span._lock = Lock()
        span._record_end_metrics = record_end
        span._start_time = time_ns()
        processor.on_start(span, parent_context=context)
        return span  # type: ignore[no-any-return]

    def below(self, span: Span, context: Context) -> Context:
        """Return *context* with *span* in it, as ``set_span_in_context`` does."""
        named: Any = span
        if type(span) is _Span and named._context[5]:
            return Context({**context, _SPAN_KEY: span})
        return super().below(span, context)

    def put(self, span: Span, attributes: Mapping[str, AttributeValue]) -> None:
        """Set *attributes* of *span*, as ``Span.set_attributes`` does."""
        live: Any = span
        if _has_room(live, attributes):
            with live._lock, live._attributes._lock:
                if live._end_time is None:
                    live._attributes._dict.update(attributes)
                    return
        super().put(span, attributes)

    def end(self, span: Span, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        """End *span* with *attributes*, as ``Span.end`` does after all that belongs to it."""
        live: Any = span
        is_first = False
        if _has_room(live, attributes) and getattr(live.end, "__func__", None) is _END:
            with live._lock:
                is_first = live._end_time is None
                if is_first:
                    with live._attributes._lock:
                        live._attributes._dict.update(attributes)
                    if failed and live._status.status_code is not StatusCode.OK:
                        live._status = FAILED
                    live._end_time = time_ns()
                    live._attributes._immutable = True
        if not is_first:
            super().end(span, attributes, failed=failed)
            return
        if live._record_end_metrics:
            live._record_end_metrics()
        processor = live._span_processor
        processor._on_ending(live)
        processor.on_end(_readable(live))


def is_known() -> bool:
    """Tell whether nobody has patched the SDK, and spans come out the same both ways."""
    return all(_is_own(kind, name) for kind, names in _REPLACED for name in names) and (
        _makes_alike()
    )


def _parent(context: Context) -> Any:
    """Return the context of the span in *context*, ``None`` without a valid one."""
    span: Any = context.get(_SPAN_KEY)
    if span is None:
        return None
    if type(span) is _Span or type(span) is NonRecordingSpan:
        parent = span._context
    else:
        parent = get_current_span(context).get_span_context()
    if type(parent) is SpanContext and not parent[5]:
        return None
    return parent


def _decision(sampler: Any, trace_id: int, parent: Any) -> Decision | None:
    """Return what a *sampler* of the SDK decides; ``None`` if it has to be asked itself."""
    kind = type(sampler)
    if kind is ParentBased or kind is ParentBasedTraceIdRatio:
        if parent is None:
            sampler = sampler._root
        elif parent[3] & _SAMPLED:
            remote, local = sampler._remote_parent_sampled, sampler._local_parent_sampled
            sampler = remote if parent[2] else local
        else:
            remote, local = sampler._remote_parent_not_sampled, sampler._local_parent_not_sampled
            sampler = remote if parent[2] else local
        kind = type(sampler)
    decision: Decision | None = None
    if kind is StaticSampler:
        decision = sampler._decision
    elif kind is TraceIdRatioBased:
        decision = _SAMPLE if trace_id & _COMPARED_BITS < sampler._bound else _DROP
    return decision


def _bounded_attributes(
    limits: SpanLimits,
    attributes: Mapping[str, AttributeValue] | None,
    lock: LockType,
    *,
    is_plain: bool,
) -> BoundedAttributes:
    """Return *attributes* as a span holds them; what is not known to be plain is cleaned."""
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    kept = {**attributes} if attributes else {}
    if not is_plain or longest is not None or (most is not None and len(kept) > most):
        return BoundedAttributes(most, attributes, immutable=False, max_value_len=longest)
    held = _new(BoundedAttributes)
    held._dict = kept
    held.maxlen = most
    held.dropped = 0
    held.max_value_len = None
    held._lock = lock
    held._immutable = False
    return held  # type: ignore[no-any-return]


def _has_room(span: Any, attributes: Mapping[str, AttributeValue]) -> bool:
    """Tell whether *span* is the SDK's and takes *attributes* as they are."""
    if type(span) is not _Span:
        return False
    held = span._attributes
    if type(held) is not BoundedAttributes or held.max_value_len is not None:
        return False
    return held.maxlen is None or held.maxlen >= len(held._dict) + len(attributes)


@functools.cache
def _nothing(most: int | None) -> deque[Any]:
    return deque(maxlen=most)


class _Unused(BoundedList[Any]):
    """A list of events or links that becomes the SDK's own with its first item.

    Most spans have neither, and the room that a deque keeps for them is most of what a list costs:
    2 KiB a call, kept until the export.
    """

    def append(self, item: Any) -> None:
        """Begin the list."""
        self._begin()
        self.append(item)

    def extend(self, seq: Sequence[Any]) -> None:
        """Begin the list."""
        self._begin()
        self.extend(seq)

    def _begin(self) -> None:
        with _BEGINNING:
            if type(self) is _Unused:
                begun: Any = self
                begun._dq = deque(maxlen=begun._dq.maxlen)
                # From here on another thread takes it for what it is.
                begun.__class__ = BoundedList


_BEGINNING: Final = Lock()


def _bounded_list(most: int | None, lock: LockType) -> BoundedList[Any]:
    """Return a list of events or links without any."""
    held = _new(_Unused)
    held.dropped = 0
    held._dq = _nothing(most)
    held._lock = lock
    return held  # type: ignore[no-any-return]


def _readable(span: Any) -> ReadableSpan:
    """Return what exporters get of *span*."""
    readable = _new(ReadableSpan)
    readable._name = span._name
    readable._context = span._context
    readable._kind = span._kind
    readable._instrumentation_info = span._instrumentation_info
    readable._instrumentation_scope = span._instrumentation_scope
    readable._parent = span._parent
    readable._start_time = span._start_time
    readable._end_time = span._end_time
    readable._attributes = span._attributes
    readable._events = span._events
    readable._links = span._links
    readable._resource = span._resource
    readable._status = span._status
    return readable  # type: ignore[no-any-return]


def _is_own(kind: type, name: str) -> bool:
    """Tell whether a function of *kind* is that of its own module, not wrapped or replaced."""
    function = getattr(kind, name, None)
    return type(function) is FunctionType and function.__globals__ is vars(
        sys.modules[kind.__module__]
    )


@functools.cache
def _makes_alike() -> bool:
    """Tell whether a span comes out the same both ways; a patched release may be different."""
    try:
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.get_empty(),
            shutdown_on_exit=False,
            meter_provider=NoOpMeterProvider(),
        )
        keeping = _Keeping()
        provider.add_span_processor(keeping)
        tracer = provider.get_tracer("platform_http")
        forms = []
        for spans in (ApiSpans(tracer), SdkSpans(tracer)):
            span = spans.start("probe", Context(), SpanKind.CLIENT, {"started": "probe"})
            live = _form(span)
            spans.end(span, {"ended": 1}, failed=False)
            forms.append((live, _form(span), _form(keeping.ended)))
    except Exception:  # noqa: BLE001 - whatever the reason, the SDK's own way is left
        return False
    return forms[0] == forms[1]


class _Keeping(SpanProcessor):
    ended: ReadableSpan | None = None

    def on_end(self, span: ReadableSpan) -> None:
        self.ended = span


def _form(value: Any) -> Any:
    """Return what two spans of one tracer have in common, to be compared."""
    kind = type(value)
    if kind is _Unused:
        kind = BoundedList
    if kind in (_Span, ReadableSpan, Status, BoundedAttributes, BoundedList):
        return kind, {name: _form(part) for name, part in vars(value).items()}
    if kind is SpanContext:
        return kind, [*map(_form, value)]
    if kind is deque:
        return kind, value.maxlen, [*value]
    # Ids and instants differ, and so do locks.
    return kind if kind in (int, LockType) else (kind, value)

"""Which origins learn of our trace, and how it is written onto an attempt.

An origin that ``TELEMETRY__PROPAGATE_TO`` does not cover gets nothing. ``*`` covers the trace
only; baggage, which may be about customers, goes to the origin of ``BASE_URL`` and to origins that
are listed by name, so a redirect does not carry it elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import DEFAULT_TRACE_STATE, INVALID_SPAN_CONTEXT, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from platform_http.call import Origin
from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import CIMultiDict
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

_EVERY: Final = "*"
_BAGGAGE: Final = W3CBaggagePropagator()
_TUPLE: Final[object] = INVALID_SPAN_CONTEXT


class Rights(NamedTuple):
    """What one origin may be told."""

    trace: bool
    baggage: bool


class Propagation:
    """Writes the context of a span onto the headers of an attempt.

    Args:
        propagate_to: ``*``, hosts, ``*.suffix`` or origins.
        base_origin: The origin of the client's ``BASE_URL``, trusted with baggage as if it were
            listed, as soon as it may be told of the trace at all.

    Raises:
        ConfigurationError: If an entry is none of these.
    """

    def __init__(self, propagate_to: Iterable[str], base_origin: Origin | None) -> None:
        self._every = False
        self._base_origin = base_origin
        self._origins: set[Origin] = set()
        self._hosts: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        for entry in propagate_to:
            self._add(entry)
        self._propagator: TextMapPropagator | None = None
        self._is_default = False

    @property
    def names_origins(self) -> bool:
        """Whether any origin may be told more than of the trace."""
        named = self._origins or self._hosts or self._suffixes
        return bool(named) or (self._every and self._base_origin is not None)

    def rights(self, origin: Origin) -> Rights:
        """Return what *origin* may be told."""
        named = (
            origin in self._origins
            or origin.host in self._hosts
            or origin.host.endswith(self._suffixes)
        )
        traced = named or self._every
        return Rights(traced, named or (traced and origin == self._base_origin))

    def inject(
        self, headers: CIMultiDict[str], span: Span, context: Context, rights: Rights
    ) -> None:
        """Write *span*, and the baggage of *context*, onto *headers* as far as *rights* allow.

        Values that are there already are overwritten: they name another span.
        """
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._propagator = propagator
            self._is_default = _is_default(propagator)
        span_context = span.get_span_context()
        if not self._is_default or type(span_context) is not SpanContext:
            _inject_by(propagator, headers, span, context, rights)
            return
        # Unpacked, it costs one look-up instead of seven properties.
        trace_id, span_id, _, flags, state, is_valid = span_context
        if is_valid:
            # What TraceContextTextMapPropagator writes, at a tenth of its cost.
            headers["traceparent"] = (
                f"00-{trace_id.to_bytes(16).hex()}-{span_id.to_bytes(8).hex()}-{flags:02x}"
            )
            if state is not DEFAULT_TRACE_STATE and state:
                headers["tracestate"] = state.to_header()
            elif "tracestate" in headers:
                del headers["tracestate"]
        if rights.baggage and baggage.get_all(context):
            _BAGGAGE.inject(headers, context)

    def withhold(self, headers: CIMultiDict[str], rights: Rights) -> None:
        """Take from *headers* what an origin without full *rights* must not learn by a redirect."""
        headers.popall("baggage", None)
        if not rights.trace:
            for field in propagate.get_global_textmap().fields:
                headers.popall(field, None)

    def _add(self, entry: str) -> None:
        try:
            if entry == _EVERY:
                self._every = True
            elif "://" in entry:
                self._origins.add(Origin.of(URL(entry).origin()))
            elif entry.startswith("*."):
                self._suffixes += (f".{_host(entry[2:])}",)
            else:
                self._hosts.add(_host(entry))
        except ValueError:
            raise ConfigurationError(
                [
                    (
                        "TELEMETRY__PROPAGATE_TO has an entry that is neither *, a host, "
                        "*.suffix nor an origin such as https://api.example.com"
                    )
                ]
            ) from None


def _host(text: str) -> str:
    """Return *text* as hosts are spelt in URLs: IDNA-encoded, lower case, without brackets."""
    if not text or set(text) & set("/?#@*"):
        raise ValueError("not a host")
    return URL.build(scheme="http", host=text.strip("[]")).raw_host or ""


def _is_default(propagator: TextMapPropagator) -> bool:
    """Tell whether *propagator* is W3C trace context, then W3C baggage, and nothing else."""
    parts = getattr(propagator, "_propagators", ())
    return (
        type(propagator) is CompositePropagator
        and [type(part) for part in parts] == [TraceContextTextMapPropagator, W3CBaggagePropagator]
        and _TUPLE == (0, 0, False, 0, DEFAULT_TRACE_STATE, False)
    )


def _inject_by(
    propagator: TextMapPropagator,
    headers: CIMultiDict[str],
    span: Span,
    context: Context,
    rights: Rights,
) -> None:
    context = trace.set_span_in_context(span, context)
    if not rights.baggage:
        context = baggage.clear(context)
    written: dict[str, str] = {}
    propagator.inject(written, context)
    if written:
        for field in propagator.fields:
            headers.popall(field, None)
        headers.update(written)

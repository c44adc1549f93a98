"""Spans of one client: an INTERNAL span per call where it may be resent, a CLIENT span per attempt.

Only what the semantic conventions need for sampling is handed over at the start, from dicts that
were built before. Everything that costs (redacting a URL, copying headers) waits until a span is
known to record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import (
    NoOpTracer,
    ProxyTracer,
    SpanKind,
    TraceFlags,
    get_current_span,
)

from platform_http.telemetry.redaction import UrlRedaction
from platform_http.telemetry.sdk import ApiSpans, spans_of
from platform_http.telemetry.series import OTHER, known_method

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy
    from opentelemetry.trace import Span, SpanContext, Tracer

    from platform_http.call import Attempt, Call, Origin
    from platform_http.settings import TelemetrySettings
    from platform_http.telemetry.propagation import Propagation, Rights
    from platform_http.telemetry.sdk import AttributeValue, Spans

# Never captured, whatever the settings ask for.
_DENIED_HEADERS: Final = frozenset({"authorization", "cookie", "set-cookie"})
_DENIED_HEADER_PREFIX: Final = "proxy-"


class SpanShape:
    """What all CLIENT spans of one method, origin and template have in common.

    Args:
        name: Their name.
        attributes: What samplers may decide by.
        details: What only a recorded span needs.
        rights: What their origin may be told.
    """

    __slots__ = ("attributes", "details", "name", "rights")

    def __init__(
        self,
        name: str,
        attributes: dict[str, AttributeValue],
        details: dict[str, AttributeValue],
        rights: Rights,
    ) -> None:
        self.name = name
        self.attributes = attributes
        self.details = details
        self.rights = rights


class ClientSpans:
    """Starts and ends the spans of one client.

    Args:
        client: Name of the client.
        settings: Which spans, and what they may show.
        tracer: Where the spans come from.
        propagation: Who may be told of them.
        can_resend: Whether the client has a retry policy, which ``TELEMETRY__CALL_SPAN=auto``
            goes by.
    """

    def __init__(
        self,
        client: str,
        settings: TelemetrySettings,
        tracer: Tracer,
        propagation: Propagation,
        *,
        can_resend: bool,
    ) -> None:
        self._client = client
        self._idle_tracer: Tracer | None = tracer
        self._spans: Spans = ApiSpans(tracer)
        self._propagation = propagation
        self._redact = UrlRedaction(settings.redact_query)
        self._always = settings.call_span == "always"
        self._by_policy = settings.call_span == "auto" and can_resend
        self._request_headers = _captured("request", settings.capture_request_headers)
        self._response_headers = _captured("response", settings.capture_response_headers)

    def shape(self, method: str, origin: Origin, template: str) -> SpanShape:
        """Return what the CLIENT spans of *method* to *origin* with *template* share."""
        known = known_method(method)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": known,
            "server.address": origin.host,
            "server.port": origin.port,
        }
        details: dict[str, AttributeValue] = {"service.peer.name": self._client}
        name = known
        if known == OTHER:
            name = "HTTP"
            attributes["http.request.method_original"] = method
        if template:
            name = f"{name} {template}"
            details["url.template"] = template
        return SpanShape(name, attributes, details, self._propagation.rights(origin))

    def call_started(self, call: Call) -> None:
        """Start the call's span, if it is to have one."""
        call.context = context = get_current()
        if self._idle_tracer is not None and self._is_idle(self._idle_tracer):
            # What a tracer without an SDK hands on as well.
            call.identity = get_current_span(context)
            return
        if self._always or (self._by_policy and call.max_attempts > 1):
            name = call.options.operation or self._client
            span = self._spans.start(name, context, SpanKind.INTERNAL, None)
            if span.is_recording():
                call.span = span
            elif self._spans.drops_children:
                # Its attempts share the decision: another span would only be another number.
                call.identity = span
                return
            # A call that is sampled out must still be the parent: its attempts share the decision.
            call.context = self._spans.below(span, context)

    def call_ended(self, call: Call, span: Span) -> None:
        """End the call's *span*."""
        outcome = call.outcome or ""
        attributes: dict[str, AttributeValue] = {
            "platform_http.client": self._client,
            "platform_http.attempts": call.attempts,
            "platform_http.outcome": outcome,
        }
        if call.options.operation:
            attributes["platform_http.operation"] = call.options.operation
        if call.stop_reason:
            attributes["platform_http.stop_reason"] = call.stop_reason
        if call.error_type:
            attributes["error.type"] = call.error_type
        self._spans.end(span, attributes, failed=outcome in ("error", "rejected"))

    def attempt_started(
        self, attempt: Attempt, shape: SpanShape, request: aiohttp.ClientRequest
    ) -> None:
        """Start the attempt's span and name it to the server."""
        call, rights = attempt.call, shape.rights
        # Without casts: each of them is a function call.
        context: Any = get_current() if call.context is None else call.context
        span: Any = call.identity
        is_own = span is None
        if is_own:
            span = self._spans.start(shape.name, context, SpanKind.CLIENT, shape.attributes)
        try:
            if is_own and span.is_recording():
                attempt.span = span
                self._describe(span, shape, attempt, request)
        finally:
            if call.hops > 1 and not (rights.trace and rights.baggage):
                self._propagation.withhold(request.headers, rights)
            if rights.trace:
                self._propagation.inject(request.headers, span, context, rights)

    def _is_idle(self, tracer: Tracer) -> bool:
        """Tell whether there is no SDK, so that no span would be recorded or have an id."""
        if isinstance(tracer, ProxyTracer):
            # Where a later release keeps it elsewhere, the proxy is as good, and only costs more.
            tracer = getattr(tracer, "_tracer", tracer)
        if isinstance(tracer, NoOpTracer):
            return True
        # From here on it is the SDK's, or whose ever.
        self._idle_tracer = None
        self._spans = spans_of(tracer)
        return False

    def attempt_ended(self, attempt: Attempt, span: Span, error_type: str) -> None:
        """End the attempt's *span*.

        Args:
            attempt: The attempt, which has ended.
            span: Its span.
            error_type: Its ``error.type``, empty when it did not fail.
        """
        attributes: dict[str, AttributeValue] = {"platform_http.connection.reused": attempt.reused}
        try:
            if attempt.status:
                attributes["http.response.status_code"] = attempt.status
            if error_type:
                attributes["error.type"] = error_type
            elif attempt.cancelled:
                attributes["platform_http.cancelled"] = True
            if attempt.version is not None:
                attributes["network.protocol.version"] = attempt.protocol_version
            if attempt.peer is not None:
                address, port = attempt.peer
                attributes["network.peer.address"] = address
                attributes["network.peer.port"] = port
            _add_phases(attributes, attempt)
            if self._response_headers and attempt.response_headers is not None:
                _add_headers(attributes, self._response_headers, attempt.response_headers)
        finally:
            self._spans.end(span, attributes, failed=bool(error_type))

    def _describe(
        self, span: Span, shape: SpanShape, attempt: Attempt, request: aiohttp.ClientRequest
    ) -> None:
        attributes = {**shape.details, "url.full": self._redact(attempt.url)}
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        if self._request_headers:
            _add_headers(attributes, self._request_headers, request.headers)
        self._spans.put(span, attributes)


def context_of_sampled(span: Span) -> SpanContext | None:
    """Return what names *span*, or ``None`` if it is not sampled: it may lead nowhere."""
    context = span.get_span_context()
    return context if context.trace_flags & TraceFlags.SAMPLED else None


def _add_phases(attributes: dict[str, AttributeValue], attempt: Attempt) -> None:
    """Add the phases that took place; one that never ended lasted until the attempt's end."""
    end = attempt.ended
    if attempt.queue_started:
        queue = (attempt.queue_ended or end) - attempt.queue_started
        attributes["platform_http.phase.queue_ms"] = queue * 1000
    if attempt.dns_started:
        dns = (attempt.dns_ended or end) - attempt.dns_started
        attributes["platform_http.phase.dns_ms"] = dns * 1000
    if attempt.connect_started:
        connect = (attempt.connect_ended or end) - attempt.connect_started
        attributes["platform_http.phase.connect_ms"] = connect * 1000
    if attempt.status and attempt.sent_at:
        attributes["platform_http.phase.ttfb_ms"] = (end - attempt.sent_at) * 1000


def _captured(side: str, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of header name and attribute name, without those that are denied."""
    wanted = {name.strip().lower() for name in names}
    return tuple(
        (name, f"http.{side}.header.{name}")
        for name in sorted(wanted)
        if name not in _DENIED_HEADERS and not name.startswith(_DENIED_HEADER_PREFIX)
    )


def _add_headers(
    attributes: dict[str, AttributeValue],
    captured: tuple[tuple[str, str], ...],
    headers: CIMultiDict[str] | CIMultiDictProxy[str],
) -> None:
    for name, attribute in captured:
        values = headers.getall(name, None)
        if values:
            attributes[attribute] = tuple(values)

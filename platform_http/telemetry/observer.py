"""The telemetry of one client: turns what happens to its calls into metrics, spans and logs."""

from __future__ import annotations

import functools
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

from opentelemetry import trace

from platform_http.call import ConnectionCount, Tally
from platform_http.errors import EgressDeniedError
from platform_http.policies.registry import BOUND
from platform_http.telemetry.logging import LOGGER, FailureLog, log_circuit_changed, log_resent
from platform_http.telemetry.propagation import Propagation
from platform_http.telemetry.series import ClientSeries, observed
from platform_http.telemetry.session_series import SessionSeries, keep
from platform_http.telemetry.spans import ClientSpans, context_of_sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from platform_http.call import Attempt, Call, Origin, WebSocketLife
    from platform_http.policies.concurrency import ConcurrencyLimit
    from platform_http.settings import TelemetrySettings
    from platform_http.telemetry.metrics import Metrics
    from platform_http.telemetry.session_series import AttemptSeries
    from platform_http.telemetry.spans import SpanShape
    from platform_http.telemetry.tallies import Ledger
    from platform_http.telemetry.websocket_spans import WebSocketSpans

_Arguments = ParamSpec("_Arguments")

_MAX_RECORDS: Final = BOUND


class AttemptRecord:
    """All that attempts with the same method, origin and template share: one look-up each."""

    __slots__ = ("series", "shape")

    def __init__(self, series: AttemptSeries | None, shape: SpanShape | None) -> None:
        self.series: Final = series
        self.shape: Final = shape


def _guarded(
    hook: Callable[Concatenate[ClientTelemetry, _Arguments], None],
) -> Callable[Concatenate[ClientTelemetry, _Arguments], None]:
    """Keep the failure of a hook away from the call: count it and go on."""

    @functools.wraps(hook)
    def guarded(
        self: ClientTelemetry, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - telemetry must not break a call, whatever fails
            self.hook_failed(hook.__name__, error)

    return guarded


class ClientTelemetry:
    """Implements :class:`platform_http.call.Observer` for one client.

    No method raises. What fails inside is counted in ``platform_http_telemetry_errors_total``, and
    a failing span does not unbalance a gauge.

    An attempt that its caller cancelled has its one duration sample like any other, with neither
    status code nor error type: no other sample looks like that, and none counts as an error.

    Args:
        client: Name of the client.
        settings: What to record and what it may show.
        metrics: The metrics of the registry in use.
        tracer_provider: Where spans go; ``None`` is the global one, also when it is set later.
        base_origin: The origin of ``BASE_URL``, which is trusted with baggage.
        can_resend: Whether the client has a retry policy.
        pool_limit: Connections that the pool may hold, 0 is unlimited.
        pool_limit_per_host: Connections to one origin that it may hold, 0 is unlimited.
        concurrency_limit: Attempts to one origin that may be in flight, 0 is no limit.

    Raises:
        ConfigurationError: If an entry of ``TELEMETRY__PROPAGATE_TO`` cannot be understood.
    """

    def __init__(
        self,
        client: str,
        settings: TelemetrySettings,
        metrics: Metrics,
        *,
        tracer_provider: TracerProvider | None,
        base_origin: Origin | None,
        can_resend: bool,
        pool_limit: int,
        pool_limit_per_host: int = 0,
        concurrency_limit: int = 0,
    ) -> None:
        self._client = client
        self._concurrency_limit = concurrency_limit
        self._metrics = metrics
        self._failures = FailureLog(client)
        self._records: OrderedDict[tuple[str, Origin, str | None], AttemptRecord] = OrderedDict()
        # Other processes are not shown any.
        self._example = _no_example if metrics.is_shared else context_of_sampled
        self._series: SessionSeries | None = None
        self._ledger: Ledger | None = None
        if settings.metrics:
            series = ClientSeries.of(metrics, client)
            series.session_opened(
                pool_limit=pool_limit,
                pool_limit_per_host=pool_limit_per_host,
                can_resend=can_resend,
            )
            failed = functools.partial(_report_failure, metrics, client, "tally")
            self._ledger = metrics.open_ledger(self, failed)
            self._series = SessionSeries(self._ledger, series)
        self._spans: ClientSpans | None = None
        self._tracer: Tracer | None = None
        propagation = Propagation(settings.propagate_to, base_origin)
        if settings.traces:
            tracer = trace.get_tracer("platform_http", tracer_provider=tracer_provider)
            self._tracer = tracer
            self._spans = ClientSpans(client, settings, tracer, propagation, can_resend=can_resend)
            if _is_instrumented():
                _warn_of_double_spans()

    # What every call or every refusal passes through guards itself: the wrapper costs as much as
    # what it wraps.

    def call_started(self, call: Call) -> None:
        """Start the call's span."""
        try:
            if self._spans is not None:
                self._spans.call_started(call)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("call_started", error)

    def call_ended(self, call: Call) -> None:
        """End the call's span, sample the call, log its failure."""
        try:
            span: Span | None = call.span  # type: ignore[assignment] # a slot of ours
            try:
                if self._series is not None:
                    self._series.call_ended(call, None if span is None else self._example(span))
            finally:
                if self._spans is not None and span is not None:
                    self._spans.call_ended(call, span)
                if call.outcome in ("error", "rejected"):
                    self._failures.record(call)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("call_ended", error)

    def attempt_started(self, attempt: Attempt, request: aiohttp.ClientRequest) -> None:
        """Count the attempt in, start its span and write the trace onto *request*."""
        series, spans = self._series, self._spans
        if series is None and spans is None:
            return
        try:
            key = (attempt.method, attempt.origin, attempt.call.options.url_template)
            record = self._records.get(key) or self._new_record(attempt, key)
            try:
                if record.series is not None:
                    record.series.active.value += 1
                    attempt.record = record.series
            finally:
                if spans is not None and record.shape is not None:
                    spans.attempt_started(attempt, record.shape, request)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("attempt_started", error)

    def attempt_ended(self, attempt: Attempt) -> None:
        """Count the attempt out, sample it and its phases, end its span."""
        try:
            span: Span | None = attempt.span  # type: ignore[assignment] # a slot of ours
            series: AttemptSeries | None = attempt.record  # type: ignore[assignment] # another one
            status = attempt.status
            error_type = attempt.error_type or (str(status) if status >= 400 else "")
            try:
                if series is not None:
                    # First of all, so that the gauge stays balanced whatever fails below.
                    series.active.value -= 1
                    series.ended(attempt, error_type, None if span is None else self._example(span))
            finally:
                if self._spans is not None and span is not None:
                    self._spans.attempt_ended(attempt, span, error_type)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("attempt_ended", error)

    @_guarded
    def resent(self, attempt: Attempt, reason: str, delay: float) -> None:
        """Count and log a resend that begins."""
        if self._series is not None:
            self._series.server(attempt.origin).retries.count(reason)
        log_resent(self._client, attempt, reason, delay)

    def retry_stopped(self, call: Call, reason: str) -> None:  # noqa: ARG002 - Observer's signature
        """Count why a failed call is not resent."""
        try:
            if self._series is not None:
                self._series.retry_stops.count(reason)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("retry_stopped", error)

    def rejected(
        self,
        call: Call,  # noqa: ARG002 - Observer's signature
        origin: Origin,
        reason: str,
        *,
        enforced: bool = True,
    ) -> None:
        """Count a refusal."""
        try:
            if self._series is not None:
                reason = reason if enforced else observed(reason)
                self._series.server(origin).rejections.count(reason)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("rejected", error)

    @_guarded
    def circuit_changed(
        self, origin: Origin, previous: str, current: str, *, enforced: bool = True
    ) -> None:
        """Show the state of a circuit and log its change."""
        if not enforced:
            previous, current = observed(previous), observed(current)
        try:
            if self._series is not None:
                self._series.server(origin).series.circuit_changed(current)
        finally:
            log_circuit_changed(self._client, origin, previous, current)

    @_guarded
    def budget_changed(self, origin: Origin, tokens: float) -> None:
        """Show what is left of a retry budget."""
        if self._series is not None:
            level = self._series.server(origin).series.budget_tokens
            if level is not None:
                level.set(tokens)

    @_guarded
    def concurrency_watched(self, origin: Origin, limit: ConcurrencyLimit) -> None:
        """Show how much of *limit* is in use whenever somebody looks."""
        if self._series is not None:
            self._series.server(origin).watch(limit)

    def concurrency_waited(self, seconds: float) -> None:
        """Sample a wait for a permit."""
        try:
            if self._series is not None:
                self._series.concurrency_wait.observe(seconds)
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("concurrency_waited", error)

    @_guarded
    def rate_limit_waited(self, seconds: float) -> None:
        """Sample a wait for the rate limit."""
        if self._series is not None:
            self._series.client.rate_limit_wait.observe(seconds)

    @_guarded
    def rate_limit_store_failed(self) -> None:
        """Count that the fallback rate took over."""
        if self._series is not None:
            self._series.client.rate_limit_store_errors.inc()

    @_guarded
    def hedge_ended(self, result: str) -> None:
        """Count a hedge."""
        if self._series is not None:
            self._series.client.hedges[result].inc()

    @_guarded
    def policy_bypassed(self, call: Call) -> None:  # noqa: ARG002 - Observer's signature
        """Count a request that ran without this client's middlewares."""
        if self._series is not None:
            self._metrics.policy_bypass.labels(self._client).inc()

    @_guarded
    def egress_denied(self, reason: str, *, enforced: bool = True) -> None:
        """Count a refused destination."""
        if self._series is not None:
            rejection = EgressDeniedError.error_type
            if not enforced:
                reason, rejection = observed(reason), observed(rejection)
            self._metrics.egress_denied.labels(self._client, reason).inc()
            # Without its server: whoever chooses refused destinations must not choose labels.
            self._metrics.rejections.labels(self._client, "", "", rejection).inc()

    @_guarded
    def certificate_seen(self, address: str, side: str, expires: float) -> None:
        """Show when a certificate ends."""
        if self._series is not None:
            self._series.client.certificate_seen(address, side, expires)

    @_guarded
    def tls_reloaded(self, result: str) -> None:
        """Count a take-over of TLS files."""
        if self._series is not None:
            self._series.client.tls_reloads[result].inc()

    @_guarded
    def token_refreshed(self, result: str) -> None:
        """Count a token that was asked for."""
        if self._series is not None:
            self._series.client.token_refreshes[result].inc()

    @_guarded
    def websocket_connecting(self, life: WebSocketLife) -> None:
        """Start the connection's span, as the parent of its handshake."""
        if self._websocket_spans is not None:
            self._websocket_spans.connecting(life)

    @_guarded
    def websocket_opened(self, life: WebSocketLife) -> None:
        """Count a WebSocket in."""
        try:
            if self._series is not None:
                self._series.client.websocket_connections.inc()
        finally:
            if self._websocket_spans is not None:
                self._websocket_spans.opened(life)

    @_guarded
    def websocket_closed(self, life: WebSocketLife) -> None:
        """Count a WebSocket out, sample its lifetime, end its span."""
        try:
            if self._series is not None and life.opened:
                self._series.client.websocket_connections.dec()
                self._series.client.websocket_duration.observe(life.closed - life.opened)
        finally:
            if self._websocket_spans is not None:
                self._websocket_spans.closed(life)

    @_guarded
    def websocket_reconnected(self, reason: str) -> None:
        """Count a WebSocket that is connected anew."""
        if self._series is not None:
            self._metrics.websocket_reconnects.labels(self._client, reason).inc()

    @_guarded
    def pitfall_found(self, kind: str) -> None:
        """Count what the application should not do."""
        if self._series is not None:
            self._metrics.pitfalls.labels(self._client, kind).inc()

    def connections(self, origin: Origin) -> ConnectionCount:
        """Return what each connection that serves *origin* counts itself in and out of."""
        try:
            if self._series is not None:
                return self._series.server(origin).connections
        except Exception as error:  # noqa: BLE001 - as in _guarded
            self.hook_failed("connections", error)
        # Nobody looks at these.
        return ConnectionCount(Tally(), Tally())

    @_guarded
    def connection_closed(self, origin: Origin, *, duration: float) -> None:
        """Sample the lifetime of a connection."""
        if self._series is not None:
            self._series.server(origin).series.connection_duration.observe(duration)

    @_guarded
    def session_closed(self) -> None:
        """Carry over what was counted, for whoever never looks at the registry as a whole."""
        if self._ledger is not None:
            self._ledger.settle()

    def hook_failed(self, hook: str, error: Exception) -> None:
        """Count a hook that failed.

        Args:
            hook: Name of the hook.
            error: Only its type is logged: its text may hold a URL.
        """
        metrics = None if self._series is None else self._metrics
        _report_failure(metrics, self._client, hook, error)

    @functools.cached_property
    def _websocket_spans(self) -> WebSocketSpans | None:
        if self._tracer is None:
            return None
        # Most services have no WebSocket.
        from platform_http.telemetry.websocket_spans import WebSocketSpans  # noqa: PLC0415 - see above

        return WebSocketSpans(self._client, self._tracer)

    def _new_record(self, attempt: Attempt, key: tuple[str, Origin, str | None]) -> AttemptRecord:
        method, origin, template = attempt.method, attempt.origin, key[2] or ""
        series = shape = None
        if self._series is not None:
            series = self._series.attempt(method, origin, template)
            server = self._series.server(origin).series
            mode = attempt.call.client.settings.circuit_breaker.mode
            if mode != "off":
                server.circuit_watched(enforced=mode != "observe")
            if self._concurrency_limit:
                server.concurrency_limited(self._concurrency_limit)
        if self._spans is not None:
            shape = self._spans.shape(method, origin, template)
        return keep(self._records, key, AttemptRecord(series, shape), most=_MAX_RECORDS)


def _report_failure(metrics: Metrics | None, client: str, hook: str, error: Exception) -> None:
    if metrics is not None:
        metrics.telemetry_errors.labels(client, hook).inc()
    LOGGER.debug("telemetry hook %s failed: %s (client %r)", hook, type(error).__name__, client)


def _no_example(_: Span) -> None:
    return None


def _is_instrumented() -> bool:
    """Tell whether aiohttp's official instrumentation makes spans too, without loading it."""
    module = sys.modules.get("opentelemetry.instrumentation.aiohttp_client")
    if module is None:
        return False
    return bool(module.AioHttpClientInstrumentor().is_instrumented_by_opentelemetry)


@functools.cache
def _warn_of_double_spans() -> None:
    LOGGER.warning(
        "AioHttpClientInstrumentor is active: every request gets a second span. "
        "Call AioHttpClientInstrumentor().uninstrument(), or set TELEMETRY__TRACES=false"
    )

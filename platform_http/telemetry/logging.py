"""What the library logs, and the trace context for the application's own log lines.

Everything goes to the logger ``platform_http`` with ``extra=`` fields; handlers and levels are the
application's. No message holds a URL beyond its origin, a header, a body or an exception's text.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import get_current_span

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from platform_http.call import Attempt, Call, Origin
    from platform_http.settings import ClientSettings

LOGGER: Final = logging.getLogger("platform_http")

_FAILURE_INTERVAL: Final = 1.0
_MAX_FAILURE_KINDS: Final = 1024


class FailureLog:
    """Logs failed calls: per origin and ``error.type`` at most one a second, with a count.

    The bookkeeping is bounded: beyond 1024 kinds of failure the oldest is forgotten, which can
    only mean an extra line.

    Args:
        client: Name of the client.
    """

    def __init__(self, client: str) -> None:
        self._client = client
        self._kinds: dict[tuple[Origin | None, str], tuple[float, int]] = {}

    def record(self, call: Call) -> None:
        """Log *call*, which has failed, or hold it back."""
        origin = call.origin if call.latest is None else call.latest.origin
        kind = (origin, call.error_type)
        logged, held_back = self._kinds.get(kind, (float("-inf"), 0))
        if call.ended - logged < _FAILURE_INTERVAL:
            self._kinds[kind] = (logged, held_back + 1)
            return
        if kind not in self._kinds and len(self._kinds) >= _MAX_FAILURE_KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = (call.ended, 0)
        LOGGER.warning(
            "%s call to %s failed: %s (client %r, attempts %d, %.3f s, %d more held back)",
            call.method,
            origin or "an unknown origin",
            call.error_type,
            self._client,
            call.attempts,
            call.ended - call.started,
            held_back,
            extra={
                "client": self._client,
                "origin": str(origin or ""),
                "operation": call.options.operation or "",
                "outcome": call.outcome,
                "error_type": call.error_type,
                "attempts": call.attempts,
                "stop_reason": call.stop_reason,
                "duration": call.ended - call.started,
                "held_back": held_back,
            },
        )


def log_resent(client: str, attempt: Attempt, reason: str, delay: float) -> None:
    """Log that *attempt* is followed by another one, after a backoff of *delay* seconds."""
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug(
            "attempt %d to %s failed: %s, resent after %.3f s (client %r)",
            attempt.number,
            attempt.origin,
            reason,
            delay,
            client,
            extra={
                "client": client,
                "origin": str(attempt.origin),
                "attempt": attempt.number,
                "reason": reason,
                "delay": delay,
            },
        )


def log_circuit_changed(client: str, origin: Origin, previous: str, current: str) -> None:
    """Log a transition of a circuit breaker."""
    LOGGER.warning(
        "circuit of %s went from %s to %s (client %r)",
        origin,
        previous,
        current,
        client,
        extra={
            "client": client,
            "origin": str(origin),
            "previous": previous,
            "current": current,
        },
    )


def log_settings(settings: ClientSettings) -> None:
    """Log how a client is configured, for whoever reads the log of a start-up.

    Only numbers, modes and switches: no URL, header or credential.
    """
    summary = {
        "client": settings.name,
        "timeout_total": settings.timeout.total,
        "timeout_attempt": settings.timeout.attempt,
        "pool_limit": settings.pool.limit,
        "pool_limit_per_host": settings.pool.limit_per_host,
        "max_attempts": settings.retry.max_attempts if settings.retry.enabled else 1,
        "circuit_breaker": settings.circuit_breaker.mode,
        "tls_verify": settings.tls.verify,
        "tls_trust": settings.tls.trust,
        "proxy": settings.proxy.url is not None or settings.proxy.from_env,
    }
    LOGGER.info(
        "client %r: total timeout %g s, attempt timeout %g s, %d connections (%d per host), "
        "%d attempts, circuit breaker %s, TLS verification %s by %s trust, %s",
        settings.name,
        settings.timeout.total,
        settings.timeout.attempt,
        settings.pool.limit,
        settings.pool.limit_per_host,
        summary["max_attempts"],
        settings.circuit_breaker.mode,
        "on" if settings.tls.verify else "off",
        settings.tls.trust,
        "through a proxy" if summary["proxy"] else "no proxy",
        extra=summary,
    )


class TraceContextFilter(logging.Filter):
    """Adds ``trace_id``, ``span_id`` and ``trace_flags`` to records of the standard library.

    They are hexadecimal, and empty outside a span, so that a format string may always name them.
    Attach it to a handler: a logger's filter does not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to *record* and let it pass."""
        record.trace_id, record.span_id, record.trace_flags = _current() or ("", "", "")
        return True


def add_trace_context(
    _logger: object, _method_name: str, event_dict: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Add ``trace_id``, ``span_id`` and ``trace_flags`` to a structlog event, inside a span only.

    Args:
        event_dict: The event; it is changed in place.

    Returns:
        *event_dict*, as structlog asks of a processor.
    """
    current = _current()
    if current is not None:
        event_dict["trace_id"], event_dict["span_id"], event_dict["trace_flags"] = current
    return event_dict


def _current() -> tuple[str, str, str] | None:
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{context.trace_flags:02x}"

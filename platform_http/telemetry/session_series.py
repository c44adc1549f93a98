"""What one session counts with each call, each attempt and each connection.

``.labels()`` costs more than all the rest, so what belongs to a series is looked up once and kept.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from platform_http.call import ConnectionCount
from platform_http.policies.registry import BOUND
from platform_http.telemetry.series import OTHER, known_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import SpanContext
    from prometheus_client import Counter

    from platform_http.call import Attempt, Call, Origin, Tally
    from platform_http.policies.concurrency import ConcurrencyLimit
    from platform_http.telemetry.metrics import Metrics
    from platform_http.telemetry.series import ClientSeries, ServerSeries
    from platform_http.telemetry.tallies import Ledger, Observing

_MAX_ORIGINS: Final = BOUND
_MAX_CALLS: Final = 1024

K = TypeVar("K")
V = TypeVar("V")


def keep(shortcuts: OrderedDict[K, V], key: K, value: V, *, most: int) -> V:
    """Keep *value*, giving up the oldest shortcut of too many; what that led to stays.

    A plain dict that shrinks at its front would find its oldest entry in linear time.
    """
    if len(shortcuts) >= most:
        shortcuts.popitem(last=False)
    shortcuts[key] = value
    return value


class ByReason:
    """The children of a counter that differ in their last label, a word of a small set."""

    __slots__ = ("_counter", "_labels", "_ledger", "_tallies")

    def __init__(self, ledger: Ledger, counter: Counter, *labels: str) -> None:
        self._ledger = ledger
        self._counter = counter
        self._labels = labels
        self._tallies: dict[str, Tally] = {}

    def count(self, reason: str) -> None:
        """Count what happened for *reason*."""
        tally = self._tallies.get(reason)
        if tally is None:
            tally = self._ledger.tally(self._counter, *self._labels, reason)
            self._tallies[reason] = tally
        tally.value += 1


class _Permits:
    """Those in use of all limits of one server; a limit that is gone has none."""

    __slots__ = ("_limits",)

    def __init__(self) -> None:
        self._limits: tuple[weakref.ref[ConcurrencyLimit], ...] = ()

    def watch(self, limit: ConcurrencyLimit) -> None:
        living = (each for each in self._limits if each() is not None)
        # Replaced and never changed: another thread may be looking.
        self._limits = (*living, weakref.ref(limit))

    @property
    def value(self) -> int:
        limits = (each() for each in self._limits)
        return sum(limit.in_use for limit in limits if limit is not None)


class SessionServer:
    """What one session counts per server."""

    def __init__(self, ledger: Ledger, metrics: Metrics, series: ServerSeries) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self.series = series
        self.connections = ConnectionCount(
            ledger.tally(metrics.open_connections, *series.labels, "active"),
            ledger.tally(metrics.open_connections, *series.labels, "idle"),
        )
        self.rejections = ByReason(ledger, metrics.rejections, *series.labels)
        self.retries = ByReason(ledger, metrics.retries, *series.labels)

    def watch(self, limit: ConcurrencyLimit) -> None:
        """Show how much of *limit* is in use, beside what is of others."""
        # Many limits behind one `_OTHER` have no common level.
        if self.series.address != OTHER:
            permits, changed = self._permits
            permits.watch(limit)
            limit.on_change = changed

    @functools.cached_property
    def _permits(self) -> tuple[_Permits, Callable[[], None] | None]:
        # Made for the first limit: without one there is no series.
        permits = _Permits()
        family = self._metrics.concurrency_in_use
        return permits, self._ledger.show(family, *self.series.labels, level=permits)


class MethodSeries:
    """What one session counts per request method."""

    __slots__ = ("request_body_size", "response_body_size", "time_to_first_byte")

    def __init__(self, ledger: Ledger, metrics: Metrics, *labels: str) -> None:
        self.request_body_size = ledger.distribution(metrics.request_body_size, *labels)
        self.response_body_size = ledger.distribution(metrics.response_body_size, *labels)
        self.time_to_first_byte = ledger.distribution(metrics.time_to_first_byte, *labels)


class AttemptSeries:
    """What one session counts per attempt with the same method, server and template."""

    __slots__ = (
        "_client",
        "_durations",
        "_labels",
        "_ledger",
        "_server",
        "_time_to_first_byte",
        "active",
    )

    def __init__(
        self,
        ledger: Ledger,
        client: ClientSeries,
        method: MethodSeries,
        server: ServerSeries,
        labels: tuple[str, ...],
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._server = server
        self._labels = labels
        self._time_to_first_byte = method.time_to_first_byte
        self.active: Final = ledger.tally(client.metrics.active_requests, *labels[:4])
        self._durations: dict[tuple[int, str], Observing] = {}

    def ended(self, attempt: Attempt, error_type: str, context: SpanContext | None) -> None:
        """Sample the duration of *attempt* and its phases."""
        status, ended = attempt.status, attempt.ended
        duration = self._durations.get((status, error_type)) or self._duration(status, error_type)
        duration.observe(ended - attempt.started, context)
        if status and attempt.sent_at:
            self._time_to_first_byte.observe(ended - attempt.sent_at)
        if attempt.queue_started:
            self._server.queue.observe((attempt.queue_ended or ended) - attempt.queue_started)
        if attempt.connect_started or attempt.dns_started:
            self._connection_phases(attempt, error_type)

    def _connection_phases(self, attempt: Attempt, error_type: str) -> None:
        """Sample what was completed, and what failed; a cancelled phase is neither."""
        if attempt.dns_ended:
            self._client.resolved("", attempt.dns_ended - attempt.dns_started)
        elif attempt.dns_started and error_type:
            self._client.resolved(error_type, attempt.ended - attempt.dns_started)
        if attempt.connect_ended:
            self._server.connect.observe(attempt.connect_ended - attempt.connect_started)
        elif attempt.connect_started and error_type:
            self._server.connect_failed(error_type, attempt.ended - attempt.connect_started)

    def _duration(self, status: int, error_type: str) -> Observing:
        duration = self._ledger.distribution(
            self._client.metrics.request_duration,
            *self._labels,
            str(status) if status else "",
            error_type,
        )
        self._durations[status, error_type] = duration
        return duration


class SessionSeries:
    """All that one session counts on.

    Only the shortcuts to it are ever given up. The rest is bounded as the series are.

    Args:
        ledger: Where it is counted.
        client: The series of the client, which other sessions may share.
    """

    def __init__(self, ledger: Ledger, client: ClientSeries) -> None:
        self.client = client
        self._ledger = ledger
        self._metrics = client.metrics
        self._attempts: dict[tuple[str, ...], AttemptSeries] = {}
        self._methods: dict[str, MethodSeries] = {}
        self._servers: dict[ServerSeries, SessionServer] = {}
        self._by_origin: OrderedDict[Origin, SessionServer] = OrderedDict()
        self._calls: dict[tuple[str, str, str], Observing] = {}
        self._by_call: OrderedDict[tuple[str | None, str | None, str], Observing] = OrderedDict()
        self.retry_stops = ByReason(ledger, client.metrics.retry_stops, client.name)

    @functools.cached_property
    def concurrency_wait(self) -> Observing:
        """Waits for a permit, made at the first one: a busy client waits with every call."""
        return self._ledger.distribution(self._metrics.concurrency_wait, self.client.name)

    def attempt(self, method: str, origin: Origin, template: str) -> AttemptSeries:
        """Return the series of attempts of *method* to *origin* with *template*."""
        method, server = known_method(method), self.server(origin).series
        name, address, port = server.labels
        labels = (name, method, address, port, self.client.template(template))
        series = self._attempts.get(labels)
        if series is None:
            series = AttemptSeries(self._ledger, self.client, self.method(method), server, labels)
            self._attempts[labels] = series
        return series

    def server(self, origin: Origin) -> SessionServer:
        """Return the series of the server at *origin*."""
        server = self._by_origin.get(origin)
        if server is None:
            series = self.client.server(origin)
            server = self._servers.get(series)
            if server is None:
                server = SessionServer(self._ledger, self._metrics, series)
                self._servers[series] = server
            keep(self._by_origin, origin, server, most=_MAX_ORIGINS)
        return server

    def method(self, method: str) -> MethodSeries:
        """Return the series of *method*."""
        series = self._methods.get(method)
        if series is None:
            # A method in lower case, or an unknown one: never kept under the caller's spelling.
            known = known_method(method)
            series = self._methods.get(known)
            if series is None:
                series = MethodSeries(self._ledger, self._metrics, self.client.name, known)
                self._methods[known] = series
        return series

    def call_ended(self, call: Call, context: SpanContext | None) -> None:
        """Count *call*, which has ended."""
        key = (call.options.operation, call.outcome, call.error_type)
        series = self._by_call.get(key) or self._new_call(*key)
        series.observe(call.ended - call.started, context)
        sent, received = call.request_body_size, call.response_body_size
        if received is not None or sent is not None:
            method = self._methods.get(call.method) or self.method(call.method)
            if received is not None:
                method.response_body_size.observe(received)
            if sent is not None:
                method.request_body_size.observe(sent)

    def _new_call(self, operation: str | None, outcome: str | None, error_type: str) -> Observing:
        key = (self.client.operation(operation or ""), outcome or "error", error_type)
        series = self._calls.get(key)
        if series is None:
            name, metrics = self.client.name, self._metrics
            series = self._ledger.counted(
                metrics.call_duration, (name, *key[:2]), metrics.calls, (name, *key)
            )
            self._calls[key] = series
        return keep(self._by_call, (operation, outcome, error_type), series, most=_MAX_CALLS)

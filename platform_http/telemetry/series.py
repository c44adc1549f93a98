"""The series of one client, ready to be counted on.

``.labels()`` costs more than the increment behind it, so each child is looked up once and kept.
The number of series is bounded: per client the first 100 servers, 200 operations and 200 templates
get their own, later ones share ``_OTHER``. Series are never evicted.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Final

from platform_http.policies.registry import BOUND
from platform_http.telemetry.children import Distribution, Level, Pair, adder

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter, Gauge, Histogram

    from platform_http.call import Attempt, Call, Origin
    from platform_http.telemetry.metrics import Metrics

OTHER: Final = "_OTHER"

# RFC 9110, RFC 5789 (PATCH) and the QUERY method, as in the HTTP semantic conventions.
_KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_CIRCUIT_STATES: Final = ("closed", "open", "half_open")
_OBSERVED: Final = "_observed"
_OBSERVED_STATES: Final = tuple(f"{state}{_OBSERVED}" for state in _CIRCUIT_STATES)
_HEDGE_RESULTS: Final = ("won", "lost", "denied")
_RESULTS: Final = ("success", "failure")
_MAX_SERVERS: Final = 100
_MAX_ORIGINS: Final = BOUND
_MAX_OPERATIONS: Final = 200
_MAX_TEMPLATES: Final = 200


def known_method(method: str) -> str:
    """Return *method* in capitals, or ``_OTHER`` if no specification knows it."""
    upper = method.upper()
    return upper if upper in _KNOWN_METHODS else OTHER


def observed(word: str) -> str:
    """Return the label value for a state or refusal of a policy that only observes."""
    return f"{word}{_OBSERVED}"


class ByReason:
    """The children of a counter that differ in their last label, a word of a small set."""

    __slots__ = ("_adders", "_counter", "_labels")

    def __init__(self, counter: Counter, *labels: str) -> None:
        self._counter = counter
        self._labels = labels
        self._adders: dict[str, Callable[[float], None]] = {}

    def count(self, reason: str) -> None:
        """Count what happened for *reason*."""
        add = self._adders.get(reason)
        if add is None:
            add = self.begin(reason)
        add(1)

    def begin(self, reason: str) -> Callable[[float], None]:
        """Show *reason* from zero on: a counter born with its first event hides it from rates."""
        add = self._adders[reason] = adder(self._counter.labels(*self._labels, reason))
        return add


class ServerSeries:
    """What is counted per server, that is per ``server_address`` and ``server_port``."""

    def __init__(self, metrics: Metrics, client: str, address: str, port: str) -> None:
        self._metrics = metrics
        self._labels = (client, address, port)
        self._failed_connects: dict[str, Histogram] = {}
        self._circuit_states: tuple[str, ...] = ()
        self._rejections = ByReason(metrics.rejections, *self._labels)
        self._retries = ByReason(metrics.retries, *self._labels)
        self.address = address
        self.port = port
        active, idle = (
            metrics.open_connections.labels(*self._labels, state) for state in ("active", "idle")
        )
        self.connections = Pair(active, idle)
        """Those that are active, and those that are idle."""
        self.connection_duration = metrics.connection_duration.labels(*self._labels)
        self.queue = metrics.time_in_queue.labels(*self._labels)
        self.connect = metrics.connect_duration.labels(*self._labels, "")

    # Made when they are first asked for: without the policy there is no series, where a zero would
    # read as a budget that is spent or a limit that admits nothing.

    @functools.cached_property
    def budget_tokens(self) -> Level | None:
        """Tokens of the retry budget; ``None`` for ``_OTHER``."""
        gauge = self._level(self._metrics.retry_budget_tokens)
        return None if gauge is None else Level(gauge)

    @functools.cached_property
    def concurrency_in_use(self) -> Level | None:
        """Permits of the concurrency limit that are held; ``None`` for ``_OTHER``."""
        gauge = self._level(self._metrics.concurrency_in_use)
        return None if gauge is None else Level(gauge)

    @functools.cached_property
    def concurrency_limit(self) -> Gauge | None:
        """Permits of the concurrency limit that there are; ``None`` for ``_OTHER``."""
        return self._level(self._metrics.concurrency_limit)

    def connect_failed(self, error_type: str, duration: float) -> None:
        """Count a connection that could not be made in *duration* seconds."""
        child = self._failed_connects.get(error_type)
        if child is None:
            child = self._metrics.connect_duration.labels(*self._labels, error_type)
            self._failed_connects[error_type] = child
        child.observe(duration)

    def resent(self, reason: str) -> None:
        """Count a resend."""
        self._retries.count(reason)

    def rejected(self, reason: str) -> None:
        """Count a refusal."""
        self._rejections.count(reason)

    def concurrency_watched(self, limit: int) -> None:
        """Show the *limit*, and count what it refuses from zero on."""
        self._rejections.begin("concurrency_limited")
        if self.concurrency_limit is not None:
            self.concurrency_limit.set(limit)

    def circuit_watched(self, *, enforced: bool) -> None:
        """Show the circuit as closed from the first attempt on, not only after it changed.

        Its transitions and refusals are counted from zero on.
        """
        states = _CIRCUIT_STATES if enforced else _OBSERVED_STATES
        if self._circuit_states == states:
            return
        # A session before this one may have had the other mode.
        self._show_circuit("")
        self._circuit_states = states
        for state in states:
            self._metrics.circuit_transitions.labels(*self._labels, state)
        if enforced:
            self._rejections.begin("circuit_open")
        self._show_circuit(states[0])

    def circuit_renewed(self) -> None:
        """Show the circuit as closed again: a new session begins with new breakers."""
        if self._circuit_states:
            self._show_circuit(self._circuit_states[0])

    def circuit_changed(self, state: str) -> None:
        """Count a transition to *state*."""
        self.circuit_watched(enforced=state in _CIRCUIT_STATES)
        self._metrics.circuit_transitions.labels(*self._labels, state).inc()
        self._show_circuit(state)

    def _show_circuit(self, current: str) -> None:
        # Many circuits behind one `_OTHER` have no common state.
        if self.address != OTHER:
            for state in self._circuit_states:
                self._metrics.circuit_state.labels(*self._labels, state).set(state == current)

    def _level(self, gauge: Gauge) -> Gauge | None:
        # Many budgets or limits behind one `_OTHER` have no common level.
        return None if self.address == OTHER else gauge.labels(*self._labels)


class MethodSeries:
    """What is counted per request method."""

    def __init__(self, metrics: Metrics, client: str, method: str) -> None:
        self.request_body_size = Distribution(metrics.request_body_size.labels(client, method))
        self.response_body_size = Distribution(metrics.response_body_size.labels(client, method))
        self.time_to_first_byte = Distribution(metrics.time_to_first_byte.labels(client, method))


class OperationSeries:
    """What is counted per operation of a call."""

    def __init__(self, metrics: Metrics, client: str, operation: str) -> None:
        self._metrics = metrics
        self._client = client
        self._operation = operation
        self._calls: dict[tuple[str, str], Callable[[float], None]] = {}
        self._durations: dict[str, Distribution] = {}
        # An SLO's numerator that does not exist yet hides the first burn.
        for outcome in ("success", "error", "rejected"):
            self._counter(outcome, "")
            self._duration(outcome)

    def count(self, call: Call, exemplar: dict[str, str] | None) -> None:
        """Count *call*, which has ended."""
        outcome = call.outcome or "error"
        add = self._calls.get((outcome, call.error_type))
        if add is None:
            add = self._counter(outcome, call.error_type)
        add(1)
        duration = self._durations.get(outcome) or self._duration(outcome)
        duration.observe(call.ended - call.started, exemplar)

    def _counter(self, outcome: str, error_type: str) -> Callable[[float], None]:
        child = self._metrics.calls.labels(self._client, self._operation, outcome, error_type)
        add = self._calls[outcome, error_type] = adder(child)
        return add

    def _duration(self, outcome: str) -> Distribution:
        child = self._metrics.call_duration.labels(self._client, self._operation, outcome)
        duration = self._durations[outcome] = Distribution(child)
        return duration


class AttemptSeries:
    """What is counted per attempt with the same method, server and template."""

    def __init__(
        self, client: ClientSeries, method: str, server: ServerSeries, template: str
    ) -> None:
        self._client = client
        self._method_series = client.method(method)
        self._durations: dict[tuple[int, str], Distribution] = {}
        self._labels = (client.name, method, server.address, server.port, template)
        self._add_active = adder(client.metrics.active_requests.labels(*self._labels[:4]))
        self.server = server

    def started(self) -> None:
        """Count an attempt in."""
        self._add_active(1)

    def ended(self, attempt: Attempt, error_type: str, exemplar: dict[str, str] | None) -> None:
        """Count *attempt* out, with its duration and its phases."""
        # First of all, so that the gauge stays balanced whatever fails below.
        self._add_active(-1)
        duration = self._durations.get((attempt.status, error_type))
        if duration is None:
            duration = self._duration(attempt.status, error_type)
        duration.observe(attempt.ended - attempt.started, exemplar)
        if attempt.status and attempt.sent_at:
            self._method_series.time_to_first_byte.observe(attempt.ended - attempt.sent_at)
        if attempt.queue_started:
            ended = attempt.queue_ended or attempt.ended
            self.server.queue.observe(ended - attempt.queue_started)
        if attempt.connect_started or attempt.dns_started:
            self._connection_phases(attempt, error_type)

    def _connection_phases(self, attempt: Attempt, error_type: str) -> None:
        """Sample what was completed, and what failed; a cancelled phase is neither."""
        if attempt.dns_ended:
            self._client.resolved("", attempt.dns_ended - attempt.dns_started)
        elif attempt.dns_started and error_type:
            self._client.resolved(error_type, attempt.ended - attempt.dns_started)
        if attempt.connect_ended:
            self.server.connect.observe(attempt.connect_ended - attempt.connect_started)
        elif attempt.connect_started and error_type:
            self.server.connect_failed(error_type, attempt.ended - attempt.connect_started)

    def _duration(self, status: int, error_type: str) -> Distribution:
        child = self._client.metrics.request_duration.labels(
            *self._labels, str(status) if status else "", error_type
        )
        duration = self._durations[status, error_type] = Distribution(child)
        return duration


class ClientSeries:
    """All series of one client in one registry; see :meth:`of`."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.metrics = metrics
        self.name = name
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, int], ServerSeries] = {}
        # A shortcut to them, which may be given up at any time.
        self._by_origin: dict[Origin, ServerSeries] = {}
        self._templates: set[str] = set()
        self._methods: dict[str, MethodSeries] = {}
        self._operations: dict[str, OperationSeries] = {}
        self._lookups: dict[str, Histogram] = {}
        self._other_servers: ServerSeries | None = None
        self._certified: dict[str, float] = {}
        self.retry_stops = ByReason(metrics.retry_stops, name)
        self._pool_limits: tuple[int, int] | None = None
        self._can_resend = False
        self._is_complete = True

    @functools.cached_property
    def hedges(self) -> dict[str, Counter]:
        """Hedges by what became of them."""
        family = self.metrics.hedges
        return {result: family.labels(self.name, result) for result in _HEDGE_RESULTS}

    @functools.cached_property
    def tls_reloads(self) -> dict[str, Counter]:
        """Take-overs of TLS files by result."""
        family = self.metrics.tls_reloads
        return {result: family.labels(self.name, result) for result in _RESULTS}

    @functools.cached_property
    def token_refreshes(self) -> dict[str, Counter]:
        """Tokens that were asked for, by result."""
        family = self.metrics.token_refreshes
        return {result: family.labels(self.name, result) for result in _RESULTS}

    @functools.cached_property
    def rate_limit_store_errors(self) -> Counter:
        """Times that the fallback rate took over."""
        return self.metrics.rate_limit_store_errors.labels(self.name)

    @functools.cached_property
    def concurrency_wait(self) -> Histogram:
        """Waits for a permit, made at the first one."""
        return self.metrics.concurrency_wait.labels(self.name)

    @functools.cached_property
    def rate_limit_wait(self) -> Histogram:
        """Waits for the rate limit, made at the first one."""
        return self.metrics.rate_limit_wait.labels(self.name)

    @functools.cached_property
    def websocket_connections(self) -> Gauge:
        """WebSockets that are connected, made at the first one."""
        return self.metrics.websocket_connections.labels(self.name)

    @functools.cached_property
    def websocket_duration(self) -> Histogram:
        """Lifetimes of WebSockets, made at the end of the first one."""
        return self.metrics.websocket_duration.labels(self.name)

    @classmethod
    def of(cls, metrics: Metrics, name: str) -> ClientSeries:
        """Return the series of the client called *name*, the same for every session of it."""
        series = metrics.clients.get(name)
        if series is None:
            series = metrics.clients.setdefault(name, cls(metrics, name))
        return series

    def attempt(self, method: str, origin: Origin, template: str) -> AttemptSeries:
        """Return the series of attempts of *method* to *origin* with *template*."""
        with self._lock:
            if template not in self._templates:
                if len(self._templates) < _MAX_TEMPLATES or not template:
                    self._templates.add(template)
                else:
                    template = OTHER
        return AttemptSeries(self, known_method(method), self.server(origin), template)

    def server(self, origin: Origin) -> ServerSeries:
        """Return the series of the server at *origin*."""
        series = self._by_origin.get(origin)
        if series is None:
            series = self._servers.get(origin[1:]) or self._new_server(origin)
            if len(self._by_origin) >= _MAX_ORIGINS:
                self._by_origin.clear()
            self._by_origin[origin] = series
        return series

    def method(self, method: str) -> MethodSeries:
        """Return the series of *method*."""
        series = self._methods.get(method)
        if series is None:
            # A method in lower case, or an unknown one: never kept under the caller's spelling.
            known = known_method(method)
            series = self._methods.get(known)
            if series is None:
                series = self._methods[known] = MethodSeries(self.metrics, self.name, known)
        return series

    def operation(self, operation: str) -> OperationSeries:
        """Return the series of calls named *operation*."""
        series = self._operations.get(operation)
        return series or self._new_operation(operation)

    def resolved(self, error_type: str, duration: float) -> None:
        """Count a name resolution that took *duration* seconds."""
        child = self._lookups.get(error_type)
        if child is None:
            child = self.metrics.dns_lookup_duration.labels(self.name, error_type)
            self._lookups[error_type] = child
        child.observe(duration)

    def certificate_seen(self, address: str, side: str, expires: float) -> None:
        """Show when a certificate ends.

        Hosts beyond the first :data:`_MAX_SERVERS` share ``_OTHER``, which shows the earliest end.
        """
        with self._lock:
            if address not in self._certified:
                if len(self._certified) < _MAX_SERVERS:
                    self._certified[address] = expires
                else:
                    address = OTHER
                    expires = min(expires, self._certified.get(OTHER, expires))
            self._certified[address] = expires
        self.metrics.certificate_expiry.labels(self.name, address, side).set(expires)

    def session_opened(
        self, *, pool_limit: int, pool_limit_per_host: int, can_resend: bool
    ) -> None:
        """Show what a new session begins with: closed circuits, its limits and its zeros."""
        for server in tuple(self._servers.values()):
            server.circuit_renewed()
        self._pool_limits = (pool_limit, pool_limit_per_host)
        self._can_resend = self._can_resend or can_resend
        # Sessions may come and go for as long as nobody looks.
        if self._is_complete:
            self._is_complete = False
            self.metrics.complete_later(self)

    def complete(self) -> None:
        """Make all that counts from zero on: a rate over a counter that begins at one misses it."""
        # First of all: a session that opens meanwhile asks for it again.
        self._is_complete = True
        self.operation("")
        # Made at the first look at them.
        _ = self.hedges, self.tls_reloads, self.token_refreshes, self.rate_limit_store_errors
        if self._can_resend:
            self.retry_stops.begin("budget")
        if self._pool_limits is not None:
            limit, limit_per_host = self._pool_limits
            self.metrics.pool_limit.labels(self.name).set(limit)
            self.metrics.pool_limit_per_host.labels(self.name).set(limit_per_host)

    def _new_server(self, origin: Origin) -> ServerSeries:
        _, host, port = origin
        with self._lock:
            if len(self._servers) < _MAX_SERVERS:
                series = ServerSeries(self.metrics, self.name, host, str(port))
                self._servers[host, port] = series
                return series
            if self._other_servers is None:
                self._other_servers = ServerSeries(self.metrics, self.name, OTHER, OTHER)
            return self._other_servers

    def _new_operation(self, operation: str) -> OperationSeries:
        with self._lock:
            # The unnamed operation is no name, so it does not count as one.
            named = len(self._operations) - ("" in self._operations)
            if operation and named >= _MAX_OPERATIONS:
                operation = OTHER
            series = self._operations.get(operation)
            if series is None:
                series = OperationSeries(self.metrics, self.name, operation)
                self._operations[operation] = series
            return series

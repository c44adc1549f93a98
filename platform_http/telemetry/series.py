"""The series of one client, which all sessions of its name share.

Here is what bounds them: per client the first 100 servers, 200 operations and 200 templates get
their own, later ones share ``_OTHER``. Series are never evicted. Here too is what is counted
seldom, on prometheus_client's children; what every call counts is in
:mod:`platform_http.telemetry.session_series`.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

    from platform_http.call import Origin
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
_MAX_OPERATIONS: Final = 200
_MAX_TEMPLATES: Final = 200


def known_method(method: str) -> str:
    """Return *method* in capitals, or ``_OTHER`` if no specification knows it."""
    upper = method.upper()
    return upper if upper in _KNOWN_METHODS else OTHER


def observed(word: str) -> str:
    """Return the label value for a state or refusal of a policy that only observes."""
    return f"{word}{_OBSERVED}"


class ServerSeries:
    """What is counted per server, that is per ``server_address`` and ``server_port``."""

    def __init__(self, metrics: Metrics, client: str, address: str, port: str) -> None:
        self._metrics = metrics
        self.labels: Final = (client, address, port)
        self._failed_connects: dict[str, Histogram] = {}
        self._circuit_states: tuple[str, ...] = ()
        self.address = address
        self.port = port
        self.connection_duration = metrics.connection_duration.labels(*self.labels)
        self.queue = metrics.time_in_queue.labels(*self.labels)
        self.connect = metrics.connect_duration.labels(*self.labels, "")

    # Made when they are first asked for: without the policy there is no series, where a zero would
    # read as a budget that is spent or a limit that admits nothing.

    @functools.cached_property
    def budget_tokens(self) -> Gauge | None:
        """Tokens of the retry budget; ``None`` for ``_OTHER``."""
        return self._level(self._metrics.retry_budget_tokens)

    @functools.cached_property
    def concurrency_limit(self) -> Gauge | None:
        """Permits of the concurrency limit that there are; ``None`` for ``_OTHER``."""
        return self._level(self._metrics.concurrency_limit)

    def connect_failed(self, error_type: str, duration: float) -> None:
        """Count a connection that could not be made in *duration* seconds."""
        child = self._failed_connects.get(error_type)
        if child is None:
            child = self._metrics.connect_duration.labels(*self.labels, error_type)
            self._failed_connects[error_type] = child
        child.observe(duration)

    def concurrency_limited(self, limit: int) -> None:
        """Show the *limit*, and count what it refuses from zero on."""
        self._metrics.rejections.labels(*self.labels, "concurrency_limited")
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
            self._metrics.circuit_transitions.labels(*self.labels, state)
        if enforced:
            self._metrics.rejections.labels(*self.labels, "circuit_open")
        self._show_circuit(states[0])

    def circuit_renewed(self) -> None:
        """Show the circuit as closed again: a new session begins with new breakers."""
        if self._circuit_states:
            self._show_circuit(self._circuit_states[0])

    def circuit_changed(self, state: str) -> None:
        """Count a transition to *state*."""
        self.circuit_watched(enforced=state in _CIRCUIT_STATES)
        self._metrics.circuit_transitions.labels(*self.labels, state).inc()
        self._show_circuit(state)

    def _show_circuit(self, current: str) -> None:
        # Many circuits behind one `_OTHER` have no common state.
        if self.address != OTHER:
            for state in self._circuit_states:
                self._metrics.circuit_state.labels(*self.labels, state).set(state == current)

    def _level(self, gauge: Gauge) -> Gauge | None:
        # Many budgets or limits behind one `_OTHER` have no common level.
        return None if self.address == OTHER else gauge.labels(*self.labels)


class ClientSeries:
    """All series of one client in one registry; see :meth:`of`."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.metrics = metrics
        self.name = name
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, int], ServerSeries] = {}
        self._templates: set[str] = set()
        self._operations: set[str] = set()
        self._lookups: dict[str, Histogram] = {}
        self._other_servers: ServerSeries | None = None
        self._certified: dict[str, float] = {}
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

    def template(self, template: str) -> str:
        """Return the label value for *template*."""
        with self._lock:
            if template not in self._templates:
                if len(self._templates) >= _MAX_TEMPLATES and template:
                    return OTHER
                self._templates.add(template)
        return template

    def operation(self, operation: str) -> str:
        """Return the label value for *operation*, whose outcomes are counted from zero on."""
        with self._lock:
            if operation in self._operations:
                return operation
            # The unnamed operation is no name, so it does not count as one.
            named = len(self._operations) - ("" in self._operations)
            if operation and named >= _MAX_OPERATIONS:
                operation = OTHER
            self._operations.add(operation)
            # An SLO's numerator that does not exist yet hides the first burn.
            for outcome in ("success", "error", "rejected"):
                self.metrics.calls.labels(self.name, operation, outcome, "")
                self.metrics.call_duration.labels(self.name, operation, outcome)
        return operation

    def server(self, origin: Origin) -> ServerSeries:
        """Return the series of the server at *origin*."""
        _, host, port = origin
        with self._lock:
            series = self._servers.get((host, port))
            if series is None and len(self._servers) < _MAX_SERVERS:
                series = ServerSeries(self.metrics, self.name, host, str(port))
                self._servers[host, port] = series
            if series is not None:
                return series
            if self._other_servers is None:
                self._other_servers = ServerSeries(self.metrics, self.name, OTHER, OTHER)
            return self._other_servers

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
            self.metrics.retry_stops.labels(self.name, "budget")
        if self._pool_limits is not None:
            limit, limit_per_host = self._pool_limits
            self.metrics.pool_limit.labels(self.name).set(limit)
            self.metrics.pool_limit_per_host.labels(self.name).set(limit_per_host)

"""Every metric of the library, registered once per registry.

Names follow OpenTelemetry's HTTP semantic conventions where they have one; labels and buckets are
a contract with dashboards, alerts and charts. A missing label value is ``""``.

In prometheus_client's multiprocess mode gauges that count are summed over live workers, build
info and insecure settings are the maximum, certificate expiry is the minimum; there are no
exemplars and no ``_created`` series, and a worker that dies is only subtracted when
``prometheus_client.multiprocess.mark_process_dead`` is called for it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, Literal
from weakref import WeakKeyDictionary

import aiohttp
from prometheus_client import Counter, Gauge, Histogram

from platform_http.errors import ConfigurationError
from platform_http.telemetry.tallies import Ledger, LedgerAtOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase
    from prometheus_client.metrics_core import Metric

    from platform_http.telemetry.series import ClientSeries

_DURATION = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_CALL_DURATION = (*_DURATION, 30.0, 60.0)
_CONNECTION_DURATION = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0
)  # fmt: skip
_WEBSOCKET_DURATION = (
    0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0
)  # fmt: skip
# Up to 64 MiB, the default of RESPONSE__MAX_BODY.
_BODY_SIZE = tuple(float(256 * 4**n) for n in range(10))
_SERVER = ("server_address", "server_port")


def multiprocess_mode() -> bool:
    """Tell whether prometheus_client shares its samples between worker processes."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ


class _Completed:
    """One family as its registry sees it: complete whenever somebody looks."""

    def __init__(self, family: MetricWrapperBase, metrics: Metrics) -> None:
        self._family = family
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return self._family.describe()

    def collect(self) -> Iterable[Metric]:
        self._metrics.complete()
        self._metrics.carry_over(self._family)
        return self._family.collect()


class Metrics:
    """The metric families of one registry. Use :meth:`of`, which registers them once."""

    _instances: ClassVar[WeakKeyDictionary[CollectorRegistry, Metrics]] = WeakKeyDictionary()
    _lock: ClassVar = threading.Lock()

    def __init__(self) -> None:
        self._families: list[MetricWrapperBase] = []
        self.clients: dict[str, ClientSeries] = {}
        self._incomplete: deque[ClientSeries] = deque()
        self._completing = threading.Lock()
        self._ledgers: dict[weakref.ref[object], Ledger] = {}
        self._left: deque[weakref.ref[object]] = deque()
        self.is_shared: Final = multiprocess_mode()
        """Whether other processes read the samples, without asking this one."""
        self.request_duration = self._histogram(
            "http_client_request_duration_seconds",
            "Duration of attempts until response headers or failure. "
            "An attempt that its caller cancelled has neither status code nor error type.",
            (
                "http_request_method",
                *_SERVER,
                "url_template",
                "http_response_status_code",
                "error_type",
            ),
        )
        self.active_requests = self._gauge(
            "http_client_active_requests",
            "Attempts that wait for response headers.",
            ("http_request_method", *_SERVER),
        )
        self.open_connections = self._gauge(
            "http_client_open_connections",
            "Connections by state.",
            (*_SERVER, "http_connection_state"),
        )
        self.time_in_queue = self._histogram(
            "http_client_request_time_in_queue_seconds",
            "Time that attempts waited for a pooled connection, "
            "given up or not. Attempts that did not wait have no sample.",
            _SERVER,
        )
        self.connection_duration = self._histogram(
            "http_client_connection_duration_seconds",
            "Lifetime of closed connections.",
            _SERVER,
            buckets=_CONNECTION_DURATION,
        )
        self.request_body_size = self._histogram(
            "http_client_request_body_size_bytes",
            "Size of request bodies.",
            ("http_request_method",),
            buckets=_BODY_SIZE,
        )
        self.response_body_size = self._histogram(
            "http_client_response_body_size_bytes",
            "Size of response bodies on the wire.",
            ("http_request_method",),
            buckets=_BODY_SIZE,
        )
        self.dns_lookup_duration = self._histogram(
            "dns_lookup_duration_seconds", "Duration of name resolutions.", ("error_type",)
        )
        self.connect_duration = self._histogram(
            "platform_http_connect_duration_seconds",
            "Duration of making a connection: DNS, TCP, TLS and proxy CONNECT together.",
            (*_SERVER, "error_type"),
        )
        self.time_to_first_byte = self._histogram(
            "platform_http_time_to_first_byte_seconds",
            "Time from the sent request to the response headers.",
            ("http_request_method",),
        )
        self.calls = self._counter(
            "platform_http_calls_total",
            "Calls by how they ended.",
            ("operation", "outcome", "error_type"),
        )
        self.call_duration = self._histogram(
            "platform_http_call_duration_seconds",
            "Duration of calls: all hops, attempts, waits and the body.",
            ("operation", "outcome"),
            buckets=_CALL_DURATION,
        )
        self.retries = self._counter(
            "platform_http_retries_total",
            "Attempts after the first one of a call, by what the one before ended in; "
            "hedges are counted elsewhere.",
            (*_SERVER, "reason"),
        )
        self.retry_stops = self._counter(
            "platform_http_retry_stops_total",
            "Failed calls that were not resent, by the reason why not.",
            ("reason",),
        )
        self.retry_budget_tokens = self._gauge(
            "platform_http_retry_budget_tokens",
            "Tokens that are left for resends and hedges, as of their last change.",
            _SERVER,
        )
        self.circuit_state = self._gauge(
            "platform_http_circuit_state",
            "1 for the state that the circuit breaker of an origin is in; "
            "the states of one that only observes end in _observed.",
            (*_SERVER, "state"),
        )
        self.circuit_transitions = self._counter(
            "platform_http_circuit_transitions_total",
            "State changes of circuit breakers; "
            "the states of those that only observe end in _observed.",
            (*_SERVER, "to"),
        )
        self.rejections = self._counter(
            "platform_http_rejections_total",
            "Attempts that a policy refused. Reasons that end in _observed refused nothing: "
            "the policy would have, but only observes.",
            (*_SERVER, "reason"),
        )
        self.concurrency_in_use = self._gauge(
            "platform_http_concurrency_in_use",
            "Attempts that hold a permit of the concurrency limit, up to the end of their body.",
            _SERVER,
        )
        self.concurrency_limit = self._gauge(
            "platform_http_concurrency_limit",
            "Attempts that may hold a permit at once; without a limit there is no series.",
            _SERVER,
        )
        self.concurrency_wait = self._histogram(
            "platform_http_concurrency_wait_seconds",
            "Time that attempts waited for a permit, given up or not. "
            "Attempts that did not wait have no sample.",
        )
        self.rate_limit_wait = self._histogram(
            "platform_http_rate_limit_wait_seconds",
            "Time that attempts waited for the rate limit, 0 for those that did not have to.",
        )
        self.rate_limit_store_errors = self._counter(
            "platform_http_rate_limit_store_errors_total",
            "Times that the shared store of the rate limit did not answer "
            "and the fallback rate took over.",
        )
        self.hedges = self._counter(
            "platform_http_hedges_total",
            "Hedges that won or lost against the attempt that they helped out, or were denied.",
            ("result",),
        )
        self.pool_limit = self._gauge(
            "platform_http_pool_limit", "Connections that the pool may hold; 0 is unlimited."
        )
        self.pool_limit_per_host = self._gauge(
            "platform_http_pool_limit_per_host",
            "Connections to one server that the pool may hold; 0 is unlimited.",
        )
        self.egress_denied = self._counter(
            "platform_http_egress_denied_total",
            "Destinations that the egress policy refused. Those that it would have refused "
            "if it were enforced have a reason that ends in _observed.",
            ("reason",),
        )
        self.certificate_expiry = self._gauge(
            "platform_http_tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a server, or the client's own, ends; seconds since the epoch.",
            ("server_address", "side"),
            multiprocess="livemin",
        )
        self.tls_reloads = self._counter(
            "platform_http_tls_reloads_total",
            "Times that changed TLS files were taken over or could not be.",
            ("result",),
        )
        self.token_refreshes = self._counter(
            "platform_http_token_refreshes_total",
            "Tokens that were fetched or could not be.",
            ("result",),
        )
        self.insecure_settings = self._gauge(
            "platform_http_insecure_settings",
            "1 for each setting that loosens security.",
            ("setting",),
            multiprocess="livemax",
        )
        self.policy_bypass = self._counter(
            "platform_http_policy_bypass_total",
            "Requests that replaced the client's middlewares by their own.",
        )
        self.telemetry_errors = self._counter(
            "platform_http_telemetry_errors_total",
            "Telemetry hooks that failed; the call went on.",
            ("hook",),
        )
        self.pitfalls = self._counter(
            "platform_http_pitfalls_total",
            "Times that an application did with its sessions what costs it connections or time.",
            ("kind",),
        )
        self.websocket_connections = self._gauge(
            "platform_http_websocket_connections", "WebSockets that are connected."
        )
        self.websocket_duration = self._histogram(
            "platform_http_websocket_duration_seconds",
            "Lifetime of WebSockets that ended.",
            buckets=_WEBSOCKET_DURATION,
        )
        self.websocket_reconnects = self._counter(
            "platform_http_websocket_reconnects_total",
            "WebSockets that were connected anew, by what ended the one before.",
            ("reason",),
        )
        # The two without a client.
        self.event_loop_lag = Histogram(
            "platform_http_event_loop_lag_seconds",
            "How late timers of the event loop run.",
            unit="seconds",
            buckets=_DURATION,
            registry=None,
        )
        self._build_info = Gauge(
            "platform_http_build_info",
            "Versions of the library, of aiohttp and of Python.",
            ("version", "aiohttp", "python"),
            multiprocess_mode="livemax",
            registry=None,
        )
        self._families += [self.event_loop_lag, self._build_info]
        self._build_info.labels(
            library_version(), aiohttp.__version__, platform.python_version()
        ).set(1)

    @classmethod
    def of(cls, registry: CollectorRegistry) -> Metrics:
        """Return the metrics of *registry*, registering them at the first call.

        Raises:
            ConfigurationError: If the registry holds a foreign metric of the same name.
        """
        with cls._lock:
            metrics = cls._instances.get(registry)
            if metrics is None:
                metrics = cls()
                metrics._register(registry)
                cls._instances[registry] = metrics
            return metrics

    def complete_later(self, series: ClientSeries) -> None:
        """Complete *series* before anybody sees it.

        Children that are there before anything is counted on them are most of what a session
        would cost, and nobody sees them before the registry is collected.
        """
        if self.is_shared:
            series.complete()
        else:
            self._incomplete.append(series)

    def complete(self) -> None:
        """Complete what waits for it. Whoever collects may do so in any thread."""
        if not self._incomplete:
            return
        # Nobody may go on to collect while another thread is at it.
        with self._completing:
            while self._incomplete:
                self._incomplete[0].complete()
                self._incomplete.popleft()

    def open_ledger(self, owner: object, failed: Callable[[Exception], None]) -> Ledger:
        """Return what a new session counts in.

        Args:
            owner: Who counts. What it has counted outlives it, up to the next look.
            failed: Told of what could not be written; it must not refer to *owner*.
        """
        if self.is_shared:
            return LedgerAtOnce(failed)
        # An application may open sessions for as long as nobody looks.
        self._close_ledgers()
        ledger = Ledger(failed)
        # Whoever drops the owner may be in the middle of anything: it only takes a note.
        self._ledgers[weakref.ref(owner, self._left.append)] = ledger
        return ledger

    def carry_over(self, family: MetricWrapperBase) -> None:
        """Carry over to *family* what the sessions have counted. Any thread may do so."""
        self._close_ledgers()
        for ledger in self._ledgers.copy().values():
            ledger.carry_over(family)

    def _close_ledgers(self) -> None:
        while self._left:
            try:
                owner = self._left.popleft()
            except IndexError:
                # Another thread was faster.
                return
            # Listed until it is closed: nobody who looks meanwhile may miss what it holds.
            self._ledgers[owner].close()
            del self._ledgers[owner]

    def _register(self, registry: CollectorRegistry) -> None:
        registered: list[_Completed] = []
        try:
            for family in self._families:
                collector = _Completed(family, self)
                registry.register(collector)
                registered.append(collector)
        except ValueError:
            for collector in registered:
                registry.unregister(collector)
            name = next(iter(self._families[len(registered)].describe())).name
            raise ConfigurationError(
                [f"the metrics registry already holds {name}: pass registry=CollectorRegistry()"]
            ) from None

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
        family = Counter(name, documentation, ("client", *labels), registry=None)
        self._families.append(family)
        return family

    def _gauge(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...] = (),
        *,
        multiprocess: Literal["livesum", "livemax", "livemin"] = "livesum",
    ) -> Gauge:
        family = Gauge(
            name,
            documentation,
            ("client", *labels),
            multiprocess_mode=multiprocess,
            registry=None,
        )
        self._families.append(family)
        return family

    def _histogram(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...] = (),
        *,
        buckets: tuple[float, ...] = _DURATION,
    ) -> Histogram:
        family = Histogram(
            name,
            documentation,
            ("client", *labels),
            unit=name.rpartition("_")[2],
            buckets=buckets,
            registry=None,
        )
        self._families.append(family)
        return family


def library_version() -> str:
    """Return the version of this library."""
    try:
        return importlib.metadata.version("platform-http")
    except importlib.metadata.PackageNotFoundError:
        # Run from a source tree that was not installed.
        return "unknown"

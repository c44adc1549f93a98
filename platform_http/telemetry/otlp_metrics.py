"""Sends a Prometheus registry over OTLP, so that scraped and pushed metrics are the same ones.

Names, units and attributes are chosen so that the OpenTelemetry-to-Prometheus translation gives
back exactly the scraped names and labels: dots become underscores, ``s`` and ``By`` become
``_seconds`` and ``_bytes``, a monotonic sum gets ``_total``. Labels without a value are left out,
which is the same thing to Prometheus. A summary has no counterpart in the SDK: its count and sum
go out as sums, and its quantiles, which prometheus_client does not compute, do not.

Nothing here runs on a request's path: a thread collects once per interval.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from platform_http.telemetry.logging import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.samples import Sample

_SCOPE: Final = InstrumentationScope("platform_http")
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE

# The names that the semantic conventions give to what Prometheus calls otherwise.
_ATTRIBUTES: Final = {
    "http_request_method": "http.request.method",
    "http_response_status_code": "http.response.status_code",
    "http_connection_state": "http.connection.state",
    "server_address": "server.address",
    "server_port": "server.port",
    "url_template": "url.template",
    "error_type": "error.type",
}
_NUMERIC_ATTRIBUTES: Final = frozenset({"http.response.status_code", "server.port"})
_NAMES: Final = {
    "http_client_request_duration": "http.client.request.duration",
    "http_client_active_requests": "http.client.active_requests",
    "http_client_open_connections": "http.client.open_connections",
    "http_client_request_time_in_queue": "http.client.request.time_in_queue",
    "http_client_connection_duration": "http.client.connection.duration",
    "http_client_request_body_size": "http.client.request.body.size",
    "http_client_response_body_size": "http.client.response.body.size",
    "dns_lookup_duration": "dns.lookup.duration",
}
_OWN_PREFIX: Final = "platform_http_"
_UNITS: Final = {"_seconds": "s", "_bytes": "By"}


def to_metrics_data(
    families: Iterable[Family], resource: Resource, *, started: int, now: int
) -> MetricsData:
    """Convert what a registry collects.

    Args:
        families: ``registry.collect()``.
        resource: Who reports.
        started: When counting began, for series that do not know it; nanoseconds since the epoch.
        now: The instant of the samples, nanoseconds since the epoch.
    """
    converted = [metric for family in families for metric in _convert(family, started, now)]
    scope = ScopeMetrics(_SCOPE, converted, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope], schema_url="")])


class RegistryExporter:
    """Exports a registry each interval, from a thread of its own.

    Args:
        registry: What to export.
        exporter: Where to.
        resource: Who reports.
        interval: Seconds between two exports, > 0.
        timeout: Seconds that one export may take, > 0.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        exporter: MetricExporter,
        resource: Resource,
        *,
        interval: float,
        timeout: float,
    ) -> None:
        self._registry = registry
        self._exporter = exporter
        self._resource = resource
        self._interval = interval
        self._timeout = timeout
        self._started = time.time_ns()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="platform-http-metrics", daemon=True)
        self._thread.start()

    def shutdown(self, timeout: float) -> None:
        """Export once more and stop, within *timeout* seconds. Call it once."""
        deadline = time.monotonic() + timeout
        self._stopped.set()
        self._thread.join(timeout)
        self._exporter.shutdown(max(0.0, deadline - time.monotonic()) * 1000)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._export()
        self._export()

    def _export(self) -> None:
        try:
            # Before the clock is read: series that are made now began before now.
            families = list(self._registry.collect())
            data = to_metrics_data(
                families,
                self._resource,
                started=self._started,
                now=time.time_ns(),
            )
            self._exporter.export(data, self._timeout * 1000)
        except Exception as error:  # noqa: BLE001 - a foreign collector may raise anything; the next interval tries again
            LOGGER.warning("metrics were not exported: %s", type(error).__name__)


def _convert(family: Family, started: int, now: int) -> Iterator[Metric]:
    if family.type == "counter":
        points = _numbers(family, "_total", started, now)
        yield _metric(family, family.name, Sum(points, _CUMULATIVE, is_monotonic=True))
    elif family.type == "histogram":
        histograms = list(_histograms(family, started, now))
        yield _metric(family, family.name, Histogram(histograms, _CUMULATIVE))
    elif family.type == "summary":
        for suffix in ("_count", "_sum"):
            points = _numbers(family, suffix, started, now)
            # Not monotonic, or the translation would add `_total`.
            data = Sum(points, _CUMULATIVE, is_monotonic=False)
            yield Metric(family.name + suffix, family.documentation, "", data)
    else:
        suffix = "_info" if family.type == "info" else ""
        points = _numbers(family, suffix, started, now)
        yield _metric(family, family.name + suffix, Gauge(points))


def _metric(family: Family, name: str, data: Sum | Histogram | Gauge) -> Metric:
    unit = ""
    for suffix, code in _UNITS.items():
        if name.endswith(suffix):
            name, unit = name.removesuffix(suffix), code
    if name.startswith(_OWN_PREFIX):
        name = f"platform_http.{name.removeprefix(_OWN_PREFIX)}"
    return Metric(_NAMES.get(name, name), family.documentation, unit, data)


def _numbers(family: Family, suffix: str, started: int, now: int) -> list[NumberDataPoint]:
    name = family.name + suffix
    began = _beginnings(family)
    return [
        NumberDataPoint(
            _attributes(sample.labels),
            began.get(_key(sample.labels), started),
            now,
            sample.value,
            _exemplars([sample]),
        )
        for sample in family.samples
        if sample.name == name
    ]


@dataclass(slots=True)
class _Buckets:
    labels: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    total: float = 0.0


def _histograms(family: Family, started: int, now: int) -> Iterator[HistogramDataPoint]:
    began = _beginnings(family)
    series: dict[tuple[tuple[str, str], ...], _Buckets] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        buckets = series.setdefault(_key(labels), _Buckets(labels))
        if sample.name.endswith("_bucket"):
            buckets.samples.append(sample)
        elif sample.name.endswith("_sum"):
            buckets.total = sample.value
    for key, buckets in series.items():
        # Prometheus counts up to each bound, OTLP between two bounds.
        counts: list[int] = []
        below = 0
        for sample in buckets.samples:
            counts.append(int(sample.value) - below)
            below = int(sample.value)
        bounds = [float(sample.labels["le"]) for sample in buckets.samples]
        yield HistogramDataPoint(
            _attributes(buckets.labels),
            began.get(key, started),
            now,
            count=below,
            sum=buckets.total,
            bucket_counts=counts,
            explicit_bounds=[bound for bound in bounds if bound != math.inf],
            # Nobody kept the extremes. The fields are optional on the wire.
            min=None,  # type: ignore[arg-type] # the encoder leaves None out, the annotation is narrower
            max=None,  # type: ignore[arg-type] # the encoder leaves None out, the annotation is narrower
            exemplars=_exemplars(buckets.samples),
        )


def _beginnings(family: Family) -> dict[tuple[tuple[str, str], ...], int]:
    """Return when each series began, as far as the family says."""
    name = f"{family.name}_created"
    return {
        _key(sample.labels): int(sample.value * 1e9)
        for sample in family.samples
        if sample.name == name
    }


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _attributes(labels: dict[str, str]) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {}
    for label, value in labels.items():
        name = _ATTRIBUTES.get(label, label)
        if value:
            numeric = name in _NUMERIC_ATTRIBUTES and value.isdecimal()
            attributes[name] = int(value) if numeric else value
    return attributes


def _exemplars(samples: Iterable[Sample]) -> list[Exemplar]:
    exemplars = []
    for sample in samples:
        exemplar = sample.exemplar
        if exemplar is None:
            continue
        labels = dict(exemplar.labels)
        trace_id = labels.pop("trace_id", "")
        span_id = labels.pop("span_id", "")
        exemplars.append(
            Exemplar(
                labels,
                float(exemplar.value),
                int(float(exemplar.timestamp or 0) * 1e9),
                int(span_id, 16) if span_id else None,
                int(trace_id, 16) if trace_id else None,
            )
        )
    return exemplars

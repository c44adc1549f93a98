"""OpenTelemetry for services that have no set-up of their own, from the standard variables."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from prometheus_client import REGISTRY

from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.telemetry.otlp_metrics import RegistryExporter

_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_METRICS_EXPORTER: Final = "OTEL_METRICS_EXPORTER"
_PROTOCOLS: Final = ("grpc", "http/protobuf")
_SHUTDOWN_TIMEOUT: Final = 10.0


class Telemetry:
    """What :func:`configure_telemetry` set up.

    Attributes:
        tracer_provider: Where spans go; it does nothing when ``OTEL_SDK_DISABLED`` is true.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider,
        spans: SdkTracerProvider | None = None,
        span_exporters: Sequence[SpanExporter] = (),
        metrics: RegistryExporter | None = None,
    ) -> None:
        self.tracer_provider = tracer_provider
        self._spans = spans
        self._span_exporters = span_exporters
        self._metrics = metrics

    def shutdown(self, timeout: float = _SHUTDOWN_TIMEOUT) -> None:
        """Send what is pending and stop; the second call does nothing.

        It blocks, so async code calls ``await asyncio.to_thread(telemetry.shutdown)``.

        Args:
            timeout: Seconds for spans and metrics together, > 0. What a collector does not take
                by then is lost.
        """
        deadline = time.monotonic() + timeout
        spans, self._spans = self._spans, None
        metrics, self._metrics = self._metrics, None
        thread: threading.Thread | None = None
        if spans is not None:
            # The SDK takes no timeout here and may wait for half a minute.
            thread = threading.Thread(target=spans.shutdown, daemon=True)
            thread.start()
        if metrics is not None:
            metrics.shutdown(timeout)
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                # Else they would go on resending in the background.
                for exporter in self._span_exporters:
                    exporter.shutdown()


def configure_telemetry(
    service_name: str | None = None, *, registry: CollectorRegistry | None = None
) -> Telemetry:
    """Set up the SDK, its exporters and the metrics export from ``OTEL_*`` variables.

    Read here: ``OTEL_SDK_DISABLED``, ``OTEL_TRACES_EXPORTER`` (a list of otlp, console and none;
    otlp by default), ``OTEL_METRICS_EXPORTER`` (a list of otlp, prometheus and none;
    nothing is pushed by default, since metrics are there to be scraped),
    ``OTEL_EXPORTER_OTLP_PROTOCOL`` and its ``_TRACES_`` and ``_METRICS_`` forms (grpc by default,
    or http/protobuf), ``OTEL_METRIC_EXPORT_INTERVAL`` and ``_TIMEOUT`` (milliseconds).
    Endpoints, headers, certificates, resource attributes, sampler, batch limits and propagators
    are read by OpenTelemetry itself from the standard variables.

    Threads do not survive a fork: a pre-forking server calls this in each worker.

    Args:
        service_name: ``service.name`` unless ``OTEL_SERVICE_NAME`` or
            ``OTEL_RESOURCE_ATTRIBUTES`` set one.
        registry: The metrics to export, by default prometheus_client's ``REGISTRY``.

    Returns:
        A handle whose :meth:`Telemetry.shutdown` belongs to the end of the program.

    Raises:
        ConfigurationError: If a variable has an unknown value, or OpenTelemetry is set up already.
    """
    environ = os.environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Telemetry(trace.NoOpTracerProvider())
    plan = _Plan(environ)
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        raise ConfigurationError(
            [
                (
                    "OpenTelemetry is set up already: call configure_telemetry() once, and not "
                    "in a process that opentelemetry-instrument starts"
                )
            ]
        )

    # Loaded here: whoever does not call this function does not pay for the SDK and grpc.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - see above

    resource = Resource.create(_named(service_name, environ))
    provider = TracerProvider(resource=resource)
    span_exporters = _add_span_exporters(provider, plan)
    trace.set_tracer_provider(provider)
    metrics = _start_metrics(plan, registry or REGISTRY, resource)
    return Telemetry(provider, provider, span_exporters, metrics)


class _Plan:
    """The variables that this module reads, validated together before anything starts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._violations: list[str] = []
        self.span_exporters = self._exporters(_TRACES_EXPORTER, "otlp", ("otlp", "console"))
        self.metric_exporters = self._exporters(_METRICS_EXPORTER, "none", ("otlp", "prometheus"))
        self.span_protocol = self._protocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        self.metric_protocol = self._protocol("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
        self.interval = self._seconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000)
        self.timeout = self._seconds("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)
        if self._violations:
            raise ConfigurationError(self._violations)

    def _exporters(self, variable: str, default: str, known: tuple[str, ...]) -> list[str]:
        text = self._environ.get(variable, "").strip() or default
        names = [name.strip().lower() for name in text.split(",")]
        if names == ["none"]:
            return []
        if any(name not in known for name in names):
            self._violations.append(
                f"{variable} holds an unknown exporter: use {', '.join(known)}, or none alone"
            )
        return names

    def _protocol(self, variable: str) -> str:
        general = "OTEL_EXPORTER_OTLP_PROTOCOL"
        used = variable if self._environ.get(variable, "").strip() else general
        protocol = self._environ.get(used, "").strip().lower() or "grpc"
        if protocol not in _PROTOCOLS:
            violation = f"{used} is an unknown protocol: use {' or '.join(_PROTOCOLS)}"
            if violation not in self._violations:
                self._violations.append(violation)
        return protocol

    def _seconds(self, variable: str, default: int) -> float:
        text = self._environ.get(variable, "").strip()
        if not text:
            return default / 1000
        if not text.isdecimal() or int(text) == 0:
            self._violations.append(f"{variable} is not a number of milliseconds: use {default}")
            return default / 1000
        return int(text) / 1000


def _named(service_name: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that are given in code: what operators set is stronger."""
    pairs = environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    keys = {pair.partition("=")[0].strip() for pair in pairs}
    if service_name is None or environ.get("OTEL_SERVICE_NAME") or "service.name" in keys:
        return {}
    return {"service.name": service_name}


def _add_span_exporters(provider: SdkTracerProvider, plan: _Plan) -> list[SpanExporter]:
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - loaded on demand, as above
        BatchSpanProcessor,
        ConsoleSpanExporter,
    )

    exporters = [
        # Named, or it would be what stdout was when the SDK was imported.
        ConsoleSpanExporter(out=sys.stdout)
        if name == "console"
        else _otlp_spans(plan.span_protocol)
        for name in plan.span_exporters
    ]
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return exporters


def _otlp_spans(protocol: str) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import (  # noqa: PLC0415 - loads grpc
            trace_exporter as by_grpc,
        )

        return by_grpc.OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http import (  # noqa: PLC0415 - loads requests
        trace_exporter as by_http,
    )

    return by_http.OTLPSpanExporter()


def _start_metrics(
    plan: _Plan, registry: CollectorRegistry, resource: Resource
) -> RegistryExporter | None:
    if "otlp" not in plan.metric_exporters:
        return None
    from platform_http.telemetry.otlp_metrics import (  # noqa: PLC0415 - loads the SDK
        RegistryExporter,
    )

    return RegistryExporter(
        registry,
        _otlp_metrics(plan.metric_protocol),
        resource,
        interval=plan.interval,
        timeout=plan.timeout,
    )


def _otlp_metrics(protocol: str) -> MetricExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import (  # noqa: PLC0415 - loads grpc
            metric_exporter as by_grpc,
        )

        return by_grpc.OTLPMetricExporter()
    from opentelemetry.exporter.otlp.proto.http import (  # noqa: PLC0415 - loads requests
        metric_exporter as by_http,
    )

    return by_http.OTLPMetricExporter()

"""Where the demo's spans and metrics go."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import TracerProvider

from platform_http.telemetry.setup import configure_telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from prometheus_client import CollectorRegistry

_SHUTDOWN_SECONDS: Final = 3.0
_EXPORT_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_METRICS_EXPORTER",
    "OTEL_TRACES_EXPORTER",
)


@contextlib.asynccontextmanager
async def demo_telemetry(
    service_name: str, registry: CollectorRegistry
) -> AsyncIterator[TracerProvider | None]:
    """Send spans and metrics where the standard variables say, if they say anything.

    Args:
        service_name: ``service.name`` unless the variables set one.
        registry: The metrics that are sent.

    Yields:
        What makes the spans; ``None`` is the global provider.

    Raises:
        ConfigurationError: If a variable has an unknown value.
    """
    if not any(os.environ.get(variable) for variable in _EXPORT_VARIABLES):
        # They go nowhere, but the samples carry them as exemplars.
        provider = TracerProvider(shutdown_on_exit=False)
        try:
            yield provider
        finally:
            provider.shutdown()
        return
    telemetry = await asyncio.to_thread(configure_telemetry, service_name, registry=registry)
    try:
        yield None
    finally:
        await asyncio.to_thread(telemetry.shutdown, _SHUTDOWN_SECONDS)

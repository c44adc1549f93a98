"""The ``/metrics`` page of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from platform_http.telemetry.metrics import multiprocess_mode

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


def render(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return the metrics of *registry* as text, and the content type to send it with.

    In prometheus_client's multiprocess mode the page covers all workers, whichever answers.

    Args:
        registry: What to show.
        accept: The ``Accept`` header of the scrape; only OpenMetrics carries exemplars.
    """
    source: Collector = registry
    if multiprocess_mode():
        source = CollectorRegistry()
        MultiProcessCollector(source)  # type: ignore[no-untyped-call] # it has no annotations
    encode, content_type = choose_encoder(accept or "")
    return encode(source), content_type

"""The ``/metrics`` page of a registry."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from platform_http.telemetry.metrics import multiprocess_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric
    from prometheus_client.registry import Collector

_SAMPLES_AT_A_TIME: Final = 64


def render(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return the metrics of *registry* as text, and the content type to send it with.

    In prometheus_client's multiprocess mode the page covers all workers, whichever answers.

    It is made for a thread beside the loop's, and gives way to that.

    Args:
        registry: What to show.
        accept: The ``Accept`` header of the scrape; only OpenMetrics carries exemplars.
    """
    source: Collector = registry
    if multiprocess_mode():
        source = CollectorRegistry()
        MultiProcessCollector(source)  # type: ignore[no-untyped-call] # it has no annotations
    encode, content_type = choose_encoder(accept or "")
    return encode(_GivingWay(source)), content_type


class _GivingWay:
    """A collector whose reader lets go of the interpreter now and then.

    A thread that computes keeps it for the whole switch interval of 5 ms each time that another
    one has let go of it, which a loop does with every call of a socket.
    """

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        """Yield what the source has."""
        for metric in self._source.collect():
            time.sleep(0)
            # A collector may keep what it yields.
            shown = copy.copy(metric)
            shown.samples = _Samples(metric.samples)
            yield shown


class _Samples(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _SAMPLES_AT_A_TIME):
            time.sleep(0)
            yield from self[start : start + _SAMPLES_AT_A_TIME]

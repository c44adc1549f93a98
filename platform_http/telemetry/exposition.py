"""The ``/metrics`` page of a registry."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import threading
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

# Seconds. A busy loop waits for the interpreter with every call of a socket: for a slice at most,
# and not at all while this pauses.
_SLICE: Final = 0.0005
_PAUSE: Final = 0.001
_SAMPLES_AT_A_TIME: Final = 16


def render(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return the metrics of *registry* as text, and the content type to send it with.

    In prometheus_client's multiprocess mode the page covers all workers, whichever answers.

    It is made for a thread beside the loop's, and gives way to that: it pauses for twice as long as
    it works, and while it works, the interpreter changes threads ten times as often as usual.

    Args:
        registry: What to show.
        accept: The ``Accept`` header of the scrape; only OpenMetrics carries exemplars.
    """
    source: Collector = registry
    if multiprocess_mode():
        source = CollectorRegistry()
        MultiProcessCollector(source)  # type: ignore[no-untyped-call] # it has no annotations
    encode, content_type = choose_encoder(accept or "")
    with _SWITCHING_SOON:
        return encode(_GivingWay(source)), content_type


class _SwitchingSoon(contextlib.AbstractContextManager[None]):
    """Has a thread that computes keep the interpreter for no longer than a slice.

    What collects a whole family at once, or belongs to somebody else, cannot be made to pause. The
    interval is one for the whole process, which notices nothing else of it. Whoever else sets it
    while a page is made has the last word.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages = 0
        self._usual = self._own = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._pages += 1
            if self._pages == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SLICE, self._usual))
                # As it was rounded.
                self._own = sys.getswitchinterval()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._pages -= 1
            if not self._pages:
                self._restore()

    def forget(self) -> None:
        """Leave the pages to the process that makes them: this one was forked from it."""
        self._lock = threading.Lock()
        if self._pages:
            self._pages = 0
            self._restore()

    def _restore(self) -> None:
        if sys.getswitchinterval() == self._own:
            sys.setswitchinterval(self._usual)


_SWITCHING_SOON: Final = _SwitchingSoon()
# Its other threads, and so the pages that they make, are gone.
os.register_at_fork(after_in_child=_SWITCHING_SOON.forget)


class _GivingWay:
    """A collector whose reader pauses after each slice of work."""

    def __init__(self, source: Collector) -> None:
        self._source = source
        self._resumed = time.perf_counter()

    def collect(self) -> Iterable[Metric]:
        """Yield what the source has."""
        for metric in self._source.collect():
            self.give_way()
            # A collector may keep what it yields.
            shown = copy.copy(metric)
            shown.samples = _Samples(metric.samples, self)
            yield shown

    def give_way(self) -> None:
        """Pause if the slice is over."""
        if time.perf_counter() - self._resumed >= _SLICE:
            time.sleep(_PAUSE)
            self._resumed = time.perf_counter()


class _Samples(list[Any]):
    def __init__(self, samples: Iterable[Any], reader: _GivingWay) -> None:
        super().__init__(samples)
        self._reader = reader

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _SAMPLES_AT_A_TIME):
            self._reader.give_way()
            yield from self[start : start + _SAMPLES_AT_A_TIME]

"""The metrics of a test, in a registry of its own."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

# What the samples of a family are called, after its name.
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
    "info": ("_info",),
}


class CapturedMetrics:
    """Reads samples; its registry is for ``SessionFactory(registry=...)``.

    Attributes:
        registry: Takes the metrics.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all samples *name* whose labels include *labels*; 0 for none.

        Args:
            name: As exposed, for example ``platform_http_calls_total``; a histogram's samples
                are ``..._count``, ``..._sum`` and ``..._bucket``.
            **labels: Values by label; of a label that is not named all values count.

        Raises:
            LookupError: If nothing in the registry has samples of that *name*, or none of them has
                such a label: a misspelled name must not read as 0.
        """
        families = tuple(self.registry.collect())
        names = {each for family in families for each in _sample_names(family)}
        if name not in names:
            raise LookupError(f"no metric has samples {name!r}{_did_you_mean(name, names)}")
        samples = [each for family in families for each in family.samples if each.name == name]
        if samples:
            known = set().union(*(each.labels for each in samples))
            for label in labels:
                if label not in known:
                    hint = _did_you_mean(label, known)
                    raise LookupError(f"{name} has no label {label!r}{hint}")
        return sum(each.value for each in samples if labels.items() <= each.labels.items())

    def delta(self, name: str, **labels: str) -> Callable[[], float]:
        """Return a function that says by how much :meth:`value` has changed since now.

        ::

            retries = captured_metrics.delta("platform_http_retries_total", client="billing")
            await call_the_service()
            assert retries() == 2

        Args:
            name: As for :meth:`value`.
            **labels: As for :meth:`value`.

        Raises:
            LookupError: As for :meth:`value`.
        """
        before = self.value(name, **labels)
        return lambda: self.value(name, **labels) - before


def _sample_names(family: Metric) -> Iterator[str]:
    for suffix in _SUFFIXES.get(family.type, ("",)):
        yield f"{family.name}{suffix}"


def _did_you_mean(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

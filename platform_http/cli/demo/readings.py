"""What a metrics registry says: totals, increases and quantiles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.registry import Collector

# Labels as sorted pairs, so that two readings can be compared series by series.
_Labels: TypeAlias = "tuple[tuple[str, str], ...]"


class Reading:
    """The samples of a registry at one moment, or what they increased by between two.

    A label given as a tuple matches any of its values.

    Args:
        samples: Values by name and labels.
        seconds: Instant of the reading, or length of the interval.
    """

    def __init__(self, samples: Mapping[str, Mapping[_Labels, float]], seconds: float) -> None:
        self._samples = samples
        self.seconds = seconds

    @classmethod
    def of(cls, registry: Collector, now: float) -> Self:
        """Return what *registry* holds at the instant *now*, in seconds."""
        samples: dict[str, dict[_Labels, float]] = {}
        for family in registry.collect():
            for sample in family.samples:
                labels = tuple(sorted(sample.labels.items()))
                samples.setdefault(sample.name, {})[labels] = sample.value
        return cls(samples, now)

    def since(self, earlier: Reading) -> Reading:
        """Return the increase of counters and histograms from *earlier* to this reading."""
        increases = {
            name: {
                labels: value - earlier._samples.get(name, {}).get(labels, 0.0)
                for labels, value in series.items()
            }
            for name, series in self._samples.items()
        }
        return Reading(increases, self.seconds - earlier.seconds)

    def total(self, name: str, **labels: str | tuple[str, ...]) -> float:
        """Return the sum of the series of *name* that have *labels*; 0 if there are none."""
        return sum(value for _, value in self._matching(name, labels))

    def level(self, name: str, **labels: str | tuple[str, ...]) -> float | None:
        """Return the sum of the gauges of *name* that have *labels*; ``None`` if there are none."""
        values = [value for _, value in self._matching(name, labels)]
        return sum(values) if values else None

    def by(self, label: str, name: str, **labels: str | tuple[str, ...]) -> dict[str, float]:
        """Return the sums of the series of *name* that have *labels*, by the value of *label*.

        Only sums above zero are included; they come in the order of the label's values.
        """
        sums: dict[str, float] = {}
        for series, value in self._matching(name, labels):
            key = series.get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return {key: sums[key] for key in sorted(sums) if sums[key] > 0}

    def rate(self, name: str, **labels: str | tuple[str, ...]) -> float:
        """Return the increase per second; 0 for an interval without length."""
        return self.total(name, **labels) / self.seconds if self.seconds > 0 else 0.0

    def quantile(self, share: float, name: str, **labels: str | tuple[str, ...]) -> float | None:
        """Return the value that *share* of a histogram's observations do not exceed.

        Args:
            share: In [0, 1].
            name: The histogram, without ``_bucket``.
            **labels: Of the series to merge.

        Returns:
            The quantile, interpolated within its bucket; the highest finite bound if it lies
            beyond; ``None`` without observations.

        Source: ``histogram_quantile`` of PromQL.
        """
        buckets: dict[float, float] = {}
        for series, value in self._matching(f"{name}_bucket", labels):
            bound = float(series["le"])
            buckets[bound] = buckets.get(bound, 0.0) + value
        count = buckets.get(math.inf, 0.0)
        if count <= 0:
            return None
        rank = share * count
        lower = below = 0.0
        for bound in sorted(buckets):
            reached = buckets[bound]
            if math.isinf(bound):
                break
            if reached >= rank and reached > below:
                return lower + (bound - lower) * (rank - below) / (reached - below)
            lower, below = bound, reached
        return lower

    def _matching(
        self, name: str, labels: Mapping[str, str | tuple[str, ...]]
    ) -> Iterator[tuple[dict[str, str], float]]:
        wanted = {
            label: (values,) if isinstance(values, str) else values
            for label, values in labels.items()
        }
        for series, value in self._samples.get(name, {}).items():
            own = dict(series)
            if all(own.get(label, "") in values for label, values in wanted.items()):
                yield own, value

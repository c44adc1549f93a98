"""What there is to ask for: every sample of the library's own registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from platform_http.telemetry.metrics import Metrics

# Every scrape adds these two.
TARGET_LABELS: Final = frozenset({"job", "instance"})
_ALERT_LABELS: Final = frozenset({"alertname", "alertstate", "severity", "component"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One name that a selector can ask for.

    Attributes:
        kind: ``counter`` and ``bucket`` only grow and are read through a rate; ``gauge`` is not.
        labels: Every label that its series may carry, those of the scrape included.
        bounds: Values that ``le`` takes as scraped; empty unless it is a ``bucket``.
        quotient: Whether its values divide one series by another.
    """

    kind: Literal["counter", "bucket", "gauge"]
    labels: frozenset[str]
    bounds: frozenset[str] = frozenset()
    quotient: bool = False


def samples_of_library() -> dict[str, Sample]:
    """Return the samples of a service with platform_http by name, and ``up`` and ``ALERTS``."""
    registry = CollectorRegistry()
    for family in vars(Metrics.of(registry)).values():
        if isinstance(family, MetricWrapperBase):
            # A family without a child has no samples to read names and labels from.
            names = family._labelnames  # noqa: SLF001 - prometheus_client has no public name for it
            if names and not next(iter(family.collect())).samples:
                family.labels(*("" for _ in names))
    samples: dict[str, Sample] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name.endswith("_created"):
                # Only OpenMetrics has these, and multiprocess mode has none.
                continue
            kind: Literal["counter", "bucket", "gauge"] = "gauge"
            if sample.name.endswith("_bucket"):
                kind = "bucket"
            elif metric.type in {"counter", "histogram"}:
                kind = "counter"
            known = samples.get(sample.name)
            bounds = known.bounds if known else frozenset()
            if kind == "bucket":
                bounds |= {sample.labels["le"]}
            labels = frozenset(sample.labels) | TARGET_LABELS
            samples[sample.name] = Sample(kind, labels, bounds)
    every = frozenset[str]().union(*(sample.labels for sample in samples.values()))
    samples["up"] = Sample("gauge", TARGET_LABELS)
    # An alert keeps the labels of its expression, which can be any of them.
    samples["ALERTS"] = Sample("gauge", (every - {"le"}) | _ALERT_LABELS)
    return samples

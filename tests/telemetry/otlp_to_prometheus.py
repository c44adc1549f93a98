"""What Prometheus makes of OTLP metrics.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics compatibility".
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.metrics.v1.metrics_pb2 import (
        Exemplar,
        HistogramDataPoint,
        Metric,
        ResourceMetrics,
    )
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

UNITS = {"s": "seconds", "By": "bytes"}
_IDENTITY = ("service.namespace", "service.name", "service.instance.id")


class Sample(NamedTuple):
    """One line of a page; `le` is written as Go writes floats, `1` and not `1.0`."""

    name: str
    labels: dict[str, str]
    value: float
    exemplar: Exemplar | None = None


class Family(NamedTuple):
    """The samples of one metric, as a page groups them."""

    name: str
    kind: str
    samples: list[Sample]


def page(resources: Iterable[ResourceMetrics]) -> str:
    """Return the newest state of some services as OpenMetrics text, with who they are."""
    lines = []
    known = {}
    for resource in resources:
        identity = _identity(resource.resource)
        target, *others = _of_resource(resource, identity)
        for family in (target, *others):
            known.setdefault((family.name, family.kind), []).extend(
                sample._replace(labels=identity | sample.labels) for sample in family.samples
            )
    for (name, kind), samples in known.items():
        lines.append(f"# TYPE {name} {kind}")
        lines += map(_line, samples)
    return "\n".join([*lines, "# EOF", ""])


def _of_resource(resource: ResourceMetrics, identity: dict[str, str]) -> Iterator[Family]:
    attributes = {
        key: value
        for key, value in _labels(resource.resource.attributes).items()
        if key not in {_name(known) for known in _IDENTITY}
    }
    yield Family("target", "info", [Sample("target_info", attributes, 1)])
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            # Without a point it does not say what kind it is.
            if metric.WhichOneof("data") is not None:
                yield to_family(metric)


def _identity(resource: Resource) -> dict[str, str]:
    values = {pair.key: _text(pair.value) for pair in resource.attributes}
    namespace, name, instance = (values.get(key, "") for key in _IDENTITY)
    job = f"{namespace}/{name}" if namespace else name
    return {"job": job, "instance": instance}


def to_family(metric: Metric) -> Family:
    """Return the samples of *metric*, without the labels of its resource."""
    name = _name(metric.name)
    unit = UNITS.get(metric.unit, "")
    if unit and unit not in name.split("_"):
        name = f"{name}_{unit}"
    if metric.HasField("histogram"):
        points = metric.histogram.data_points
        return Family(
            name, "histogram", [sample for point in points for sample in _histogram(name, point)]
        )
    if metric.HasField("sum") and metric.sum.is_monotonic:
        return Family(name, "counter", list(_numbers(f"{name}_total", metric.sum.data_points)))
    points = metric.sum.data_points if metric.HasField("sum") else metric.gauge.data_points
    return Family(name, "gauge", list(_numbers(name, points)))


def _numbers(name, points) -> Iterator[Sample]:
    for point in points:
        value = point.as_int if point.HasField("as_int") else point.as_double
        yield Sample(name, _labels(point.attributes), value)


def _histogram(name: str, point: HistogramDataPoint) -> Iterator[Sample]:
    labels = _labels(point.attributes)
    lowest = -math.inf
    below = 0
    bounds = [*point.explicit_bounds, math.inf]
    for bound, count in zip(bounds, point.bucket_counts, strict=True):
        below += count
        inside = [entry for entry in point.exemplars if lowest < entry.as_double <= bound]
        exemplar = max(inside, key=lambda entry: entry.time_unix_nano, default=None)
        yield Sample(f"{name}_bucket", {**labels, "le": _number(bound)}, below, exemplar)
        lowest = bound
    yield Sample(f"{name}_count", labels, point.count)
    yield Sample(f"{name}_sum", labels, point.sum)


def _name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_:]", "_", name)


def _labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {_name(pair.key): _text(pair.value) for pair in attributes}


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    content = getattr(value, kind)
    return content if kind == "string_value" else json.dumps(content)


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # As Go: the shortest digits that give the same float, without an exponent at these sizes.
    return "NaN" if math.isnan(value) else repr(float(value)).removesuffix(".0")


def _line(sample: Sample) -> str:
    line = f"{sample.name}{_braces(sample.labels)} {_number(sample.value)}"
    if (exemplar := sample.exemplar) is not None:
        ids = {"trace_id": exemplar.trace_id.hex(), "span_id": exemplar.span_id.hex()}
        moment = exemplar.time_unix_nano / 1e9
        line += f" # {_braces(ids)} {_number(exemplar.as_double)} {moment:.3f}"
    return line


def _braces(labels: dict[str, str]) -> str:
    pairs = (f"{key}={json.dumps(value)}" for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"

"""The lists of settings and of metrics, from the code that has them.

Lists, because a table of four columns is wider than a page.
"""

from __future__ import annotations

import itertools
import math

from prometheus_client.metrics import Histogram, MetricWrapperBase

from platform_http.cli.config import settings_table
from platform_http.settings.variables import PREFIX
from platform_http.telemetry.metrics import Metrics


def settings() -> str:
    """Return all variables in Markdown, with a heading for each section."""
    rows = [line.strip("| ").split(" | ") for line in settings_table().splitlines()[2:]]
    lines = []
    for section, variables in itertools.groupby(rows, key=lambda row: _section(row[0])):
        lines += [f"## {section}", ""]
        for name, kind, default, meaning in variables:
            lines += [name, f": {meaning}\\", f"  {kind}; default: {default}", ""]
    return "\n".join(lines)


def _section(name: str) -> str:
    section, dot, _ = name.strip("`").removeprefix(PREFIX).partition("__")
    return section if dot else "Without a section"


def metrics() -> str:
    """Return all metrics and their buckets in Markdown."""
    families = [each for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    lines = []
    buckets: dict[tuple[float, ...], list[str]] = {}
    for family in families:
        (described,) = family.describe()
        name = _exposed(described.name, described.type)
        # The description has neither labels nor buckets.
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # noqa: SLF001 - as above
        lines += [f"`{name}`", f": {described.documentation}\\"]
        lines += [f"  {described.type}; labels: {labels or 'none'}", ""]
        if isinstance(family, Histogram):
            bounds = tuple(family._upper_bounds)  # noqa: SLF001 - as above
            buckets.setdefault(bounds, []).append(name)
    lines += ["## Buckets", ""]
    for bounds, names in buckets.items():
        numbers = ", ".join(f"{bound:.10g}" for bound in bounds if not math.isinf(bound))
        lines += [", ".join(f"`{name}`" for name in names), f": {numbers}", ""]
    return "\n".join(lines)


def _exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name

"""The time series of variants as CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from platform_http.simulation.report import Second

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from platform_http.simulation.report import Report


def write(reports: Iterable[Report], file: Path) -> None:
    """Write a line per variant and second: ``variant`` and the fields of :class:`Second`.

    A percentile without any success in its second is empty.

    Raises:
        OSError: If *file* cannot be written.
    """
    with file.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["variant", *Second._fields])
        for report in reports:
            lines.writerows([report.label, *second] for second in report.seconds)

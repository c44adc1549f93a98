"""What a Prometheus would know if it and the services had run for a week.

The samples are drawn from the services' own pages: what a service does now, it has always done.
What rules have recorded meanwhile is worked out by promtool from those samples and the real rules.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.servers import program, prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from prometheus_client.samples import Sample

_DAY = 86_400.0
_WEEK = 7 * _DAY
# A rate over five minutes finds two samples, and a range over an hour is full, for three days.
_DAYS_STEP = 120.0
_DAYS = 3.05 * _DAY
# "Against last week" looks closely at a few minutes.
_WEEK_STEP = 5.0
_BEFORE, _AFTER = 120.0, 240.0
# promtool makes the largest blocks of 2 h times a power of 3 up to this; it reads all of its input
# again for each of them.
_BLOCKS = "--max-block-duration=500h"


@dataclass(frozen=True, slots=True)
class Page:
    """The metrics of a service.

    Args:
        text: OpenMetrics.
        target: Labels that a scrape adds.
        age: Seconds that the service has run.
    """

    text: str
    target: Mapping[str, str]
    age: float


@dataclass(frozen=True, slots=True)
class Past:
    """What queries look far back at.

    Args:
        days: Rules whose record others read over days.
        week: Expressions that look at a week ago.
    """

    days: Sequence[Mapping[str, str]]
    week: Sequence[str]

    @classmethod
    def of(cls, rule_files: Sequence[Path], queries: Sequence[str]) -> Past:
        """Find it in the rules and in the *queries* of panels."""
        rules = [
            rule
            for path in rule_files
            for group in yaml.safe_load(path.read_text())["groups"]
            for rule in group["rules"]
        ]
        expressions = " ".join([*(rule["expr"] for rule in rules), *queries])
        days = [rule for rule in rules if f"{rule.get('record')}[" in expressions]
        return cls(days, [query for query in queries if "offset 1w" in query])

    def write(self, pages: Sequence[Page], now: float, folder: Path) -> None:
        """Write the blocks of what *pages* showed until *now* as the data *folder* of a server."""
        text = folder.with_suffix(".txt")
        with text.open("w") as file:
            file.writelines(self._lines(pages, now))
            file.write("# EOF\n")
        _promtool("openmetrics", _BLOCKS, text, folder)
        self._record(now, folder)

    def _lines(self, pages: Sequence[Page], now: float) -> Iterator[str]:
        days = [rule["expr"] for rule in self.days]
        for wanted, start, end, step in (
            (days, now - _DAYS, now, _DAYS_STEP),
            (self.week, now - _WEEK - _BEFORE, now - _WEEK + _AFTER, _WEEK_STEP),
        ):
            moments = [start + number * step for number in range(int((end - start) / step) + 1)]
            for page in pages:
                for sample, grows in _samples(page.text):
                    if any(_reads(expr, sample) for expr in wanted):
                        yield from _backdated(sample, grows, page, moments)

    def _record(self, now: float, folder: Path) -> None:
        """Add what the rules would have recorded."""
        rules = folder.with_suffix(".json")
        rules.write_text(json.dumps({"groups": [{"name": "past", "rules": self.days}]}))
        with prometheus({}, data=folder) as port:
            period = [f"--start={now - _DAYS:.0f}", f"--end={now:.0f}"]
            server = f"--url=http://127.0.0.1:{port}"
            _promtool("rules", _BLOCKS, server, *period, f"--output-dir={folder}", rules)


def _samples(text: str) -> Iterator[tuple[Sample, bool]]:
    """Yield the samples of a page, and whether they grow with time."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample, family.type in ("counter", "histogram")


def _reads(expr: str, sample: Sample) -> bool:
    """Tell whether *expr* reads *sample*, or may do so."""
    if not re.search(rf"\b{sample.name}\b", expr):
        return False
    bounds = re.findall(r'\ble="([^"]+)"', expr)
    return "le" not in sample.labels or not bounds or sample.labels["le"] in bounds


def _backdated(sample: Sample, grows: bool, page: Page, moments: Sequence[float]) -> Iterator[str]:
    known = {**page.target, **sample.labels}
    # What runs now was deployed just now.
    past = {key: "0.0.1" if key == "version" else value for key, value in known.items()}
    labels = ",".join(f"{key}={json.dumps(value)}" for key, value in past.items())
    for moment in moments:
        share = (moment - moments[0]) / page.age if grows else 1
        yield f"{sample.name}{{{labels}}} {sample.value * share!r} {moment:.3f}\n"


def _promtool(kind: str, *arguments: object) -> None:
    command = [program("promtool"), "tsdb", "create-blocks-from", "--quiet", kind]
    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=60)

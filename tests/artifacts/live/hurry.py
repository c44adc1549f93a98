"""The alert rules, with less patience.

A test cannot wait for a rule that looks at an hour. What is changed is how long everything takes
and nothing else: each duration of the real files, which are ranges, offsets, `for`,
`keep_firing_for` and evaluation intervals, is divided by the same number. Expressions, thresholds,
labels, annotations and the names of recorded series, `rate5m` among them, stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pathlib import Path

# A range needs two samples; at one scrape a second these hold it for sure.
_SHORTEST_RANGE = 4.0
_SHORTEST_WAIT = 1.0
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_IN_EXPRESSIONS = re.compile(r"(\[|:|\boffset\s+)((?:\d+(?:ms|[smhdwy]))+)\b")
_WAITS = ("for", "keep_firing_for")


def hurried(path: Path, factor: float) -> dict[str, object]:
    """Return the rule file *path* with every duration divided by *factor*."""
    content = yaml.safe_load(path.read_text())
    for group in content["groups"]:
        if "interval" in group:
            group["interval"] = _shorter(group["interval"], factor, _SHORTEST_WAIT)
        for rule in group["rules"]:
            rule["expr"] = hurried_expression(rule["expr"], factor)
            for wait in set(_WAITS) & set(rule):
                rule[wait] = _shorter(rule[wait], factor, _SHORTEST_WAIT)
    return content


def hurried_expression(expr: str, factor: float) -> str:
    """Return *expr* with every range, step and offset divided by *factor*."""

    def shorter(match: re.Match[str]) -> str:
        # What follows a colon is the step of a subquery.
        shortest = _SHORTEST_WAIT if match[1] == ":" else _SHORTEST_RANGE
        return match[1] + _shorter(match[2], factor, shortest)

    return _IN_EXPRESSIONS.sub(shorter, expr)


def _shorter(duration: str, factor: float, shortest: float) -> str:
    seconds = sum(
        int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration)
    )
    if seconds == 0:
        return duration
    return f"{max(seconds / factor, shortest) * 1000:.0f}ms"

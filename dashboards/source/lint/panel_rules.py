"""Rules about panels: where they stand, what they tell, and in which colours."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.models import units

from dashboards.source.grid import COLUMNS
from dashboards.source.lint import expressions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dashboards.source.lint.board import Board, Complaints, Set

_UNITS: Final = {value for value in vars(units).values() if isinstance(value, str)}
_PARTS_OF_NOTES: Final = ("**Good:**", "**Next:**")

# A panel is about failures if it reads one of these metrics, or narrows one of these labels to
# values that say so.
_FAILURE_METRICS: Final = re.compile(
    r"ALERTS|up|.*(_bad:|_rejections_|_retries_|_retry_stops_|_errors_|_bypass_|_insecure_"
    r"|_denied_|_expiry_|_reconnects_|_pitfalls_).*"
)
_FAILURE_VALUES: Final = {
    "error_type": r"!~|=~?[a-z]",
    "outcome": r"=~?(error|rejected|\|)+$",
    "state": r"=open",
    "http_response_status_code": r"=~?5",
}
_RED: Final = re.compile(r"(?i).*red.*|palette-classic.*|continuous-.*rd.*|.*rd(yl|bu|gy|pu|yi).*")


def unique_panel_ids(board: Board, _: Set) -> Complaints:
    """Every panel and row has an id of its own, a positive number."""
    seen: set[object] = set()
    for panel in board.everything():
        number = panel.get("id")
        if not isinstance(number, int) or number < 1:
            yield f"{board.name}: {panel.get('title')!r}", f"id {number!r} is no positive number"
        elif number in seen:
            yield f"{board.name}: {panel.get('title')!r}", f"id {number} is taken"
        seen.add(number)


def grid(board: Board, _: Set) -> Complaints:
    """Panels stand within the 24 columns and not on each other."""
    placed: list[tuple[str, dict[str, int]]] = []
    for panel in board.everything():
        place = f"{board.name}: {panel.get('title')!r}"
        position = panel.get("gridPos") or {}
        if not all(isinstance(position.get(key), int) for key in "xywh"):
            yield place, "has no position"
            continue
        if position["x"] < 0 or position["y"] < 0 or position["w"] < 1 or position["h"] < 1:
            yield place, f"has a position that is none: {position}"
        if position["x"] + position["w"] > COLUMNS:
            yield place, f"reaches beyond column {COLUMNS}"
        placed.append((place, position))
    for (place, one), (_other_place, other) in itertools.combinations(placed, 2):
        if _overlap(one, other, "x", "w") and _overlap(one, other, "y", "h"):
            yield place, f"stands on the panel at x={other['x']} y={other['y']}"


def panel_datasource(board: Board, _: Set) -> Complaints:
    """Panels, their queries and annotations ask the data source that is chosen."""
    asking = [(place, panel) for place, panel in board.panels()]
    asking += [(target.place, target.content) for target in board.targets()]
    asking += [(f"{board.name}: annotation {one.get('name')}", one) for one in board.annotations]
    for place, part in asking:
        if (part.get("datasource") or {}).get("uid") != "${datasource}":
            yield place, "does not ask ${datasource}"


def panel_title_description(board: Board, _: Set) -> Complaints:
    """Panels have a title of their own, and a description with what is good and what to do next."""
    seen: set[str] = set()
    for place, panel in board.panels():
        title = panel.get("title") or ""
        if not title:
            yield place, "has no title"
        if title in seen:
            yield place, "another panel has the same title"
        seen.add(title)
        description = panel.get("description") or ""
        if not description or any(part not in description for part in _PARTS_OF_NOTES):
            yield place, f"its description does not say {' and '.join(_PARTS_OF_NOTES)}"


def panel_units(board: Board, _: Set) -> Complaints:
    """Panels have a unit, and every unit is one of Grafana's."""
    for place, panel in board.panels():
        if not _defaults(panel).get("unit"):
            yield place, "has no unit"
        for unit in _values(panel, "unit"):
            if unit not in _UNITS:
                yield place, f"{unit!r} is no unit of Grafana"


def panel_no_targets(board: Board, _: Set) -> Complaints:
    """Panels have queries, each with a reference of its own."""
    for place, panel in board.panels():
        references = [target.get("refId") for target in panel.get("targets", [])]
        if not references:
            yield place, "has no query"
        if len(set(references)) < len(references):
            yield place, f"its queries are called {references}"


def legend_table(board: Board, _: Set) -> Complaints:
    """Lines have a legend table with at least the mean, the maximum and the last value."""
    for place, panel in board.panels():
        if panel.get("type") != "timeseries":
            continue
        legend = panel.get("options", {}).get("legend", {})
        if legend.get("displayMode") != "table" or not legend.get("showLegend"):
            yield place, "its legend is no table"
        elif not {"mean", "max", "lastNotNull"} <= set(legend.get("calcs", [])):
            yield place, "its legend does not show mean, max and last"


def thresholds_ascending(board: Board, _: Set) -> Complaints:
    """Thresholds rise from one without a value, and those of shares are shares."""
    for place, panel in board.panels():
        for unit, steps in _steps(panel):
            values: list[Any] = [step.get("value") for step in steps]
            if not values or values[0] is not None:
                yield place, "its first threshold has a value, so what is below has no colour"
                continue
            rest = values[1:]
            if any(value is None for value in rest) or sorted(set(rest)) != rest:
                yield place, f"its thresholds {rest} do not rise"
            elif unit == "percentunit" and any(value > 1 for value in rest):
                yield place, f"its thresholds {rest} are percent, its values are shares of 1"


def red_means_failure(board: Board, _: Set) -> Complaints:
    """Red, and the palettes that hold it, are kept for panels about failures.

    Those are panels with a query for failed calls or attempts, open circuits, rejections, resends,
    reconnects, errors, bypasses, pitfalls, insecure settings, refused destinations, certificates
    that end, budget burnt, alerts or targets that are down.
    """
    for place, panel in board.panels():
        exprs = [str(target.get("expr")) for target in panel.get("targets", [])]
        if any(_is_about_failures(expr) for expr in exprs):
            continue
        for color in _colors([panel.get("fieldConfig"), panel.get("options")]):
            if _RED.fullmatch(color):
                yield place, f"is not about failures and has the colour {color!r}"


def _is_about_failures(expr: str) -> bool:
    selectors = expressions.selectors(expr)
    narrowed = {
        (matcher.name, expressions.written(matcher))
        for selector in selectors
        for matcher in selector.matchers.matchers
    }
    # What has an error together with what has a status is everything that was not cancelled.
    if ("error_type", "!=") in narrowed and ("http_response_status_code", "!=") not in narrowed:
        return True
    return any(
        selector.name is not None and _FAILURE_METRICS.fullmatch(selector.name)
        for selector in selectors
    ) or any(
        re.match(_FAILURE_VALUES[label], value)
        for label, value in narrowed
        if label in _FAILURE_VALUES
    )


def _overlap(one: dict[str, int], other: dict[str, int], start: str, size: str) -> bool:
    return one[start] < other[start] + other[size] and other[start] < one[start] + one[size]


def _defaults(panel: dict[str, Any]) -> dict[str, Any]:
    return dict(panel.get("fieldConfig", {}).get("defaults") or {})


def _properties(panel: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the properties of each override by name."""
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        yield {one["id"]: one.get("value") for one in override.get("properties", [])}


def _values(panel: dict[str, Any], name: str) -> list[Any]:
    found = [_defaults(panel), *_properties(panel)]
    return [properties[name] for properties in found if name in properties]


def _steps(panel: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield unit and steps of all thresholds of *panel*."""
    unit = _defaults(panel).get("unit", "")
    for properties in (_defaults(panel), *_properties(panel)):
        if "thresholds" in properties:
            yield properties.get("unit", unit), properties["thresholds"].get("steps", [])


def _colors(part: Any) -> Iterator[str]:
    """Yield the words for colours, and for schemes that colours are taken from."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in {"color", "fixedColor", "scheme", "mode"} and isinstance(value, str):
                yield value
            yield from _colors(value)
    elif isinstance(part, list):
        for value in part:
            yield from _colors(value)

"""The kinds of panels in use: none goes without a title, a unit and a note for its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common as parts
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import prometheus, statetimeline
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.source.frame import DATASOURCE, TO_CLIENT_OF_LINE
from dashboards.source.query import Query

GOOD: Final = "green"
WATCH: Final = "yellow"
WARN: Final = "orange"
BAD: Final = "red"
PLAIN: Final = "blue"

# By the first letter of a name, so that a client has the same hue wherever it is; none is red.
# Names of the same hue differ in shade.
_HUES: Final = {
    "a-c": "blue",
    "d-h": "yellow",
    "i-o": "green",
    "p-r": "light-orange",
    "s-z": "purple",
}

# Colour from each value upwards; the first has no lower end.
Steps = Sequence[tuple[float | None, str]]


@dataclass(frozen=True, slots=True)
class Note:
    """What a panel tells its reader.

    Attributes:
        shows: What it shows and what that is counted from.
        good: What it looks like when all is well.
        next: What to do, or where to look, when it does not.
    """

    shows: str
    good: str
    next: str

    def __str__(self) -> str:
        return f"{self.shows}\n\n**Good:** {self.good}\n\n**Next:** {self.next}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of values of a table.

    Attributes:
        title: Its heading.
        expr: PromQL, evaluated at the end of the time range.
        unit: Grafana's id of the unit.
        steps: Colours of its cells; none leaves them plain.
        names: Words in the place of values, with their colours.
        decimals: Digits after the point; ``None`` leaves it to Grafana.
    """

    title: str
    expr: str
    unit: str
    steps: Steps = ()
    names: Mapping[int, tuple[str, str]] | None = None
    decimals: int | None = None


def timeseries(
    title: str,
    unit: str,
    note: Note,
    *queries: Query,
    stacked: bool = False,
    steps: Steps = (),
    about_failures: bool = False,
    linked: bool = False,
    maximum: float | None = None,
    at_least: float | None = None,
    magnitudes: bool = False,
    none: str = "",
) -> dashboard.Panel:
    """Return lines over time with a legend table.

    Args:
        title: Its title.
        unit: Grafana's id of the unit of its values.
        note: What it tells its reader.
        queries: What it draws.
        stacked: Whether its lines are added up as areas.
        steps: Limits that are drawn as dashed lines.
        about_failures: Whether its colours may be red.
        linked: Whether its lines, which carry the label ``client``, lead to the dependency.
        maximum: Upper end of the axis; ``None`` follows the values.
        at_least: What the axis reaches at least, for values that are usually 0.
        magnitudes: Whether the axis is logarithmic above 1, for values from below 1 to hundreds.
        none: What stands there without data; "" is Grafana's "No data".
    """
    panel = (
        series.Panel()
        .title(title)
        .description(str(note))
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(
            parts.StackingConfig().mode(
                common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
            )
        )
        .color_scheme(_palette(about_failures=about_failures))
        .legend(
            parts.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max", "lastNotNull"])
            .sort_by("Max")
            .sort_desc(True)
        )
        .tooltip(
            parts.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .targets([_target(index, one) for index, one in enumerate(queries)])
    )
    if maximum is not None:
        panel.max(maximum)
    if at_least is not None:
        panel.axis_soft_max(at_least)
    if magnitudes:
        panel.scale_distribution(
            parts.ScaleDistributionConfig()
            .type(common.ScaleDistribution.SYMLOG)
            .log(10)
            .linear_threshold(1)
        )
    if none:
        panel.no_value(none)
    if steps:
        panel.thresholds(_thresholds(steps)).thresholds_style(
            parts.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    if linked:
        panel.override_by_field_type("number", [_link(TO_CLIENT_OF_LINE)])
    before = _before_names(queries, about_failures=about_failures)
    if before is not None:
        for letters, hue in _HUES.items():
            panel.override_by_regexp(f"/{before}[{letters}]/", [_color("shades", hue)])
    for index, one in enumerate(queries):
        properties = _line_properties(one)
        if properties:
            panel.override_by_query(_ref_id(index), properties)
    return panel.build()


def stat(
    title: str,
    unit: str,
    note: Note,
    one: Query,
    *,
    steps: Steps = ((None, PLAIN),),
    decimals: int | None = None,
    none: str = "none",
    at_the_end: bool = False,
) -> dashboard.Panel:
    """Return one number, with its course in the background.

    Args:
        title: Its title.
        unit: Grafana's id of its unit.
        note: What it tells its reader.
        one: The query of the number.
        steps: Colour of the number by its value.
        decimals: Digits after the point; ``None`` leaves it to Grafana.
        none: What stands there without data.
        at_the_end: Whether only the value at the end of the time range is asked for.
    """
    panel = (
        stats.Panel()
        .title(title)
        .description(str(note))
        .datasource(DATASOURCE)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE if at_the_end else common.BigValueGraphMode.AREA)
        .no_value(none)
        .reduce_options(parts.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .targets([_target(0, one, instant=at_the_end)])
    )
    if decimals is not None:
        panel.decimals(decimals)
    return panel.build()


def table(
    title: str,
    note: Note,
    labels: Mapping[str, str],
    *columns: Column,
    sort_by: str,
    ascending: bool = False,
    widths: Mapping[str, int] | None = None,
    link: str = "",
) -> dashboard.Panel:
    """Return a table with a row per set of *labels* and a column per query.

    Args:
        title: Its title.
        note: What it tells its reader.
        labels: Labels that all *columns* keep, and their headings, from left to right.
        columns: The values, from left to right.
        sort_by: Heading of the column whose largest values stand on top.
        ascending: Whether its smallest values do.
        widths: Pixels of columns by their headings; the others share what is left.
        link: Where the cells of the column Client lead to; "" is nowhere.
    """
    panel = (
        tables.Panel()
        .title(title)
        .description(str(note))
        .datasource(DATASOURCE)
        # Or a port would be a number of thousands.
        .unit("string")
        .targets(
            [
                _target(index, Query(column.expr), instant=True)
                for index, column in enumerate(columns)
            ]
        )
        .transformations(_columns(labels, columns))
        .sort_by([parts.TableSortByFieldState().display_name(sort_by).desc(not ascending)])
        .show_header(True)
        .filterable(True)
    )
    for column in columns:
        panel.override_by_name(column.title, _column_properties(column))
    for heading, width in (widths or {}).items():
        panel.override_by_name(heading, [dashboard.DynamicConfigValue("custom.width", width)])
    if link:
        panel.override_by_name("Client", [_link(link)])
    return panel.build()


def heatmap(
    title: str, unit: str, note: Note, bucket_rates: str, *, cell_unit: str
) -> dashboard.Panel:
    """Return how often each bucket of a histogram was hit over time.

    Args:
        title: Its title.
        unit: Grafana's id of the unit of the bucket bounds.
        note: What it tells its reader.
        bucket_rates: PromQL of bucket rates per ``le``.
        cell_unit: Grafana's id of the unit of those rates.
    """
    target = _target(0, Query(bucket_rates, "{{le}}", exemplars=True))
    return (
        heatmaps.Panel()
        .title(title)
        .description(str(note))
        .datasource(DATASOURCE)
        .unit(unit)
        .calculate(False)
        .cell_values(heatmaps.CellValues().unit(cell_unit))
        .cell_gap(1)
        .color(
            heatmaps.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(64)
            .exponent(0.5)
        )
        .show_legend()
        .exemplars_color("rgba(255,255,255,0.7)")
        .tooltip(heatmaps.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))
        .y_axis(heatmaps.YAxisConfig().unit(unit).axis_placement(common.AxisPlacement.LEFT))
        .targets([target.format(PromQueryFormat.HEATMAP)])
        .build()
    )


def timeline(
    title: str, unit: str, note: Note, one: Query, names: Mapping[int, tuple[str, str]]
) -> dashboard.Panel:
    """Return states over time, a lane per series.

    Args:
        title: Its title.
        unit: Grafana's id of the unit.
        note: What it tells its reader.
        one: The query; its values are the keys of *names*.
        names: Word and colour of each state.
    """
    return (
        statetimeline.Panel()
        .title(title)
        .description(str(note))
        .datasource(DATASOURCE)
        .unit(unit)
        .mappings([_mapping(names)])
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds([(None, GOOD)]))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .legend(
            parts.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .targets([_target(0, one)])
        .build()
    )


def _target(index: int, one: Query, *, instant: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(_ref_id(index)).datasource(DATASOURCE).expr(one.expr)
    if one.legend:
        target.legend_format(one.legend)
    if one.exemplars:
        target.exemplar(True)
    if instant:
        return target.instant().format(PromQueryFormat.TABLE)
    return target.range()


def _ref_id(index: int) -> str:
    return chr(ord("A") + index)


def _line_properties(one: Query) -> list[dashboard.DynamicConfigValue]:
    properties: list[dashboard.DynamicConfigValue] = []
    if one.color:
        properties.append(_color("fixed", one.color))
    if one.dashed:
        style = {"fill": "dash", "dash": [6, 6]}
        properties.append(dashboard.DynamicConfigValue("custom.lineStyle", style))
        properties.append(dashboard.DynamicConfigValue("custom.fillOpacity", 0))
    return properties


def _color(mode: str, color: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("color", {"mode": mode, "fixedColor": color})


def _before_names(queries: Sequence[Query], *, about_failures: bool) -> str | None:
    """Return the regular expression of what stands before the names that have hues, if any do."""
    legends = [one.legend for one in queries if not one.color]
    if any("{{client}}" in legend for legend in legends):
        return "· "
    if about_failures:
        return None
    if any("{{url_template}}" in legend for legend in legends):
        return r" \/"
    return "^" if any(legend.startswith("{{") for legend in legends) else None


def _palette(*, about_failures: bool) -> builders.FieldColor:
    if about_failures:
        return builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC)
    # The fifth colour of the palette is red, which would look like a failure. These go from yellow
    # for the lowest line to blue for the highest.
    return (
        builders.FieldColor()
        .mode(dashboard.FieldColorModeId.CONTINUOUS_YL_BL)
        .series_by(dashboard.FieldColorSeriesByMode.MAX)
    )


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, color) for value, color in steps])
    )


def _columns(
    labels: Mapping[str, str], columns: Sequence[Column]
) -> list[dashboard.DataTransformerConfig]:
    """Return what makes one table of one answer per column."""
    renamed = dict(labels)
    for index, column in enumerate(columns):
        # Grafana calls the value of a lone query "Value" and of several "Value #A", "Value #B", …
        value = "Value" if len(columns) == 1 else f"Value #{_ref_id(index)}"
        renamed[value] = column.title
    return [
        dashboard.DataTransformerConfig("merge", options={}),
        dashboard.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(renamed)},
                "renameByName": renamed,
            },
        ),
    ]


def _column_properties(column: Column) -> list[dashboard.DynamicConfigValue]:
    properties = [dashboard.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        properties.append(dashboard.DynamicConfigValue("decimals", column.decimals))
    if column.steps:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        properties.append(
            dashboard.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps})
        )
    if column.names:
        properties.append(dashboard.DynamicConfigValue("mappings", [_mapping(column.names)]))
    if column.steps or column.names:
        cell = {"type": "color-text"}
        properties.append(dashboard.DynamicConfigValue("custom.cellOptions", cell))
    return properties


def _mapping(names: Mapping[int, tuple[str, str]]) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        {
            str(value): dashboard.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(names.items())
        }
    )


def _link(url: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("links", [{"title": "Open the dependency", "url": url}])

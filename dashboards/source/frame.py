"""What all dashboards share: variables, links between them, annotations and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common, dashboard

from dashboards.source import query

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder

    from dashboards.source.grid import Grid

TAG: Final = "platform-http"
DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

_KEPT: Final = (
    "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
)
_DEPENDENCY: Final = f"/d/{TAG}-dependency?{_KEPT}"

# Links to the details of what a row of a table, or a line, is about. Tables name their columns so.
TO_SERVER: Final = (
    f"{_DEPENDENCY}&var-client=${{__data.fields.Client}}&var-server=${{__data.fields.Server}}"
)
TO_CLIENT: Final = f"{_DEPENDENCY}&var-client=${{__data.fields.Client}}&${{server:queryparam}}"
TO_CLIENT_OF_LINE: Final = (
    f"{_DEPENDENCY}&var-client=${{__field.labels.client}}&${{server:queryparam}}"
)


def uid(name: str) -> str:
    """Return the uid of the dashboard called *name*, such as ``overview``."""
    return f"{TAG}-{name}"


def framed(
    name: str, title: str, description: str, grid: Grid, *, since: str = "now-1h"
) -> dashboard.Dashboard:
    """Return the dashboard *name* with the panels of *grid*.

    Args:
        name: Last part of the uid, and the name of the file.
        title: What follows ``Platform HTTP /``.
        description: The question that it answers, and for whom.
        grid: Its panels.
        since: Where its time range begins, as Grafana writes it.
    """
    board = (
        builders.Dashboard(f"Platform HTTP / {title}")
        .uid(uid(name))
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .time(since, "now")
        .refresh("30s")
        .variables(_variables())
        .annotations(_annotations())
        .link(
            builders.DashboardLink("Platform HTTP")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .build()
    )
    board.panels = grid.panels
    return board


def _variables() -> list[Builder[dashboard.VariableModel]]:
    return [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _labels_of(query.BUILD_INFO, "job", "job", "Job"),
        _labels_of(query.BUILD_INFO, "instance", "instance", "Instance"),
        _labels_of(query.CALLS, "client", "client", "Client"),
        _labels_of(query.ATTEMPTS, "server_address", "server", "Server"),
    ]


def _labels_of(metric: str, label: str, variable: str, title: str) -> builders.QueryVariable:
    """Return a variable of the values of *label*, narrowed by the variables to its left."""
    names = list(query.VARIABLES.values())
    before = names[: names.index(variable)]
    matchers = ", ".join(
        f'{key}=~"${name}"' for key, name in query.VARIABLES.items() if name in before
    )
    selector = f"{metric}{{{matchers}}}" if matchers else metric
    expression = f"label_values({selector}, {label})"
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        builders.QueryVariable(variable)
        .label(title)
        .datasource(DATASOURCE)
        .query({"query": expression, "refId": f"{title}Variable", "qryType": 1})
        .definition(expression)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(everything)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )


def _annotations() -> list[Builder[dashboard.AnnotationQuery]]:
    opened = query.select("platform_http_circuit_state", 'state="open"')
    running = query.select(query.BUILD_INFO)
    versions = "group by (job, version, aiohttp, python)"
    return [
        _annotation("Circuit open", "dark-red")
        .expr(f"max by ({', '.join(query.ORIGIN)}) ({opened}) == 1")
        .title_format("Circuit open: {{client}} → {{server_address}}:{{server_port}}")
        .text_format("{{job}} does not call this server until a probe succeeds.")
        .tag_keys("job,client"),
        # Only what was not there a step ago, so that a deploy is a mark and not a coloured area.
        _annotation("Deploy", "blue")
        .expr(f"{versions} ({running}) unless {versions} ({running} offset 1m)")
        .title_format("{{job}}: platform_http {{version}}")
        .text_format("aiohttp {{aiohttp}}, Python {{python}}")
        .tag_keys("job"),
    ]


def _annotation(name: str, color: str) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .step("60s")
    )

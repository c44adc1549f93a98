"""SLO: are we burning the error budget, and who burns it?

All of it reads recording rules, which divide counts by counts. Nothing here averages a ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboards.source import panels, query
from dashboards.source.frame import TO_CLIENT, framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Column, Note
from dashboards.source.query import CLIENT_LEGEND, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_WINDOWS: Final = ("5m", "1h", "6h", "3d")
# Burn rates that alerts begin at, for windows of 1h, 6h, 1d and 3d.
_BURN_STEPS: Final = (
    (None, "transparent"),
    (1, panels.WATCH),
    (3, panels.WARN),
    (6, "semi-dark-red"),
    (14.4, panels.BAD),
)
_CELL_STEPS: Final = ((None, panels.GOOD), *_BURN_STEPS[1:])
_ON: Final = "on (job, client)"
_LABELS: Final = {"client": "Client", "job": "Job"}


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4,
        (6, _budget_left()),
        (6, _objective()),
        (6, _worst_burn()),
        (6, _worst_latency_burn()),
    )
    grid.line(9, (24, _clients()))
    grid.line(9, (12, _burn()), (12, _burn_by_client()))
    grid.line(9, (12, _good_and_bad()), (12, _bad_by_client()))
    grid.line(9, (12, _latency_burn()), (12, _slow_by_client()))
    return framed(
        "slo",
        "SLO",
        "For the owner of a service and its manager: how much of the error budget is left, how "
        "fast is it being spent, and by which dependency? Counted from calls, so a resend that "
        "recovers costs nothing.",
        grid,
        since="now-24h",
    )


def _recorded(name: str) -> str:
    return f'job_client:platform_http_{name}{{job=~"$job", client=~"$client"}}'


def _burn_rate(window: str) -> str:
    bad = _recorded(f"calls_bad:ratio_rate{window}")
    return f"{bad} / {_ON} (1 - {_recorded('availability_objective:ratio')})"


def _latency_burn_rate(window: str) -> str:
    slow = _recorded(f"calls_slow:ratio_rate{window}")
    return f"{slow} / {_ON} (1 - {_recorded('latency_objective:ratio')})"


def _left() -> str:
    left = f"1 - {_burn_rate('30d')}"
    # Further below, only the outage shows, and not by how much the objective is missed.
    return f"clamp_min({left}, -1)"


def _budget_left() -> dashboard.Panel:
    return panels.stat(
        "Least budget left, 30 days",
        "percentunit",
        Note(
            "What is left of the error budget of the last 30 days, of the client that has least. "
            "With less history than that in Prometheus, of the history that there is, and up to an "
            "hour late. It stops at "
            "-100 %: twice as much was spent as there was.",
            "Above 50 % for most of the month.",
            "Below 20 %: put reliability work before features. Below 0: the objective is missed. "
            "The table shows by whom.",
        ),
        Query(f"min({_left()})"),
        steps=((None, panels.BAD), (0, panels.WARN), (0.2, panels.WATCH), (0.5, panels.GOOD)),
        decimals=1,
        at_the_end=True,
    )


def _objective() -> dashboard.Panel:
    return panels.stat(
        "Strictest objective",
        "percentunit",
        Note(
            "Share of calls that has to succeed, of the client with the highest objective. A "
            "recording rule holds it, 99.9 % unless a team overrides it.",
            "What was agreed with the users of the service.",
            "An objective above that of the dependency cannot be kept without a fallback.",
        ),
        Query(query.largest(_recorded("availability_objective:ratio"))),
        decimals=2,
        at_the_end=True,
    )


def _worst_burn() -> dashboard.Panel:
    return panels.stat(
        "Fastest burn, 1 hour",
        "short",
        Note(
            "How many times faster than allowed the budget is being spent, by the worst client. At "
            "1 it lasts exactly 30 days, at 14.4 two days.",
            "Below 1.",
            "Above 14.4 someone is paged. Open the client in the table.",
        ),
        Query(query.largest(_burn_rate("1h"))),
        steps=_CELL_STEPS,
        decimals=1,
    )


def _worst_latency_burn() -> dashboard.Panel:
    return panels.stat(
        "Fastest latency burn, 1 hour",
        "short",
        Note(
            "The same for slow calls: those that succeeded, but took longer than 0.5 s, of which "
            "1 % are allowed unless overridden.",
            "Below 1.",
            "Dependency detail of the worst client shows which phase takes the time.",
        ),
        Query(query.largest(_latency_burn_rate("1h"))),
        steps=((None, panels.GOOD), (1, panels.WATCH), (6, panels.WARN)),
        decimals=1,
    )


def _clients() -> dashboard.Panel:
    rates = _recorded("calls:rate1h")
    bad = _recorded("calls_bad:rate1h")
    return panels.table(
        "Clients, fastest burn first",
        Note(
            "Budget and burn rate of each client. A burn rate of 1 spends exactly the budget.",
            "All burn rates below 1.",
            "High at 5m and 1h: it burns now, open the Dependency detail. High at 3d only: it is "
            "over, or slow and steady; plan the repair.",
        ),
        _LABELS,
        Column("Calls/s", f"sum by (job, client) ({rates})", "reqps", decimals=1),
        Column("Bad/s", f"sum by (job, client) ({bad})", "reqps", decimals=2),
        Column(
            "Objective",
            f"max by (job, client) ({_recorded('availability_objective:ratio')})",
            "percentunit",
            decimals=2,
        ),
        Column(
            "Budget left, 30d",
            f"max by (job, client) ({_left()})",
            "percentunit",
            steps=((None, panels.BAD), (0, panels.WARN), (0.2, panels.WATCH), (0.5, panels.GOOD)),
            decimals=1,
        ),
        *(
            Column(
                f"Burn {window}",
                f"max by (job, client) ({_burn_rate(window)})",
                "short",
                steps=_CELL_STEPS,
                decimals=1,
            )
            for window in _WINDOWS
        ),
        sort_by="Burn 1h",
        link=TO_CLIENT,
    )


def _burn() -> dashboard.Panel:
    colors = ("light-blue", "blue", "purple", "dark-purple")
    return panels.timeseries(
        "Burn rate of the worst client",
        "short",
        Note(
            "How many times faster than allowed the budget is spent, over windows of 5 minutes to "
            "3 days. Dashed: 14.4, 6, 3 and 1, where alerts begin, for long and short windows "
            "together.",
            "All below 1.",
            "5m high alone: a blip, or the beginning. 5m and 1h high: it is real, act now. Long "
            "windows high, short ones low: it is over.",
        ),
        *(
            Query(query.largest(_burn_rate(window)), window, color)
            for window, color in zip(_WINDOWS, colors, strict=True)
        ),
        steps=_BURN_STEPS,
        about_failures=True,
        magnitudes=True,
    )


def _burn_by_client() -> dashboard.Panel:
    return panels.timeseries(
        "Burn rate by client, 1 hour",
        "short",
        Note(
            "How many times faster than allowed each client spends its budget.",
            "Below 1, the lowest dashed line.",
            "Click the highest line for the details of that dependency.",
        ),
        Query(_burn_rate("1h"), CLIENT_LEGEND),
        steps=_BURN_STEPS,
        about_failures=True,
        linked=True,
        magnitudes=True,
    )


def _good_and_bad() -> dashboard.Panel:
    every = f"sum({_recorded('calls:rate5m')})"
    bad = f"sum({_recorded('calls_bad:rate5m')})"
    return panels.timeseries(
        "Good and bad calls",
        "reqps",
        Note(
            "Calls per second that met the objective, and those that failed or were rejected.",
            "No red to be seen.",
            "Bad calls at low traffic weigh little: the budget counts calls, not minutes.",
        ),
        Query(f"{every} - {query.or_zero(bad, every)}", "good", panels.GOOD),
        Query(query.or_zero(bad, every), "bad", panels.BAD),
        stacked=True,
        about_failures=True,
    )


def _bad_by_client() -> dashboard.Panel:
    return panels.timeseries(
        "Bad calls by client",
        "reqps",
        Note(
            "Calls per second that failed or were rejected: who spends the budget.",
            "0.",
            "Click the highest line for the details of that dependency.",
        ),
        Query(_recorded("calls_bad:rate5m"), CLIENT_LEGEND),
        stacked=True,
        about_failures=True,
        linked=True,
    )


def _latency_burn() -> dashboard.Panel:
    return panels.timeseries(
        "Latency burn rate by client, 1 hour",
        "short",
        Note(
            "How many times more calls than allowed took longer than 0.5 s, of those that "
            "succeeded.",
            "Below 1, the dashed line.",
            "Click the highest line: Dependency detail shows which phase takes the time.",
        ),
        Query(_latency_burn_rate("1h"), CLIENT_LEGEND),
        steps=((None, "transparent"), (1, panels.WATCH), (6, panels.WARN)),
        linked=True,
    )


def _slow_by_client() -> dashboard.Panel:
    return panels.timeseries(
        "Slow calls by client",
        "percentunit",
        Note(
            "Share of successful calls that took longer than 0.5 s.",
            "Below 1 % unless the objective says otherwise.",
            "A dependency that is always slower needs an objective of its own.",
        ),
        Query(_recorded("calls_slow:ratio_rate5m"), CLIENT_LEGEND),
        linked=True,
    )

"""Fleet and library: who runs which version, how, and can its telemetry be trusted?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Column, Note
from dashboards.source.query import CLIENT, CLIENT_LEGEND, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_INFO = query.select(query.BUILD_INFO)
_ERRORS = "platform_http_telemetry_errors_total"
_BYPASS = "platform_http_policy_bypass_total"
_DENIED = "platform_http_egress_denied_total"
_PITFALLS = "platform_http_pitfalls_total"
_LAG = "platform_http_event_loop_lag_seconds_bucket"
_SERIES = (
    '{__name__=~"(platform_http|http_client|dns_lookup)_.+", job=~"$job", instance=~"$instance", '
    'client=~"$client"}'
)


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4,
        (3, _instances()),
        (3, _versions()),
        (3, _silent()),
        (4, _insecure()),
        (4, _bypasses()),
        (4, _refused()),
        (3, _telemetry_errors()),
    )
    grid.line(8, (14, _who_runs_what()), (10, _insecure_settings()))
    grid.line(9, (12, _loop_lag()), (12, _instances_by_version()))
    grid.line(9, (12, _errors_and_bypasses()), (12, _refused_by_reason()))
    grid.line(9, (12, _pitfalls()), (12, _series()))
    return framed(
        "fleet",
        "Fleet and library",
        "For the platform team: which services run which version of the library, with which "
        "loosened settings, and is what the other dashboards show sound?",
        grid,
        since="now-6h",
    )


def _instances() -> dashboard.Panel:
    return panels.stat(
        "Instances",
        "short",
        Note(
            "Processes that report platform_http.",
            "As many as are deployed.",
            "Fewer: they crash, or are not scraped; see Without telemetry.",
        ),
        Query(f"count({_INFO})"),
    )


def _versions() -> dashboard.Panel:
    return panels.stat(
        "Versions in use",
        "short",
        Note(
            "Different versions of the library that run now.",
            "1 or 2 while a new one rolls out.",
            "More: the table names the services that lag behind.",
        ),
        Query(f"count(group by (version) ({_INFO}))"),
        steps=((None, panels.GOOD), (3, panels.WATCH)),
    )


def _silent() -> dashboard.Panel:
    up = 'up{job=~"$job", instance=~"$instance"}'
    return panels.stat(
        "Without telemetry",
        "short",
        Note(
            "Targets of these jobs that cannot be scraped, or that answer without a word of "
            "platform_http.",
            "0.",
            "Prometheus' page of targets says why a scrape fails. A target that answers without "
            "it serves another registry than the library counts in.",
        ),
        Query(
            f"(count({up} == 0) or vector(0)) "
            f"+ (count({up} == 1 unless on (job, instance) {_INFO}) or vector(0))"
        ),
        steps=((None, panels.GOOD), (1, panels.BAD)),
    )


def _insecure() -> dashboard.Panel:
    insecure = query.total(query.select("platform_http_insecure_settings"))
    return panels.stat(
        "Insecure settings",
        "short",
        Note(
            "Settings that loosen security, over all instances and clients.",
            "0.",
            "The table names them. None of them belongs in production.",
        ),
        Query(query.or_zero(insecure, f"count({_INFO})")),
        steps=((None, panels.GOOD), (1, panels.BAD)),
    )


def _bypasses() -> dashboard.Panel:
    bypassed = query.total(query.increase(_BYPASS))
    return panels.stat(
        "Bypassed policies",
        "short",
        Note(
            "Requests in this time range that replaced the client's middlewares by their own, and "
            "so went out without retries, limits and circuit breaker.",
            "0.",
            "Look for `middlewares=` in calls of that service; add_middlewares of the factory "
            "keeps the policies.",
        ),
        Query(query.or_zero(bypassed, f"count({_INFO})")),
        steps=((None, panels.GOOD), (1, panels.BAD)),
        decimals=0,
        at_the_end=True,
    )


def _refused() -> dashboard.Panel:
    # A count is born with the first refusal, which no increase shows.
    born = f"({query.select(_DENIED)} unless {query.select(_DENIED)} offset $__range)"
    refused = query.total(f"{query.increase(_DENIED)} > 0 or {born}")
    return panels.stat(
        "Refused destinations",
        "short",
        Note(
            "Destinations in this time range that the egress policy refused, or would have if it "
            "were enforced.",
            "0, or what customers try with addresses that they may name.",
            "The reasons are below. The runbook EgressDenied says what each may be.",
        ),
        Query(query.or_zero(refused, f"count({_INFO})")),
        steps=((None, panels.GOOD), (1, panels.WARN)),
        decimals=0,
        at_the_end=True,
    )


def _refused_by_reason() -> dashboard.Panel:
    return panels.timeseries(
        "Refused destinations by reason",
        "reqps",
        Note(
            "Destinations per second that the egress policy of a client refused, or would have if "
            "it were enforced.",
            "Empty.",
            "metadata, link_local, loopback: what attacks ask for; find who named the address. "
            "private, port, host_not_allowed: often an address that moved; correct it, or allow "
            "it for that client.",
        ),
        Query(
            query.total(query.rate(_DENIED), (*CLIENT, "reason")), f"{{{{reason}}}} {CLIENT_LEGEND}"
        ),
        about_failures=True,
        linked=True,
        none="None refused",
        at_least=1,
    )


def _telemetry_errors() -> dashboard.Panel:
    failed = query.total(query.increase(_ERRORS))
    return panels.stat(
        "Telemetry errors",
        "short",
        Note(
            "Telemetry hooks that failed in this time range. The calls went on; what was to be "
            "counted is missing.",
            "0.",
            "The logs of the service name the hook and the error. It is a bug of the library: "
            "report it.",
        ),
        Query(query.or_zero(failed, f"count({_INFO})")),
        steps=((None, panels.GOOD), (1, panels.BAD)),
        decimals=0,
        at_the_end=True,
    )


def _who_runs_what() -> dashboard.Panel:
    labels = {
        "job": "Job", "version": "platform_http", "aiohttp": "aiohttp", "python": "Python"
    }  # fmt: skip
    return panels.table(
        "Who runs what",
        Note(
            "Instances of each job by the versions that they run.",
            "One row per job.",
            "Two rows of one job for long: a rollout is stuck. An old version: upgrade it.",
        ),
        labels,
        Column("Instances", f"count by ({', '.join(labels)}) ({_INFO})", "short"),
        sort_by="Instances",
    )


def _insecure_settings() -> dashboard.Panel:
    return panels.table(
        "Insecure settings by client",
        Note(
            "Settings that loosen security, by client, with the instances that have them.",
            "No data: there is none.",
            "Remove the setting, or give the client a CA file or a proxy that needs none.",
        ),
        {"job": "Job", "client": "Client", "setting": "Setting"},
        Column(
            "Instances",
            query.total(
                query.select("platform_http_insecure_settings"), ("job", "client", "setting")
            ),
            "short",
        ),
        sort_by="Instances",
    )


def _loop_lag() -> dashboard.Panel:
    return panels.timeseries(
        "p99 of event loop lag",
        "s",
        Note(
            "How late timers of the event loop run. Whatever blocks the loop delays every call of "
            "the process and looks like a slow dependency.",
            "Below 0.05 s.",
            "Above 0.1 s: look for blocking calls, large JSON or too little CPU before blaming a "
            "dependency.",
        ),
        Query(query.quantile(0.99, _LAG, by=("job",)), "{{job}}"),
        steps=((None, "transparent"), (0.1, panels.WARN)),
    )


def _instances_by_version() -> dashboard.Panel:
    return panels.timeseries(
        "Instances by version",
        "short",
        Note(
            "Instances that run each version of the library.",
            "One line, or one that replaces another.",
            "Compare the time of a change with that of an incident.",
        ),
        Query(f"count by (version) ({_INFO})", "{{version}}"),
        stacked=True,
    )


def _pitfalls() -> dashboard.Panel:
    found = query.total(query.rate(_PITFALLS), (*CLIENT, "kind"))
    return panels.timeseries(
        "Pitfalls by kind",
        "cps",
        Note(
            "Times per second that an application did with its sessions what costs it connections, "
            "time or its policies.",
            "Empty.",
            "The log of that service names the place in its code and the remedy, once for each "
            "place; the documentation has a paragraph for each kind.",
        ),
        Query(found, f"{{{{kind}}}} {CLIENT_LEGEND}"),
        about_failures=True,
        linked=True,
        none="None found",
        at_least=1,
    )


def _series() -> dashboard.Panel:
    return panels.timeseries(
        "Series by client",
        "short",
        Note(
            "Time series that each client has in Prometheus: what its telemetry costs. Bounded: "
            "100 servers, 200 operations and 200 templates get series of their own.",
            "Flat, some hundreds to thousands.",
            "Growing: operations or templates hold ids. Give calls an `url_template`.",
        ),
        Query(f"count by ({', '.join(CLIENT)}) ({_SERIES})", CLIENT_LEGEND),
    )


def _errors_and_bypasses() -> dashboard.Panel:
    by_job = f"group by (job) ({_INFO})"
    failed = query.total(query.rate(_ERRORS), ("job",))
    bypassed = query.total(query.rate(_BYPASS), ("job",))
    return panels.timeseries(
        "Telemetry errors and bypasses",
        "cps",
        Note(
            "Telemetry hooks that failed, and requests without policies, per second.",
            "0.",
            "Errors: what the other dashboards show of that job is incomplete. Bypasses: its calls "
            "are not protected.",
        ),
        Query(query.or_zero(failed, by_job), "errors {{job}}"),
        Query(query.or_zero(bypassed, by_job), "bypasses {{job}}", dashed=True),
        about_failures=True,
    )

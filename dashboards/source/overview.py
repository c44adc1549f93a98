"""Overview: which dependency hurts us, and what is being done about it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import TO_CLIENT, TO_SERVER, framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Column, Note
from dashboards.source.query import CLIENT, CLIENT_LEGEND, ORIGIN, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_FIRING = 'ALERTS{component="platform_http", alertstate="firing", job=~"$job", client=~"$client|"}'
_CIRCUITS = {0: ("Closed", panels.GOOD), 1: ("Half-open", panels.WARN), 2: ("Open", panels.BAD)}
_LATENCY = (query.CALL_SECONDS, 'outcome=~"success|error"')


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4,
        (4, _success()),
        (4, _calls()),
        (4, _p95()),
        (4, _in_flight()),
        (4, _open_circuits()),
        (4, _firing()),
    )
    grid.line(8, (24, _dependencies()))
    grid.line(9, (12, _alerts()), (12, _error_ratio()))
    grid.line(9, (8, _calls_by_client()), (8, _latency()), (8, _status_classes()))
    return framed(
        "overview",
        "Overview",
        "For the engineer on call: which dependency hurts us, why, and what to do? Read the top "
        "line, then the worst row of the table; a click on it opens the details.",
        grid,
    )


def _success() -> dashboard.Panel:
    return panels.stat(
        "Successful calls",
        "percentunit",
        Note(
            "Share of finished calls that succeeded, resends included. Cancelled calls do not "
            "count, rejected ones count as failed.",
            "99.9 % or more.",
            "Look at the worst row of the table below: it names the dependency.",
        ),
        Query(f"1 - ({query.share(query.calls(query.BAD), query.calls())})"),
        steps=((None, panels.BAD), (0.99, panels.WARN), (0.999, panels.GOOD)),
        decimals=2,
    )


def _calls() -> dashboard.Panel:
    return panels.stat(
        "Calls",
        "reqps",
        Note(
            "Finished calls per second, however many attempts each of them took.",
            "It follows your own traffic.",
            "A drop without a drop of your traffic: look for open circuits and rejections.",
        ),
        Query(query.calls()),
    )


def _p95() -> dashboard.Panel:
    return panels.stat(
        "p95 of calls",
        "s",
        Note(
            "95 of 100 calls end within this time: all attempts, waits and the body together.",
            "Below the timeout of your own callers, with room to spare.",
            "Sort the table by p99; the details of that dependency show which phase is slow.",
        ),
        Query(query.quantile(0.95, *_LATENCY)),
        steps=((None, panels.GOOD), (1, panels.WATCH), (4, panels.WARN)),
    )


def _in_flight() -> dashboard.Panel:
    return panels.stat(
        "In flight",
        "short",
        Note(
            "Attempts that wait for response headers right now, over all instances.",
            "About calls per second times their duration, and steady.",
            "Growing while calls do not: a dependency hangs. Look at p99 by dependency.",
        ),
        Query(query.total(query.select("http_client_active_requests"))),
    )


def _open_circuits() -> dashboard.Panel:
    return panels.stat(
        "Open circuits",
        "short",
        Note(
            "Circuit breakers that reject calls right now, one per instance and server.",
            "0.",
            "The table names the server. It is down or slow: reject or degrade what needs it, and "
            "ask its owner. The breaker probes by itself.",
        ),
        Query(query.total(query.select("platform_http_circuit_state", 'state="open"'))),
        steps=((None, panels.GOOD), (1, panels.BAD)),
    )


def _firing() -> dashboard.Panel:
    return panels.stat(
        "Firing alerts",
        "short",
        Note(
            "Alerts of this library that fire now for the chosen jobs and clients.",
            "0.",
            "The list of alerts below names them. Each has a runbook of the same name.",
        ),
        Query(f"count({_FIRING}) or vector(0)"),
        steps=((None, panels.GOOD), (1, panels.BAD)),
    )


def _dependencies() -> dashboard.Panel:
    retried = query.total(query.rate("platform_http_retries_total"), ORIGIN)
    attempts = query.attempts(by=ORIGIN)
    failed = query.or_zero(query.attempts(query.FAILED, by=ORIGIN), attempts)
    # A server behind an open circuit gets no attempts, and is the worst all the same.
    rejected = query.or_zero(
        query.total(query.rate("platform_http_rejections_total", query.REFUSED), ORIGIN), attempts
    )
    opened = query.select("platform_http_circuit_state", 'state="open"')
    half_open = query.select("platform_http_circuit_state", 'state="half_open"')
    return panels.table(
        "Dependencies, worst first",
        Note(
            "One row per job, client and server, counted in attempts: a server that fails at first "
            "and recovers on a resend shows here before callers notice. Errors are attempts that "
            "failed or were refused by a policy, such as an open circuit.",
            "Errors below 1 %, resends below 10 %, every circuit closed.",
            "Click the client of the top row for the details. High errors: ask the owner of the "
            "server. High resends: see Resilience for whether they help or amplify.",
        ),
        {
            "client": "Client",
            "server_address": "Server",
            "server_port": "Port",
            "job": "Job",
        },
        Column("Attempts/s", attempts, "reqps", decimals=1),
        Column(
            "Errors",
            f"({failed} + {rejected}) / ({attempts} + {rejected} > 0)",
            "percentunit",
            steps=((None, panels.GOOD), (0.01, panels.WARN), (0.05, panels.BAD)),
            decimals=1,
        ),
        Column(
            "p99",
            query.quantile(0.99, query.ATTEMPT_SECONDS, by=ORIGIN),
            "s",
            steps=((None, panels.GOOD), (1, panels.WATCH), (4, panels.WARN)),
        ),
        Column(
            "Resends",
            query.share(retried, attempts),
            "percentunit",
            steps=((None, panels.GOOD), (0.1, panels.WATCH), (0.25, panels.WARN)),
            decimals=1,
        ),
        # Whatever an instance sees worst: 2 is open, 1 half-open, 0 closed.
        Column(
            "Circuit",
            query.largest(f"2 * {opened} or {half_open}", ORIGIN),
            "short",
            names=_CIRCUITS,
        ),
        sort_by="Errors",
        link=TO_SERVER,
    )


def _alerts() -> dashboard.Panel:
    return panels.table(
        "Alerts that fire",
        Note(
            "Alerts of this library that fire now. A page wants a person now, a ticket this week.",
            "No data: no alert fires.",
            "Open the runbook of that name: it says what it means, what to ask and what to set.",
        ),
        {
            "alertname": "Alert",
            "severity": "Severity",
            "client": "Client",
            "server_address": "Server",
            "job": "Job",
        },
        Column(
            "Firing",
            f"count by (alertname, severity, client, server_address, job) ({_FIRING})",
            "short",
        ),
        sort_by="Severity",
        # A page stands before a ticket.
        ascending=True,
        widths={"Alert": 160, "Severity": 85, "Job": 85, "Firing": 70},
        link=TO_CLIENT,
    )


def _error_ratio() -> dashboard.Panel:
    return panels.timeseries(
        "Failed calls by client",
        "percentunit",
        Note(
            "Share of finished calls that failed or were rejected, after all resends.",
            "Below 0.1 %, the dashed line is 1 %.",
            "Click a line for the details of that dependency.",
        ),
        Query(
            query.share(query.calls(query.BAD, by=CLIENT), query.calls(by=CLIENT)), CLIENT_LEGEND
        ),
        steps=((None, "transparent"), (0.01, panels.BAD)),
        about_failures=True,
        linked=True,
    )


def _calls_by_client() -> dashboard.Panel:
    return panels.timeseries(
        "Calls by client",
        "reqps",
        Note(
            "Finished calls per second of each client.",
            "It follows your own traffic.",
            "A jump of one client without a jump of your traffic: a loop or a batch job calls it.",
        ),
        Query(query.calls(by=CLIENT), CLIENT_LEGEND),
        linked=True,
    )


def _latency() -> dashboard.Panel:
    return panels.timeseries(
        "Duration of calls",
        "s",
        Note(
            "Percentiles of finished calls, without rejected ones, which are fast. Points are "
            "traces of single calls.",
            "p99 below the deadline of the calls, and no step upwards after a deploy.",
            "Click a point on top to see where that call spent its time.",
        ),
        *query.percentiles(*_LATENCY),
    )


def _status_classes() -> dashboard.Panel:
    everything = query.total(query.rate(query.ATTEMPTS))

    def answered(first: int) -> str:
        matcher = f'http_response_status_code=~"{first}.."'
        return query.or_zero(query.total(query.rate(query.ATTEMPTS, matcher)), everything)

    unanswered = query.total(
        query.rate(query.ATTEMPTS, 'http_response_status_code=""', 'error_type!=""')
    )
    return panels.timeseries(
        "Attempts by status",
        "reqps",
        Note(
            "Attempts per second by the class of their status. No response: they failed before "
            "response headers came.",
            "Mostly green, with steady shares.",
            "5xx: the dependency fails. No response: the network, DNS, TLS or a timeout does; see "
            "Connections. 4xx: a deploy of yours or theirs changed the contract.",
        ),
        Query(answered(2), "2xx", panels.GOOD),
        Query(answered(3), "3xx", "blue"),
        Query(answered(4), "4xx", panels.WARN),
        Query(answered(5), "5xx", panels.BAD),
        Query(query.or_zero(unanswered, everything), "no response", "dark-red"),
        stacked=True,
        about_failures=True,
    )

"""Dependency detail: why is this dependency slow or failing?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Note
from dashboards.source.query import CLIENT, CLIENT_LEGEND, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_FINISHED = 'outcome=~"success|error"'
# More lines than this are a texture.
_MOST = 10


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(4, (6, _success()), (6, _attempts()), (6, _p95()), (6, _amplification()))
    grid.row("Is it failing?")
    grid.line(9, (12, _errors()), (12, _attempts_and_calls()))
    grid.line(9, (12, _failing_operations()), (12, _failing_templates()))
    grid.row("Is it slow?")
    grid.line(9, (12, _heatmap()), (12, _percentiles()))
    grid.line(9, (12, _slow_operations()), (12, _slow_templates()))
    grid.line(9, (12, _phases()), (12, _sizes()))
    grid.row("Do its WebSockets last?")
    grid.line(9, (8, _websockets()), (8, _websocket_lifetime()), (8, _websocket_reconnects()))
    grid.row("Is it different from last week?")
    grid.line(9, (12, _calls_last_week()), (12, _p95_last_week()))
    return framed(
        "dependency",
        "Dependency detail",
        "For the owner of a client: why is this dependency slow or failing? Choose client and "
        "server above. Attempts are per server; calls are of the whole client, because a call may "
        "visit more than one server.",
        grid,
    )


def _success() -> dashboard.Panel:
    failed = query.share(query.attempts(query.FAILED), query.attempts())
    return panels.stat(
        "Successful attempts",
        "percentunit",
        Note(
            "Share of attempts that the server answered, with anything but 429 or 5xx.",
            "99.9 % or more.",
            "Errors by type below says what went wrong.",
        ),
        Query(f"1 - ({failed})"),
        steps=((None, panels.BAD), (0.95, panels.WARN), (0.99, panels.GOOD)),
        decimals=2,
    )


def _attempts() -> dashboard.Panel:
    return panels.stat(
        "Attempts",
        "reqps",
        Note(
            "Attempts per second, resends and hedges included: the load on the server.",
            "It follows your own traffic.",
            "Compare it with calls below: what is above them are resends and hedges.",
        ),
        Query(query.attempts()),
    )


def _p95() -> dashboard.Panel:
    return panels.stat(
        "p95 of attempts",
        "s",
        Note(
            "95 of 100 attempts have response headers, or have failed, within this time.",
            "Well below `TIMEOUT__ATTEMPT`, 4 s unless set.",
            "Phase times below tell waiting, connecting and the server apart.",
        ),
        Query(query.quantile(0.95, query.ATTEMPT_SECONDS)),
        steps=((None, panels.GOOD), (1, panels.WATCH), (3, panels.WARN)),
    )


def _amplification() -> dashboard.Panel:
    resent = query.total(query.rate("platform_http_retries_total"))
    return panels.stat(
        "Resent attempts",
        "percentunit",
        Note(
            "Share of attempts that are resends: what the server gets on top of what was asked "
            "for, hedges aside.",
            "Below 10 %.",
            "Above 20 %: resends add load to a server that fails. See Resilience.",
        ),
        Query(query.share(resent, query.attempts())),
        steps=((None, panels.GOOD), (0.1, panels.WATCH), (0.2, panels.WARN)),
        decimals=1,
    )


def _errors() -> dashboard.Panel:
    # With 4xx, which are no failure of the server and the first thing to know about a client.
    return panels.timeseries(
        "Errors by type",
        "reqps",
        Note(
            "Failed attempts per second by status or by what went wrong before one.",
            "Empty, or a few 4xx that the application expects.",
            "5xx: the server fails. connection_error, name_resolution_error: it is not reachable. "
            "attempt_timeout: it is slow. 429: it is overloaded or you are over your quota.",
        ),
        Query(
            query.total(query.rate(query.ATTEMPTS, 'error_type!=""'), ("error_type",)),
            "{{error_type}}",
        ),
        stacked=True,
        about_failures=True,
        none="No errors",
    )


def _attempts_and_calls() -> dashboard.Panel:
    return panels.timeseries(
        "Attempts and calls",
        "reqps",
        Note(
            "Attempts that the chosen servers got, and calls that the application made with the "
            "client, whichever server they went to.",
            "With every server chosen, attempts lie on calls.",
            "Attempts above: resends and hedges. Attempts below: an open circuit or a limit "
            "rejects calls before anything is sent. See Resilience for both.",
        ),
        Query(query.attempts(), "attempts", "purple"),
        Query(query.calls(), "calls", "blue"),
    )


def _failing_operations() -> dashboard.Panel:
    bad = query.calls(query.BAD, by=("operation",))
    every = query.calls(by=("operation",))
    return panels.timeseries(
        "Failed calls by operation",
        "percentunit",
        Note(
            f"Share of calls that failed or were rejected, of the {_MOST} worst operations. "
            "Calls without an operation have no name.",
            "Near 0 and the same for all.",
            "One operation alone: its endpoint or its request is broken. All: the server is.",
        ),
        Query(f"topk({_MOST}, {query.share(bad, every)})", "{{operation}}"),
        about_failures=True,
    )


def _failing_templates() -> dashboard.Panel:
    by = ("http_request_method", "url_template")
    failed = query.attempts(query.FAILED, by=by)
    return panels.timeseries(
        "Failed attempts by template",
        "percentunit",
        Note(
            f"Share of attempts that failed, of the {_MOST} worst URL templates.",
            "Near 0 and the same for all.",
            "One template alone: that endpoint fails. Its owner wants to know which one.",
        ),
        Query(
            f"topk({_MOST}, {query.share(failed, query.attempts(by=by))})",
            "{{http_request_method}} {{url_template}}",
        ),
        about_failures=True,
    )


def _heatmap() -> dashboard.Panel:
    return panels.heatmap(
        "Duration of attempts",
        "s",
        Note(
            "How many attempts per second took how long. Points are traces of single attempts.",
            "One band. Two bands are hits and misses of a cache, or two kinds of requests.",
            "A band that moves up: the server got slower. A band at the timeout: it hangs. Click "
            "a point to see the trace.",
        ),
        query.total(query.rate(query.ATTEMPT_SECONDS), ("le",)),
        cell_unit="reqps",
    )


def _percentiles() -> dashboard.Panel:
    return panels.timeseries(
        "Duration of attempts, percentiles",
        "s",
        Note(
            "Time until response headers or failure, of single attempts.",
            "p99 well below `TIMEOUT__ATTEMPT`, 4 s unless set.",
            "p50 rises: the server is slower for everyone. Only p99 rises: an overloaded replica, "
            "garbage collection or new connections; a hedge helps safe methods.",
        ),
        *query.percentiles(query.ATTEMPT_SECONDS),
    )


def _slow_operations() -> dashboard.Panel:
    p95 = query.quantile(0.95, query.CALL_SECONDS, _FINISHED, by=("operation",))
    return panels.timeseries(
        "p95 of calls by operation",
        "s",
        Note(
            f"p95 with all attempts, waits and the body, of the {_MOST} slowest operations.",
            "Each operation has a level of its own and keeps it.",
            "Far above the attempts: backoff, waits for a limit or large bodies take the time.",
        ),
        Query(f"topk({_MOST}, {p95})", "{{operation}}", exemplars=True),
    )


def _slow_templates() -> dashboard.Panel:
    by = ("http_request_method", "url_template")
    return panels.timeseries(
        "p95 of attempts by template",
        "s",
        Note(
            f"p95 until response headers, of the {_MOST} slowest URL templates.",
            "Each template has a level of its own and keeps it.",
            "One template alone got slower: that endpoint did. Its owner wants to know which one.",
        ),
        Query(
            f"topk({_MOST}, {query.quantile(0.95, query.ATTEMPT_SECONDS, by=by)})",
            "{{http_request_method}} {{url_template}}",
            exemplars=True,
        ),
    )


def _phases() -> dashboard.Panel:
    def p95(metric: str, *matchers: str) -> str:
        return query.quantile(0.95, metric, *matchers)

    return panels.timeseries(
        "p95 of phases",
        "s",
        Note(
            "Where attempts spend their time: waiting for a pooled connection, looking up the "
            "name, connecting with DNS and TLS included, and waiting for the first byte. Only "
            "attempts that went through a phase have a sample of it. DNS and first byte are of "
            "the whole client.",
            "First byte is the largest by far; the others are milliseconds.",
            "Queue: raise `POOL__LIMIT_PER_HOST` or find what is slow. Connect: network or TLS, "
            "see Connections. First byte: the server.",
        ),
        Query(p95("platform_http_time_to_first_byte_seconds_bucket"), "first byte", "blue"),
        Query(p95("platform_http_connect_duration_seconds_bucket"), "connect", "purple"),
        Query(p95("dns_lookup_duration_seconds_bucket"), "DNS", "green"),
        Query(p95("http_client_request_time_in_queue_seconds_bucket"), "queue", panels.WARN),
    )


def _sizes() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of body sizes",
        "bytes",
        Note(
            "Size of bodies on the wire, of the whole client.",
            "Steady, and far below `RESPONSE__MAX_BODY`, 64 MiB unless set.",
            "Growing: a list without pages. Slow calls with fast first bytes are large bodies.",
        ),
        Query(
            query.quantile(0.95, "http_client_response_body_size_bytes_bucket"), "response", "blue"
        ),
        Query(
            query.quantile(0.95, "http_client_request_body_size_bytes_bucket"), "request", "purple"
        ),
    )


def _websockets() -> dashboard.Panel:
    return panels.timeseries(
        "WebSockets",
        "short",
        Note(
            "WebSockets of platform_http.websocket that are connected, by client.",
            "Flat: as many as instances keep.",
            "Below that for long: see the reasons of reconnects. Growing: blocks that connect are "
            "not left.",
        ),
        Query(
            query.total(query.select("platform_http_websocket_connections"), CLIENT), CLIENT_LEGEND
        ),
        at_least=1,
    )


def _websocket_lifetime() -> dashboard.Panel:
    return panels.timeseries(
        "Median lifetime of WebSockets that ended",
        "s",
        Note(
            "Half of the WebSockets that ended lasted longer than this, by client.",
            "Hours. No data: none ended.",
            "Minutes: something between us and the server closes what is silent; set `heartbeat` "
            "below its limit. Seconds: the server drops at once, see the reasons of reconnects.",
        ),
        Query(
            query.quantile(0.5, "platform_http_websocket_duration_seconds_bucket", by=CLIENT),
            CLIENT_LEGEND,
        ),
    )


def _websocket_reconnects() -> dashboard.Panel:
    reconnects = query.total(
        query.rate("platform_http_websocket_reconnects_total"), (*CLIENT, "reason")
    )
    return panels.timeseries(
        "Reconnects of WebSockets by reason",
        "cps",
        Note(
            "WebSockets per second that were connected anew, by what ended the one before.",
            "Empty, and a peak when a server restarts (1001, 1012).",
            "response_ended: lost without a word, by a proxy or a crash. read_timeout: no answer "
            "to a ping. 1011: the server failed. 1013: it is overloaded. Messages of the time "
            "between were missed.",
        ),
        Query(reconnects, f"{{{{reason}}}} {CLIENT_LEGEND}"),
        about_failures=True,
        none="None connected anew",
    )


def _calls_last_week() -> dashboard.Panel:
    return panels.timeseries(
        "Calls, against last week",
        "reqps",
        Note(
            "Calls per second now, and at the same time a week ago (dashed).",
            "The lines lie on each other.",
            "Far above: who calls so much? Far below: are calls rejected, or do users not come?",
        ),
        Query(query.calls(), "now", "blue"),
        Query(query.calls(offset="1w"), "last week", "gray", dashed=True),
    )


def _p95_last_week() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of calls, against last week",
        "s",
        Note(
            "p95 of calls now, and at the same time a week ago (dashed).",
            "The lines lie on each other.",
            "Above since a deploy mark: that deploy. Above since a time of day: load.",
        ),
        Query(query.quantile(0.95, query.CALL_SECONDS, _FINISHED), "now", "blue", exemplars=True),
        Query(
            query.quantile(0.95, query.CALL_SECONDS, _FINISHED, offset="1w"),
            "last week",
            "gray",
            dashed=True,
        ),
    )

"""Connections: what do sockets, DNS, TLS and proxies do?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Note
from dashboards.source.query import CLIENT, CLIENT_LEGEND, ORIGIN, ORIGIN_LEGEND, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_OPEN = "http_client_open_connections"
_CONNECTS = "platform_http_connect_duration_seconds_count"
_CONNECT_SECONDS = "platform_http_connect_duration_seconds_bucket"
_QUEUE_SECONDS = "http_client_request_time_in_queue_seconds_bucket"
_LOOKUPS = "dns_lookup_duration_seconds_count"
_LOOKUP_SECONDS = "dns_lookup_duration_seconds_bucket"
_PROCESS = ("job", "instance", "client")
# What goes wrong before a request is on its way, or with the connection under it.
_OF_CONNECTIONS = (
    'error_type=~"name_resolution_error|connection_error|secure_connection_error|proxy_error'
    '|pool_timeout|connect_timeout|response_ended"'
)


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4, (5, _open()), (5, _fullest_pool()), (5, _reuse()), (5, _p95_connect()), (4, _failed())
    )
    grid.row("Is a connection to be had?")
    grid.line(9, (12, _by_state()), (12, _pool_use()))
    grid.line(9, (12, _queue_wait()), (12, _queued()))
    grid.row("What does a new one cost?")
    grid.line(9, (12, _reuse_by_client()), (12, _churn()))
    grid.line(9, (8, _connect()), (8, _lookup()), (8, _first_byte()))
    grid.row("What goes wrong?")
    grid.line(9, (12, _failures()), (12, _failed_lookups()))
    return framed(
        "connections",
        "Connections",
        "For the platform team: are there enough connections, are they reused, and what fails "
        "between us and the servers: DNS, TCP, TLS, proxies?",
        grid,
    )


def _reused(by: tuple[str, ...]) -> str:
    made = query.total(query.rate(_CONNECTS, 'error_type=""'), by)
    answered = query.total(query.rate(query.ATTEMPTS, 'http_response_status_code!=""'), by)
    # Connections are also made for attempts that fail after them.
    return f"clamp_min(1 - {query.share(made, answered)}, 0)"


def _used() -> str:
    active = query.total(query.select(_OPEN, 'http_connection_state="active"'), _PROCESS)
    limit = query.total(query.select("platform_http_pool_limit"), _PROCESS)
    # 0 is no limit.
    return f"{active} / ({limit} > 0)"


def _open() -> dashboard.Panel:
    return panels.stat(
        "Open connections",
        "short",
        Note(
            "Connections that are in use or kept for the next request, over all instances.",
            "Steady: a handful for each client of each instance.",
            "Growing without more calls: bodies are not read or closed, or a server hangs.",
        ),
        Query(query.total(query.select(_OPEN))),
    )


def _fullest_pool() -> dashboard.Panel:
    return panels.stat(
        "Fullest pool",
        "percentunit",
        Note(
            "Connections in use, as a share of `POOL__LIMIT`, of the fullest pool. A limit per "
            "host may bind before.",
            "Below 70 %.",
            "At 100 % attempts queue, and fail after `TIMEOUT__POOL`. Is the server slow, or are "
            "there more calls?",
        ),
        Query(query.largest(_used())),
        steps=((None, panels.GOOD), (0.7, panels.WATCH), (0.9, panels.WARN)),
        decimals=0,
        none="no limit",
    )


def _reuse() -> dashboard.Panel:
    return panels.stat(
        "Reused connections",
        "percentunit",
        Note(
            "Share of answered attempts that found an open connection.",
            "95 % or more under steady traffic.",
            "Low: the server closes after each response, or `POOL__KEEPALIVE` is longer than the "
            "server's or too short for the traffic.",
        ),
        Query(_reused(())),
        steps=((None, panels.WARN), (0.8, panels.WATCH), (0.95, panels.GOOD)),
        decimals=0,
    )


def _p95_connect() -> dashboard.Panel:
    return panels.stat(
        "p95 of connecting",
        "s",
        Note(
            "95 of 100 new connections are made within this time: DNS, TCP, TLS and a proxy's "
            "CONNECT together.",
            "Milliseconds within a data centre, below 0.3 s to anywhere.",
            "Look at DNS below; what is left is the network, TLS or a proxy.",
        ),
        Query(query.quantile(0.95, _CONNECT_SECONDS, 'error_type=""')),
        steps=((None, panels.GOOD), (0.3, panels.WATCH), (1, panels.WARN)),
        none="none made",
    )


def _failed() -> dashboard.Panel:
    failed = query.total(query.rate(query.ATTEMPTS, _OF_CONNECTIONS))
    return panels.stat(
        "Connection failures",
        "reqps",
        Note(
            "Attempts per second that failed because of their connection.",
            "0.",
            "Failures by type below names the layer.",
        ),
        Query(query.or_zero(failed, query.total(query.rate(query.ATTEMPTS)))),
        steps=((None, panels.GOOD), (0.01, panels.WARN), (1, panels.BAD)),
        decimals=2,
    )


def _by_state() -> dashboard.Panel:
    return panels.timeseries(
        "Open connections by state",
        "short",
        Note(
            "Connections in use (active) and kept for the next request (idle).",
            "Active follows the traffic, idle fills the gaps.",
            "Active grows and calls do not: a server hangs, or bodies are not read. Idle near 0 "
            "under load: the pool is full.",
        ),
        Query(query.total(query.select(_OPEN, 'http_connection_state="active"')), "active", "blue"),
        Query(query.total(query.select(_OPEN, 'http_connection_state="idle"')), "idle", "green"),
        stacked=True,
    )


def _pool_use() -> dashboard.Panel:
    return panels.timeseries(
        "Pool in use by client",
        "percentunit",
        Note(
            "Connections in use as a share of `POOL__LIMIT`, of the fullest instance of each "
            "client.",
            "Below 70 %.",
            "Near 100 %: a slow server holds them; let the concurrency limit reject sooner. "
            "Healthy servers: raise `POOL__LIMIT`.",
        ),
        Query(query.largest(_used(), CLIENT), CLIENT_LEGEND),
        steps=((None, "transparent"), (0.7, panels.WATCH), (0.9, panels.WARN)),
        linked=True,
        maximum=1,
    )


def _queue_wait() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of waits for a connection",
        "s",
        Note(
            "How long attempts waited for a pooled connection, those that had to.",
            "No data: none had to wait.",
            "Near `TIMEOUT__POOL`, 1 s unless set: the pool is too small for the traffic or the "
            "server too slow for the pool.",
        ),
        Query(query.quantile(0.95, _QUEUE_SECONDS, by=ORIGIN), ORIGIN_LEGEND),
        linked=True,
    )


def _queued() -> dashboard.Panel:
    queued = query.total(query.rate("http_client_request_time_in_queue_seconds_count"), CLIENT)
    every = query.attempts(by=CLIENT)
    return panels.timeseries(
        "Attempts that waited for a connection",
        "percentunit",
        Note(
            "Share of attempts that found no free connection, by client.",
            "0.",
            "A few percent in bursts is fine. More for minutes: see the pool's use and its wait.",
        ),
        Query(query.share(queued, every), CLIENT_LEGEND),
        linked=True,
        maximum=1,
    )


def _reuse_by_client() -> dashboard.Panel:
    return panels.timeseries(
        "Reused connections by client",
        "percentunit",
        Note(
            "Share of answered attempts that found an open connection.",
            "95 % or more under steady traffic; less for clients that are called rarely.",
            "A drop after a deploy of the server: it closes connections. For a client: its "
            "`POOL__KEEPALIVE` is shorter than the gaps between calls.",
        ),
        Query(_reused(CLIENT), CLIENT_LEGEND),
        linked=True,
        maximum=1,
    )


def _churn() -> dashboard.Panel:
    return panels.timeseries(
        "Connections made and closed",
        "cps",
        Note(
            "New connections per second, and those that were closed, by either side.",
            "Far below the attempts, and both alike.",
            "Peaks are restarts of servers or of us. A high level: connections are not reused.",
        ),
        Query(query.total(query.rate(_CONNECTS, 'error_type=""')), "made", "blue"),
        Query(
            query.total(query.rate("http_client_connection_duration_seconds_count")),
            "closed",
            "purple",
        ),
    )


def _connect() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of connecting by server",
        "s",
        Note(
            "Time to make a connection, DNS, TCP, TLS and a proxy's CONNECT together.",
            "Each server has a level of its own and keeps it.",
            "1 s and more are lost packets. Above `TIMEOUT__CONNECT` attempts fail.",
        ),
        Query(query.quantile(0.95, _CONNECT_SECONDS, 'error_type=""', by=ORIGIN), ORIGIN_LEGEND),
        linked=True,
    )


def _lookup() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of DNS lookups by client",
        "s",
        Note(
            "Time of name resolutions that were made; `DNS__CACHE_TTL` keeps their answers.",
            "Below 0.05 s. No data: addresses only, or answers from the cache.",
            "5 s is a lost packet and a resolver that asks again: look at the name servers.",
        ),
        Query(query.quantile(0.95, _LOOKUP_SECONDS, by=CLIENT), CLIENT_LEGEND),
        linked=True,
    )


def _first_byte() -> dashboard.Panel:
    return panels.timeseries(
        "p95 to the first byte by client",
        "s",
        Note(
            "Time from the sent request to the response headers: the server and the way to it.",
            "Each client has a level of its own and keeps it.",
            "Rises while connecting does not: the server is slow. Both rise: the network is.",
        ),
        Query(
            query.quantile(0.95, "platform_http_time_to_first_byte_seconds_bucket", by=CLIENT),
            CLIENT_LEGEND,
        ),
        linked=True,
    )


def _failures() -> dashboard.Panel:
    failed = query.total(query.rate(query.ATTEMPTS, _OF_CONNECTIONS), ("error_type",))
    return panels.timeseries(
        "Connection failures by type",
        "reqps",
        Note(
            "Attempts per second that failed because of their connection, by what failed.",
            "Empty, or a few when servers restart.",
            "name_resolution_error: DNS. connection_error: nobody listens, or a firewall. "
            "secure_connection_error: certificate or TLS. proxy_error: the proxy. "
            "response_ended: the server closed a connection in use.",
        ),
        Query(failed, "{{error_type}}"),
        stacked=True,
        about_failures=True,
        none="No failures",
    )


def _failed_lookups() -> dashboard.Panel:
    failed = query.total(query.rate(_LOOKUPS, 'error_type!=""'), CLIENT)
    every = query.total(query.rate(_LOOKUPS), CLIENT)
    return panels.timeseries(
        "Failed DNS lookups",
        "cps",
        Note(
            "Name resolutions per second that failed.",
            "0. No data: addresses only, or answers from the cache.",
            "One client: its host name is wrong or gone. All: the name servers.",
        ),
        Query(query.or_zero(failed, every), CLIENT_LEGEND),
        about_failures=True,
        linked=True,
    )

"""Connections: what do sockets, DNS, TLS and proxies do?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import TO_CLIENT, framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Column, Note
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
# Recorded, because the limit has no server that a panel could narrow connections to.
_USED = 'job_client:platform_http_pool_used:ratio5m{job=~"$job", client=~"$client"}'
# When alerts begin: the page at 3 days, the ticket at 14.
_DAYS_STEPS = ((None, panels.BAD), (3, panels.WARN), (14, panels.GOOD))
# What goes wrong before a request is on its way, or with the connection under it.
_OF_CONNECTIONS = (
    'error_type=~"name_resolution_error|connection_error|secure_connection_error|proxy_error'
    '|pool_timeout|connect_timeout|response_ended"'
)


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4,
        (4, _open()),
        (4, _fullest_pool()),
        (4, _reuse()),
        (4, _p95_connect()),
        (4, _failed()),
        (4, _ends_first()),
    )
    grid.row("Is a connection to be had?")
    grid.line(9, (12, _by_state()), (12, _pool_use()))
    grid.line(9, (12, _queue_wait()), (12, _queued()))
    grid.row("What does a new one cost?")
    grid.line(9, (12, _reuse_by_client()), (12, _churn()))
    grid.line(9, (8, _connect()), (8, _lookup()), (8, _first_byte()))
    grid.row("What goes wrong?")
    grid.line(9, (12, _failures()), (12, _failed_lookups()))
    grid.row("What ends, and is it renewed?")
    grid.line(9, (24, _certificates()))
    grid.line(9, (12, _reloads()), (12, _refreshes()))
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


def _used_of_server() -> str:
    active = query.select(_OPEN, 'http_connection_state="active"', 'server_address!="_OTHER"')
    used = query.total(active, (*_PROCESS, "server_address", "server_port"))
    limit = query.total(query.select("platform_http_pool_limit_per_host"), _PROCESS)
    # 0 is no limit.
    return f"{used} / on ({', '.join(_PROCESS)}) group_left () ({limit} > 0)"


def _days_left() -> str:
    # Our own certificates have no server.
    narrowed = ", ".join(
        [
            *(f'{label}=~"${label}"' for label in _PROCESS),
            'server_address=~"$server|"',
        ]
    )
    return (
        f"(platform_http_tls_certificate_expiry_timestamp_seconds{{{narrowed}}} - time()) / 86400"
    )


def _by_result(metric: str) -> tuple[Query, Query]:
    succeeded, failed = (
        query.total(query.rate(metric, f'result="{result}"'), CLIENT)
        for result in ("success", "failure")
    )
    return (
        Query(succeeded, f"success {CLIENT_LEGEND}"),
        Query(failed, f"failure {CLIENT_LEGEND}", color="orange", dashed=True),
    )


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
            "Connections in use, as a share of what there may be, of the fullest pool: of "
            "`POOL__LIMIT_PER_HOST` to a server, or of `POOL__LIMIT` in all over 5 minutes.",
            "Below 70 %.",
            "At 100 % attempts queue, and fail after `TIMEOUT__POOL`. Is the server slow, or are "
            "there more calls?",
        ),
        Query(query.largest(f"{_used_of_server()} or {_USED}")),
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
        "Pool in use",
        "percentunit",
        Note(
            "Connections in use to each server as a share of `POOL__LIMIT_PER_HOST`, and dashed "
            "those of a client to all servers as a share of `POOL__LIMIT`, of the fullest "
            "instance.",
            "Below 70 %.",
            "Near 100 %: a slow server holds them; let the concurrency limit reject sooner. "
            "Healthy servers: raise the limit whose line it is.",
        ),
        Query(query.largest(_used_of_server(), ORIGIN), ORIGIN_LEGEND),
        Query(_USED, CLIENT_LEGEND, dashed=True),
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
    # What was found and then refused is no fault of DNS.
    failed = query.total(query.rate(_LOOKUPS, 'error_type!~"|egress_denied"'), CLIENT)
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
        at_least=1,
    )


def _ends_first() -> dashboard.Panel:
    return panels.stat(
        "Certificate that ends first",
        "d",
        Note(
            "Days until the first certificate ends, of servers and our own; below 0 it has ended.",
            "More than 14, or hours to days that are renewed all the time.",
            "The table of certificates below says whose it is.",
        ),
        Query(f"min({_days_left()})"),
        steps=_DAYS_STEPS,
        decimals=0,
        none="none seen",
    )


def _certificates() -> dashboard.Panel:
    labels = {
        "client": "Client",
        "server_address": "Server",
        "side": "Whose",
        "job": "Job",
    }
    return panels.table(
        "Certificates, first to end on top",
        Note(
            "Days until a certificate ends, of the instance that has the earliest: that of a "
            "server (peer), as seen when a connection was made, or our own (client).",
            "More than 14. No data: no connection with TLS was made.",
            "14 days: who renews it? Ours: were new files taken over? Below 0: new connections "
            "fail. An instance that has not connected since the renewal shows the old end.",
        ),
        labels,
        Column(
            "Days left",
            f"min by ({', '.join(labels)}) ({_days_left()})",
            "d",
            _DAYS_STEPS,
            decimals=1,
        ),
        sort_by="Days left",
        ascending=True,
        link=TO_CLIENT,
    )


def _reloads() -> dashboard.Panel:
    return panels.timeseries(
        "Reloads of TLS files",
        "cps",
        Note(
            "Changed CA, certificate and key files per second that were taken over (success) or "
            "could not be (failure).",
            "0, and a peak of successes on every instance when files are renewed.",
            "failure: the log of the service names the file and what is wrong with it. The old "
            "files stay in use until they end.",
        ),
        *_by_result("platform_http_tls_reloads_total"),
        linked=True,
        at_least=1,
    )


def _refreshes() -> dashboard.Panel:
    return panels.timeseries(
        "Token refreshes",
        "cps",
        Note(
            "Access tokens per second that were fetched or read again (success), or could not be "
            "(failure).",
            "A few per lifetime of a token, all successes.",
            "failure: the old token is used until it ends, then calls fail with auth_error. Is the "
            "token endpoint up, are client id and secret right? Many successes: 401s invalidate "
            "the tokens, or they live too short.",
        ),
        *_by_result("platform_http_token_refreshes_total"),
        linked=True,
        at_least=1,
    )

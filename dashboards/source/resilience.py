"""Resilience: do our policies protect the dependencies, or do they amplify their trouble?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.source import panels, query
from dashboards.source.frame import framed
from dashboards.source.grid import Grid
from dashboards.source.panels import Note
from dashboards.source.query import CLIENT, CLIENT_LEGEND, ORIGIN, ORIGIN_LEGEND, Query

if TYPE_CHECKING:
    from grafana_foundation_sdk.models import dashboard

_RETRIES = "platform_http_retries_total"
_REJECTIONS = "platform_http_rejections_total"
_TOKENS = "platform_http_retry_budget_tokens"
_IN_USE = "platform_http_concurrency_in_use"
_LIMIT = "platform_http_concurrency_limit"
# Recorded, because calls have no server that a panel could narrow attempts to.
_PER_CALL = (
    'job_client:platform_http_attempts_per_call:ratio_rate5m{job=~"$job", client=~"$client"}'
)
_STATES = {0: ("Closed", panels.GOOD), 1: ("Half-open", panels.WARN), 2: ("Open", panels.BAD)}


def board() -> dashboard.Dashboard:
    """Return the dashboard."""
    grid = Grid()
    grid.line(
        4,
        (4, _amplification()),
        (4, _tokens()),
        (4, _open_circuits()),
        (4, _rejected()),
        (4, _expired()),
        (4, _hedge_wins()),
    )
    grid.row("Resends")
    grid.line(9, (12, _attempts_per_call()), (12, _tokens_left()))
    grid.line(9, (12, _retries()), (12, _stops()))
    grid.row("Circuits and limits")
    grid.line(9, (12, _circuits()), (12, _rejections()))
    grid.line(9, (12, _concurrency()), (12, _waits()))
    grid.row("Hedges and deadlines")
    grid.line(9, (8, _hedges()), (8, _expiries()), (8, _store_errors()))
    return framed(
        "resilience",
        "Resilience",
        "For reliability engineers: do retries, circuit breakers, limits, hedges and deadlines "
        "protect the dependencies, or do they amplify their trouble?",
        grid,
    )


def _amplification() -> dashboard.Panel:
    return panels.stat(
        "Most attempts per call",
        "short",
        Note(
            "How much more the dependencies get than was asked for, of the client that has most. "
            "Of all its servers and instances: a call may visit more than one server.",
            "1.0 to 1.1.",
            "Above 1.2 for minutes: resends add load to something that fails. The budget ends it; "
            "`RETRY__MAX_ATTEMPTS=1` for that client does so at once.",
        ),
        Query(query.largest(_PER_CALL)),
        steps=((None, panels.GOOD), (1.1, panels.WATCH), (1.2, panels.WARN)),
        decimals=2,
    )


def _tokens() -> dashboard.Panel:
    return panels.stat(
        "Lowest retry budget",
        "short",
        Note(
            "Tokens of the emptiest retry budget. A resend costs 10 of 100, 20 after a timeout, "
            "unless set otherwise; each success gives back 1.",
            "Near the capacity, 100 unless set.",
            "Below the price of a resend nothing is resent: that protects the server. Its errors "
            "are the cause, not the budget.",
        ),
        Query(f"min({query.select(_TOKENS)})"),
        steps=((None, panels.WARN), (20, panels.WATCH), (50, panels.GOOD)),
        decimals=0,
    )


def _open_circuits() -> dashboard.Panel:
    return panels.stat(
        "Open circuits",
        "short",
        Note(
            "Circuit breakers that reject calls right now, one per instance and server.",
            "0.",
            "The timeline below shows which, and whether probes succeed.",
        ),
        Query(query.total(query.select("platform_http_circuit_state", 'state="open"'))),
        steps=((None, panels.GOOD), (1, panels.BAD)),
    )


def _rejected() -> dashboard.Panel:
    rejected = query.total(query.rate(_REJECTIONS, query.REFUSED))
    return panels.stat(
        "Rejections",
        "reqps",
        Note(
            "Attempts per second that a policy refused to send.",
            "0.",
            "Rejections by reason below says which policy. An open circuit: see the server. A "
            "limit: see concurrency.",
        ),
        Query(query.or_zero(rejected, query.calls())),
        steps=((None, panels.GOOD), (0.01, panels.WARN), (1, panels.BAD)),
        decimals=2,
    )


def _expired() -> dashboard.Panel:
    expired = query.calls('error_type="deadline_exceeded"')
    return panels.stat(
        "Expired deadlines",
        "reqps",
        Note(
            "Calls per second that ran out of time, whatever they were doing.",
            "0.",
            "Compare p99 of the dependency with `TIMEOUT__TOTAL`. A deadline inherited from an "
            "inbound request may be shorter.",
        ),
        Query(query.or_zero(expired, query.calls())),
        steps=((None, panels.GOOD), (0.01, panels.WARN), (1, panels.BAD)),
        decimals=2,
    )


def _hedge_wins() -> dashboard.Panel:
    won = query.total(query.rate("platform_http_hedges_total", 'result="won"'))
    sent = query.total(query.rate("platform_http_hedges_total", 'result=~"won|lost"'))
    return panels.stat(
        "Hedges that won",
        "percentunit",
        Note(
            "Share of hedges that answered before the attempt that they helped out.",
            "20 % to 80 %. Nothing here: no hedges were sent.",
            "Near 0: hedges are sent too early or the server is slow as a whole; raise "
            "`HEDGING__DELAY`. Near 1: one replica hangs.",
        ),
        Query(query.share(won, sent)),
        decimals=0,
        none="no hedges",
    )


def _attempts_per_call() -> dashboard.Panel:
    return panels.timeseries(
        "Attempts per call by client",
        "short",
        Note(
            "Attempts divided by calls, of all servers and instances of a client. The dashed line "
            "is the point from which resends hurt.",
            "1.0 to 1.1, also while a dependency fails: the budget sees to that.",
            "Above the line for minutes: lower `RETRY__MAX_ATTEMPTS` or `RETRY__BUDGET__CAPACITY` "
            "of that client. Below 1: calls are rejected.",
        ),
        Query(_PER_CALL, CLIENT_LEGEND),
        steps=((None, "transparent"), (1.2, panels.WARN)),
        linked=True,
    )


def _tokens_left() -> dashboard.Panel:
    return panels.timeseries(
        "Retry budget",
        "short",
        Note(
            "Tokens left per server, of the instance that has the fewest. It stands still while "
            "nothing is sent.",
            "Flat at the capacity.",
            "At the bottom: that server has failed for a while and gets no resends. Falling and "
            "rising: it fails now and then.",
        ),
        Query(f"min by ({', '.join(ORIGIN)}) ({query.select(_TOKENS)})", ORIGIN_LEGEND),
        linked=True,
    )


def _retries() -> dashboard.Panel:
    return panels.timeseries(
        "Resends by reason",
        "reqps",
        Note(
            "Attempts per second that were sent again, by what the attempt before ended in.",
            "Empty, or a few connection errors when servers restart.",
            "503: the server is overloaded. attempt_timeout: it is slow. connection_error: it is "
            "not there. The same reason for hours: it is no transient fault, tell its owner.",
        ),
        Query(query.total(query.rate(_RETRIES), ("reason",)), "{{reason}}"),
        stacked=True,
        about_failures=True,
        none="No resends",
    )


def _stops() -> dashboard.Panel:
    stops = "platform_http_retry_stops_total"
    return panels.timeseries(
        "Failed calls that were not resent",
        "reqps",
        Note(
            "Calls per second that failed and were not resent any more, by the reason why not.",
            "0.",
            "Attempts used up or budget empty: the server fails for longer than resends can help. "
            "Method: a POST needs an idempotency key to be resent. Deadline: there was no time.",
        ),
        Query(query.total(query.rate(stops), ("reason",)), "{{reason}}"),
        stacked=True,
        about_failures=True,
        none="None failed",
    )


def _circuits() -> dashboard.Panel:
    opened = query.select("platform_http_circuit_state", 'state="open"')
    half_open = query.select("platform_http_circuit_state", 'state="half_open"')
    return panels.timeline(
        "Circuits",
        "short",
        Note(
            "State of the circuit breaker of each server, as the instance sees it that has it "
            "worst.",
            "All closed.",
            "Open and half-open in turns: probes fail, the server is still down. Short openings "
            "often: see `CIRCUIT_BREAKER__MINIMUM_CALLS` and `CIRCUIT_BREAKER__FAILURE_RATIO`.",
        ),
        Query(query.largest(f"2 * {opened} or {half_open}", ORIGIN), ORIGIN_LEGEND),
        _STATES,
    )


def _rejections() -> dashboard.Panel:
    return panels.timeseries(
        "Rejections by reason",
        "reqps",
        Note(
            "Attempts per second that a policy refused to send.",
            "0.",
            "circuit_open: the server fails. concurrency_limited: more calls in flight than "
            "allowed. rate_limited, throttled: calls come faster than agreed.",
        ),
        Query(query.total(query.rate(_REJECTIONS, query.REFUSED), ("reason",)), "{{reason}}"),
        stacked=True,
        about_failures=True,
        none="No rejections",
    )


def _concurrency() -> dashboard.Panel:
    used = query.select(_IN_USE)
    limit = query.select(_LIMIT)
    return panels.timeseries(
        "Concurrency in use",
        "percentunit",
        Note(
            "Share of the permits that are taken, per server, of the fullest instance. A permit is "
            "held until the end of the body.",
            "Below 70 %.",
            "At 100 % calls queue, then are rejected. A slow server: leave the limit, it protects "
            "both sides. A healthy one: raise `CONCURRENCY__LIMIT` and the pool with it.",
        ),
        Query(query.largest(f"{used} / ({limit} > 0)", ORIGIN), ORIGIN_LEGEND),
        steps=((None, "transparent"), (0.7, panels.WATCH), (1, panels.WARN)),
        linked=True,
        maximum=1,
    )


def _waits() -> dashboard.Panel:
    return panels.timeseries(
        "p95 of waits for limits",
        "s",
        Note(
            "How long attempts waited for a permit of the concurrency limit, those that had to, "
            "and for the rate limit, 0 for those that did not have to.",
            "No data, or milliseconds.",
            "Waits eat the deadline of calls. Concurrency: see the panel beside. Rate: calls come "
            "faster than `RATE_LIMIT__RATE`.",
        ),
        Query(
            query.quantile(0.95, "platform_http_concurrency_wait_seconds_bucket", by=CLIENT),
            f"concurrency {CLIENT_LEGEND}",
        ),
        Query(
            query.quantile(0.95, "platform_http_rate_limit_wait_seconds_bucket", by=CLIENT),
            f"rate limit {CLIENT_LEGEND}",
            dashed=True,
        ),
        linked=True,
    )


def _hedges() -> dashboard.Panel:
    return panels.timeseries(
        "Hedges",
        "reqps",
        Note(
            "Second attempts per second that were sent because the first was slow, and those that "
            "the budget or `HEDGING__MAX_RATIO` denied.",
            "A few percent of calls, some of them won.",
            "Many denied: everything is slow and hedges would only add load. They stay out.",
        ),
        *(
            Query(
                query.total(query.rate("platform_http_hedges_total", f'result="{result}"')),
                result,
                color,
            )
            for result, color in (("won", "green"), ("lost", "blue"), ("denied", "yellow"))
        ),
    )


def _expiries() -> dashboard.Panel:
    expired = query.calls('error_type="deadline_exceeded"', by=CLIENT)
    return panels.timeseries(
        "Expired deadlines by client",
        "reqps",
        Note(
            "Calls per second that ran out of time: attempts, waits and body together.",
            "0.",
            "Dependency detail shows which phase takes the time. A longer `TIMEOUT__TOTAL` only "
            "helps if your own callers still wait.",
        ),
        Query(query.or_zero(expired, query.calls(by=CLIENT)), CLIENT_LEGEND),
        about_failures=True,
        linked=True,
    )


def _store_errors() -> dashboard.Panel:
    errors = query.total(query.rate("platform_http_rate_limit_store_errors_total"), CLIENT)
    return panels.timeseries(
        "Rate limit store errors",
        "cps",
        Note(
            "Times per second that the shared store of the rate limit did not answer and "
            "`RATE_LIMIT__FALLBACK_RATE` took over. 0 for clients without a shared store.",
            "0.",
            "Look after the store: each replica now limits by itself, and together they may exceed "
            "the quota or stay below it.",
        ),
        Query(errors, CLIENT_LEGEND),
        about_failures=True,
        at_least=1,
    )

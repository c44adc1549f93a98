"""Build the queries of panels: every selector follows the variables that its metric can follow."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

from dashboards.source.samples import samples_of_library

# Label of a sample, and the dashboard variable that chooses its value.
VARIABLES: Final = {
    "job": "job",
    "instance": "instance",
    "client": "client",
    "server_address": "server",
}

CLIENT: Final = ("job", "client")
ORIGIN: Final = ("job", "client", "server_address", "server_port")
CLIENT_LEGEND: Final = "{{job}} · {{client}}"
ORIGIN_LEGEND: Final = "{{job}} · {{client}} → {{server_address}}:{{server_port}}"

CALLS: Final = "platform_http_calls_total"
CALL_SECONDS: Final = "platform_http_call_duration_seconds_bucket"
ATTEMPTS: Final = "http_client_request_duration_seconds_count"
ATTEMPT_SECONDS: Final = "http_client_request_duration_seconds_bucket"
BUILD_INFO: Final = "platform_http_build_info"

# The caller's own cancellation says nothing about the dependency.
NOT_CANCELLED: Final = 'outcome!="cancelled"'
BAD: Final = 'outcome=~"error|rejected"'
# What a policy that only observes would have refused was sent.
REFUSED: Final = 'reason!~".+_observed"'
# Of the 4xx only 429 is the dependency's doing, as in the outcome of calls.
FAILED: Final = 'error_type!~"|4[013-9].|42[0-8]"'


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL; Grafana's variables may stand in it.
        legend: Name of each series, with ``{{label}}`` for values; "" leaves it to Grafana.
        color: A fixed colour for all its series; "" leaves it to the panel.
        dashed: Whether its lines are dashed, as those of limits and of the past are.
        exemplars: Whether the traces behind the values are drawn as points.
    """

    expr: str
    legend: str = ""
    color: str = ""
    dashed: bool = False
    exemplars: bool = False


def select(metric: str, *matchers: str) -> str:
    """Return a selector of *metric*, narrowed by the variables whose labels it has."""
    labels = _labels(metric)
    followed = [
        f'{label}=~"${variable}"' for label, variable in VARIABLES.items() if label in labels
    ]
    return f"{metric}{{{', '.join([*followed, *matchers])}}}"


def rate(metric: str, *matchers: str, offset: str = "") -> str:
    """Return the rate per second of the counter *metric*, *offset* (such as ``1w``) ago."""
    shifted = f" offset {offset}" if offset else ""
    return f"rate({select(metric, *matchers)}[$__rate_interval]{shifted})"


def increase(metric: str, *matchers: str) -> str:
    """Return by how much the counter *metric* grew over the time range of the dashboard."""
    return f"increase({select(metric, *matchers)}[$__range])"


def total(expr: str, by: tuple[str, ...] = ()) -> str:
    """Return the sum of *expr*, per *by*."""
    return f"{_aggregate('sum', by)}({expr})"


def largest(expr: str, by: tuple[str, ...] = ()) -> str:
    """Return the maximum of *expr*, per *by*."""
    return f"{_aggregate('max', by)}({expr})"


def or_zero(part: str, whole: str) -> str:
    """Return *part*, and 0 where only *whole* has a series.

    What never happened has no series, and is nothing rather than unknown.
    """
    return f"({part} or 0 * {whole})"


def share(part: str, whole: str) -> str:
    """Return *part* of *whole* in [0, 1]; 0 where no part is, nothing where no whole is.

    Both must keep the same labels.
    """
    return f"{or_zero(part, whole)} / ({whole} > 0)"


def quantile(
    q: float, bucket: str, *matchers: str, by: tuple[str, ...] = (), offset: str = ""
) -> str:
    """Return the quantile *q* in [0, 1] of the histogram *bucket*, per *by*.

    Nothing where nothing was observed, which would be no number.
    """
    rates = rate(bucket, *matchers, offset=offset)
    return f"histogram_quantile({q}, sum by ({', '.join((*by, 'le'))}) ({rates})) >= 0"


def percentiles(bucket: str, *matchers: str) -> list[Query]:
    """Return p50, p95 and p99 of the histogram *bucket*, with exemplars at the last."""
    return [
        Query(quantile(0.5, bucket, *matchers), "p50", color="light-blue", exemplars=True),
        Query(quantile(0.95, bucket, *matchers), "p95", color="blue", exemplars=True),
        Query(quantile(0.99, bucket, *matchers), "p99", color="dark-purple", exemplars=True),
    ]


def calls(*matchers: str, by: tuple[str, ...] = (), offset: str = "") -> str:
    """Return calls per second that were not cancelled, per *by*."""
    return total(rate(CALLS, *(matchers or (NOT_CANCELLED,)), offset=offset), by)


def attempts(*matchers: str, by: tuple[str, ...] = ()) -> str:
    """Return attempts per second that were answered or failed, not those cancelled, per *by*."""
    answered = rate(ATTEMPTS, *matchers, 'http_response_status_code!=""')
    failed = rate(ATTEMPTS, *matchers, 'error_type!=""')
    return total(f"{answered} or {failed}", by)


@functools.cache
def _labels(metric: str) -> frozenset[str]:
    return samples_of_library()[metric].labels


def _aggregate(operation: str, by: tuple[str, ...]) -> str:
    return f"{operation} by ({', '.join(by)}) " if by else operation

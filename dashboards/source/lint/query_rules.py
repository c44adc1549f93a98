"""Rules about queries: what they ask for, which variables they follow, how they are labelled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import promql_parser

from dashboards.source import promql
from dashboards.source.lint import expressions
from dashboards.source.query import VARIABLES

if TYPE_CHECKING:
    from dashboards.source.lint.board import Board, Complaints, Set, Target
    from dashboards.source.promql import Vocabulary

_RATES: Final = {"rate", "irate", "increase", "delta", "idelta", "resets", "changes"}
# Ranges that stand for Grafana's, and that nobody would write.
_RATE_INTERVAL: Final = "7919s"
_RANGE: Final = "7907s"
_REFERENCE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# Up to 200 values for each client: fine with topk, unreadable without.
_MANY_VALUES: Final = {"operation", "url_template"}
# As many values as there are processes, each with names that nobody knows.
_UNBOUNDED: Final = {"instance"}
# The histograms whose observations carry the trace that they were made in.
_WITH_EXEMPLARS: Final = re.compile(
    r"(http_client_request|platform_http_call)_duration_seconds_bucket"
)


def target_promql(board: Board, boards: Set) -> Complaints:
    """Queries parse, and ask in a sound way for metrics and labels that exist."""
    for target in board.targets():
        for violation in promql.violations(target.expr, boards.vocabulary):
            yield target.place, violation
    for annotation in board.annotations:
        place = f"{board.name}: annotation {annotation.get('name')}"
        for violation in promql.violations(str(annotation.get("expr")), boards.vocabulary):
            yield place, violation


def target_rate_interval(board: Board, _: Set) -> Complaints:
    """Rates are over ``$__rate_interval``; counts in instant queries may be over ``$__range``."""
    for target in board.targets():
        expr = target.expr
        expr = expr.replace("$__rate_interval", _RATE_INTERVAL).replace("$__range]", f"{_RANGE}]")
        allowed = {_RATE_INTERVAL}
        if target.content.get("instant"):
            allowed.add(_RANGE)
        for node in expressions.nodes(expr):
            if not isinstance(node, promql_parser.Call) or node.func.name not in _RATES:
                continue
            matrix = node.args[0]
            seconds = f"{matrix.range.total_seconds():.0f}s"
            if seconds not in allowed:
                yield target.place, f"{node.func.name}() is not over $__rate_interval"


def target_job(board: Board, boards: Set) -> Complaints:
    """Selectors follow ``$job``."""
    yield from _follow(board, boards.vocabulary, "job", "job")


def target_instance(board: Board, boards: Set) -> Complaints:
    """Selectors follow ``$instance``, but for recorded metrics and alerts, which have none."""
    yield from _follow(board, boards.vocabulary, "instance", "instance")


def target_client(board: Board, boards: Set) -> Complaints:
    """Selectors of metrics with a client follow ``$client``."""
    yield from _follow(board, boards.vocabulary, "client", "client")


def target_server(board: Board, boards: Set) -> Complaints:
    """Selectors of metrics with a server follow ``$server``."""
    yield from _follow(board, boards.vocabulary, "server_address", "server")


def quotient_sides(board: Board, boards: Set) -> Complaints:
    """Both sides of a quotient follow the same variables, but for those whose label they keep.

    Otherwise a choice of one server divides what went to it by everything.
    """
    for target in board.targets():
        for node in expressions.nodes(target.expr):
            if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) != "/":
                continue
            one, other = (_chosen(str(side), boards.vocabulary) for side in (node.lhs, node.rhs))
            if one is None or other is None or one == other:
                continue
            names = ", ".join(f"${name}" for name in sorted(one ^ other))
            yield target.place, f"only one side of a quotient follows {names}"


def legend_bounded(board: Board, boards: Set) -> Complaints:
    """Legends name labels that the query keeps, and no line or row per process.

    Operations and URL templates are bounded, but many: they need topk.
    """
    for target in board.targets():
        shape, _ = promql.judge(target.expr, boards.vocabulary)
        if shape is None:
            continue
        for label in _REFERENCE.findall(target.content.get("legendFormat", "")):
            if label not in shape.labels:
                yield target.place, f"its legend names {label!r}, which the query does not keep"
        if shape.labels & _UNBOUNDED:
            yield target.place, "it has a series for each instance"
        if shape.labels & _MANY_VALUES and not _selects(target):
            yield target.place, "it has a series for each operation or template: use topk"


def legend_complete(board: Board, boards: Set) -> Complaints:
    """Legends of lines tell the series apart: they name every label that the query keeps."""
    for target in board.targets():
        if target.panel.get("type") not in {"timeseries", "state-timeline"}:
            continue
        shape, _ = promql.judge(target.expr, boards.vocabulary)
        legend = target.content.get("legendFormat", "")
        if not legend:
            yield target.place, "it has no legend"
        missing = (shape.labels if shape else frozenset()) - set(_REFERENCE.findall(legend))
        if missing:
            yield target.place, f"its legend does not name {', '.join(sorted(missing))}"


def latency_exemplars(board: Board, _: Set) -> Complaints:
    """Latencies that carry exemplars show them, unless they are of another time."""
    for target in board.targets():
        if target.panel.get("type") not in {"timeseries", "heatmap"}:
            continue
        now = [
            selector
            for selector in expressions.selectors(target.expr)
            if _WITH_EXEMPLARS.fullmatch(selector.name or "") and selector.offset is None
        ]
        if now and target.content.get("exemplar") is not True:
            yield target.place, "it does not show exemplars"


def _follow(board: Board, vocabulary: Vocabulary, label: str, variable: str) -> Complaints:
    for target in board.targets():
        for selector in expressions.selectors(target.expr):
            if not _has(selector, label, vocabulary):
                continue
            followed = [
                matcher.value
                for matcher in selector.matchers.matchers
                if matcher.name == label and expressions.written(matcher).startswith("=~")
            ]
            if not any(value in _accepted(variable) for value in followed):
                yield target.place, f'{selector.name or selector} lacks {label}=~"${variable}"'


def _chosen(expr: str, vocabulary: Vocabulary) -> set[str] | None:
    """Return the variables that choose what *expr* adds up; ``None`` if it is a number."""
    selectors = expressions.selectors(expr)
    shape, _ = promql.judge(expr, vocabulary)
    if shape is None or not selectors:
        return None
    return {
        VARIABLES[matcher.name]
        for selector in selectors
        for matcher in selector.matchers.matchers
        if matcher.name in VARIABLES
        and matcher.name not in shape.labels
        and matcher.value in _accepted(VARIABLES[matcher.name])
    }


def _accepted(variable: str) -> set[str]:
    # The latter also takes what has no such label, as some alerts have none.
    return {promql.substituted(f"${variable}"), promql.substituted(f"${variable}|")}


def _has(selector: promql_parser.VectorSelector, label: str, vocabulary: Vocabulary) -> bool:
    if selector.name is None:
        # Of metrics chosen by a pattern, only some have a server.
        return label != "server_address"
    if selector.name == "ALERTS":
        return label in {"job", "client"}
    sample = vocabulary.samples.get(selector.name)
    return sample is not None and label in sample.labels


def _selects(target: Target) -> bool:
    return any(
        isinstance(node, promql_parser.AggregateExpr) and str(node.op) in {"topk", "bottomk"}
        for node in expressions.nodes(target.expr)
    )

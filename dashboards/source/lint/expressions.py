"""Look into PromQL with Grafana's variables in it."""

from __future__ import annotations

from typing import Any, Final

import promql_parser

from dashboards.source.promql import substituted

_SYMBOLS: Final = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~"}


def nodes(expr: str) -> list[Any]:
    """Return every part of *expr*, with its variables replaced; none if it does not parse."""
    try:
        parsed = promql_parser.parse(substituted(expr))
    except ValueError:
        return []
    found: list[Any] = []
    promql_parser.walk(parsed, found.append)
    return found


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Return the selectors of *expr*, with its variables replaced."""
    return [node for node in nodes(expr) if isinstance(node, promql_parser.VectorSelector)]


def written(matcher: promql_parser.Matcher) -> str:
    """Return operator and value of *matcher*."""
    return _SYMBOLS.get(str(matcher.op), "!~") + matcher.value

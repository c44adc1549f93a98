"""Every query that the dashboards, rules and runbooks ask."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import promql_parser
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PROMQL_FENCE = re.compile(r"^```promql\n(.*?)^```", re.DOTALL | re.MULTILINE)
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::\w+)?\}|\[\[(\w+)(?::\w+)?\]\]")
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\s*\)", re.DOTALL)
_COMPARISONS = {">", "<", ">=", "<=", "==", "!="}
# What a Grafana with one scrape a second works with, on a screen that shows the last minute.
BUILT_IN = {
    "__rate_interval": "15s",
    "__interval": "5s",
    "__range": "60s",
    "__interval_ms": "5000",
    "__range_ms": "60000",
    "__range_s": "60",
}
EVERYTHING = ".+"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression.

    Args:
        where: Where it stands, as somebody who has to repair it would say.
        expr: As written, with Grafana's variables.
        instant: Whether it is evaluated once, and not over the time on the screen.
        exemplars: Whether they are asked for too.
        legend: What its series are called, with labels in double braces.
    """

    where: str
    expr: str
    instant: bool = True
    exemplars: bool = False
    legend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.expr}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What fills a variable of a dashboard: the values of *label* in the series of *selector*."""

    where: str
    label: str
    selector: str | None

    def __str__(self) -> str:
        return f"{self.where}: {self.label} of {self.selector}"


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """Return *expr* with a value for each of Grafana's variables.

    Raises:
        KeyError: If it has one that is neither in *variables* nor built in.
    """
    known = {**BUILT_IN, **variables}
    return _VARIABLE.sub(lambda match: known[next(filter(None, match.groups()))], expr)


def of_panels(folder: Path) -> list[Query]:
    """Return the queries of all panels of the dashboards in *folder*."""
    return [
        Query(
            f"{path.name}, {panel['title']}, {target['refId']}",
            target["expr"],
            instant=bool(target.get("instant")),
            exemplars=bool(target.get("exemplar")),
            legend=target.get("legendFormat") or "",
        )
        for path, dashboard in _dashboards(folder)
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]


def panels(dashboard: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Yield the panels of *dashboard*, those in rows too, and without the rows."""
    for panel in dashboard["panels"]:
        yield from panels(panel) if panel.get("panels") else ()
        if panel["type"] != "row":
            yield panel


def of_annotations(folder: Path) -> list[Query]:
    """Return the queries of the annotations that come from a Prometheus."""
    return [
        Query(f"{path.name}, annotation {annotation['name']}", annotation["expr"], instant=False)
        for path, dashboard in _dashboards(folder)
        for annotation in dashboard["annotations"]["list"]
        if "expr" in annotation
    ]


def of_variables(folder: Path) -> list[Choice]:
    """Return what fills the variables."""
    choices = []
    for path, dashboard in _dashboards(folder):
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            query = variable["query"]
            text = query if isinstance(query, str) else query["query"]
            match = _LABEL_VALUES.fullmatch(text.strip())
            assert match is not None, f"{path.name}: the test does not know {text}"
            where = f"{path.name}, variable {variable['name']}"
            choices.append(Choice(where, match["label"], match["selector"]))
    return choices


def of_rules(*paths: Path) -> list[Query]:
    """Return what is recorded, and what alerts compare.

    An alert that does not fire has no data, but what it compares has.
    """
    queries = []
    for path in paths:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    queries.append(Query(f"{path.name}, {rule['record']}", rule["expr"]))
                    continue
                where = f"{path.name}, {rule['alert']}"
                queries += [
                    Query(f"{where}, part {number}", expr)
                    for number, expr in enumerate(compared(rule["expr"]), 1)
                ]
    return queries


def of_runbooks(folder: Path) -> list[Query]:
    """Return what the runbooks give to paste."""
    return [
        Query(f"{path.name}, query {number}", fence.strip())
        for path in sorted(folder.glob("*.md"))
        for number, fence in enumerate(_PROMQL_FENCE.findall(path.read_text()), 1)
    ]


def compared(expr: str) -> list[str]:
    """Return the parts of *expr* that have data whether it is true or not."""
    return [node.prettify() for node in _compared(promql_parser.parse(expr))]


def _compared(node: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    if isinstance(node, promql_parser.ParenExpr):
        yield from _compared(node.expr)
    elif not isinstance(node, promql_parser.BinaryExpr):
        yield node
    elif str(node.op) == "unless":
        yield from _compared(node.lhs)
    elif str(node.op) in {"and", "or"} | _COMPARISONS:
        for side in (node.lhs, node.rhs):
            if not isinstance(side, promql_parser.NumberLiteral):
                yield from _compared(side)
    else:
        yield node


def _dashboards(folder: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    for path in sorted(folder.glob("*.json")):
        yield path, json.loads(path.read_text())

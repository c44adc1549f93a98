"""Judge queries by what they ask for, not only by how they are spelled.

A query that parses can still be wrong without a word from Prometheus: a label that no series has
makes it empty, a counter without a rate makes it grow for ever, a ``by`` that drops ``le`` makes a
quantile of nothing. Each expression is read from its selectors outwards with the labels that every
step keeps, so that such mistakes are found where they are made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import promql_parser
import yaml

from dashboards.source.samples import Sample, samples_of_library

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# What Grafana puts in before Prometheus sees the query; any value of the right type will do here.
_BUILT_IN: Final = {
    "__rate_interval": "5m",
    "__interval": "1m",
    "__range": "1h",
    "__interval_ms": "60000",
    "__range_ms": "3600000",
    "__range_s": "3600",
    "__from": "0",
    "__to": "1",
}
_VARIABLE: Final = re.compile(
    r"\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)(?::\w+)?\}|\[\[(\w+)(?::\w+)?\]\]"
)
_RATES: Final = {"rate", "irate", "increase", "resets"}
_OF_COUNTERS: Final = _RATES | {"changes"}
_COUNTING: Final = {"count", "group"}
_PRESENCE: Final = {
    "absent", "absent_over_time", "present_over_time", "count_over_time", "timestamp"
}  # fmt: skip
_SET_OPERATORS: Final = {"and", "or", "unless"}
_SELECTING: Final = {"topk", "bottomk", "limitk", "limit_ratio"}
# An average of ratios weighs a quiet hour like a busy one.
_AVERAGES: Final = {"avg", "sum", "avg_over_time", "sum_over_time"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The samples that exist, by name with ``_total``, ``_bucket``, ``_sum`` and ``_count``."""

    samples: Mapping[str, Sample]

    @classmethod
    def of_library(cls) -> Vocabulary:
        """Return what a scrape of a service with platform_http holds, ``up`` and ``ALERTS``."""
        return cls(samples_of_library())

    def with_rules(self, paths: Iterable[Path]) -> Vocabulary:
        """Return this vocabulary and the names that the rule files *paths* record.

        A recorded name has the labels that its expression keeps; one whose expression is wrong has
        what could be told of it. A rule may use what another records, in whatever order.

        Raises:
            OSError: If a file cannot be read.
            ValueError: If a file is no YAML.
        """
        rules = [
            rule
            for path in paths
            for group in _rule_groups(path)
            for rule in group["rules"]
            if "record" in rule
        ]
        known = self
        # Each round knows one more level of rules over rules.
        for _ in rules:
            extended = Vocabulary({**self.samples, **_recorded(rules, known)})
            if extended == known:
                break
            known = extended
        return known


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of the value of an expression without evaluating it.

    Attributes:
        labels: The labels that its series may carry.
        scalar: Whether it is a number without labels.
        counter: Name of the counter that it still is, not put through a rate; "" otherwise.
        buckets: Whether it holds cumulative buckets.
        quotient: Whether it divides one series by another.
    """

    labels: frozenset[str] = frozenset()
    scalar: bool = False
    counter: str = ""
    buckets: bool = False
    quotient: bool = False


def violations(expr: str, vocabulary: Vocabulary) -> list[str]:
    """Return what is wrong with the PromQL *expr*, one sentence each; none if it is sound.

    Grafana's variables may stand in it.
    """
    return judge(expr, vocabulary)[1]


def judge(expr: str, vocabulary: Vocabulary) -> tuple[Shape | None, list[str]]:
    """Return the shape of *expr*, ``None`` if it does not parse, and what is wrong with it."""
    try:
        parsed = promql_parser.parse(substituted(expr))
    except ValueError as error:
        return None, [f"does not parse: {error}"]
    reader = _Reader(vocabulary)
    shape = reader.value(parsed)
    # The same mistake is often made on both sides of a quotient.
    return shape, list(dict.fromkeys(reader.found))


def substituted(expr: str) -> str:
    """Return *expr* with a plausible value for each of Grafana's variables."""

    def value(match: re.Match[str]) -> str:
        return _BUILT_IN.get(next(filter(None, match.groups())), "variable")

    return _VARIABLE.sub(value, expr)


def _rule_groups(path: Path) -> list[dict[str, Any]]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no YAML: {error}") from error
    return list(loaded["groups"])


def _recorded(rules: Sequence[dict[str, Any]], known: Vocabulary) -> dict[str, Sample]:
    recorded: dict[str, Sample] = {}
    for rule in rules:
        shape, _ = judge(str(rule["expr"]), known)
        if shape is None:
            continue
        labels = shape.labels | frozenset(rule.get("labels") or ())
        name = rule["record"]
        # Of rules that record the same name, only what each of them keeps can be relied on.
        if name in recorded:
            labels &= recorded[name].labels
        recorded[name] = Sample("gauge", labels, quotient=shape.quotient)
    return recorded


class _Reader:
    """Reads one expression and collects what is wrong with it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._samples = vocabulary.samples
        self.found: list[str] = []

    def value(self, expr: Any) -> Shape:
        """Return the shape of *expr* where its values matter: a bare counter is a mistake."""
        shape = self._shape(expr)
        if shape.counter:
            self.found.append(f"counter {shape.counter} is used outside rate() or increase()")
        return replace(shape, counter="")

    def _shape(self, expr: Any) -> Shape:
        match expr:
            case promql_parser.VectorSelector():
                return self._selector(expr)
            case promql_parser.MatrixSelector():
                return self._selector(expr.vector_selector)
            case promql_parser.ParenExpr() | promql_parser.SubqueryExpr():
                return self._shape(expr.expr)
            case promql_parser.UnaryExpr():
                return self.value(expr.expr)
            case promql_parser.AggregateExpr():
                return self._aggregation(expr)
            case promql_parser.BinaryExpr():
                return self._binary(expr)
            case promql_parser.Call():
                return self._call(expr)
            case _:
                return Shape(scalar=True)

    def _selector(self, selector: promql_parser.VectorSelector) -> Shape:
        name, sample = self._asked(selector)
        pinned = set()
        if selector.matchers.or_matchers:
            self.found.append("'or' between matchers is not read by Prometheus 2")
        for matcher in selector.matchers.matchers:
            if matcher.name == "__name__":
                continue
            if matcher.name not in sample.labels:
                self.found.append(f"{name} has no label {matcher.name!r}")
            if matcher.name == "le":
                self._bound(name, sample, matcher)
            if matcher.op == promql_parser.MatchOp.Equal:
                pinned.add(matcher.name)
                if not matcher.value:
                    # An empty value is a label that is not there.
                    sample = replace(sample, labels=sample.labels - {matcher.name})
        return Shape(
            sample.labels,
            counter="" if sample.kind == "gauge" else name,
            buckets=sample.kind == "bucket" and "le" not in pinned,
            quotient=sample.quotient,
        )

    def _asked(self, selector: promql_parser.VectorSelector) -> tuple[str, Sample]:
        if selector.name is not None:
            sample = self._samples.get(selector.name)
            if sample is not None:
                return selector.name, sample
            self.found.append(f"metric {selector.name} does not exist")
            return selector.name, Sample("gauge", self._all_labels())
        for matcher in selector.matchers.matchers:
            if matcher.name == "__name__" and matcher.op == promql_parser.MatchOp.Re:
                chosen = {
                    name: sample
                    for name, sample in self._samples.items()
                    if re.fullmatch(matcher.value, name)
                }
                if not chosen:
                    self.found.append(f"no metric has a name like {matcher.value!r}")
                counting = any(sample.kind != "gauge" for sample in chosen.values())
                labels = frozenset[str]().union(*(sample.labels for sample in chosen.values()))
                return matcher.value, Sample("counter" if counting else "gauge", labels)
        self.found.append(f"selector {selector} names no metric")
        return str(selector), Sample("gauge", self._all_labels())

    def _bound(self, name: str, sample: Sample, matcher: promql_parser.Matcher) -> None:
        """Judge a matcher on ``le``, which is spelled differently when it comes through OTLP."""
        for bound in matcher.value.split("|"):
            if re.fullmatch(r"[0-9]+(\\?\.0+)?", bound):
                self.found.append(
                    f"le={matcher.value!r} of {name} is an integer, which is spelled "
                    "with .0 when scraped and without it through OTLP"
                )
            elif matcher.op == promql_parser.MatchOp.Equal and bound not in sample.bounds:
                self.found.append(f"le={bound!r} is no bucket bound of {name}")

    def _aggregation(self, expr: promql_parser.AggregateExpr) -> Shape:
        operation = str(expr.op)
        inner = self._shape(expr.expr) if operation in _COUNTING else self.value(expr.expr)
        if operation in _AVERAGES and inner.quotient:
            self._averaged(operation)
        kept = self._grouping(operation, inner, expr.modifier)
        if operation == "count_values":
            kept |= {expr.param.val if expr.param else ""}
        if operation in {"sum", "avg"} and inner.buckets and "le" not in kept:
            self.found.append(
                f"{operation} adds up cumulative buckets: keep le, or match one value of it"
            )
        return Shape(
            inner.labels if operation in _SELECTING else kept,
            buckets=inner.buckets and "le" in kept,
            quotient=inner.quotient and operation not in _COUNTING,
        )

    def _grouping(
        self, operation: str, inner: Shape, modifier: promql_parser.AggModifier | None
    ) -> frozenset[str]:
        if modifier is None:
            return frozenset()
        word = "by" if modifier.type == promql_parser.AggModifierType.By else "without"
        for label in modifier.labels:
            if label not in inner.labels:
                self.found.append(f"{operation} {word} ({label}): its argument has no such label")
        named = frozenset(modifier.labels)
        return inner.labels & named if word == "by" else inner.labels - named

    def _binary(self, expr: promql_parser.BinaryExpr) -> Shape:
        operation = str(expr.op)
        # A counter that was not there a while ago has grown by its value.
        left = (
            replace(self._shape(expr.lhs), counter="") if _is_birth(expr) else self.value(expr.lhs)
        )
        # Only whether a series is there matters to the right of these two.
        asked_for_presence = operation in {"and", "unless"}
        right = self._shape(expr.rhs) if asked_for_presence else self.value(expr.rhs)
        if left.scalar or right.scalar:
            return replace(left if right.scalar else right, scalar=left.scalar and right.scalar)
        labels = self._matched(operation, left, right, expr.modifier)
        if asked_for_presence:
            return left
        return Shape(
            labels,
            buckets=left.buckets and right.buckets,
            quotient=left.quotient or right.quotient or operation == "/",
        )

    def _matched(
        self,
        operation: str,
        left: Shape,
        right: Shape,
        modifier: promql_parser.BinModifier | None,
    ) -> frozenset[str]:
        """Return the labels that *operation* keeps, and judge what it matches on."""
        matching = modifier.matching if modifier else None
        if operation == "or":
            self._matching_labels(operation, left, right, matching)
            return left.labels & right.labels
        if matching is None:
            # With "unless" everything stays, with the others nothing does.
            if left.labels != right.labels:
                self.found.append(
                    f"the sides of {operation!r} never match: one keeps "
                    f"({_listed(left.labels - right.labels)}), the other "
                    f"({_listed(right.labels - left.labels)}); say on (…) or ignoring (…)"
                )
            return left.labels & right.labels
        on = self._matching_labels(operation, left, right, matching)
        assert modifier is not None
        return self._grouped(operation, left, right, modifier, on)

    def _matching_labels(
        self,
        operation: str,
        left: Shape,
        right: Shape,
        matching: promql_parser.LabelModifier | None,
    ) -> frozenset[str]:
        if matching is None:
            return left.labels & right.labels
        named = frozenset(matching.labels)
        if matching.type == promql_parser.LabelModifierType.Include:
            missing = named - (left.labels & right.labels)
            if missing:
                self.found.append(
                    f"{operation!r} on ({_listed(missing)}): not both sides have such a label"
                )
            return named
        missing = named - (left.labels | right.labels)
        if missing:
            self.found.append(
                f"{operation!r} ignoring ({_listed(missing)}): neither side has such a label"
            )
        return (left.labels | right.labels) - named

    def _grouped(
        self,
        operation: str,
        left: Shape,
        right: Shape,
        modifier: promql_parser.BinModifier,
        on: frozenset[str],
    ) -> frozenset[str]:
        cards = promql_parser.VectorMatchCardinality
        if modifier.card == cards.ManyToOne:
            many, one, word = left, right, "group_left"
        elif modifier.card == cards.OneToMany:
            many, one, word = right, left, "group_right"
        else:
            return on
        copied = frozenset(modifier.group_labels or ())
        if missing := copied - one.labels:
            self.found.append(
                f"{operation!r} {word} ({_listed(missing)}): the one side has no such label"
            )
        return many.labels | copied

    def _call(self, expr: promql_parser.Call) -> Shape:
        name = expr.func.name
        if not expr.args:
            return Shape(scalar=True)
        if name in {"label_replace", "label_join"}:
            return self._relabelled(name, expr.args)
        if name == "histogram_quantile":
            return self._quantile(expr.args[1])
        # The one argument of most functions that has series; the others are numbers.
        vector = next((arg for arg in expr.args if not _is_literal(arg)), expr.args[0])
        matrix = isinstance(vector, promql_parser.MatrixSelector)
        if name in _OF_COUNTERS and matrix:
            inner = self._shape(vector)
            if name in _RATES and not inner.counter:
                self.found.append(f"{name}() is over a gauge; use delta() or deriv()")
        else:
            inner = self._shape(vector) if name in _PRESENCE else self.value(vector)
        if name in _AVERAGES and inner.quotient:
            self._averaged(name)
        if name == "scalar":
            return Shape(scalar=True)
        if name == "vector":
            return Shape()
        if name in {"absent", "absent_over_time"}:
            return Shape(_equal_labels(vector))
        return replace(inner, counter="", scalar=False)

    def _quantile(self, vector: Any) -> Shape:
        inner = self.value(vector)
        if "le" not in inner.labels:
            self.found.append("histogram_quantile needs the label le: keep it in by (…)")
        elif not inner.buckets:
            self.found.append("histogram_quantile is not over the buckets of a histogram")
        return Shape(inner.labels - {"le"})

    def _relabelled(self, name: str, arguments: Sequence[Any]) -> Shape:
        inner = self.value(arguments[0])
        words = [argument.val for argument in arguments[1:]]
        sources = words[2:3] if name == "label_replace" else words[2:]
        for source in sources:
            if source and source not in inner.labels:
                self.found.append(f"{name} reads {source!r}, which its argument has not")
        return replace(inner, labels=inner.labels | {words[0]})

    def _averaged(self, operation: str) -> None:
        self.found.append(
            f"{operation} over a quotient: divide the sums of both sides instead, "
            "or a quiet series weighs as much as a busy one"
        )

    def _all_labels(self) -> frozenset[str]:
        return frozenset[str]().union(*(sample.labels for sample in self._samples.values()))


def _listed(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels))


def _is_birth(expr: promql_parser.BinaryExpr) -> bool:
    """Tell whether *expr* is ``x unless x offset …``."""
    now, before = expr.lhs, expr.rhs
    return (
        str(expr.op) == "unless"
        and isinstance(now, promql_parser.VectorSelector)
        and isinstance(before, promql_parser.VectorSelector)
        and now.name == before.name
        and now.offset is None
        and before.offset is not None
    )


def _is_literal(expr: Any) -> bool:
    return isinstance(expr, promql_parser.NumberLiteral | promql_parser.StringLiteral)


def _equal_labels(expr: Any) -> frozenset[str]:
    """Return the labels that ``absent()`` of *expr* has: those matched for equality."""
    while not isinstance(expr, promql_parser.VectorSelector):
        expr = getattr(expr, "vector_selector", None) or getattr(expr, "expr", None)
        if expr is None:
            return frozenset()
    return frozenset(
        matcher.name
        for matcher in expr.matchers.matchers
        if matcher.op == promql_parser.MatchOp.Equal and matcher.name != "__name__"
    )

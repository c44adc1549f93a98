"""The queries that Grafana sends to a Prometheus."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

_TIMEOUT = 30.0


class QueryError(Exception):
    """Prometheus refused a query."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer.

    Args:
        labels: With `__name__`, where the query keeps it.
        points: Instant in seconds since the epoch, and value.
    """

    labels: dict[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server.

    Args:
        port: Of its API on loopback.
    """

    port: int

    def at(self, moment: float, expr: str) -> list[Series]:
        """Evaluate *expr* once."""
        answer = self._get("query", query=expr, time=moment)
        if answer["resultType"] in ("scalar", "string"):
            instant, value = answer["result"]
            return [Series({}, [(instant, float(value))])]
        return [_series(entry, [entry["value"]]) for entry in answer["result"]]

    def between(self, start: float, end: float, expr: str, *, step: float = 1.0) -> list[Series]:
        """Evaluate *expr* every *step* seconds."""
        answer = self._get("query_range", query=expr, start=start, end=end, step=step)
        return [_series(entry, entry["values"]) for entry in answer["result"]]

    def label_values(self, label: str, selector: str | None, start: float, end: float) -> list[str]:
        """Return what *label* holds in the series of *selector*, or in all."""
        match = {} if selector is None else {"match[]": selector}
        return self._get(f"label/{label}/values", start=start, end=end, **match)

    def exemplars(self, expr: str, start: float, end: float) -> list[dict[str, object]]:
        """Return the exemplars of the series in *expr*, by series."""
        return self._get("query_exemplars", query=expr, start=start, end=end)

    def unhealthy_rules(self) -> list[str]:
        """Return the name and the error of each rule that could not be evaluated."""
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in self._get("rules")["groups"]
            for rule in group["rules"]
            if rule["health"] == "err"
        ]

    def _get(self, path: str, **parameters: object):
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode(errors="replace")
            raise QueryError(f"{urllib.parse.unquote_plus(query)}: {reason}") from None


def _series(entry: dict[str, object], points: list[list[object]]) -> Series:
    return Series(entry["metric"], [(instant, float(value)) for instant, value in points])

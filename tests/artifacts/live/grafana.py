"""What somebody sees who opens the dashboards at a given moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.artifacts.live.queries import filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.artifacts.live.prometheus_api import Prometheus, Series
    from tests.artifacts.live.queries import Choice, Query

Variables = Mapping[str, str]
ALL: Variables = dict.fromkeys(("job", "instance", "client", "server"), ".+")


@dataclass(frozen=True, slots=True)
class Screen:
    """Shows the answers of one server.

    Args:
        server: Whom it asks.
        start: What the time axes begin with, seconds since the epoch.
        moments: What single values are of, each time that somebody looks.
        end: What the time axes end with.
    """

    server: Prometheus
    start: float
    moments: Sequence[float]
    end: float

    def shows(self, query: Query, variables: Variables = ALL) -> list[Series]:
        """Return the series of *query* that have a value; 0/0 is none."""
        expr = filled(query.expr, variables)
        if query.instant:
            found = [series for moment in self.moments for series in self.server.at(moment, expr)]
        else:
            found = self.server.between(self.start, self.end, expr)
        return [
            series for series in found if not all(math.isnan(value) for _, value in series.points)
        ]

    def offers(self, choice: Choice, variables: Variables = ALL) -> list[str]:
        """Return what somebody can choose from."""
        selector = None if choice.selector is None else filled(choice.selector, variables)
        return self.server.label_values(choice.label, selector, self.start, self.end)

    def single_choices(self) -> Iterator[Variables]:
        """Yield every way to choose one value of each variable and see something."""
        labels = "job, instance, client, server_address"
        expr = f"group by ({labels}) (http_client_request_duration_seconds_count)"
        for series in self.server.at(self.moments[0], expr):
            chosen = dict(series.labels)
            yield {**chosen, "server": chosen.pop("server_address")}

"""Scenarios of a few calls, in which nothing is left to chance but the jitter."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from platform_http.simulation import Scenario, simulate
from platform_http.simulation.events import Events
from platform_http.simulation.fleet import Fleet
from platform_http.simulation.upstream import Upstream
from platform_http.simulation.variants import resolve

if TYPE_CHECKING:
    from platform_http.simulation import Report


def scene(
    *disturbances: dict[str, object],
    calls: int = 1,
    clients: int = 1,
    method: str = "GET",
    **upstream: object,
) -> Scenario:
    """Return a scenario of *calls* at second 1, which take 100 ms each at an idle upstream."""
    api = {
        "name": "api",
        "workers": 1000,
        "service_time": {"distribution": "constant", "mean": 0.1},
        **upstream,
    }
    return Scenario.model_validate(
        {
            "title": "a scene",
            "duration": 30,
            "clients": clients,
            "method": method,
            "arrivals": {"pattern": "herd", "start": 1, "calls": calls},
            "upstream": [api],
            "disturbance": disturbances,
        }
    )


def trouble(
    kind: str, *, start: float = 0, duration: float = 30, **more: object
) -> dict[str, object]:
    """Return a disturbance, of the whole scene unless said otherwise."""
    return {"kind": kind, "start": start, "duration": duration, **more}


def steady(rate: float, *disturbances: dict[str, object], **upstream: object) -> Scenario:
    """Return the same with *rate* calls per second for 30 s, instead of a few at one instant."""
    return Scenario.model_validate(
        {
            **scene(*disturbances, **upstream).model_dump(),
            "arrivals": {"pattern": "poisson", "rate": rate},
        }
    )


class Calls:
    """Calls of one process at chosen instants, and what came of them.

    Attributes:
        ended: When each call ended and whether it succeeded, in the order of their ends.
        fleet: Of the one process.
    """

    def __init__(self, scenario: Scenario, *instants: float, **settings: object) -> None:
        events = Events()
        upstream = Upstream(scenario.upstream[0], events=events, rng=Random(1))
        for disturbance in scenario.disturbance:
            upstream.disturb(disturbance)
        self.fleet = Fleet(
            resolve(settings),
            processes=1,
            method=scenario.method,
            upstream=upstream,
            events=events,
            rng=Random(1),
        )
        self.ended: list[tuple[float, bool]] = []
        for instant in instants:
            events.at(instant, self._begin, math.inf)
        self._events = events
        events.run()

    def _begin(self, deadline: float) -> None:
        self.fleet.call(self._end, deadline=deadline)

    def _end(self, succeeded: bool) -> None:
        self.ended.append((round(self._events.now, 6), succeeded))


def play(scenario: Scenario, **settings: object) -> Report:
    """Simulate with *settings* by their variables; what is not set is the default."""
    return simulate(scenario, resolve(settings))

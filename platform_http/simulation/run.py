"""One run of a scenario."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from platform_http.simulation.events import Events
from platform_http.simulation.fleet import Fleet
from platform_http.simulation.recorder import SECOND, Recorder
from platform_http.simulation.report import Report, report
from platform_http.simulation.scenario import Herd, Poisson
from platform_http.simulation.upstream import Upstream

if TYPE_CHECKING:
    from platform_http.settings import ClientSettings
    from platform_http.simulation.scenario import Scenario


def simulate(
    scenario: Scenario, settings: ClientSettings, *, label: str = "settings", seed: int = 1
) -> Report:
    """Play *scenario* with the client *settings* in every process.

    Arrivals, service times and jitter have random sources of their own, so that two variants see
    the same calls at the same instants.

    Args:
        scenario: Who calls whom, and what goes wrong.
        settings: Of every client in it.
        label: Of the report.
        seed: The same numbers for the same seed.

    Raises:
        ConfigurationError: If the settings ask for what is not simulated.
    """
    return _Run(scenario, settings, seed).report(label)


class _Run:
    def __init__(self, scenario: Scenario, settings: ClientSettings, seed: int) -> None:
        self._scenario = scenario
        self._settings = settings
        self._seed = seed
        self._events = Events()
        self._recorder = Recorder()
        self._upstreams: dict[str, Upstream] = {}
        # The last one first: whoever calls another one needs it.
        for model in reversed(scenario.upstream):
            downstream = None
            if model.calls is not None:
                downstream = self._fleet(
                    self._upstreams[model.calls], model.processes, f"clients of {model.name}"
                )
            self._upstreams[model.name] = Upstream(
                model, events=self._events, rng=self._random(model.name), downstream=downstream
            )
        first, self._last = scenario.upstream[0].name, scenario.upstream[-1].name
        self._fleet_of_all = self._fleet(
            self._upstreams[first], scenario.clients, "clients", self._recorder
        )
        self._arrivals = self._random("arrivals")

    def report(self, label: str) -> Report:
        scenario, events = self._scenario, self._events
        for disturbance in scenario.disturbance:
            self._upstreams[disturbance.upstream or self._last].disturb(disturbance)
        for second in range(math.ceil(scenario.duration)):
            events.at((second + 1) * SECOND, self._sample, self._upstreams[self._last])
        arrivals = scenario.arrivals
        if isinstance(arrivals, Herd):
            for place in range(arrivals.calls):
                events.at(arrivals.start, self._call, place)
        else:
            self._plan_next(arrivals)
        events.run()
        sent = {each.name: self._upstreams[each.name].received for each in scenario.upstream}
        return report(label, scenario, self._recorder, sent)

    def _fleet(
        self, upstream: Upstream, processes: int, name: str, recorder: Recorder | None = None
    ) -> Fleet:
        return Fleet(
            self._settings,
            processes=processes,
            method=self._scenario.method,
            upstream=upstream,
            events=self._events,
            rng=self._random(name),
            recorder=recorder,
        )

    def _random(self, name: str) -> Random:
        return Random(f"{self._seed} {name}")  # noqa: S311 - a simulation, not cryptography

    def _plan_next(self, arrivals: Poisson) -> None:
        instant = self._events.now + self._arrivals.expovariate(arrivals.rate)
        if instant < self._scenario.duration:
            self._events.at(instant, self._arrive, arrivals)

    def _arrive(self, arrivals: Poisson) -> None:
        self._call(int(self._arrivals.random() * self._scenario.clients))
        self._plan_next(arrivals)

    def _call(self, process: int) -> None:
        self._fleet_of_all.call(_nobody_waits, deadline=math.inf, process=process)

    def _sample(self, upstream: Upstream) -> None:
        self._recorder.waiting.append(upstream.waiting)


def _nobody_waits(succeeded: bool) -> None:
    """Stand for the caller of a call whose end only the recorder wants to know."""

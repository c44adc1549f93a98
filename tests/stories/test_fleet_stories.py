"""Stories 2, 3, 22 and 23, which need a fleet: shipped scenarios, a tenth of their size."""

from __future__ import annotations

import math

import pytest

from platform_http.settings import ClientSettings
from platform_http.simulation import Scenario, load, simulate
from platform_http.simulation.variants import PROFILES, resolve


def _ours(scenario: Scenario, **settings: object) -> ClientSettings:
    return resolve({**scenario.settings, **settings})


def _naive(scenario: Scenario) -> ClientSettings:
    return resolve({**scenario.settings, **PROFILES["naive"]})


def _small(name: str, *, calls: int, clients: int) -> Scenario:
    return load(name).scaled(calls).model_copy(update={"clients": clients})


def test_story_02_goodput_is_back_30_s_after_a_dip_and_with_naive_retries_it_is_not() -> None:
    scenario = _small("metastable_dip", calls=10_000, clients=100)
    recovery = simulate(scenario, _ours(scenario)).recovery
    assert recovery is not None
    assert recovery <= 30
    assert simulate(scenario, _naive(scenario)).recovery == math.inf


def test_story_03_resends_of_a_thousand_clients_that_lose_a_server_are_spread() -> None:
    scenario = load("thundering_herd")
    assert scenario.clients == 1000
    report = simulate(scenario, _ours(scenario))
    assert report.resends >= 1000
    assert report.burst is not None
    assert report.burst <= 3


def test_story_22_a_tenfold_latency_is_hedged_for_5_percent_of_the_calls_at_most() -> None:
    scenario = load("slow_down")
    report = simulate(scenario, _ours(scenario))
    assert 0 < report.hedges <= 0.05 * report.calls


@pytest.mark.parametrize("breaker", ["enforce", "off"])
def test_story_23_where_everybody_retries_the_last_in_the_chain_is_not_multiplied(
    breaker: str,
) -> None:
    scenario = load("chain")
    report = simulate(scenario, _ours(scenario, CIRCUIT_BREAKER__MODE=breaker))
    assert report.amplification("c") <= 1.2

"""The failure stories that need a fleet. The figures are those of the shipped scenarios."""

from __future__ import annotations

import math

import pytest

from platform_http.simulation import load, simulate
from platform_http.simulation.variants import PROFILES, resolve


def _variants(name: str, **settings: object):
    scenario = load(name)
    ours = resolve({**scenario.settings, **settings})
    naive = resolve({**scenario.settings, **PROFILES["naive"]})
    return scenario, ours, naive


def test_story_1_resends_to_an_upstream_that_answers_503_are_bounded_without_a_breaker():
    scenario, _, naive = _variants("outage")
    budget_alone = resolve({"CIRCUIT_BREAKER__MODE": "off"})
    ours = simulate(scenario.scaled(30_000), budget_alone)
    # 100 processes with a burst of 10 resends each, and 0.1 per second in the minute after it.
    assert ours.resends <= 100 * (10 + 0.1 * 61)
    assert ours.amplification("api") <= 1.1
    looped = simulate(scenario.scaled(10_000), naive)
    during = [second for second in looped.seconds if 25 <= second.start < 75]
    assert sum(second.attempts for second in during) > 3.9 * sum(s.calls for s in during)


def test_story_2_after_a_dip_naive_retries_stay_collapsed_and_ours_recover_within_30_s():
    scenario, ours, naive = _variants("metastable_dip")
    assert scenario.clients >= 1000
    recovered = simulate(scenario, ours)
    assert recovered.calls >= 99_000

    def goodput(report, since: int, until: int) -> float:
        return sum(second.successes for second in report.seconds[since:until]) / (until - since)

    before = goodput(recovered, 2, 20)
    assert before == pytest.approx(1000, rel=0.02)
    assert recovered.recovery is not None
    assert recovered.recovery <= 30
    assert goodput(recovered, 60, 100) > 0.97 * before
    assert recovered.amplification("api") < 1.1
    # The same fleet at a fifth of its size: a collapse is long to compute.
    collapsed = simulate(scenario.scaled(20_000), naive)
    assert goodput(collapsed, 2, 20) == pytest.approx(before / 5, rel=0.05)
    # The dip is over at 30 s. A minute later nothing has changed.
    assert collapsed.recovery == math.inf
    assert goodput(collapsed, 60, 100) < 0.05 * before / 5


def test_story_2_is_no_matter_of_the_seed():
    scenario, ours, naive = _variants("metastable_dip")
    smaller = scenario.scaled(10_000).model_copy(update={"clients": 100})
    for seed in (2, 3):
        recovery = simulate(smaller, ours, seed=seed).recovery
        assert recovery is not None
        assert recovery <= 30
        assert simulate(smaller, naive, seed=seed).recovery == math.inf


def test_story_3_resends_of_1000_clients_that_lose_a_server_are_spread():
    scenario, ours, naive = _variants("thundering_herd")
    assert scenario.clients == scenario.calls == 1000
    for seed in range(1, 6):
        report = simulate(scenario, ours, seed=seed)
        # Every call lost its attempt, and the resends cover a second at least, or the mean that
        # the fullest 100 ms are compared with would be their own.
        assert report.resends >= 1000
        assert report.burst is not None
        assert report.burst <= 3
        assert report.resends / report.burst < 1000
    at_once = simulate(scenario, naive)
    assert at_once.burst is not None
    # The usual loop spends all its attempts before the server is back.
    assert at_once.resends == 3000
    assert at_once.successes == 0


def test_story_3_holds_with_the_default_backoff():
    scenario = load("thundering_herd")
    report = simulate(scenario, resolve({}))
    assert report.burst is not None
    assert report.burst <= 3


def test_story_22_hedges_stay_below_5_percent_of_the_calls_when_latency_jumps_tenfold():
    scenario, ours, _ = _variants("slow_down")
    scenario = scenario.scaled(20_000).model_copy(update={"clients": 20})
    report = simulate(scenario, ours)
    assert 0 < report.hedges <= 0.05 * report.calls
    # It is the policies that hold them back: without ratio and budget there are more.
    unbounded = resolve({**scenario.settings, "HEDGING__MAX_RATIO": 1, "RETRY__BUDGET__COST": 0})
    assert simulate(scenario, unbounded).hedges > 0.05 * report.calls


@pytest.mark.parametrize("breaker", ["enforce", "off"])
def test_story_23_a_chain_that_retries_at_each_step_does_not_multiply(breaker):
    scenario, ours, _ = _variants("chain", CIRCUIT_BREAKER__MODE=breaker)
    assert simulate(scenario.scaled(15_000), ours).amplification("c") <= 1.2


def test_story_23_a_naive_chain_multiplies():
    scenario, _, naive = _variants("chain")
    report = simulate(scenario.scaled(10_000), naive)
    # Four times four while C fails, for a quarter of the calls.
    assert report.amplification("c") > 4


def test_hedging_helps_with_one_slow_replica():
    scenario, ours, naive = _variants(
        "slow_replica", HEDGING__DELAY=0.15, HEDGING__MAX_RATIO=0.2, RETRY__BUDGET__COST=5
    )
    hedged, alone = simulate(scenario, ours), simulate(scenario, naive)
    assert hedged.p99 is not None
    assert alone.p99 is not None
    assert hedged.p99 < 0.7 * alone.p99


def test_nothing_is_resent_or_refused_in_steady_traffic():
    scenario, ours, _ = _variants("steady")
    report = simulate(scenario.scaled(10_000), ours)
    assert report.ratio == 1
    assert report.amplification("api") == 1


def test_what_is_left_of_the_capacity_does_useful_work_again_after_a_dip():
    scenario, ours, naive = _variants("capacity_dip")
    scenario = scenario.scaled(15_000).model_copy(update={"clients": 40})
    recovered, collapsed = simulate(scenario, ours), simulate(scenario, naive)
    assert recovered.recovery is not None
    assert recovered.recovery <= 10
    assert collapsed.recovery == math.inf

from __future__ import annotations

import csv
import math

import pytest

from platform_http.simulation import Scenario, load, series_file, simulate
from platform_http.simulation.events import Events
from platform_http.simulation.plot import draw
from platform_http.simulation.report import percentile
from platform_http.simulation.variants import PROFILES, resolve
from tests.simulation.scenes import play, scene, steady, trouble

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["metastable_dip", "chain", "slow_replica", "thundering_herd"])
def test_the_same_seed_gives_the_same_numbers(name):
    scenario = load(name).scaled(2000)
    settings = resolve(scenario.settings)
    first, again = (simulate(scenario, settings, seed=7) for _ in range(2))
    assert first == again
    assert simulate(scenario, settings, seed=8) != first


def test_variants_see_the_same_calls_at_the_same_instants():
    scenario = load("outage").scaled(2000)
    ours = simulate(scenario, resolve({}))
    naive = simulate(scenario, resolve(PROFILES["naive"]))
    assert [second.calls for second in ours.seconds] == [second.calls for second in naive.seconds]


def test_every_call_ends_once():
    for name in ("metastable_dip", "slow_down", "chain"):
        scenario = load(name).scaled(3000)
        report = simulate(scenario, resolve(scenario.settings))
        assert report.successes + sum(report.errors.values()) == report.calls


def test_calls_come_at_the_rate_that_was_asked_for():
    report = simulate(load("steady"), resolve({}))
    assert report.calls == pytest.approx(30_000, rel=0.02)
    assert len(report.seconds) == 60


def test_events_at_one_instant_happen_in_the_order_of_their_planning():
    events = Events()
    seen: list[str] = []
    events.at(2, seen.append, "c")
    events.at(1, seen.append, "a")
    events.at(1, seen.append, "b")
    events.run()
    assert seen == ["a", "b", "c"]
    assert events.now == 2


def test_a_second_says_what_happened_in_it():
    report = play(scene(trouble("slow_down", factor=15), calls=3, workers=2))
    # Two end after 1.5 s and the third 1.5 s later.
    first, second, fourth = (report.seconds[place] for place in (1, 2, 4))
    assert (first.calls, first.attempts, first.successes, first.waiting) == (3, 3, 0, 1)
    assert first.p50 is first.p99 is None
    assert (second.successes, second.p50) == (2, pytest.approx(1.5))
    assert (fourth.successes, fourth.p99) == (1, pytest.approx(3))
    assert report.goodput == pytest.approx(3 / 30)


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1), (0.501, 51)]
)
def test_a_percentile_is_the_nearest_rank(share, value):
    assert percentile(range(1, 101), share) == value


def test_there_is_no_percentile_of_nothing():
    assert percentile([], 0.5) is None


def _outage(*, end: float) -> Scenario:
    """Fifty calls a second, and nothing but 503 from second 10."""
    return steady(50, trouble("status", start=10, duration=end - 10))


def test_recovery_is_the_time_until_goodput_is_back_for_three_seconds():
    assert play(_outage(end=15), CIRCUIT_BREAKER__MODE="off").recovery == 0
    # The circuit opens at 14 s, when half of its window has failed.
    settings = {"CIRCUIT_BREAKER__WINDOW": 8}
    probed = play(_outage(end=15), **settings, CIRCUIT_BREAKER__OPEN_DURATION=8).recovery
    assert probed is not None
    assert 7 <= probed <= 9
    late = play(_outage(end=15), **settings, CIRCUIT_BREAKER__OPEN_DURATION=20)
    assert late.recovery == math.inf


def test_recovery_counts_from_the_end_of_the_last_disturbance():
    blips = [trouble("status", start=start, duration=2) for start in (10, 20)]
    # In between all was well for eight seconds.
    assert play(steady(50, *blips), CIRCUIT_BREAKER__MODE="off").recovery == 0


def test_without_a_before_or_an_after_there_is_no_recovery():
    assert play(scene()).recovery is None
    assert play(scene(trouble("refuse", start=5, duration=2))).recovery is None
    assert play(_outage(end=30)).recovery is None


def test_a_report_of_no_calls_divides_by_nothing():
    report = play(steady(1e-9))
    assert (report.calls, report.ratio, report.amplification("api")) == (0, 0, 0)


def _reports():
    scenario = load("outage").scaled(600)
    return scenario, [
        simulate(scenario, resolve({}), label="ours"),
        simulate(scenario, resolve(PROFILES["naive"]), label="naive"),
    ]


def test_the_series_of_every_variant_go_into_one_csv(tmp_path):
    _, reports = _reports()
    file = tmp_path / "series.csv"
    series_file.write(reports, file)
    with file.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [*lines[0]] == [
        "variant", "start", "calls", "successes", "attempts", "p50", "p99", "waiting",
    ]  # fmt: skip
    assert len(lines) == 240
    for label, report in zip(("ours", "naive"), reports, strict=True):
        own = [line for line in lines if line["variant"] == label]
        assert [int(line["successes"]) for line in own] == [s.successes for s in report.seconds]
    # Nothing succeeds in the outage.
    assert lines[40]["p99"] == ""


def test_the_picture_is_a_small_png_and_the_same_each_time(tmp_path):
    scenario, reports = _reports()
    pictures = []
    for name in ("a.png", "b.png"):
        draw(scenario, reports, tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0].startswith(PNG)
    assert len(pictures[0]) < 150_000
    assert pictures[0] == pictures[1]

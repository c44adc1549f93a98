from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from platform_http.cli import build_app
from platform_http.simulation import scenario

if TYPE_CHECKING:
    from click.testing import Result

SMALL = ("--calls", 1000, "--clients", 10)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["simulate", *map(str, arguments)])


def _row(result: Result, name: str) -> list[str]:
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()


def test_the_shipped_scenarios_are_listed_with_their_titles():
    result = _run("--list")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 8
    assert "metastable_dip" in result.stdout
    assert "Capacity dips for 10 s and returns" in result.stdout


def test_a_run_prints_the_figures_of_every_variant():
    result = _run("outage", *SMALL, "--vs", "naive", "--vs", "off:CIRCUIT_BREAKER__MODE=off")
    assert result.exit_code == 0
    assert "An upstream answers 503 to everything" in result.stdout
    assert "10 clients, " in result.stdout
    ours, naive, off = map(float, _row(result, "requests to api per call"))
    assert ours < off < naive
    assert len(_row(result, "failed: 503")) == 3
    assert _row(result, "failed: circuit_open")[1:] == ["0", "0"]
    for figure in ("calls that succeed", "p50 of successes", "goodput back after"):
        assert _row(result, figure)
    for label in ("settings", "naive", "off"):
        assert _row(result, f"goodput, {label}")
    # The picture of 120 s in 60 places, of which 30 are disturbed.
    assert _row(result, "disturbance") == ["━" * 30]


def test_each_step_of_a_chain_has_its_amplification():
    result = _run("chain", *SMALL)
    assert _row(result, "requests to b per call")
    assert _row(result, "requests to c per call")


def test_hedges_and_herds_have_figures_of_their_own():
    assert _row(_run("slow_replica", "--calls", 8000, "--clients", 2), "hedges per call")
    assert _row(_run("thundering_herd", *SMALL), "fullest 100 ms of resends / mean")
    steady = _run("steady", *SMALL).stdout
    assert "hedges" not in steady
    assert "resends" not in steady
    assert "disturbance" not in steady


def test_a_herd_without_a_resend_has_no_fullest_moment():
    result = _run("thundering_herd", *SMALL, "--set", "RETRY__ENABLED=false")
    assert _row(result, "fullest 100 ms of resends / mean") == ["-"]
    assert _row(result, "p99 of successes") == ["-"]


def test_what_is_set_applies_to_every_variant_and_beats_the_environment(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__ENABLED", "true")
    result = _run(
        "outage", *SMALL, "--set", "RETRY__ENABLED=false", "--set", "CIRCUIT_BREAKER__MODE=off",
        "--vs", "same:RETRY__MAX_ATTEMPTS=5", "--vs", "more:RETRY__ENABLED=true",
    )  # fmt: skip
    ours, same, more = _row(result, "requests to api per call")
    assert ours == same == "1.00"
    assert float(more) > 1


def test_the_environment_is_what_is_simulated(monkeypatch):
    monkeypatch.setenv("PLATFORM_HTTP_RETRY__ENABLED", "false")
    monkeypatch.setenv("PLATFORM_HTTP_CIRCUIT_BREAKER__MODE", "off")
    assert _row(_run("outage", *SMALL), "requests to api per call") == ["1.00"]


def test_the_seed_decides():
    first, again, other = (_run("steady", *SMALL, "--seed", seed).stdout for seed in (1, 1, 2))
    assert first == again != other


def test_a_collapse_is_told_in_words():
    result = _run("metastable_dip", "--calls", 10_000, "--clients", 100, "--vs", "naive")
    assert _row(result, "goodput back after")[2:] == ["never", "in", "this", "run"]


def test_series_and_picture_are_written(tmp_path):
    series, picture = tmp_path / "a.csv", tmp_path / "a.png"
    result = _run("steady", *SMALL, "--csv", series, "--png", picture)
    assert result.exit_code == 0
    assert series.read_text(encoding="utf-8").startswith("variant,start,calls")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_scenario_of_ones_own_is_played(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        title = "mine"
        duration = 5
        clients = 1
        [arrivals]
        pattern = "herd"
        start = 1
        calls = 7
        [[upstream]]
        name = "api"
        workers = 1
        service_time = { distribution = "exponential", mean = 0.01 }
        """,
        encoding="utf-8",
    )
    assert "1 clients, 7 calls, seed 1" in _run(file).stdout


def test_everything_that_is_wrong_with_the_variants_is_told_at_once():
    result = _run(
        "steady", "--set", "RETRY__MAXATTEMPTS=3", "--set", "X", "--vs", "other",
        "--vs", "a:TIMEOUT__TOTAL=soon", "--vs", "a:TIMEOUT__TOTAL=3",
    )  # fmt: skip
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "5 configuration problems:"
    for part in ("RETRY__MAXATTEMPTS is unknown", "'X' is not", "'other' is", "same label", "soon"):
        assert (part == "soon") != any(part in line for line in lines)
    assert any("timeout.total is not a number" in line for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [("no_such_scenario",), (), ("steady", "--calls", 0), ("steady", "--clients", 0)],
)
def test_wrong_usage_is_exit_code_2(arguments):
    result = _run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_a_file_that_cannot_be_written_is_told_in_a_line(tmp_path):
    result = _run("steady", *SMALL, "--csv", tmp_path / "none" / "a.csv")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_a_picture_without_matplotlib_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "platform_http.simulation.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    result = _run("steady", *SMALL, "--png", tmp_path / "a.png")
    assert result.exit_code == 2
    assert "platform-http[simulation]" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_nothing_of_matplotlib_is_imported_without_a_picture(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "platform_http.simulation.plot", raising=False)
    assert _run("steady", *SMALL).exit_code == 0
    assert not any(name.partition(".")[0] == "matplotlib" for name in sys.modules)


GUIDE = Path(__file__).parents[2] / "docs" / "choosing-the-numbers.md"


def _commands() -> list[list[str]]:
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    return [line.split()[2:] for line in lines if line.startswith("platform-http simulate ")]


@pytest.mark.parametrize("arguments", _commands(), ids=" ".join)
def test_every_command_of_the_guide_runs(arguments, monkeypatch, tmp_path):
    _, _, scenario = GUIDE.read_text(encoding="utf-8").partition("```toml\n")
    (tmp_path / "mine.toml").write_text(scenario.partition("```")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    smaller = () if "--calls" in arguments or "--list" in arguments else ("--calls", 500)
    result = _run(*arguments, *smaller)
    assert result.exit_code == 0, result.stderr


def test_the_guide_shows_every_key_of_the_format():
    text = GUIDE.read_text(encoding="utf-8")
    parts = [part for part in vars(scenario).values() if isinstance(part, type)]
    keys = {key for part in parts if issubclass(part, scenario.Part) for key in part.model_fields}
    assert len(keys) > 20
    assert [key for key in sorted(keys) if key not in text] == []


@pytest.mark.parametrize("name", ["metastable_dip", "outage"])
def test_the_pictures_of_the_guide_are_there_and_small(name):
    picture = GUIDE.parent / "pictures" / f"{name}.png"
    assert f"pictures/{name}.png" in GUIDE.read_text(encoding="utf-8")
    assert picture.stat().st_size < 150_000

"""The committed dashboards are those of the source, and a real Prometheus reads their queries."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dashboards.source.__main__ import main
from dashboards.source.artifacts import RULE_FILES, Artifacts
from dashboards.source.boards import BOARDS, text
from dashboards.source.grid import Grid
from dashboards.source.lint.board import Board, Set
from dashboards.source.lint.panel_rules import grid, unique_panel_ids
from dashboards.source.panels import Note, stat
from dashboards.source.promql import Vocabulary, substituted
from dashboards.source.query import Query
from tests.servers import prometheus

COMMITTED = Artifacts()
NAMES = ("overview", "dependency", "resilience", "connections", "slo", "fleet")
VARIABLES = ("datasource", "job", "instance", "client", "server")


def contents() -> dict[str, dict]:
    return {name: json.loads((COMMITTED.dashboards / f"{name}.json").read_text()) for name in NAMES}


def any_panel():
    return stat("Up", "short", Note("What.", "Good.", "Next."), Query("up"))


@pytest.fixture
def copied(tmp_path) -> Artifacts:
    """Artifacts of a folder that holds only what is written by hand."""
    artifacts = Artifacts(tmp_path)
    artifacts.rules.mkdir(parents=True)
    for name in RULE_FILES:
        (artifacts.rules / name).write_bytes((COMMITTED.rules / name).read_bytes())
    return artifacts


def test_there_are_the_six_dashboards_of_the_contract() -> None:
    assert sorted(path.stem for path in COMMITTED.dashboards.glob("*.json")) == sorted(NAMES)
    for name, content in contents().items():
        assert content["uid"] == f"platform-http-{name}"
        assert content["title"].startswith("Platform HTTP / ")
        assert [one["name"] for one in content["templating"]["list"]] == list(VARIABLES)


def test_the_committed_files_are_those_of_the_source(capsys) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_the_command_runs_as_a_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "dashboards.source", "--check"]
    result = subprocess.run(
        command, cwd=COMMITTED.root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_dashboard_has_one_text() -> None:
    for build in BOARDS.values():
        written = text(build())
        assert written == text(build())
        assert written.endswith("}\n")
        assert list(json.loads(written)) == sorted(json.loads(written))


def test_writing_makes_dashboards_and_exact_copies_for_the_chart(copied, capsys) -> None:
    assert main(["--write"], copied) == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == 2 * len(NAMES) + len(RULE_FILES)
    files = copied.root / "charts" / "platform-http-demo" / "files"
    for name in NAMES:
        committed = (COMMITTED.dashboards / f"{name}.json").read_bytes()
        assert (copied.dashboards / f"{name}.json").read_bytes() == committed
        assert (files / "dashboards" / f"{name}.json").read_bytes() == committed
    for name in RULE_FILES:
        assert (files / "rules" / name).read_bytes() == (COMMITTED.rules / name).read_bytes()
    assert main(["--check"], copied) == 0
    assert main(["--write"], copied) == 0
    assert capsys.readouterr().out == ""


def test_drift_is_found_and_summed_up(copied, capsys) -> None:
    main(["--write"], copied)
    files = copied.root / "charts" / "platform-http-demo" / "files"
    overview = copied.dashboards / "overview.json"
    overview.write_text(overview.read_text().replace('"refresh": "30s"', '"refresh": "5s"'))
    slo = copied.dashboards / "slo.json"
    slo.write_text(slo.read_text().replace('"h": ', '"h":  '))
    (files / "dashboards" / "fleet.json").unlink()
    alerts = files / "rules" / "alerts.yaml"
    alerts.write_bytes(alerts.read_bytes().replace(b"\n", b"\r\n"))
    (files / "dashboards" / "old.json").write_text("{}")
    capsys.readouterr()
    assert main(["--check"], copied) == 1
    told = capsys.readouterr().err
    assert "dashboards/grafana/overview.json differs from its source:" in told
    assert '  -  "refresh": "5s",\n  +  "refresh": "30s",\n' in told
    assert "more lines" in told
    assert "files/dashboards/fleet.json is missing" in told
    assert "files/rules/alerts.yaml differs from its source:\n  only its line ends" in told
    assert "files/dashboards/old.json has no source" in told
    assert "make dashboards" in told
    assert main(["--write"], copied) == 0
    assert main(["--check"], copied) == 0
    assert not (files / "dashboards" / "old.json").exists()


def test_a_mistake_in_a_rule_fails_the_check(copied, capsys) -> None:
    rules = copied.rules / "recording.yaml"
    content = yaml.safe_load(rules.read_text())
    content["groups"][0]["rules"][0]["expr"] = "rate(http_calls_total[5m])"
    rules.write_text(yaml.safe_dump(content))
    main(["--write"], copied)
    assert main(["--check"], copied) == 1
    assert "metric http_calls_total does not exist [rule-promql]" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["--write", "--check"])
def test_a_missing_rule_file_is_named(copied, capsys, action) -> None:
    (copied.rules / "alerts.yaml").unlink()
    assert main([action], copied) == 1
    assert "alerts.yaml" in capsys.readouterr().err


def test_one_of_two_actions_has_to_be_chosen(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "--write --check" in capsys.readouterr().err


_LINES = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.lists(st.integers(1, 23), max_size=5, unique=True).map(
            lambda cuts: [
                b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 24], strict=True)
            ]
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(_LINES, st.booleans())
def test_panels_of_a_grid_never_overlap_nor_overflow(lines, rows) -> None:
    placed = Grid()
    for height, widths in lines:
        if rows:
            placed.row("A row")
        placed.line(height, *((width, any_panel()) for width in widths))
    panels = [
        {"id": one.id_val, "title": "", "gridPos": one.grid_pos.to_json()} for one in placed.panels
    ]
    board = Board("drawn", {"panels": panels})
    boards = Set((board,), Vocabulary({}))
    assert list(grid(board, boards)) == []
    assert list(unique_panel_ids(board, boards)) == []


@pytest.mark.parametrize(
    ("height", "widths"), [(8, (12, 13)), (8, (12, 11)), (8, (25, -1)), (8, (24, 0)), (0, (24,))]
)
def test_a_line_that_does_not_fill_the_grid_is_refused(height, widths) -> None:
    with pytest.raises(ValueError, match="add up to 24"):
        Grid().line(height, *((width, any_panel()) for width in widths))


def test_a_real_prometheus_reads_every_query() -> None:
    queries = sorted(
        {
            substituted(target["expr"])
            for content in contents().values()
            for panel in content["panels"]
            for target in panel.get("targets", ())
        }
        | {
            substituted(annotation["expr"])
            for content in contents().values()
            for annotation in content["annotations"]["list"]
        }
    )
    assert len(queries) > 100
    with prometheus({}) as port:
        for query in queries:
            parameters = urllib.parse.urlencode({"query": query})
            address = f"http://127.0.0.1:{port}/api/v1/query?{parameters}"
            with urllib.request.urlopen(address, timeout=10) as response:
                answer = json.load(response)
            assert answer["status"] == "success"


def _panels_of(name: str) -> dict[str, dict]:
    return {panel["title"]: panel for panel in contents()[name]["panels"]}


def test_own_certificates_which_have_no_server_are_shown_whatever_server_is_chosen() -> None:
    asked = [
        target["expr"]
        for panel in _panels_of("connections").values()
        for target in panel.get("targets", ())
        if "certificate_expiry" in target["expr"]
    ]
    assert len(asked) == 2
    assert [expr for expr in asked if 'server_address=~"$server|"' not in expr] == []


def test_pages_and_certificates_that_end_first_stand_on_top() -> None:
    tables = {
        "overview": ("Alerts that fire", "Severity"),
        "connections": ("Certificates, first to end on top", "Days left"),
    }
    for name, (title, column) in tables.items():
        sorting = _panels_of(name)[title]["options"]["sortBy"]
        assert sorting == [{"displayName": column, "desc": False}]


@pytest.mark.parametrize("title", ["Burn rate of the worst client", "Burn rate by client, 1 hour"])
def test_one_client_that_always_fails_does_not_hide_the_lines_at_which_alerts_begin(title) -> None:
    custom = _panels_of("slo")[title]["fieldConfig"]["defaults"]["custom"]
    assert custom["scaleDistribution"] == {"type": "symlog", "log": 10, "linearThreshold": 1}


def test_what_is_usually_zero_has_no_axis_to_a_hundred() -> None:
    for name, title in (
        ("connections", "Failed DNS lookups"),
        ("resilience", "Rate limit store errors"),
        ("fleet", "Refused destinations by reason"),
    ):
        assert _panels_of(name)[title]["fieldConfig"]["defaults"]["custom"]["axisSoftMax"] == 1


def test_the_cells_of_the_heatmap_are_rates_and_its_axis_is_time() -> None:
    options = _panels_of("dependency")["Duration of attempts"]["options"]
    assert (options["cellValues"]["unit"], options["yAxis"]["unit"]) == ("reqps", "s")


@pytest.mark.parametrize(
    ("name", "title", "before"),
    [
        ("dependency", "p95 of calls by operation", "^"),
        ("dependency", "p95 of attempts by template", r" \/"),
        ("fleet", "p99 of event loop lag", "^"),
        ("overview", "Calls by client", "· "),
    ],
)
def test_names_of_different_letters_have_different_hues(name, title, before) -> None:
    overrides = _panels_of(name)[title]["fieldConfig"]["overrides"]
    hues = {
        override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
        for override in overrides
        if override["matcher"]["id"] == "byRegexp"
    }
    assert all(pattern.startswith(f"/{before}[") for pattern in hues)
    assert len(set(hues.values())) == len(hues) == 5

"""Every rule of the linter finds what it is there for, and nothing in the committed dashboards."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dashboards.source.artifacts import Artifacts
from dashboards.source.lint.board import Board, Set
from dashboards.source.lint.rules import RULES, judge_boards, judge_rule_files
from dashboards.source.promql import Vocabulary

ARTIFACTS = Artifacts()
VOCABULARY = Vocabulary.of_library().with_rules(ARTIFACTS.rule_files)
COMMITTED = {
    path.stem: json.loads(path.read_text()) for path in sorted(ARTIFACTS.dashboards.glob("*.json"))
}

Dashboard = dict[str, Any]
Break = Callable[[Dashboard], object]


def boards(**changed: Dashboard) -> Set:
    contents = {**COMMITTED, **changed}
    return Set(tuple(Board(name, content) for name, content in contents.items()), VOCABULARY)


def panel(board: Dashboard, kind: str) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == kind)


def titled(board: Dashboard, title: str) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["title"] == title)


def target(board: Dashboard, kind: str = "timeseries") -> dict[str, Any]:
    return panel(board, kind)["targets"][0]


def variable(board: Dashboard, name: str) -> dict[str, Any]:
    return next(one for one in board["templating"]["list"] if one["name"] == name)


def steps(board: Dashboard, kind: str = "stat") -> list[dict[str, Any]]:
    return panel(board, kind)["fieldConfig"]["defaults"]["thresholds"]["steps"]


def data_link(board: Dashboard) -> dict[str, Any]:
    overrides = titled(board, "Calls by client")["fieldConfig"]["overrides"]
    return overrides[0]["properties"][0]["value"][0]


def asking(expr: str) -> Break:
    return lambda board: target(board).update(expr=expr)


def replacing(old: str, new: str) -> Break:
    """Replace text in the first query over time that has it."""

    def change(board: Dashboard) -> None:
        for one in board["panels"]:
            for query in one.get("targets", []):
                if one["type"] == "timeseries" and old in query["expr"]:
                    query["expr"] = query["expr"].replace(old, new)
                    return
        pytest.fail(f"no query has {old}")

    return change


def in_link(old: str, new: str) -> Break:
    def change(board: Dashboard) -> None:
        link = data_link(board)
        assert old in link["url"]
        link["url"] = link["url"].replace(old, new)

    return change


SUM = 'sum(rate(platform_http_calls_total{job=~"$job", instance=~"$instance", client=~"$client"}'
BREAKS: list[tuple[str, str, Break]] = [
    ("schema", "an unknown key", lambda b: b.update(colour="blue")),
    ("schema", "an unknown key of a panel", lambda b: panel(b, "stat").update(colour="blue")),
    ("schema", "an unknown option", lambda b: panel(b, "stat")["options"].update(size=3)),
    ("schema", "panels that are none", lambda b: b.update(panels=["panel"])),
    ("unique-uid", "a uid twice", lambda b: b.update(uid=COMMITTED["slo"]["uid"])),
    ("unique-uid", "no uid", lambda b: b.pop("uid")),
    ("unique-uid", "a uid that is too long", lambda b: b.update(uid="x" * 41)),
    ("uneditable-dashboard", "an editable one", lambda b: b.update(editable=True)),
    ("uneditable-dashboard", "one that does not say", lambda b: b.pop("editable")),
    ("shared-frame", "no tag", lambda b: b.update(tags=["http"])),
    ("shared-frame", "no crosshair", lambda b: b.update(graphTooltip=0)),
    ("shared-frame", "no description", lambda b: b.pop("description")),
    ("shared-frame", "no deploys", lambda b: b["annotations"]["list"].pop(1)),
    ("shared-frame", "no open circuits", lambda b: b["annotations"]["list"].pop(0)),
    ("panel-count", "too many panels", lambda b: b["panels"].extend([panel(b, "stat")] * 20)),
    (
        "template-datasource-rule",
        "no data source to choose",
        lambda b: b["templating"]["list"].pop(0),
    ),
    (
        "template-datasource-rule",
        "another kind of data source",
        lambda b: variable(b, "datasource").update(query="loki"),
    ),
    (
        "template-datasource-rule",
        "another label",
        lambda b: variable(b, "datasource").update(label="Prometheus"),
    ),
    ("template-job-rule", "no job", lambda b: b["templating"]["list"].pop(1)),
    ("template-job-rule", "only one job", lambda b: variable(b, "job").update(multi=False)),
    ("template-job-rule", "another name", lambda b: variable(b, "job").update(label="Service")),
    (
        "template-job-rule",
        "a fixed data source",
        lambda b: variable(b, "job").update(datasource={"uid": "abc"}),
    ),
    ("template-instance-rule", "no instance", lambda b: b["templating"]["list"].pop(2)),
    (
        "template-instance-rule",
        "an All that means the known ones",
        lambda b: variable(b, "instance").pop("allValue"),
    ),
    ("template-client", "no All", lambda b: variable(b, "client").update(includeAll=False)),
    ("template-server", "typed text", lambda b: variable(b, "server").update(type="textbox")),
    ("template-order", "another order", lambda b: b["templating"]["list"].reverse()),
    (
        "template-order",
        "one more",
        lambda b: b["templating"]["list"].append({"name": "pod", "type": "textbox"}),
    ),
    (
        "template-on-time-change-reload-rule",
        "values of when it was opened",
        lambda b: variable(b, "client").update(refresh=1),
    ),
    (
        "template-label-promql-rule",
        "an unknown metric",
        lambda b: variable(b, "job").update(query="label_values(http_requests_total, job)"),
    ),
    (
        "template-label-promql-rule",
        "an unknown label",
        lambda b: variable(b, "job").update(query="label_values(up, service)"),
    ),
    (
        "template-label-promql-rule",
        "another function",
        lambda b: variable(b, "job").update(query={"query": "query_result(up)"}),
    ),
    ("variables-exist", "a query with an unknown one", replacing("$client", "$customer")),
    ("variables-exist", "the old spelling", replacing("$client", "[[customer]]")),
    ("links-resolve", "no link", lambda b: b.update(links=[])),
    ("links-resolve", "a tag that nobody has", lambda b: b["links"][0].update(tags=["other"])),
    ("links-resolve", "a link that forgets", lambda b: b["links"][0].update(includeVars=False)),
    ("links-resolve", "an unknown dashboard", in_link("-dependency", "-dependencies")),
    ("links-resolve", "another server", in_link("/d/", "https://grafana.example.com/d/")),
    ("links-resolve", "an unknown variable", in_link("var-client", "var-customer")),
    ("links-resolve", "a lost variable", in_link("${job:queryparam}&", "")),
    ("links-resolve", "a lost time range", in_link("${__url_time_range}&", "")),
    ("unique-panel-ids", "an id twice", lambda b: b["panels"][1].update(id=b["panels"][0]["id"])),
    ("unique-panel-ids", "no id", lambda b: b["panels"][1].pop("id")),
    ("unique-panel-ids", "zero", lambda b: b["panels"][1].update(id=0)),
    ("grid", "an overlap", lambda b: b["panels"][1]["gridPos"].update(x=2)),
    ("grid", "an overlap by height", lambda b: b["panels"][0]["gridPos"].update(h=5)),
    ("grid", "beyond the right", lambda b: b["panels"][5]["gridPos"].update(w=5)),
    ("grid", "beyond the left", lambda b: b["panels"][0]["gridPos"].update(x=-1)),
    ("grid", "no width", lambda b: b["panels"][0]["gridPos"].update(w=0)),
    ("grid", "nowhere", lambda b: b["panels"][0].pop("gridPos")),
    (
        "panel-datasource-rule",
        "a panel with its own",
        lambda b: panel(b, "stat").update(datasource={"type": "prometheus", "uid": "abc"}),
    ),
    (
        "panel-datasource-rule",
        "a panel with the default",
        lambda b: panel(b, "stat").pop("datasource"),
    ),
    (
        "panel-datasource-rule",
        "a query with its own",
        lambda b: target(b).update(datasource={"type": "prometheus", "uid": "abc"}),
    ),
    (
        "panel-datasource-rule",
        "an annotation with its own",
        lambda b: b["annotations"]["list"][0].update(datasource={"uid": "-- Grafana --"}),
    ),
    ("panel-title-description-rule", "no title", lambda b: panel(b, "stat").update(title="")),
    (
        "panel-title-description-rule",
        "no description",
        lambda b: panel(b, "stat").pop("description"),
    ),
    (
        "panel-title-description-rule",
        "nothing to do",
        lambda b: panel(b, "stat").update(description="Calls.\n\n**Good:** many."),
    ),
    (
        "panel-title-description-rule",
        "a title twice",
        lambda b: b["panels"][1].update(title=b["panels"][0]["title"]),
    ),
    (
        "panel-units-rule",
        "no unit",
        lambda b: panel(b, "stat")["fieldConfig"]["defaults"].pop("unit"),
    ),
    (
        "panel-units-rule",
        "an unknown unit",
        lambda b: panel(b, "stat")["fieldConfig"]["defaults"].update(unit="calls"),
    ),
    (
        "panel-units-rule",
        "an unknown unit of a column",
        lambda b: panel(b, "table")["fieldConfig"]["overrides"][0]["properties"][0].update(
            value="calls"
        ),
    ),
    ("panel-no-targets-rule", "no query", lambda b: panel(b, "stat").update(targets=[])),
    (
        "panel-no-targets-rule",
        "a reference twice",
        lambda b: panel(b, "table")["targets"][1].update(refId="A"),
    ),
    (
        "legend-table",
        "a list",
        lambda b: panel(b, "timeseries")["options"]["legend"].update(displayMode="list"),
    ),
    (
        "legend-table",
        "a hidden legend",
        lambda b: panel(b, "timeseries")["options"]["legend"].update(showLegend=False),
    ),
    (
        "legend-table",
        "a legend without the maximum",
        lambda b: panel(b, "timeseries")["options"]["legend"].update(calcs=["mean"]),
    ),
    ("thresholds-ascending", "a falling one", lambda b: steps(b)[2].update(value=0.5)),
    ("thresholds-ascending", "one twice", lambda b: steps(b)[2].update(value=0.99)),
    ("thresholds-ascending", "a first with a value", lambda b: steps(b)[0].update(value=0)),
    ("thresholds-ascending", "a second without", lambda b: steps(b)[1].update(value=None)),
    ("thresholds-ascending", "none", lambda b: steps(b).clear()),
    ("thresholds-ascending", "percent of a share", lambda b: steps(b)[2].update(value=99.9)),
    (
        "thresholds-ascending",
        "a falling one of a column",
        lambda b: panel(b, "table")["fieldConfig"]["overrides"][1]["properties"][2]["value"][
            "steps"
        ].reverse(),
    ),
    (
        "red-means-failure",
        "a red threshold",
        lambda b: titled(b, "p95 of calls")["fieldConfig"]["defaults"]["thresholds"]["steps"][
            2
        ].update(color="red"),
    ),
    (
        "red-means-failure",
        "a palette with red",
        lambda b: titled(b, "Calls by client")["fieldConfig"]["defaults"].update(
            color={"mode": "palette-classic"}
        ),
    ),
    (
        "red-means-failure",
        "a red line",
        lambda b: titled(b, "Duration of calls")["fieldConfig"]["overrides"][0]["properties"][
            0
        ].update(value={"mode": "fixed", "fixedColor": "dark-red"}),
    ),
    (
        "red-means-failure",
        "a red scale",
        lambda b: titled(b, "In flight")["options"].update(scheme="RdYlGn"),
    ),
    ("target-promql-rule", "no PromQL", asking("sum(")),
    ("target-promql-rule", "an unknown metric", asking("sum(rate(http_requests_total[5m]))")),
    ("target-promql-rule", "a counter as it is", asking("sum(platform_http_calls_total)")),
    (
        "target-promql-rule",
        "an annotation with an unknown metric",
        lambda b: b["annotations"]["list"][0].update(expr="node_boot_time_seconds"),
    ),
    ("target-rate-interval-rule", "a fixed range", replacing("$__rate_interval", "5m")),
    (
        "target-rate-interval-rule",
        "the whole range over time",
        replacing("$__rate_interval", "$__range"),
    ),
    ("target-job-rule", "no job", replacing('job=~"$job", ', "")),
    ("target-job-rule", "one job", replacing('job=~"$job"', 'job=~"caller"')),
    ("target-job-rule", "equality to several", replacing('job=~"$job"', 'job="$job"')),
    ("target-instance-rule", "no instance", replacing('instance=~"$instance", ', "")),
    ("target-client", "no client", replacing(', client=~"$client"', "")),
    (
        "quotient-sides",
        "attempts of a server by calls of all",
        asking(
            'sum by (job, client) (rate(http_client_request_duration_seconds_count{job=~"$job", '
            'instance=~"$instance", client=~"$client", server_address=~"$server"}[5m])) / '
            'sum by (job, client) (rate(platform_http_calls_total{job=~"$job", '
            'instance=~"$instance", client=~"$client"}[5m]))'
        ),
    ),
    ("target-server", "no server", replacing(', server_address=~"$server"', "")),
    ("legend-bounded", "an unknown label", lambda b: target(b).update(legendFormat="{{path}}")),
    (
        "legend-bounded",
        "a line per instance",
        asking(f"{SUM.replace('sum', 'sum by (instance) ')}[1m]))"),
    ),
    (
        "legend-bounded",
        "a line per operation",
        asking(f"{SUM.replace('sum', 'sum by (operation) ')}[1m]))"),
    ),
    ("legend-complete", "no legend", lambda b: target(b).pop("legendFormat")),
    ("legend-complete", "lines of one name", lambda b: target(b).update(legendFormat="calls")),
    (
        "latency-exemplars",
        "a latency without",
        lambda b: titled(b, "Duration of calls")["targets"][2].pop("exemplar"),
    ),
]


@pytest.mark.parametrize(
    ("rule", "change"),
    [pytest.param(rule, change, id=f"{rule}: {what}") for rule, what, change in BREAKS],
)
def test_a_rule_reports_what_breaks_it(rule: str, change: Break) -> None:
    broken = copy.deepcopy(COMMITTED["overview"])
    change(broken)
    reported = list(RULES[rule](Board("overview", broken), boards(overview=broken)))
    assert reported
    for place, message in reported:
        assert place.startswith("overview")
        assert message


def test_every_rule_has_a_dashboard_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


def test_the_committed_dashboards_break_no_rule() -> None:
    assert [str(finding) for finding in judge_boards(boards())] == []


def test_a_finding_says_where_and_by_which_rule() -> None:
    broken = copy.deepcopy(COMMITTED["overview"])
    panel(broken, "stat")["targets"][0]["expr"] = "sum(platform_http_calls_total)"
    messages = [str(finding) for finding in judge_boards(boards(overview=broken))]
    assert (
        "overview: Successful calls, query A: counter platform_http_calls_total is used outside "
        "rate() or increase() [target-promql-rule]"
    ) in [message.replace("'", "") for message in messages]


def test_panels_of_a_collapsed_row_are_judged_too() -> None:
    broken = copy.deepcopy(COMMITTED["dependency"])
    inside = broken["panels"].pop()
    inside["title"] = ""
    row = next(one for one in reversed(broken["panels"]) if one["type"] == "row")
    row.update(collapsed=True, panels=[inside])
    rules = {finding.rule for finding in judge_boards(boards(dependency=broken))}
    assert "panel-title-description-rule" in rules


def test_queries_of_another_time_need_no_exemplars() -> None:
    reported = RULES["latency-exemplars"](Board("dependency", COMMITTED["dependency"]), boards())
    assert not list(reported)
    last_week = titled(COMMITTED["dependency"], "p95 of calls, against last week")["targets"][1]
    assert "offset 1w" in last_week["expr"]
    assert "exemplar" not in last_week


def test_expressions_of_rules_are_judged() -> None:
    files = {path.name: yaml.safe_load(path.read_text()) for path in ARTIFACTS.rule_files}
    assert list(judge_rule_files(files, VOCABULARY)) == []
    files["alerts.yaml"]["groups"][0]["rules"][0]["expr"] = "rate(up[5m]) > 1"
    (finding,) = judge_rule_files(files, VOCABULARY)
    assert finding.rule == "rule-promql"
    assert finding.place.startswith("alerts.yaml: ")


def test_the_readme_lists_every_rule_as_the_rule_says() -> None:
    readme = (ARTIFACTS.root / "dashboards" / "README.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", readme, re.MULTILINE)
    assert rows == [
        (name, (rule.__doc__ or "").splitlines()[0].replace("``", "`"))
        for name, rule in RULES.items()
    ]

"""All rules by name, and what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dashboards.source import promql
from dashboards.source.lint import frame_rules, panel_rules, query_rules
from dashboards.source.lint.board import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dashboards.source.lint.board import Rule, Set
    from dashboards.source.promql import Vocabulary

# Those that Grafana's dashboard-linter has too bear its names.
RULES: Final[Mapping[str, Rule]] = {
    "schema": frame_rules.schema,
    "unique-uid": frame_rules.unique_uid,
    "uneditable-dashboard": frame_rules.uneditable_dashboard,
    "shared-frame": frame_rules.shared_frame,
    "panel-count": frame_rules.panel_count,
    "template-datasource-rule": frame_rules.template_datasource,
    "template-job-rule": frame_rules.template_job,
    "template-instance-rule": frame_rules.template_instance,
    "template-client": frame_rules.template_client,
    "template-server": frame_rules.template_server,
    "template-order": frame_rules.template_order,
    "template-on-time-change-reload-rule": frame_rules.template_on_time_change_reload,
    "template-label-promql-rule": frame_rules.template_label_promql,
    "variables-exist": frame_rules.variables_exist,
    "links-resolve": frame_rules.links_resolve,
    "unique-panel-ids": panel_rules.unique_panel_ids,
    "grid": panel_rules.grid,
    "panel-datasource-rule": panel_rules.panel_datasource,
    "panel-title-description-rule": panel_rules.panel_title_description,
    "panel-units-rule": panel_rules.panel_units,
    "panel-no-targets-rule": panel_rules.panel_no_targets,
    "legend-table": panel_rules.legend_table,
    "thresholds-ascending": panel_rules.thresholds_ascending,
    "red-means-failure": panel_rules.red_means_failure,
    "target-promql-rule": query_rules.target_promql,
    "target-rate-interval-rule": query_rules.target_rate_interval,
    "target-job-rule": query_rules.target_job,
    "target-instance-rule": query_rules.target_instance,
    "target-client": query_rules.target_client,
    "target-server": query_rules.target_server,
    "quotient-sides": query_rules.quotient_sides,
    "legend-bounded": query_rules.legend_bounded,
    "legend-complete": query_rules.legend_complete,
    "latency-exemplars": query_rules.latency_exemplars,
}


def judge_boards(boards: Set) -> list[Finding]:
    """Return what all rules have against the dashboards of *boards*."""
    return [
        Finding(name, place, message)
        for board in boards.boards
        for name, rule in RULES.items()
        for place, message in rule(board, boards)
    ]


def judge_rule_files(
    files: Mapping[str, dict[str, Any]], vocabulary: Vocabulary
) -> Iterator[Finding]:
    """Yield what is wrong with the expressions of Prometheus rules.

    Args:
        files: Parsed rule files by name.
        vocabulary: What they may ask for, the names that they record included.
    """
    for file, content in files.items():
        for group in content["groups"]:
            for rule in group["rules"]:
                name = rule.get("record") or rule.get("alert")
                for violation in promql.violations(str(rule["expr"]), vocabulary):
                    yield Finding("rule-promql", f"{file}: {name}", violation)

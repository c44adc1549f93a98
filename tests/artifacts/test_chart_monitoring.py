"""What the chart installs for Prometheus and Grafana is what ``dashboards/`` holds."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import yaml

from tests.artifacts.charts import CHART, ROOT, find, render, render_values, run_helm
from tests.servers import program

DASHBOARDS = sorted((ROOT / "dashboards/grafana").glob("*.json"))
RULES = sorted((ROOT / "dashboards/prometheus").glob("*.yaml"))
CUSTOM = CHART / "ci/monitoring-values.yaml"


def test_the_bundled_copies_equal_their_originals():
    for originals, folder in ((DASHBOARDS, "dashboards"), (RULES, "rules")):
        copies = sorted((CHART / "files" / folder).iterdir())
        assert [each.name for each in copies] == [each.name for each in originals]
        for copy, original in zip(copies, originals, strict=True):
            assert copy.read_bytes() == original.read_bytes(), copy.name


def test_dashboards_arrive_byte_for_byte_and_are_found_by_the_sidecar():
    manifests = render()
    assert len(DASHBOARDS) == 6
    for original in DASHBOARDS:
        config = find(manifests, "ConfigMap", f"-dashboard-{original.stem}")
        assert list(config["data"].values()) == [original.read_text()]
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config["metadata"]["annotations"] == {"grafana_folder": "Platform HTTP"}
        # The sidecar writes all of them into one folder.
        assert list(config["data"]) == [f"platform-http-{original.name}"]


def test_label_and_folder_of_dashboards_can_be_chosen():
    config = find(render(CUSTOM), "ConfigMap", "-dashboard-overview")
    assert config["metadata"]["labels"]["dashboards"] == "platform"
    assert config["metadata"]["annotations"] == {"example.com/folder": "Platform: HTTP"}


def test_a_dashboard_that_no_config_map_holds_is_refused(tmp_path):
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy)
    huge = json.dumps({"title": "x" * 1_000_000})
    (copy / "files/dashboards/huge.json").write_text(huge)
    finished = run_helm("template", "demo", copy)
    assert finished.returncode != 0
    assert f"files/dashboards/huge.json has {len(huge)} bytes" in finished.stderr


@pytest.mark.parametrize("files", [(), (CUSTOM,)], ids=["defaults", "custom"])
def test_prometheus_accepts_the_rendered_rules(files, tmp_path):
    promtool = program("promtool")
    rendered = [each for each in render(*files) if each["kind"] == "PrometheusRule"]
    assert len(rendered) == len(RULES)
    paths = []
    for each in rendered:
        path = tmp_path / f"{each['metadata']['name']}.yaml"
        path.write_text(yaml.safe_dump(each["spec"]))
        paths.append(str(path))
    finished = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_rules_differ_from_their_originals_only_in_the_addresses_of_links():
    for original in RULES:
        rendered = find(render(), "PrometheusRule", f"-{original.stem}")
        assert rendered["spec"] == yaml.safe_load(original.read_text())
        custom = find(render(CUSTOM), "PrometheusRule", f"-{original.stem}")
        expected = (
            original.read_text()
            .replace("https://grafana.example.com/", "https://grafana.internal.example.com/")
            .replace(
                "https://runbooks.example.com/platform_http/",
                "https://runbooks.internal.example.com/http/",
            )
        )
        assert custom["spec"] == yaml.safe_load(expected)
        assert custom["metadata"]["labels"]["release"] == "prometheus"


def test_every_alert_links_to_the_addresses_of_the_values():
    alerts = find(render(CUSTOM), "PrometheusRule", "-alerts")
    rules = [rule for group in alerts["spec"]["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        links = rule["annotations"]
        assert links["dashboard_url"].startswith("https://grafana.internal.example.com/d/")
        name = rule["alert"]
        assert links["runbook_url"] == f"https://runbooks.internal.example.com/http/{name}"


def test_the_monitor_is_labelled_for_the_prometheus_that_looks_for_it():
    monitor = find(render(CUSTOM), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"][0]["interval"] == "30s"


def test_metrics_come_by_one_way_unless_two_are_asked_for():
    otel = {"enabled": True, "metrics": True}
    pushed = {"otel": otel, "monitoring": {"serviceMonitor": {"enabled": False}}}
    assert "ServiceMonitor" not in {each["kind"] for each in render_values(pushed)}
    both = {"otel": otel, "monitoring": {"serviceMonitor": {"besideOtlp": True}}}
    assert find(render_values(both), "ServiceMonitor")
    # Spans alone are no metrics.
    assert find(render_values({"otel": {"enabled": True}}), "ServiceMonitor")


def test_all_of_it_can_be_switched_off():
    kinds = [each["kind"] for each in render(CHART / "ci/monitoring-off-values.yaml")]
    assert not {"ServiceMonitor", "PrometheusRule", "Pod"} & set(kinds)
    assert kinds.count("ConfigMap") == 1

"""The stack cannot be started here: its files are held against each other and real programs."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values
from opentelemetry.sdk.trace import TracerProvider

from platform_http.settings import HttpSettings
from platform_http.telemetry.tallies import exemplar_labels
from tests.servers import program

ROOT = Path(__file__).parents[2]
STACK = ROOT / "examples" / "stack"
ROLES = ("upstream", "caller", "load")


def read(name: str):
    return yaml.safe_load((STACK / name).read_text())


@pytest.fixture(scope="module")
def services():
    return read("compose.yaml")["services"]


def mounts(service) -> dict[str, str]:
    """Return the source of each mount by its target."""
    parts = [volume.split(":") for volume in service.get("volumes", ())]
    return {part[1]: part[0] for part in parts}


def test_prometheus_accepts_its_configuration(services, tmp_path):
    folder = tmp_path / "etc"
    for target, source in mounts(services["prometheus"]).items():
        if target.startswith("/etc/prometheus/"):
            place = folder / target.removeprefix("/etc/prometheus/")
            place.parent.mkdir(parents=True, exist_ok=True)
            text = (STACK / source).read_text()
            place.write_text(text.replace("/etc/prometheus/", f"{folder}/"))
    finished = subprocess.run(
        [program("promtool"), "check", "config", folder / "prometheus.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "2 rule files found" in finished.stdout


def test_prometheus_remembers_the_window_of_the_error_budget(services):
    option = "--storage.tsdb.retention.time="
    (days,) = [
        int(each.removeprefix(option).removesuffix("d"))
        for each in services["prometheus"]["command"]
        if each.startswith(option)
    ]
    assert days >= 30


def test_alertmanager_accepts_its_configuration():
    finished = subprocess.run(
        [program("amtool"), "check-config", STACK / "alertmanager/alertmanager.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_inhibitions_and_routes_name_alerts_and_severities_that_exist():
    rules = yaml.safe_load((ROOT / "dashboards/prometheus/alerts.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    text = (STACK / "alertmanager/alertmanager.yaml").read_text()
    named = set(re.findall(r'alertname="(\w+)"', text))
    assert named
    assert named <= {alert["alert"] for alert in alerts}
    severities = set(re.findall(r'severity="(\w+)"', text))
    assert severities <= {alert["labels"]["severity"] for alert in alerts}


def test_every_mounted_file_exists_and_every_volume_is_declared(services):
    declared = read("compose.yaml")["volumes"].keys()
    used = set()
    for name, service in services.items():
        for target, source in mounts(service).items():
            if source.startswith("."):
                assert (STACK / source).exists(), f"{name}: {source}"
            else:
                used.add(source)
            assert target.startswith("/"), name
    assert used == declared


def test_every_image_has_a_version(services):
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), name


def test_ports_are_published_for_this_machine_alone(services):
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_service_waits_only_for_services_that_exist(services):
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()


def test_prometheus_scrapes_each_role_where_it_listens(services):
    scraped = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in read("prometheus/prometheus.yaml")["scrape_configs"]
    }
    assert scraped == {
        role: [f"{role}:{services[role]['environment']['DEMO_PORT']}"] for role in ROLES
    }
    # Jobs have one name, by whichever way the metrics come.
    for role in ROLES:
        assert services[role]["environment"]["OTEL_SERVICE_NAME"] == role


def test_roles_are_commands_of_the_image_and_hardened(services):
    for role in ROLES:
        service = services[role]
        assert service["command"] == ["demo", role]
        assert (STACK / service["build"] / "Dockerfile").exists()
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_address_leads_to_a_service_and_a_port_that_it_has(services):
    listens = {
        "upstream": {9000, 9001, 9002, 9003},
        "caller": {8080},
        "prometheus": {9090},
        "alertmanager": {9093},
        "tempo": {read("tempo/tempo.yaml")["server"]["http_listen_port"], 4317},
        "collector": {4317, 4318},
    }
    otlp = read("tempo/tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]
    assert otlp["grpc"]["endpoint"] == "0.0.0.0:4317"
    texts = [path.read_text() for path in STACK.rglob("*.yaml")]
    found = set()
    for host, port in re.findall(r"\b([a-z]+):(\d{4})\b", "\n".join(texts)):
        if host in services:
            found.add(host)
            assert int(port) in listens.get(host, {8081}), f"{host}:{port}"
    assert found >= {"upstream", "caller", "load", "collector", "tempo", "prometheus"}


def test_the_library_accepts_the_environment_of_the_caller(services, monkeypatch):
    caller = services["caller"]
    example = (STACK / caller["env_file"]).read_text()
    environ = dict(dotenv_values(stream=io.StringIO(example))) | caller["environment"]
    for name, value in environ.items():
        monkeypatch.setenv(name, str(value))
    settings = HttpSettings()
    assert set(settings.client_names) == {"billing", "inventory", "search", "webhooks", "partner"}
    # Customers say where their services are.
    for name in {*settings.client_names} - {"webhooks"}:
        assert "//upstream:900" in str(settings.client(name).base_url)


def test_pipelines_of_the_collector_name_what_it_has(services):
    collector = read("collector/collector.yaml")
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= collector[kind].keys()
        # It protects the program only in front of all others.
        assert pipeline["processors"][0] == "memory_limiter"


def test_grafana_finds_its_dashboards_and_its_data(services):
    targets = mounts(services["grafana"])
    (provider,) = read("grafana/provisioning/dashboards/dashboards.yaml")["providers"]
    folder = STACK / targets[provider["options"]["path"]]
    dashboards = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert len(dashboards) == 6
    home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (str(home.parent), home.name in dashboards) == (provider["options"]["path"], True)
    assert targets["/etc/grafana/provisioning"] == "./grafana/provisioning"

    sources = read("grafana/provisioning/datasources/datasources.yaml")["datasources"]
    by_uid = {source["uid"]: source for source in sources}
    assert len(by_uid) == len(sources)
    prometheus = by_uid["prometheus"]
    assert prometheus["isDefault"] is True
    (link,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert by_uid[link["datasourceUid"]]["type"] == "tempo"
    scrape = read("prometheus/prometheus.yaml")["global"]["scrape_interval"]
    assert prometheus["jsonData"]["timeInterval"] == scrape


def test_links_of_exemplars_read_the_label_that_the_library_writes():
    sources = read("grafana/provisioning/datasources/datasources.yaml")["datasources"]
    (link,) = sources[0]["jsonData"]["exemplarTraceIdDestinations"]
    provider = TracerProvider()
    with provider.get_tracer("test").start_as_current_span("call") as span:
        written = exemplar_labels(span.get_span_context())
    provider.shutdown()
    assert link["name"] in written

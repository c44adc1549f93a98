from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.artifacts.charts import (
    CHART,
    FEATURES,
    KUBERNETES,
    MONITORING,
    PRODUCTION,
    ROOT,
    find,
    pods,
    problems,
    refusal,
    render,
    render_values,
    run_helm,
    template,
)

DEFAULTS = ()
VARIANTS = [
    pytest.param(DEFAULTS, id="defaults"),
    pytest.param((PRODUCTION,), id="production"),
    *(pytest.param((file,), id=file.name.removesuffix("-values.yaml")) for file in FEATURES),
]
LONG = "a-release-name-that-is-as-long-as-helm-lets-it-be-53c"


@pytest.mark.parametrize("files", VARIANTS)
def test_helm_finds_nothing_to_complain_about(files):
    values = [part for file in files for part in ("--values", file)]
    finished = run_helm("lint", "--strict", CHART, *values)
    assert finished.returncode == 0, finished.stdout
    assert "[WARNING]" not in finished.stdout


@pytest.mark.parametrize("monitoring", [True, False], ids=["with-operator", "without-operator"])
@pytest.mark.parametrize("files", VARIANTS)
def test_kubernetes_accepts_every_manifest(files, monitoring):
    for manifest in render(*files, monitoring=monitoring):
        for kubernetes in KUBERNETES:
            problem = problems(manifest, kubernetes)
            assert problem is None, f"{manifest['kind']} {manifest['metadata']['name']}: {problem}"


def test_the_oldest_kubernetes_accepts_what_it_is_given():
    for manifest in render(kubernetes="1.29"):
        assert problems(manifest, "1.29") is None


@pytest.mark.parametrize("files", VARIANTS)
def test_kinds_of_the_operator_are_there_only_where_the_cluster_knows_them(files):
    without = render(*files, monitoring=False)
    assert [each["kind"] for each in without if each["apiVersion"] == MONITORING] == []


def test_an_operator_gets_a_monitor_and_all_rules():
    manifests = render()
    monitor = find(manifests, "ServiceMonitor")
    services = [each for each in manifests if each["kind"] == "Service"]
    assert len(services) == 3
    for service in services:
        selected = monitor["spec"]["selector"]["matchLabels"].items()
        assert selected <= service["metadata"]["labels"].items()
        assert "http" in [port["name"] for port in service["spec"]["ports"]]
    assert jobs_of(manifests) == {"demo-upstream", "demo-caller", "demo-load"}
    rules = [each for each in manifests if each["kind"] == "PrometheusRule"]
    assert len(rules) == len(list((ROOT / "dashboards/prometheus").glob("*.yaml"))) == 2


def jobs_of(manifests):
    """Return the jobs that Prometheus makes of the services by the monitor's relabelling."""
    monitor = find(manifests, "ServiceMonitor")
    assert "jobLabel" not in monitor["spec"]
    (endpoint,) = monitor["spec"]["endpoints"]
    (rule,) = endpoint["relabelings"]
    assert (rule["targetLabel"], rule.get("action", "replace")) == ("job", "replace")
    jobs = set()
    for service in (each for each in manifests if each["kind"] == "Service"):
        found = {
            "__meta_kubernetes_service_label_" + re.sub(r"[^a-zA-Z0-9]", "_", name): value
            for name, value in service["metadata"]["labels"].items()
        }
        jobs.add(rule["separator"].join(found[label] for label in rule["sourceLabels"]))
    return jobs


def test_two_releases_are_two_services_to_prometheus_however_their_metrics_get_there():
    jobs = {}
    for release in ("one", "two"):
        manifests = render(CHART / "ci/otel-values.yaml", release=release)
        jobs[release] = {
            variable["value"]
            for name, pod in pods(manifests)
            if "-test-" not in name
            for variable in pod["containers"][0]["env"]
            if variable["name"] == "OTEL_SERVICE_NAME"
        }
        assert len(jobs[release]) == 3
        assert jobs_of(render(release=release)) == jobs[release]
    assert not jobs["one"] & jobs["two"]


@pytest.mark.parametrize("files", VARIANTS)
def test_every_pod_is_hardened(files):
    for name, pod in pods(render(*files)):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context.get("runAsUser", 1) != 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert key not in pod, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert ":latest" not in container["image"], name


@pytest.mark.parametrize("files", VARIANTS)
def test_every_role_is_probed_on_its_own_port(files):
    deployments = [each for each in render(*files) if each["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        paths = {
            probe: container[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert paths == {
            "startupProbe": "/healthz",
            "livenessProbe": "/healthz",
            "readinessProbe": "/readyz",
        }
        assert container["livenessProbe"]["httpGet"]["port"] == "http"
        ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert ports["http"] == environment["DEMO_PORT"]


def test_the_roles_are_three_commands_of_one_image():
    commands = {
        name.rpartition("-")[2]: (pod["containers"][0]["image"], pod["containers"][0]["command"])
        for name, pod in pods(render())
        if "-test-" not in name
    }
    assert commands == {
        role: ("platform-http-demo:0.1.0", ["platform-http", "demo", role])
        for role in ("upstream", "caller", "load")
    }


def test_services_reach_the_ports_that_containers_open():
    manifests = render()
    for service in (each for each in manifests if each["kind"] == "Service"):
        deployment = find(manifests, "Deployment", service["metadata"]["name"])
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        opened = {port["name"]: port["containerPort"] for port in container["ports"]}
        offered = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
        assert offered == opened
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]


def test_a_digest_beats_the_tag():
    for _, pod in pods(render(CHART / "ci/digest-values.yaml")):
        (container,) = pod["containers"]
        assert container["image"].startswith("registry.example.com:5000/team/platform-http-demo@")
        assert "ignored" not in container["image"]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    ("kubernetes", "hook"),
    [
        ("1.29", {"exec": {"command": ["sleep", "5"]}}),
        ("1.30", {"sleep": {"seconds": 5}}),
        # As providers call theirs.
        ("v1.34.1-gke.100", {"sleep": {"seconds": 5}}),
    ],
)
def test_the_wait_before_the_end_is_what_the_cluster_can_do(kubernetes, hook):
    (container,) = find(render(kubernetes=kubernetes), "Deployment", "-caller")["spec"]["template"][
        "spec"
    ]["containers"]
    assert container["lifecycle"]["preStop"] == hook


def test_a_cluster_that_is_too_old_is_refused():
    finished = run_helm("template", "demo", CHART, "--kube-version", "1.28")
    assert finished.returncode != 0
    assert "1.29" in finished.stderr


def test_a_role_changes_single_keys_of_what_holds_for_all_pods():
    manifests = render(CHART / "ci/extras-values.yaml")
    caller = find(manifests, "Deployment", "-caller")["spec"]["template"]["spec"]
    upstream = find(manifests, "Deployment", "-upstream")["spec"]["template"]["spec"]
    load = find(manifests, "Deployment", "-load")["spec"]["template"]["spec"]
    assert caller["containers"][0]["resources"]["limits"] == {"memory": "512Mi"}
    assert caller["containers"][0]["resources"]["requests"]["cpu"] == "50m"
    assert caller["containers"][0]["readinessProbe"]["periodSeconds"] == 2
    assert caller["containers"][0]["readinessProbe"]["failureThreshold"] == 2
    assert upstream["containers"][0]["resources"]["limits"] == {"memory": "256Mi"}
    assert "topologySpreadConstraints" in upstream
    assert "topologySpreadConstraints" not in load
    assert "lifecycle" not in load["containers"][0]
    assert "runAsUser" not in caller["securityContext"]
    assert {"name": "TZ", "value": "Europe/Berlin"} in load["containers"][0]["env"]
    assert {"name": "cache", "emptyDir": {}} in load["volumes"]


def test_a_label_of_one_role_beats_that_of_every_object():
    manifests = render(CHART / "ci/extras-values.yaml")
    deployment = find(manifests, "Deployment", "-caller")
    assert deployment["metadata"]["labels"]["example.com/team"] == "payments"
    assert deployment["spec"]["template"]["metadata"]["labels"]["example.com/team"] == "platform"


def test_an_autoscaler_takes_the_number_of_replicas_over():
    manifests = render(CHART / "ci/autoscaling-values.yaml")
    deployment = find(manifests, "Deployment", "-caller")
    assert "replicas" not in deployment["spec"]
    scaler = find(manifests, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    budget = find(manifests, "PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] == 2
    assert "maxUnavailable" not in budget["spec"]
    assert (
        budget["spec"]["selector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    )


def test_network_policies_let_the_release_work_and_nothing_else():
    manifests = render(CHART / "ci/network-policy-values.yaml")

    def egress(role):
        rules = find(manifests, "NetworkPolicy", f"-{role}")["spec"]["egress"]
        return [
            (
                rule.get("to", [{}])[0]
                .get("podSelector", {})
                .get("matchLabels", {})
                .get("app.kubernetes.io/component")
                or rule.get("to", [{}])[0].get("ipBlock", {}).get("cidr"),
                rule["ports"][0]["port"],
                rule["ports"][0].get("endPort"),
            )
            for rule in rules
        ]

    dns, collector, proxy = (None, 53, None), (None, 443, None), (None, 3128, None)
    assert egress("upstream") == [dns, collector]
    assert egress("load") == [dns, collector, proxy, ("caller", 8080, None)]
    outside = ("10.20.0.0/16", 443, None)
    assert egress("caller") == [dns, collector, proxy, ("upstream", 9001, 9003), outside]
    for role in ("upstream", "caller", "load"):
        policy = find(manifests, "NetworkPolicy", f"-{role}")
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        deployment = find(manifests, "Deployment", f"-{role}")
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert policy["spec"]["podSelector"]["matchLabels"] == selector
        scrapes = policy["spec"]["ingress"][1]
        assert scrapes["from"][0]["namespaceSelector"]["matchLabels"] == {
            "kubernetes.io/metadata.name": "monitoring"
        }


def ingress(manifests, role):
    return find(manifests, "NetworkPolicy", f"-{role}")["spec"]["ingress"]


def test_nobody_outside_of_the_release_reaches_a_role_unless_the_values_say_so():
    manifests = render_values({"networkPolicy": {"enabled": True}})
    for role in ("upstream", "caller", "load"):
        (rule,) = ingress(manifests, role)
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "demo", role
    for role in ("upstream", "caller", "load"):
        for rule in ingress(render(CHART / "ci/network-policy-values.yaml"), role):
            assert rule["from"], role


def test_users_reach_the_caller_and_nothing_else():
    users = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
    values = {"networkPolicy": {"enabled": True, "callerFrom": [users]}}
    manifests = render_values(values)
    expected = {"from": [users], "ports": [{"port": 8080, "protocol": "TCP"}]}
    assert ingress(manifests, "caller")[1:] == [expected]
    for role in ("upstream", "load"):
        assert len(ingress(manifests, role)) == 1
    assert expected in ingress(render(PRODUCTION), "caller")


@pytest.mark.parametrize(
    "load", [{"enabled": False}, {"target": "https://shop.example.com"}], ids=["off", "elsewhere"]
)
@pytest.mark.parametrize("metrics_from", [[], [{"namespaceSelector": {}}]])
def test_a_caller_that_nobody_can_reach_is_refused(load, metrics_from):
    policy = {"enabled": True, "metricsFrom": metrics_from}
    said = refusal({"load": load, "networkPolicy": policy})
    assert "networkPolicy.callerFrom must be set" in said
    users = {"podSelector": {}}
    for reached in ({"callerFrom": [users]}, {"extraIngress": [{"from": [users]}]}):
        assert render_values({"load": load, "networkPolicy": policy | reached})


def test_without_a_caller_nobody_has_to_reach_it():
    load = {"target": "https://shop.example.com"}
    policy = {"enabled": True}
    assert render_values({"load": load, "networkPolicy": policy, "caller": {"enabled": False}})


def test_the_network_policy_of_every_role_lets_test_pods_in():
    manifests = render(CHART / "ci/network-policy-values.yaml")
    pod = find(manifests, "Pod", "-test-pages")
    for policy in (each for each in manifests if each["kind"] == "NetworkPolicy"):
        (peer,) = policy["spec"]["ingress"][0]["from"]
        assert peer["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("files", VARIANTS)
def test_a_secret_appears_in_no_manifest_but_a_secret(files):
    for manifest in render(*files):
        if manifest["kind"] != "Secret":
            assert "planted-secret-value" not in json.dumps(manifest)


def test_secret_settings_are_mounted_files_of_the_caller_alone():
    manifests = render(CHART / "ci/secret-values.yaml")
    secret = find(manifests, "Secret")
    assert secret["data"].keys() == {"CLIENTS__BILLING__HEADERS", "PROXY__PASSWORD"}
    readers = []
    for name, pod in pods(manifests):
        for volume in pod.get("volumes", ()):
            if volume.get("secret", {}).get("secretName") == secret["metadata"]["name"]:
                readers.append(name)
                assert volume["secret"]["defaultMode"] == 0o440
    assert [name.rpartition("-")[2] for name in readers] == ["caller"]


def test_names_are_short_enough_for_every_kind():
    for release in (LONG, "x"):
        for files in (DEFAULTS, (CHART / "ci/network-policy-values.yaml",)):
            for manifest in render(*files, release=release):
                name = manifest["metadata"]["name"]
                assert len(name) <= 63, name
                assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), name
                for value in manifest["metadata"]["labels"].values():
                    assert len(value) <= 63


def test_two_releases_in_one_namespace_do_not_collide():
    def names(release):
        return {(each["kind"], each["metadata"]["name"]) for each in render(release=release)}

    assert not names("one") & names("two")
    assert not names(LONG) & names(LONG.replace("53c", "53d"))


def test_a_release_may_be_called_like_the_chart():
    names = {each["metadata"]["name"] for each in render(release="platform-http-demo")}
    assert "platform-http-demo-caller" in names


@pytest.mark.parametrize("files", [*VARIANTS])
def test_what_selects_pods_never_changes(files):
    """The selector of a Deployment is immutable: an upgrade that changes it fails."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for deployment in (each for each in render(*files) if each["kind"] == "Deployment"):
        role = deployment["metadata"]["name"].rpartition("-")[2]
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector == {
            "app.kubernetes.io/name": chart["name"],
            "app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/component": role,
        }
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()


def test_a_changed_policy_restarts_the_caller_and_nobody_else():
    def checksums(attempt):
        values = {"platformHttp": {"timeout": {"attempt": attempt}}}
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]
            for each in render_values(values)
            if each["kind"] == "Deployment"
        }

    before, after = checksums(0.6), checksums(0.7)
    assert [name for name in before if before[name] != after[name]] == [
        "demo-platform-http-demo-caller"
    ]


def test_a_changed_secret_restarts_the_caller():
    def checksum(value):
        values = {"secrets": {"values": {"PROXY__PASSWORD": value}}}
        template_ = find(render_values(values), "Deployment", "-caller")["spec"]["template"]
        return template_["metadata"]["annotations"]["checksum/secrets"]

    assert checksum("one") != checksum("two")


def test_every_object_is_in_the_namespace_of_the_release():
    assert {each["metadata"]["namespace"] for each in render(namespace="shop")} == {"shop"}


def test_traces_say_which_pod_they_come_from():
    manifests = render(CHART / "ci/otel-values.yaml")
    for role in ("upstream", "caller", "load"):
        pod = find(manifests, "Deployment", f"-{role}")["spec"]["template"]["spec"]
        names = [each["name"] for each in pod["containers"][0]["env"]]
        environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        attributes = environment["OTEL_RESOURCE_ATTRIBUTES"].split(",")
        assert "service.instance.id=$(POD_NAME)" in attributes
        assert f"k8s.deployment.name=demo-platform-http-demo-{role}" in attributes
        assert "deployment.environment.name=staging%2C%20eu%3D1" in attributes
        assert environment["OTEL_SERVICE_NAME"] == f"demo-{role}"
        # Kubernetes replaces only variables that stand earlier.
        for referenced in re.findall(r"\$\((\w+)\)", environment["OTEL_RESOURCE_ATTRIBUTES"]):
            assert names.index(referenced) < names.index("OTEL_RESOURCE_ATTRIBUTES")


def test_nobody_exports_without_being_asked():
    assert "OTEL_" not in template()


def test_scripts_of_test_pods_are_safe_from_the_variables_of_kubernetes():
    scripts = [pod["containers"][0]["command"] for name, pod in pods(render()) if "-test-" in name]
    assert len(scripts) == 2
    for python, option, script in scripts:
        assert (python, option) == ("python", "-c")
        assert "$(" not in script
        compile(script, "test", "exec")


def test_test_pods_run_only_when_asked_for():
    for pod in (each for each in render() if each["kind"] == "Pod"):
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert pod["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("values", "places_orders"),
    [
        ({}, True),
        ({"platformHttp": {"clients": {"search": None}}}, True),
        ({"platformHttp": {"clients": {"billing": {"base_url": "http://b.example.com/"}}}}, False),
        ({"upstream": {"enabled": False}, "platformHttp": {"base_url": "http://x/"}}, False),
    ],
)
def test_an_order_is_tested_only_where_it_harms_nobody(values, places_orders):
    tests = {each["metadata"]["name"] for each in render_values(values) if each["kind"] == "Pod"}
    expected = {"demo-platform-http-demo-test-pages"}
    if places_orders:
        expected.add("demo-platform-http-demo-test-order")
    assert tests == expected


def test_production_is_not_tested_with_an_order():
    tests = [each["metadata"]["name"] for each in render(PRODUCTION) if each["kind"] == "Pod"]
    assert tests == ["demo-platform-http-demo-test-pages"]


def test_the_package_holds_all_that_the_chart_needs(tmp_path: Path):
    finished = run_helm("package", CHART, "--destination", tmp_path)
    assert finished.returncode == 0, finished.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("platform-http-demo/") for name in archive.getnames()}
    bundled = {str(path.relative_to(CHART)) for path in (CHART / "files").rglob("*.*")}
    assert len(bundled) == 8
    assert bundled <= names
    assert {"Chart.yaml", "README.md", "values.schema.json", "scripts/pages.py"} <= names
    assert not [name for name in names if name.startswith("ci/") or "__pycache__" in name]
    assert parse_names(template(chart=package)) == parse_names(template())


def parse_names(text):
    return [line for line in text.splitlines() if line.startswith("# Source")]


def test_notes_tell_what_to_do_next(tmp_path: Path):
    # "helm template" leaves the notes out, and "install" asks for a cluster unless it is a dry run.
    finished = run_helm("install", "demo", CHART, "--dry-run=client")
    assert finished.returncode == 0, finished.stderr
    notes = finished.stdout.partition("NOTES:")[2]
    assert "port-forward service/demo-platform-http-demo-caller" in notes
    assert "helm test demo" in notes
    assert "does not know monitoring.coreos.com/v1" in notes
    assert "places no order" not in notes


def test_notes_of_production_name_the_jobs_and_what_is_not_tested():
    finished = run_helm("install", "shop", CHART, "--dry-run=client", "--values", PRODUCTION)
    assert finished.returncode == 0, finished.stderr
    notes = finished.stdout.partition("NOTES:")[2]
    assert "the jobs are called like the release and the role: shop-caller." in notes
    assert "It places no order" in notes


def test_the_generated_documents_are_up_to_date():
    command = [sys.executable, "-m", "charts.source", "--check"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr

"""What the chart makes of policies is what the library reads."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from dotenv import dotenv_values

from charts.source.policies import policies
from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings
from platform_http.settings.rules import OF_THE_PROCESS
from platform_http.settings.variables import variables
from tests.artifacts.charts import (
    CHART,
    FEATURES,
    PRODUCTION,
    ROOT,
    find,
    refusal,
    render,
    render_values,
)

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = ROOT / "examples" / "service" / "settings.env"
POLICIES = "PLATFORM_HTTP_"


def variables_of(manifests, role):
    """Return the variables that the role's ConfigMap and its own list hold."""
    deployment = find(manifests, "Deployment", f"-{role}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found = {}
    for source in container.get("envFrom", ()):
        found |= find(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each["value"] for each in container["env"] if "value" in each}


def loaded(manifests, role, monkeypatch, tmp_path: Path):
    """Return the settings that the library reads from exactly the role's environment."""
    found = variables_of(manifests, role)
    if "PLATFORM_HTTP_TLS__CA_FILE" in found:
        certificate = tmp_path / "ca.crt"
        certificate.write_text("")
        found["PLATFORM_HTTP_TLS__CA_FILE"] = str(certificate)
    if "PLATFORM_HTTP_SECRETS_DIR" in found:
        secrets = tmp_path / "secrets"
        secrets.mkdir()
        for manifest in manifests:
            if manifest["kind"] == "Secret":
                for name, value in manifest["data"].items():
                    (secrets / name).write_bytes(base64.b64decode(value))
        found["PLATFORM_HTTP_SECRETS_DIR"] = str(secrets)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return HttpSettings()


@pytest.mark.parametrize("file", [None, PRODUCTION, *FEATURES], ids=lambda file: file and file.stem)
def test_the_library_accepts_what_every_role_is_given(file, monkeypatch, tmp_path):
    manifests = render(*([file] if file else []))
    deployments = {each["metadata"]["name"] for each in manifests if each["kind"] == "Deployment"}
    assert deployments
    for name in deployments:
        role = name.rpartition("-")[2]
        folder = tmp_path / role
        folder.mkdir()
        with monkeypatch.context() as environment:
            loaded(manifests, role, environment, folder)


def test_the_default_policies_are_those_of_the_example():
    given = variables_of(render(), "caller")
    example = dotenv_values(stream=io.StringIO(REFERENCE.read_text()))
    expected = {name: str(value) for name, value in example.items()}
    # The same ports, on this machine there and in the cluster here.
    assert {
        name: value.replace("//demo-platform-http-demo-upstream:", "//localhost:")
        for name, value in given.items()
        if name.startswith(POLICIES)
    } == expected


def test_values_of_every_shape_reach_the_library_unharmed(monkeypatch, tmp_path):
    settings = loaded(render(CHART / "ci/policies-values.yaml"), "caller", monkeypatch, tmp_path)
    default = settings.client()
    assert default.pool.limit == 1_000_000
    assert default.retry.statuses == {502, 503}
    assert default.retry.methods == {"GET", "HEAD"}
    assert default.retry.backoff_initial == 0.001
    assert default.retry.budget.capacity == 50.5
    assert default.propagation.enabled is False
    assert default.timeout.read == float("inf")
    prices = settings.client("price-list")
    assert str(prices.base_url) == "http://prices.example.com/v1/"
    assert prices.retry.max_attempts == 1
    # Nulled, it has only the address that the chart gives it.
    assert settings.client("search").hedging.enabled is False
    assert ":19003/" in str(settings.client("search").base_url)


def test_null_is_the_default_of_the_library(monkeypatch, tmp_path):
    manifests = render_values({"platformHttp": {"timeout": {"total": None, "attempt": None}}})
    timeout = loaded(manifests, "caller", monkeypatch, tmp_path).client().timeout
    assert (timeout.total, timeout.attempt) == (10, 4)


def test_secrets_come_from_the_mounted_files(monkeypatch, tmp_path):
    settings = loaded(render(CHART / "ci/secret-values.yaml"), "caller", monkeypatch, tmp_path)
    headers = settings.client("billing").headers
    assert headers["X-Api-Key"].get_secret_value() == "planted-secret-value"
    # A password of digits stays text.
    assert settings.client().proxy.password.get_secret_value() == "0123"


def test_the_bundle_and_the_proxy_are_those_of_the_values(monkeypatch, tmp_path):
    manifests = render(CHART / "ci/proxy-and-ca-values.yaml")
    for role in ("caller", "load"):
        found = variables_of(manifests, role)
        assert found["HTTP_PROXY"] == found["HTTPS_PROXY"] == "http://proxy.example.com:3128"
        assert found["NO_PROXY"].split(",") == [
            ".internal.example.com",
            "demo-platform-http-demo-upstream",
            "demo-platform-http-demo-caller",
        ]
        assert found["PLATFORM_HTTP_PROXY__FROM_ENV"] == "true"
        assert found["PLATFORM_HTTP_TLS__CA_FILE"] == "/etc/platform-http/ca/bundle.pem"
        pod = find(manifests, "Deployment", f"-{role}")["spec"]["template"]["spec"]
        (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "ca"]
        assert mount["mountPath"] == "/etc/platform-http/ca"
    assert "HTTP_PROXY" not in variables_of(manifests, "upstream")
    settings = loaded(manifests, "caller", monkeypatch, tmp_path)
    assert settings.client("billing").proxy.from_env is True


@pytest.mark.parametrize(
    ("endpoint", "direct"),
    [
        ("http://opentelemetry-collector:4317", "opentelemetry-collector"),
        ("https://opentelemetry-collector:4317", "opentelemetry-collector"),
        ("https://collector.observability.svc:4318/v1", "collector.observability.svc"),
        ("https://c.o.svc.cluster.local", "c.o.svc.cluster.local"),
        ("https://c.o.svc.company.internal", "c.o.svc.company.internal"),
        # Without TLS a proxy reads the token wherever the collector is.
        ("http://collector.observability:4317", "collector.observability"),
        ("http://[fd00::1]:4317", "fd00::1"),
        ("https://collector.example.com:4317", None),
        ("https://svc.example.com", None),
    ],
)
def test_no_proxy_reads_what_a_collector_is_told(endpoint, direct):
    proxy = {"httpProxy": "http://proxy.example.com:3128", "noProxy": [".internal.example.com"]}
    otel = {"enabled": True, "endpoint": endpoint}
    own = ["demo-platform-http-demo-upstream", "demo-platform-http-demo-caller"]
    for values in ({"proxy": proxy, "otel": otel}, {"proxy": proxy}):
        manifests = render_values(values)
        collector = [direct] if direct and "otel" in values else []
        for role in ("caller", "load"):
            found = variables_of(manifests, role)["NO_PROXY"].split(",")
            assert found == [".internal.example.com", *own, *collector]


def test_a_contradiction_that_only_the_library_knows_stops_the_caller(monkeypatch, tmp_path):
    """The schema judges single values; what contradicts each other the library refuses."""
    manifests = render_values({"platformHttp": {"timeout": {"attempt": 3, "total": 2.5}}})
    with pytest.raises(ConfigurationError, match="TIMEOUT__ATTEMPT"):
        loaded(manifests, "caller", monkeypatch, tmp_path)


def _paths(name, path=""):
    """Return the dotted path of every setting in the definition called *name*."""
    found = set()
    for field, part in policies()[name]["properties"].items():
        here = f"{path}.{field}" if path else field
        if "$ref" in part:
            found |= _paths(part["$ref"].rpartition("/")[2], here)
        elif field != "clients":
            found.add(here)
    return found


def test_the_schema_knows_every_setting_that_is_not_secret():
    secret = {
        "headers",
        "proxy.password",
        "tls.key_password",
        "auth.password",
        "auth.token",
        "auth.client_secret",
    }
    assert secret <= variables().keys()
    assert _paths("policies") == variables().keys() - secret
    assert _paths("policies.client") == variables().keys() - secret - {*OF_THE_PROCESS}


@pytest.mark.parametrize(("field", "value"), [("status_page", True), ("status_port", 9100)])
def test_what_is_of_the_process_is_refused_for_one_client(field, value):
    own = {"web": {"ready_when_open": False}}
    render_values({"platformHttp": {"clients": {"billing": own}}})
    own["web"][field] = value
    assert field in refusal({"platformHttp": {"clients": {"billing": own}}})


def test_the_readme_names_only_values_that_exist():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = (CHART / "README.md").read_text().partition("<!-- values:begin -->")[0]
    named = re.findall(r"--set ([A-Za-z.]+)=", text)
    assert named
    for path in named:
        part = values
        for name in path.split("."):
            assert name in part, path
            part = part[name]

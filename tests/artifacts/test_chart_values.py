from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from tests.artifacts.charts import CHART, KUBERNETES, problems, refusal, render_values

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def nested(path: str, value: object) -> dict[str, Any]:
    """Return values with *value* at the dotted *path*."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("imagee", {}),
        ("image.tag", "latest"),
        ("image.digest", "sha256:abc"),
        ("image.repository", "Upper/Case"),
        ("listenAddress", "10.0.0.1"),
        ("caller.replicas", "two"),
        ("caller.replica", 2),
        ("upstream.port", 80),
        ("upstream.port", 65534),
        ("load.rate", 0),
        ("pod.runAsUser", 0),
        ("pod.extraEnv", [{"name": "1BAD"}]),
        ("pod.probes.liveness.periodSeconds", 0),
        ("pod.resources.limits.memory", "lots"),
        ("platformHttp.timeout.attemptt", 1),
        ("platformHttp.timeout.attempt", -1),
        ("platformHttp.circuit_breaker.mode", "sometimes"),
        ("platformHttp.retry.max_attempts", 6),
        ("platformHttp.headers", {"Authorization": "planted-secret-value"}),
        ("platformHttp.clients.billing.proxy.password", "planted-secret-value"),
        ("platformHttp.clients.billing.tls.key_password", "planted-secret-value"),
        ("load.platformHttp.retry.enabled", "maybe"),
        ("caBundle.pem", "not PEM"),
        ("otel.protocol", "http/json"),
        ("otel.samplerArgument", "1.5"),
        ("caller.podDisruptionBudget.maxUnavailable", "150%"),
        ("monitoring.grafanaUrl", 'https://example.com/"\nx: y'),
        ("monitoring.serviceMonitor.interval", "often"),
        ("pod.preStopSeconds", -1),
        ("caller.pod.unknown", 1),
    ],
)
def test_a_value_that_the_schema_forbids_is_refused_by_its_path(path, value):
    said = refusal(nested(path, value))
    # The last part may be the offending key itself, which is then named in the message.
    known, _, last = path.rpartition(".")
    assert "/" + known.replace(".", "/") in said or f"'{last}'" in said, said
    assert last in said
    assert "planted-secret-value" not in said


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("pod.labels", "app.kubernetes.io/name"),
        ("extraLabels", "not a label"),
        ("pod.annotations", "-"),
        ("platformHttp.clients", "a__b"),
        ("platformHttp.clients", "Upper"),
        ("secrets.values", "lower-case"),
        ("otel.resourceAttributes", "a=b"),
    ],
)
def test_a_key_that_no_object_can_have_is_refused_by_name(path, key):
    said = refusal(nested(path, {key: "planted-secret-value"}))
    assert f"invalid propertyName '{key}'" in said
    assert "planted-secret-value" not in said


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("platformHttp.base_url", "PLATFORM_HTTP_BASE_URL is a URL with a login"),
        ("platformHttp.clients.billing.proxy.url", "PLATFORM_HTTP_CLIENTS__BILLING__PROXY__URL is"),
        ("load.platformHttp.rate_limit.store", "PLATFORM_HTTP_RATE_LIMIT__STORE is a URL"),
        ("proxy.httpProxy", "proxy.httpProxy takes a URL such as"),
        ("proxy.httpsProxy", "proxy.httpsProxy takes a URL such as"),
    ],
)
def test_a_url_with_a_login_is_sent_to_the_secrets_without_being_printed(path, remedy):
    said = refusal(nested(path, "http://user:planted-secret-value@example.com:3128"))
    assert remedy in said
    assert "secrets" in said
    assert "planted-secret-value" not in said


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"proxy": {"httpProxy": "proxy.example.com:3128"}}, "proxy.httpProxy takes a URL such as"),
        (
            {"caller": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}},
            "caller.autoscaling.minReplicas (9) is greater than maxReplicas (3)",
        ),
        (
            {
                "caller": {"autoscaling": {"enabled": True}},
                "pod": {"resources": {"requests": {"cpu": None}}},
            },
            "caller.autoscaling needs pod.resources.requests.cpu",
        ),
        (
            {"caller": {"podDisruptionBudget": {"enabled": True, "minAvailable": 1}}},
            "caller.podDisruptionBudget: set one of minAvailable and maxUnavailable",
        ),
        (
            {
                "caller": {
                    "podDisruptionBudget": {
                        "enabled": True,
                        "minAvailable": 2,
                        "maxUnavailable": None,
                    }
                }
            },
            "caller.podDisruptionBudget.minAvailable (2) of 2 replicas",
        ),
        (
            {"secrets": {"existingSecret": "one", "values": {"PROXY__PASSWORD": "x"}}},
            "secrets.existingSecret and secrets.values exclude each other",
        ),
        (
            {"monitoring": {"serviceMonitor": {"interval": "1m", "scrapeTimeout": "61s"}}},
            "monitoring.serviceMonitor.scrapeTimeout (61s) is longer than the interval (1m)",
        ),
        (
            {"otel": {"enabled": True, "metrics": True}},
            "otel.metrics and monitoring.serviceMonitor.enabled bring the same metrics twice",
        ),
        ({"caBundle": {"configMap": "one", "secret": "two"}}, "caBundle: set one of"),
        (
            {"upstream": {"enabled": False}},
            "platformHttp.clients.billing.base_url must be set when upstream.enabled is false",
        ),
        ({"caller": {"enabled": False}}, "load.target must be set when caller.enabled is false"),
        (
            {"platformHttp": {"clients": {"price-list": {}, "price_list": {}}}},
            "platformHttp.clients: price-list and price_list are the same client",
        ),
        (
            {"pod": {"terminationGracePeriodSeconds": 18}},
            "pod.terminationGracePeriodSeconds of 18 (for upstream) is too short",
        ),
        (
            {"platformHttp": {"shutdown": {"grace": 60}}},
            "SHUTDOWN__GRACE 60",
        ),
        (
            {"caller": {"pod": {"extraEnv": [{"name": "DEMO_PORT", "value": "1"}]}}},
            "pod.extraEnv (for caller): DEMO_PORT is there already",
        ),
        (
            {"pod": {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}},
            "pod.extraVolumes: tmp is there already",
        ),
        ({"fullnameOverride": "", "nameOverride": "9"}, "nameOverride"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_remedy(values, words):
    assert words in refusal(values)


def test_a_release_name_that_no_service_may_have_is_refused():
    with pytest.raises(AssertionError, match="set fullnameOverride"):
        render_values({}, release="1st")
    assert render_values({"fullnameOverride": "first"}, release="1st")


def test_names_that_look_like_numbers_and_words_of_yaml_stay_names():
    values = {
        "nameOverride": "null",
        "serviceAccount": {"name": "456"},
        "secrets": {"existingSecret": "123"},
        "caBundle": {"secret": "789"},
        "pod": {"priorityClassName": "1"},
        "otel": {"enabled": True, "headersSecret": {"name": "2", "key": "3"}},
    }
    for release in ("true", "n"):
        for manifest in render_values(values, release=release, namespace="10"):
            assert problems(manifest, KUBERNETES[-1]) is None, manifest


def test_nothing_is_accepted_that_the_schema_does_not_name():
    """Where keys are free, the description says so."""
    loose = []

    def walk(part: Any, path: str) -> None:
        if isinstance(part, list):
            for index, each in enumerate(part):
                walk(each, f"{path}[{index}]")
        if not isinstance(part, dict):
            return
        kind = part.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind):
            rule = part.get("additionalProperties", True)
            says_so = "free-form" in part.get("description", "")
            if rule is True and not says_so and "[" not in path and ".items" not in path:
                loose.append(path)
        for key, each in part.items():
            walk(each, f"{path}.{key}")

    walk(SCHEMA, "")
    assert loose == []


def test_the_schema_is_one_itself_and_the_defaults_follow_it():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def closed(part: Any) -> Any:
    """Return *part* with ``{}`` where anything goes: there Kubernetes judges, not the chart."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "object" and not part.keys() & {"properties", "additionalProperties"}:
        return {"const": {}}
    if "properties" in part:
        part = {"additionalProperties": False, **part}
    return {key: closed(each) for key, each in part.items()}


@functools.cache
def drawn(section: str) -> st.SearchStrategy[Any]:
    """Return values of a section of the schema, as they come."""
    part = closed({**SCHEMA["properties"][section], "$defs": SCHEMA["$defs"]})
    if section == "load":
        # As those of the caller, which has a section of its own.
        part["properties"]["platformHttp"] = {"const": {}}
    # Beyond Latin-1 the JSON of the test, not the chart, is what YAML refuses.
    return from_schema(part, codec="iso8859-1").filter(lambda value: value is not None)


def agreeing(section: str, value: Any) -> dict[str, Any]:
    """Return values with *value* as the *section*, so that the rules between values are kept."""
    values: dict[str, Any] = {
        # The copies of dashboards are large, and the same whatever the other values are.
        "monitoring": {"dashboards": {"enabled": False}, "serviceMonitor": {"besideOtlp": True}},
        "platformHttp": {"base_url": "http://example.com/"},
        "load": {"target": "http://example.com"},
        "pod": {"terminationGracePeriodSeconds": 3600},
    }
    match section:
        case "platformHttp":
            value["shutdown"] = {"grace": 5}
        case "pod":
            value |= values["pod"]
        case "caller" | "load" | "upstream":
            value["pod"] |= values["pod"]
        case "networkPolicy":
            value["callerFrom"] = [{"podSelector": {}}]
        case "monitoring":
            value["serviceMonitor"]["scrapeTimeout"] = value["serviceMonitor"]["interval"]
    return values | {section: value}


@pytest.mark.parametrize("section", sorted(SCHEMA["properties"].keys() - {"global"}))
def test_whatever_the_schema_accepts_becomes_manifests_that_kubernetes_accepts(section):
    rendered = 0

    @settings(
        max_examples=3,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn(section))
    def check(value):
        nonlocal rendered
        values = agreeing(section, value)
        try:
            manifests = render_values(values)
        except AssertionError as refused:
            # A rule between values, in our words; anything else is a fault of a template.
            said = str(refused)
            assert "execution error at" in said, f"{values}: {said}"
            return
        rendered += 1
        for manifest in manifests:
            assert problems(manifest, KUBERNETES[-1]) is None, values

    check()
    assert rendered


def test_control_characters_in_a_policy_are_escaped():
    text = "a\x7f\x9d\x01"
    manifests = render_values({"platformHttp": {"propagation": {"timeout_header": text}}})
    (found,) = {
        manifest["data"]["PLATFORM_HTTP_PROPAGATION__TIMEOUT_HEADER"]
        for manifest in manifests
        if "PLATFORM_HTTP_PROPAGATION__TIMEOUT_HEADER" in (manifest.get("data") or {})
    }
    assert found == text

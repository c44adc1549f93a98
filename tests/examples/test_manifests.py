"""Manifests become programs with the environment that a cluster would give them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from examples.service.local import Place
from examples.service.manifests import ManifestError, Manifests

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
apiVersion: v1
kind: ConfigMap
metadata: {name: policies}
data: {PLATFORM_HTTP_TIMEOUT__TOTAL: "2", SHARED: from the map}
binaryData: {PLATFORM_HTTP_COOKIES__ENABLED: dHJ1ZQ==}
---
apiVersion: v1
kind: Secret
metadata: {name: secrets}
data: {PASSWORD: aHVudGVyMg==}
stringData: {TOKEN: "t"}
---
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: demo-upstream}
spec:
  selector: {role: upstream}
  ports: [{port: 9000, targetPort: http}, {port: 80, targetPort: 9001}]
---
"""


def _deployment(role: str = "caller", *, env: str = "[]", more: str = "", pod: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: demo-{role}}}
spec:
  template:
    metadata: {{labels: {{role: {role}}}, annotations: {{team: shop}}, namespace: orders}}
    spec:
      {pod}
      containers:
        - name: main
          command: [platform-http, demo, {role}]
          ports: [{{name: http, containerPort: 9000}}]
          env: {env}
          {more}
---
"""


def _environment(**parts: str) -> dict[str, str]:
    (program,) = Manifests(CONFIGURATION + _deployment(**parts)).deployments()
    return program.environment


def test_the_command_is_that_of_the_first_container() -> None:
    (program,) = Manifests(_deployment(more="args: [--seed, '2']")).deployments()
    assert program.name == "demo-caller"
    assert program.command == ("platform-http", "demo", "caller", "--seed", "2")


def test_a_variable_of_its_own_is_stronger_than_one_of_a_map() -> None:
    environment = _environment(
        more="envFrom: [{configMapRef: {name: policies}}, "
        "{prefix: P_, secretRef: {name: secrets}}]",
        env="[{name: SHARED, value: own}]",
    )
    assert environment == {
        "PLATFORM_HTTP_TIMEOUT__TOTAL": "2",
        "PLATFORM_HTTP_COOKIES__ENABLED": "true",
        "SHARED": "own",
        "P_PASSWORD": "hunter2",
        "P_TOKEN": "t",
    }


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("secretKeyRef: {name: secrets, key: PASSWORD}", "hunter2"),
        ("configMapKeyRef: {name: policies, key: SHARED}", "from the map"),
        ("fieldRef: {fieldPath: metadata.name}", "demo-caller-local"),
        ("fieldRef: {fieldPath: metadata.namespace}", "orders"),
        ("fieldRef: {fieldPath: spec.nodeName}", "localhost"),
        ("fieldRef: {fieldPath: status.podIP}", "127.0.0.1"),
        ("fieldRef: {fieldPath: \"metadata.labels['role']\"}", "caller"),
        ("fieldRef: {fieldPath: \"metadata.annotations['team']\"}", "shop"),
    ],
)
def test_a_variable_can_come_from_elsewhere(source, value) -> None:
    assert _environment(env=f"[{{name: X, valueFrom: {{{source}}}}}]") == {"X": value}


def test_what_is_optional_may_be_missing() -> None:
    environment = _environment(
        more="envFrom: [{configMapRef: {name: nowhere, optional: true}}]",
        env="[{name: X, valueFrom: {secretKeyRef: {name: no, key: y, optional: true}}}]",
    )
    assert environment == {}


def test_variables_refer_to_earlier_ones() -> None:
    env = (
        "[{name: POD, value: a}, {name: FULL, value: '$(POD)-$(SHARED)-$(LATER)-$$(POD)'}, "
        "{name: LATER, value: b}]"
    )
    environment = _environment(env=env, more="envFrom: [{configMapRef: {name: policies}}]")
    assert environment["FULL"] == "a-from the map-$(LATER)-$(POD)"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"more": "envFrom: [{secretRef: {name: ours}}]"}, "Secret ours is not among"),
        (
            {"env": "[{name: X, valueFrom: {secretKeyRef: {name: secrets, key: NONE}}}]"},
            "Secret secrets has no key NONE",
        ),
        (
            {"env": "[{name: X, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]"},
            "from resourceFieldRef",
        ),
        (
            {"env": "[{name: X, valueFrom: {fieldRef: {fieldPath: status.phase}}}]"},
            "status.phase, which only a cluster knows",
        ),
        (
            {
                "pod": "volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]",
                "more": "volumeMounts: [{name: v, mountPath: /v}]",
            },
            "the volume v",
        ),
        (
            {
                "pod": "volumes: [{name: v, secret: {secretName: secrets}}]",
                "more": "volumeMounts: [{name: v, mountPath: /v/x, subPath: TOKEN}]",
            },
            "mounts a subPath at /v/x",
        ),
    ],
)
def test_what_cannot_be_had_is_named(parts, said) -> None:
    with pytest.raises(ManifestError, match=said) as caught:
        _environment(**parts)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "---\n", "just words", "a: [", "- 1\n- 2"])
def test_what_is_no_manifest_says_what_to_give(text) -> None:
    with pytest.raises(ManifestError, match="manifests"):
        Manifests(text)


def test_the_pods_of_helm_test_are_found() -> None:
    pod = textwrap.dedent(
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: demo-test, annotations: {helm.sh/hook: "test,post-install"}}
        spec: {containers: [{name: t, command: [python, -c, "print(1)"]}]}
        ---
        apiVersion: v1
        kind: Pod
        metadata: {name: other, annotations: {helm.sh/hook: pre-delete}}
        spec: {containers: [{name: t, command: [sleep]}]}
        """
    )
    (test,) = Manifests(pod).tests()
    assert (test.name, test.command) == ("demo-test", ("python", "-c", "print(1)"))


def _place(tmp_path: Path, *, env: str = "[]", **parts: str) -> tuple[Place, dict[str, str]]:
    upstream = _deployment("upstream", env="[{name: DEMO_PORT, value: '9000'}]")
    caller = _deployment(
        "caller",
        env=f"[{{name: DEMO_HOST, value: 0.0.0.0}}, {{name: DEMO_PORT, value: '8080'}}, {env[1:]}",
        **parts,
    )
    place = Place(Manifests(CONFIGURATION + SERVICE + upstream + caller), tmp_path)
    return place, place.environment(place.programs["caller"], "caller")


def test_roles_listen_on_loopback_and_free_ports(tmp_path) -> None:
    place, environment = _place(tmp_path)
    assert list(place.programs) == ["upstream", "caller"]
    assert environment["DEMO_HOST"] == "127.0.0.1"
    assert environment["DEMO_PORT"] == str(place.ports["caller"]) != "8080"
    assert set(environment) == {"DEMO_HOST", "DEMO_PORT", "PATH"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://demo-upstream:9000/x", "http://localhost:{0}/x"),
        ("http://demo-upstream/", "http://localhost:{1}/"),
        ("https://demo-upstream.shop.svc.cluster.local:9000", "https://localhost:{0}"),
        ("demo-upstream.shop.svc:80,b", "localhost:{1},b"),
        ("localhost,demo-upstream", "localhost,demo-upstream"),
        ("http://my-demo-upstream:9000/", "http://my-demo-upstream:9000/"),
        ("http://demo-upstream-2:9000/", "http://demo-upstream-2:9000/"),
    ],
)
def test_addresses_of_services_become_local_ones(tmp_path, text, expected) -> None:
    place, environment = _place(tmp_path, env=f"[{{name: X, value: '{text}'}}]")
    first = place.ports["upstream"]
    assert environment["X"] == expected.format(first, first + 1)


def test_a_port_that_a_service_does_not_have_is_named(tmp_path) -> None:
    with pytest.raises(ManifestError, match="demo-upstream leads to no process here at port 9009"):
        _place(tmp_path, env="[{name: X, value: 'http://demo-upstream:9009/'}]")


def test_mounted_secrets_are_files_that_only_we_can_read(tmp_path) -> None:
    _, environment = _place(
        tmp_path,
        env="[{name: PLATFORM_HTTP_SECRETS_DIR, value: /etc/secrets}, "
        "{name: CA, value: /etc/secrets/TOKEN}]",
        pod="volumes: [{name: s, secret: {secretName: secrets}}, {name: tmp, emptyDir: {}}]",
        more="volumeMounts: [{name: s, mountPath: /etc/secrets}, {name: tmp, mountPath: /tmp}]",
    )
    directory = tmp_path / "demo-caller" / "etc" / "secrets"
    assert environment["PLATFORM_HTTP_SECRETS_DIR"] == str(directory)
    assert environment["CA"] == str(directory / "TOKEN")
    assert (directory / "PASSWORD").read_text() == "hunter2"
    assert (directory / "PASSWORD").stat().st_mode & 0o077 == 0


def test_a_volume_can_name_its_files() -> None:
    (program,) = Manifests(
        CONFIGURATION
        + _deployment(
            pod="volumes: [{name: c, configMap: {name: policies, items: "
            "[{key: SHARED, path: sub/shared.txt}]}}]",
            more="volumeMounts: [{name: c, mountPath: /etc/c/}]",
        )
    ).deployments()
    assert program.files == {"/etc/c/sub/shared.txt": b"from the map"}


def test_without_a_role_there_is_nothing_to_run(tmp_path) -> None:
    with pytest.raises(ManifestError, match="no Deployment whose name ends with upstream, caller"):
        Place(Manifests(CONFIGURATION), tmp_path)

"""Renders the chart with the real helm, and judges what comes out."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "platform-http-demo"
FEATURES = sorted(CHART.glob("ci/*.yaml"))
PRODUCTION = CHART / "values-prod.yaml"

# The oldest that still gets fixes when the chart is written, and the newest that helm knows.
KUBERNETES = ("1.31", "1.34")
MONITORING = "monitoring.coreos.com/v1"

WORKLOADS = ("Deployment", "Pod")

Manifest = dict[str, Any]


def helm() -> str:
    """Return the path of helm, the pinned one if it is installed.

    Without any the test is skipped; with REQUIRE_ALL=1 it fails.
    """
    pinned = Path(sys.executable).with_name("helm")
    found = str(pinned) if pinned.is_file() else shutil.which("helm")
    if found is None:
        reason = "helm is not installed (make .venv/bin/helm, or put helm 4 on PATH)"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run_helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm without the caller's own configuration, and return what it said."""
    program = helm()
    # Plugins and repositories of whoever runs the tests are none of their business.
    with tempfile.TemporaryDirectory(prefix="platform-http-helm-") as home:
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home}
        return subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environ,
            timeout=60,
            check=False,
        )


@functools.cache
def template(
    *files: Path,
    release: str = "demo",
    namespace: str = "default",
    kubernetes: str = KUBERNETES[-1],
    monitoring: bool = True,
    values: str = "",
    chart: Path = CHART,
) -> str:
    """Return what ``helm template`` prints.

    Args:
        files: Values files, the later ones win.
        release: Name of the release.
        namespace: Its namespace.
        kubernetes: Version of the cluster.
        monitoring: Whether the cluster knows the kinds of the Prometheus operator.
        values: More values as JSON; they win over *files*.
        chart: The chart's folder.
    """
    finished = _render(files, release, namespace, kubernetes, monitoring, values, chart)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refusal(values: Mapping[str, object]) -> str:
    """Return what helm says against *values*, which it must refuse."""
    text = json.dumps(values)
    finished = _render((), "demo", "default", KUBERNETES[-1], True, text, CHART)
    assert finished.returncode != 0, f"accepted: {text}"
    return finished.stderr


def _render(
    files: tuple[Path, ...],
    release: str,
    namespace: str,
    kubernetes: str,
    monitoring: bool,
    values: str,
    chart: Path,
) -> subprocess.CompletedProcess[str]:
    arguments: list[str | Path] = ["template", release, chart, "--namespace", namespace]
    arguments += ["--kube-version", kubernetes]
    for file in files:
        arguments += ["--values", file]
    if monitoring:
        arguments += ["--api-versions", MONITORING]
    with contextlib.ExitStack() as stack:
        if values:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".json"))
            file.write(values)
            file.flush()
            arguments += ["--values", file.name]
        return run_helm(*arguments)


def render(*files: Path, **options: Any) -> list[Manifest]:
    """Return the manifests that :func:`template` prints."""
    return parse(template(*files, **options))


def render_values(values: Mapping[str, object], **options: Any) -> list[Manifest]:
    """Return the manifests for *values* on top of the chart's own."""
    return render(values=json.dumps(values), **options)


class _StrictLoader(yaml.CSafeLoader):
    """Refuses a key that is there twice, as Kubernetes does when it is strict."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]  # type: ignore[no-untyped-call]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"twice in {node.start_mark}: {twice}"
    return dict(loader.construct_mapping(node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@functools.cache
def parse(text: str) -> list[Manifest]:
    """Return the documents of *text*; empty ones and keys that are there twice are errors."""
    return [document for document in yaml.load_all(text, _StrictLoader) if document is not None]


def find(manifests: list[Manifest], kind: str, suffix: str = "") -> Manifest:
    """Return the one manifest of *kind* whose name ends in *suffix*."""
    found = [
        each
        for each in manifests
        if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)
    ]
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Return the name and the pod spec of each workload and each test pod."""
    for each in manifests:
        if each["kind"] == "Deployment":
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]


def problems(manifest: Manifest, kubernetes: str) -> str | None:
    """Return what Kubernetes, or the Prometheus operator, would refuse about *manifest*."""
    return _problems(json.dumps(manifest), kubernetes)


# Most manifests are the same whatever the values are.
@functools.cache
def _problems(text: str, kubernetes: str) -> str | None:
    manifest = json.loads(text)
    if manifest["apiVersion"] == MONITORING:
        return _operator_problems(manifest)
    try:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


def _operator_problems(manifest: Manifest) -> str | None:
    # Two seconds to import, which only tests with these kinds pay for.
    from cloudcoil.models.prometheus_operator import v1

    model = getattr(v1, manifest["kind"], None)
    if model is None:
        return f"{manifest['kind']} is unknown"
    try:
        parsed = model.model_validate(manifest)
    except ValidationError as error:
        return str(error)
    # The models drop what they do not know, so an unknown field shows by its absence.
    kept = json.loads(parsed.model_dump_json(by_alias=True, exclude_unset=True))
    lost = _lost(manifest["spec"], kept["spec"], "spec")
    return f"unknown fields: {lost}" if lost else None


def _lost(given: Any, kept: Any, path: str) -> list[str]:
    if isinstance(given, dict):
        missing = [f"{path}.{key}" for key in given if key not in kept]
        return missing + [
            each
            for key in given
            if key in kept
            for each in _lost(given[key], kept[key], f"{path}.{key}")
        ]
    if isinstance(given, list):
        return [
            each
            for index, (one, other) in enumerate(zip(given, kept, strict=True))
            for each in _lost(one, other, f"{path}[{index}]")
        ]
    return []

"""What a cluster would make of rendered manifests: programs, their environment and their files."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

Object = Mapping[str, Any]

_REFERENCE: Final = re.compile(r"\$(\$)?\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_TEST_HOOK: Final = "helm.sh/hook"
# What only a cluster knows; a process of this machine is its own node.
_FIELDS: Final[Mapping[str, str]] = {
    "metadata.uid": "00000000-0000-0000-0000-000000000000",
    "spec.nodeName": "localhost",
    "spec.serviceAccountName": "default",
    "status.hostIP": "127.0.0.1",
    "status.podIP": "127.0.0.1",
}
_LABEL: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ManifestError(Exception):
    """The manifests name what is not in them, or what only a cluster can provide."""


@dataclass(frozen=True, slots=True)
class Program:
    """The first container of a Deployment or of a Pod.

    Args:
        name: Of the Deployment or the Pod.
        command: With its arguments.
        environment: All variables, resolved.
        files: Content of mounted files by their path in the container.
        directories: Mount points of empty directories.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    files: dict[str, bytes]
    directories: tuple[str, ...]


class Manifests:
    """Manifests as ``helm template`` prints them.

    Args:
        text: YAML documents.

    Raises:
        ManifestError: If the text is not YAML, or no manifest is in it.
    """

    def __init__(self, text: str) -> None:
        try:
            documents = [document for document in yaml.safe_load_all(text) if document]
        except yaml.YAMLError as error:
            raise ManifestError(f"the manifests are not YAML: {error}") from None
        if not documents or not all(isinstance(each, Mapping) for each in documents):
            raise ManifestError("there are no manifests: give what `helm template` prints")
        self._objects: dict[tuple[str, str], Object] = {
            (document.get("kind", ""), document.get("metadata", {}).get("name", "")): document
            for document in documents
        }

    def deployments(self) -> list[Program]:
        """Return a program for each Deployment."""
        return [self._program(each, each["spec"]["template"]) for each in self._all("Deployment")]

    def tests(self) -> list[Program]:
        """Return a program for each Pod that ``helm test`` would run."""
        return [
            self._program(each, each)
            for each in self._all("Pod")
            if _TEST_HOOK in each["metadata"].get("annotations", {})
            and "test" in each["metadata"]["annotations"][_TEST_HOOK].split(",")
        ]

    def services(self) -> dict[str, dict[int, tuple[str, int]]]:
        """Return, by Service and port, which Deployment answers at which port of its container."""
        return {
            service["metadata"]["name"]: {
                port["port"]: (deployment["metadata"]["name"], _target(port, deployment))
                for port in service["spec"]["ports"]
            }
            for service in self._all("Service")
            for deployment in self._all("Deployment")
            if _selects(service["spec"].get("selector") or {}, deployment)
        }

    def _all(self, kind: str) -> list[Object]:
        return [each for (known, _), each in self._objects.items() if known == kind]

    def _program(self, owner: Object, pod: Object) -> Program:
        name = owner["metadata"]["name"]
        container = pod["spec"]["containers"][0]
        environment = self._environment(container, name, pod)
        words = [*container.get("command", ()), *container.get("args", ())]
        if not container.get("command"):
            raise ManifestError(f"{name} has no command: only its image knows what it runs")
        files: dict[str, bytes] = {}
        directories: list[str] = []
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        for mount in container.get("volumeMounts") or ():
            content = self._volume(volumes[mount["name"]])
            path = mount["mountPath"].rstrip("/")
            if content is None:
                directories.append(path)
            elif "subPath" in mount:
                raise ManifestError(f"{name} mounts a subPath at {path}, which is not to be had")
            else:
                files |= {f"{path}/{key}": value for key, value in content.items()}
        return Program(
            name,
            tuple(_expanded(word, environment) for word in words),
            environment,
            files,
            tuple(directories),
        )

    def _environment(self, container: Object, name: str, pod: Object) -> dict[str, str]:
        environment: dict[str, str] = {}
        for source in container.get("envFrom") or ():
            kind, reference = (
                ("ConfigMap", source["configMapRef"])
                if "configMapRef" in source
                else ("Secret", source["secretRef"])
            )
            prefix = source.get("prefix", "")
            data = self._data(kind, reference["name"], reference)
            environment |= {prefix + key: value.decode() for key, value in data.items()}
        for variable in container.get("env") or ():
            if "valueFrom" in variable:
                value = self._value_from(variable["valueFrom"], name, pod)
                if value is None:
                    continue
            else:
                value = _expanded(str(variable.get("value", "")), environment)
            environment[variable["name"]] = value
        return environment

    def _value_from(self, source: Object, name: str, pod: Object) -> str | None:
        if "fieldRef" in source:
            return _field(source["fieldRef"]["fieldPath"], name, pod)
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if key in source:
                reference = source[key]
                data = self._data(kind, reference["name"], reference)
                if reference["key"] in data:
                    return data[reference["key"]].decode()
                if reference.get("optional"):
                    return None
                raise ManifestError(f"{kind} {reference['name']} has no key {reference['key']}")
        raise ManifestError(f"{name} takes a variable from {', '.join(source)}, of a cluster only")

    def _volume(self, volume: Object) -> dict[str, bytes] | None:
        """Return the files of *volume*; ``None`` for an empty directory."""
        if "emptyDir" in volume:
            return None
        for key, kind, name in (
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
        ):
            if key in volume:
                data = self._data(kind, volume[key][name], volume[key])
                items = volume[key].get("items")
                return (
                    data if items is None else {each["path"]: data[each["key"]] for each in items}
                )
        raise ManifestError(f"the volume {volume['name']} is of a kind that only a cluster has")

    def _data(self, kind: str, name: str, reference: Object) -> dict[str, bytes]:
        found = self._objects.get((kind, name))
        if found is None:
            if reference.get("optional"):
                return {}
            raise ManifestError(f"{kind} {name} is not among the manifests: append it to them")
        plain = found.get("data" if kind == "ConfigMap" else "stringData") or {}
        encoded = found.get("binaryData" if kind == "ConfigMap" else "data") or {}
        return {
            **{key: base64.b64decode(value) for key, value in encoded.items()},
            **{key: value.encode() for key, value in plain.items()},
        }


def _field(path: str, name: str, pod: Object) -> str:
    if path == "metadata.name":
        return f"{name}-local"
    if path == "metadata.namespace":
        return str(pod["metadata"].get("namespace", "default"))
    if path in _FIELDS:
        return _FIELDS[path]
    if match := _LABEL.fullmatch(path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    raise ManifestError(f"{name} takes a variable from {path}, which only a cluster knows")


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as the kubelet does: by what is known so far, else not at all."""

    def value(match: re.Match[str]) -> str:
        return match[0][1:] if match[1] else environment.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def _selects(selector: Mapping[str, str], deployment: Object) -> bool:
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return bool(selector) and selector.items() <= labels.items()


def _target(port: Object, deployment: Object) -> int:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    for known in container.get("ports") or ():
        if known.get("name") == target:
            return int(known["containerPort"])
    raise ManifestError(f"{deployment['metadata']['name']} has no port of the name {target}")

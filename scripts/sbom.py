# ruff: noqa: INP001 - a script is run by its path
"""Write the software bill of materials that the wheel carries (CycloneDX 1.6, PEP 770).

It lists what the library and its extras bring along, in the versions that the lock file pins and
every test ran with; what an installation really holds is decided when it is made. The same lock
file gives the same bytes.

    python scripts/sbom.py --write    after a change of dependencies
    python scripts/sbom.py --check    exit with 1 if the file is not up to date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "dev.txt"
SBOM = ROOT / "requirements" / "platform-http.cdx.json"

_PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))?(?: \\)?$")
_VIA = re.compile(r" +#(?: via)? +(?P<name>[\w.-]+)")


@dataclass
class Package:
    """One line of the lock file.

    Args:
        name: Normalised.
        version: The one that is pinned; another line may pin another one.
        marker: On which platforms and Pythons it is installed, empty for all.
        parents: Names of those who ask for it.
    """

    name: str
    version: str
    marker: str
    parents: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The package URL, which identifies it everywhere."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(text: str) -> list[Package]:
    """Return the packages that a lock file pins."""
    packages: list[Package] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            packages.append(Package(_normalised(pin["name"]), pin["version"], pin["marker"] or ""))
        elif packages and (via := _VIA.match(line)):
            packages[-1].parents.add(_normalised(via["name"]))
    return packages


def bill(project: Mapping[str, Any], packages: Iterable[Package]) -> dict[str, object]:
    """Return the bill of materials of *project*.

    Args:
        project: The table of that name in pyproject.toml.
        packages: What the lock file pins.
    """
    own = Package(_normalised(project["name"]), project["version"], "")
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    direct = {extra: _names(requirements) for extra, requirements in asked.items()}
    brought = {extra: _closure(names, packages) for extra, names in direct.items()}
    everything = set().union(*brought.values())
    listed = [package for package in packages if package.name in everything]
    children = {own.url: [each for each in listed if each.name in set().union(*direct.values())]}
    for parent in listed:
        children[parent.url] = [each for each in listed if parent.name in each.parents]
    content: dict[str, object] = {
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": own.url,
                "name": own.name,
                "version": own.version,
                "description": project["description"],
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": own.url,
            }
        },
        "components": [_component(each, brought) for each in listed],
        "dependencies": [
            {"ref": url, "dependsOn": [each.url for each in wanted]}
            for url, wanted in children.items()
        ],
    }
    # It names this content, so it is made from it.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **content,
    }


def _component(package: Package, brought: Mapping[str, set[str]]) -> dict[str, object]:
    is_required = package.name in brought[""]
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "scope": "required" if is_required else "optional",
        "purl": package.url,
    }
    properties = []
    if not is_required:
        extras = sorted(extra for extra, names in brought.items() if package.name in names)
        properties += [
            {"name": "cdx:python:package:required-extra", "value": each} for each in extras
        ]
    if package.marker:
        properties.append({"name": "platform_http:marker", "value": package.marker})
    if properties:
        component["properties"] = properties
    return component


def _closure(names: Iterable[str], packages: Iterable[Package]) -> set[str]:
    """Return *names* and the names of all that they bring along."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each.name for each in packages if name in each.parents]
    if missing := found - {each.name for each in packages}:
        sys.exit(f"{LOCK.name} does not pin {', '.join(sorted(missing))}: run make lock")
    return found


def _names(requirements: Iterable[str]) -> set[str]:
    return {_normalised(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in requirements}


def _normalised(name: str) -> str:
    """Return *name* in the one spelling that package URLs use (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description="The bill of materials that the wheel carries.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="bring the file up to date")
    what.add_argument("--check", action="store_true", help="exit with 1 if it is not")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = json.dumps(bill(project, locked(LOCK.read_text(encoding="utf-8"))), indent=2) + "\n"
    if arguments.write:
        SBOM.write_text(text, encoding="utf-8")
    elif not SBOM.is_file() or SBOM.read_text(encoding="utf-8") != text:
        sys.exit(f"{SBOM.relative_to(ROOT)} is not up to date: run python scripts/sbom.py --write")


if __name__ == "__main__":
    main()

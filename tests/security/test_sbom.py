"""The wheel carries a bill of materials that is valid, complete and the same each time."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/sbom.py"
FILE = ROOT / "requirements/platform-http.cdx.json"
SBOM = json.loads(FILE.read_text())
COMPONENTS = {each["bom-ref"]: each for each in SBOM["components"]}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _run(*arguments: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False
    )


def _copy(tmp_path: Path) -> Path:
    """Copy what the script reads and writes; return the copied script."""
    for file in ("pyproject.toml", "requirements/dev.txt", "scripts/sbom.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path / "scripts/sbom.py"


def test_it_is_valid_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(FILE.read_text()) is None


def test_it_is_up_to_date_and_the_same_each_time(tmp_path: Path) -> None:
    finished = _run("--check")
    assert finished.returncode == 0, finished.stderr
    script = _copy(tmp_path)
    assert _run("--write", script=script).returncode == 0
    assert (tmp_path / "requirements" / FILE.name).read_bytes() == FILE.read_bytes()


def test_it_is_not_up_to_date_after_a_change_of_the_lock(tmp_path: Path) -> None:
    script = _copy(tmp_path)
    assert "is not up to date" in _run("--check", script=script).stderr
    _run("--write", script=script)
    lock = tmp_path / "requirements/dev.txt"
    lock.write_text(re.sub(r"^yarl==\S+", "yarl==99.0", lock.read_text(), flags=re.MULTILINE))
    finished = _run("--check", script=script)
    assert finished.returncode == 1
    assert "--write" in finished.stderr


def test_a_dependency_that_is_not_locked_is_named(tmp_path: Path) -> None:
    script = _copy(tmp_path)
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace("truststore>=", "trustshop>="))
    finished = _run("--write", script=script)
    assert finished.returncode == 1
    assert "dev.txt does not pin trustshop: run make lock" in finished.stderr


def _installed(requirements: list[str]) -> set[str]:
    """Return the names of *requirements* and of all that they need in this environment."""
    names: set[str] = set()
    from packaging.requirements import Requirement

    waiting = [Requirement(each) for each in requirements]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        names.add(re.sub(r"[-_.]+", "-", requirement.name).lower())
        for line in metadata.requires(requirement.name) or ():
            child = Requirement(line)
            environments = [{"extra": each} for each in requirement.extras or {""}]
            if child.marker is None or any(map(child.marker.evaluate, environments)):
                waiting.append(child)
    return names


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_it_lists_what_an_installation_needs(extra: str) -> None:
    asked = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    # The lock file pins other things on other Pythons.
    asked = [each for each in asked if "python_version" not in each or sys.version_info < (3, 14)]
    listed = {
        each["name"]
        for each in COMPONENTS.values()
        if each["scope"] == "required"
        or extra in [one["value"] for one in each.get("properties", ())]
    }
    assert _installed(asked) <= listed


def test_it_lists_nothing_that_only_developers_need() -> None:
    names = {each["name"] for each in COMPONENTS.values()}
    assert names.isdisjoint({"ruff", "mypy", "pip-audit", "hypothesis", "cyclonedx-python-lib"})


def test_every_dependency_that_it_tells_of_is_listed() -> None:
    own = SBOM["metadata"]["component"]["bom-ref"]
    told = {each["ref"]: each["dependsOn"] for each in SBOM["dependencies"]}
    assert told.keys() == COMPONENTS.keys() | {own}
    assert {each for children in told.values() for each in children} == COMPONENTS.keys()


def test_it_names_no_host_and_no_folder_of_a_machine() -> None:
    links = set(re.findall(r"https?://[^/\"]+", FILE.read_text()))
    assert links == {"http://cyclonedx.org"}
    assert "/tmp" not in FILE.read_text()


def test_the_wheel_carries_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "platform_http", source / "platform_http", ignore=shutil.ignore_patterns("*.pyc")
    )
    for file in ("pyproject.toml", "README.md", "LICENSE", f"requirements/{FILE.name}"):
        (source / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path, "--python", sys.executable]
    constraints = ["--build-constraints", ROOT / "requirements/build.txt", "--require-hashes"]
    built = subprocess.run(
        [*command, *constraints, source], capture_output=True, text=True, check=False, timeout=120
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if "/sboms/" in each]
        assert name == f"platform_http-{PROJECT['version']}.dist-info/sboms/{FILE.name}"
        assert archive.read(name) == FILE.read_bytes()


def test_the_script_has_no_side_effect_when_it_is_imported() -> None:
    assert "bill" in runpy.run_path(str(SCRIPT))

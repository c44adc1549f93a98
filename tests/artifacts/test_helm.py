"""Where the tests of the chart find helm, on any machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.artifacts.charts import ROOT, helm

SCRIPT = ROOT / "scripts" / "install_helm.py"
# Another machine with an environment in which nothing is installed yet.
ELSEWHERE = """
import platform, runpy, sys
platform.machine = lambda: "arm64"
sys.prefix, sys.executable = sys.argv[1], sys.argv[1] + "/bin/python"
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a folder with a program called helm."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "helm").write_text("#!/bin/sh\n")
    (folder / "helm").chmod(0o755)
    return folder


def install_elsewhere(
    tmp_path: Path, path: Path, require_all: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path), SCRIPT],
        env={"PATH": str(path), "REQUIRE_ALL": require_all},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_installed_once():
    if Path(helm()).parent != Path(sys.executable).parent:
        assert os.environ.get("REQUIRE_ALL") != "1"
        pytest.skip("the pinned helm is not for this machine")
    before = Path(helm()).stat()
    again = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert Path(helm()).stat().st_ino == before.st_ino


def test_on_another_machine_the_one_on_the_path_is_left_in_place(tmp_path, program):
    finished = install_elsewhere(tmp_path, program, "1")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert f"tests take {program}/helm" in finished.stdout


@pytest.mark.parametrize(("require_all", "code"), [("0", 0), ("1", 1)])
def test_without_any_only_a_run_of_all_tests_stops(tmp_path, require_all, code):
    finished = install_elsewhere(tmp_path, tmp_path, require_all)
    assert finished.returncode == code
    said = finished.stdout + finished.stderr
    assert "put helm 4 on PATH to run all tests" in said
    assert "Traceback" not in said


def test_make_goes_on_to_the_tests_without_it(tmp_path, program):
    """An empty file in its place would be taken for it."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    # As `make setup` leaves it, so that nothing is installed here.
    (tmp_path / ".ready").touch()
    finished = subprocess.run(
        ["make", "--silent", f"VENV={tmp_path}", f"{tmp_path}/bin/helm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "bin" / "helm").exists()


def test_the_pinned_one_beats_the_path(monkeypatch, program, tmp_path):
    monkeypatch.setenv("PATH", str(program))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert helm() == str(program / "helm")
    pinned = tmp_path / "helm"
    pinned.touch()
    assert helm() == str(pinned)


def test_without_any_a_test_is_skipped_or_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv("REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="helm is not installed"):
        helm()
    monkeypatch.setenv("REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="helm is not installed"):
        helm()

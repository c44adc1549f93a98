"""What the chart renders runs: its commands, with exactly its environment, on this machine."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from tests.artifacts.charts import ROOT, helm, parse, template
from tests.artifacts.test_chart_policies import variables_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCAL = [sys.executable, "-m", "examples.service.local"]
PATIENCE = 60.0
# What a cluster would give and this machine has to replace.
ADDRESSES = {"DEMO_HOST", "DEMO_PORT", "DEMO_TARGET"}


DOCUMENTS = (
    ROOT / "charts" / "platform-http-demo" / "README.md",
    ROOT / "examples" / "service" / "README.md",
)


def commands_of(document: Path) -> list[str]:
    """Return what *document* says to type in, without its comments."""
    lines = re.findall(
        r"^(?:\$ )?(.+? examples\.service\.local .+|.*bin/helm .*|make .+helm)$",
        document.read_text(),
        re.MULTILINE,
    )
    return [line.partition("  #")[0].strip() for line in lines]


def test_the_documents_say_how_to_run_it_in_the_same_words():
    make, render, *runs = commands_of(DOCUMENTS[0])
    assert make == "make setup .venv/bin/helm"
    assert render.startswith(".venv/bin/helm template ")
    assert [run.endswith("--test") for run in runs] == [True, False]
    assert commands_of(DOCUMENTS[1]) == [make, render, *runs]


def test_the_test_pods_pass_against_the_rendered_processes(tmp_path):
    """With the commands of the documents, but in a folder of its own and without `make`."""
    for name in ("charts", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    _, render, run, _ = commands_of(DOCUMENTS[1])
    finished = subprocess.run(
        ["sh", "-ec", f"{render.replace('.venv/bin/helm', helm())}\n{run}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    said = finished.stdout + finished.stderr
    assert finished.returncode == 0, said
    assert "demo-platform-http-demo-test-pages: passed" in said
    assert "demo-platform-http-demo-test-order: passed" in said


@contextlib.contextmanager
def local(manifests: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the rendered processes from when all three are ready until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*LOCAL, str(manifests)], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        give_up = time.monotonic() + PATIENCE
        while log.read_text().count(" is ready: ") < 3:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def test_processes_get_the_rendered_environment_and_end_together(tmp_path):
    values = '{"upstream": {"day": 0}, "pod": {"drainSeconds": 0}}'
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(template(values=values))
    rendered = parse(manifests.read_text())
    log = tmp_path / "log"
    with local(manifests, log) as process:
        roles = {each.cmdline()[-1]: each for each in psutil.Process(process.pid).children()}
        assert roles.keys() == {"upstream", "caller", "load"}
        for role, running in roles.items():
            given = running.environ()
            assert given.pop("PATH")
            expected = variables_of(rendered, role)
            assert given.keys() == expected.keys()
            for name, value in expected.items():
                if name not in ADDRESSES and not name.endswith("__BASE_URL"):
                    assert given[name] == value, name
    assert process.returncode == 0, log.read_text()
    assert not [each for each in roles.values() if each.is_running()]

"""Rendered manifests run as processes of this machine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.examples.commands import ROOT, SECONDS, get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "examples.service.local")
MANIFESTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: demo-caller}
data:
  PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL: http://demo-upstream:9001/
  PLATFORM_HTTP_CLIENTS__INVENTORY__BASE_URL: http://demo-upstream:9002/
  PLATFORM_HTTP_CLIENTS__SEARCH__BASE_URL: http://demo-upstream:9003/
---
kind: Service
metadata: {name: demo-upstream}
spec:
  selector: {role: upstream}
  ports: [{port: 9001}, {port: 9002}, {port: 9003}]
---
kind: Service
metadata: {name: demo-caller}
spec: {selector: {role: caller}, ports: [{port: 80, targetPort: 8080}]}
---
kind: Deployment
metadata: {name: demo-upstream}
spec:
  template:
    metadata: {labels: {role: upstream}}
    spec:
      containers:
        - command: [platform-http, demo, upstream]
          env: [{name: DEMO_PORT, value: "9000"}, {name: DEMO_DAY, value: "0"}]
---
kind: Deployment
metadata: {name: demo-caller}
spec:
  template:
    metadata: {labels: {role: caller}}
    spec:
      containers:
        - command: [platform-http, demo, caller]
          envFrom: [{configMapRef: {name: demo-caller}}]
          env: [{name: DEMO_PORT, value: "8080"}, {name: DEMO_DRAIN_DELAY, value: "0"}]
---
kind: Pod
metadata: {name: order, annotations: {helm.sh/hook: test}}
spec:
  containers:
    - command: [python, -c]
      args:
        - |
          import urllib.request
          with urllib.request.urlopen("http://demo-caller/orders/1") as response:
              assert response.status == CODE
"""


def _test(manifests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=manifests,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_pods_of_helm_test_run_against_the_processes() -> None:
    result = _test(MANIFESTS.replace("CODE", "200"), "--test")
    assert result.returncode == 0, result.stderr
    assert "order: passed" in result.stdout


def test_a_pod_of_helm_test_that_fails_is_the_result() -> None:
    result = _test(MANIFESTS.replace("CODE", "201"), "--test")
    assert result.returncode == 1
    assert "order: FAILED" in result.stdout


def test_without_tests_there_is_nothing_to_pass() -> None:
    result = _test(MANIFESTS.partition("---\nkind: Pod")[0], "--test")
    assert result.returncode == 1
    assert "no pod for helm test" in result.stderr


@contextlib.contextmanager
def _started(
    tmp_path: Path, manifests: str, last: str, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], list[str], list[psutil.Process]]]:
    """Yield the process, its lines until one begins with *last*, and its children."""
    file = tmp_path / "manifests.yaml"
    file.write_text(manifests)
    process = subprocess.Popen(
        [*COMMAND, str(file), *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    children: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        lines = []
        while not (lines and lines[-1].startswith(last)):
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        children = psutil.Process(process.pid).children(recursive=True)
        yield process, lines, children
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
        left = [child for child in children if child.is_running()]
        for child in left:
            child.kill()
        assert left == []


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_everything_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with _started(tmp_path, MANIFESTS, "Ctrl-C") as (process, lines, children):
        (caller,) = (line.split()[-1] for line in lines if line.startswith("caller is ready"))
        assert "platform_http_build_info" in get(caller)
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        with pytest.raises(urllib.error.URLError):
            get(caller)


@SIGNALS
def test_an_interrupted_test_has_not_passed(tmp_path: Path, number: signal.Signals) -> None:
    manifests = MANIFESTS.replace("import urllib.request\n", "import time; time.sleep(60)\n")
    with _started(tmp_path, manifests, "caller is ready", "--test") as (process, _, children):
        process.send_signal(number)
        assert process.wait(SECONDS) == 128 + number
        assert len(children) >= 2


@SIGNALS
def test_a_second_signal_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    patient = MANIFESTS.replace('DELAY, value: "0"', 'DELAY, value: "15"')
    with _started(tmp_path, patient, "Ctrl-C") as (process, _, children):
        process.send_signal(number)
        # The caller ends first, and takes its time.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - began < 10
        assert len(children) == 2


def test_a_process_that_does_not_start_is_named() -> None:
    broken = MANIFESTS.replace("[platform-http, demo, caller]", "[platform-http, demo, nobody]")
    result = _test(broken, "--test")
    assert result.returncode == 2
    assert "cannot run this: caller ended with 2" in result.stderr


@pytest.mark.parametrize("manifests", ["", "no: manifest"])
def test_what_cannot_be_run_is_told_in_a_line(manifests: str) -> None:
    result = _test(manifests)
    assert result.returncode == 2
    assert result.stderr.startswith("cannot run this: there ")
    assert "Traceback" not in result.stderr

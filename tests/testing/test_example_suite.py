"""The test suite that a reader copies passes, run as its docstring says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import examples.testing

ROOT = Path(examples.testing.__file__).parents[2]


def test_the_example_suite_passes() -> None:
    command = shlex.split((examples.testing.__doc__ or "").split("``")[1])
    assert command[0] == "pytest"
    process = subprocess.run(
        [sys.executable, "-m", *command, "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        # The settings of a developer's machine are none of a test's.
        env={**os.environ, "PLATFORM_HTTP_NO_SUCH_SETTING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    assert "9 passed" in process.stdout

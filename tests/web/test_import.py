"""What does not serve does not pay for it."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_does_not_load_the_integration() -> None:
    script = "import sys, platform_http; print(*[n for n in sys.modules if 'web' in n.split('.')])"
    run = [sys.executable, "-c", script]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []

"""The environment of processes that tests start."""

from __future__ import annotations

import os


def unmeasured(*without: str) -> dict[str, str]:
    """Return this process's environment for another one that coverage is not to measure.

    Coverage doubles the time of short processes. What they run is covered by tests of its own.

    Args:
        without: Prefixes of more variables to leave out, for what a developer has exported and
            would change what the process does.
    """
    left_out = ("COVERAGE_", *without)
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}

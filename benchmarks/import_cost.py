"""What ``import platform_http`` costs over what it needs anyway.

Both imports run in fresh interpreters, alternately; the figure is the ratio of the medians of
their CPU times, bytecode cached.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

NEEDED = (
    "import aiohttp, opentelemetry.trace, opentelemetry.propagate, prometheus_client, "
    "pydantic_settings"
)
RUNS = 25


def _seconds(statement: str) -> float:
    script = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    run = [sys.executable, "-c", script]
    return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    needed, ours = [], []
    for _ in range(RUNS):
        needed.append(_seconds(NEEDED))
        ours.append(_seconds(f"{NEEDED}; import platform_http"))
    base, total = statistics.median(needed), statistics.median(ours)
    print(
        f"needed anyway {base * 1e3:.0f} ms, with platform_http {total * 1e3:.0f} ms, "
        f"ratio {total / base:.3f}"
    )


if __name__ == "__main__":
    main()

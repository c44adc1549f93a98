"""What ``import platform_http`` costs over what it needs anyway.

Both imports run in fresh interpreters, alternately, with their bytecode cached, as in an installed
service. The first figure is the ratio of the medians of their CPU times; the quartiles are those of
the ratios within each pair of neighbours, which a busy machine slows down together.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.report import promise

NEEDED = (
    "import aiohttp, opentelemetry.trace, opentelemetry.propagate, prometheus_client, "
    "pydantic_settings"
)
PAIRS = 41


def _seconds(statement: str, cache: str) -> float:
    script = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    # A developer's machine may keep Python from caching anything.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=environ)
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        statements = (NEEDED, f"{NEEDED}; import platform_http")
        _seconds(statements[1], cache)
        pairs = [[_seconds(statement, cache) for statement in statements] for _ in range(PAIRS)]
    needed, ours = zip(*pairs, strict=True)
    base, total = statistics.median(needed), statistics.median(ours)
    print(
        f"needed anyway {base * 1e3:.0f} ms, with platform_http {total * 1e3:.0f} ms, "
        f"ratio {total / base:.3f}"
    )
    low, median, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    print(f"{PAIRS} pairs, quartiles of their ratios {low:.3f}, {median:.3f}, {high:.3f}\n")
    promise("importing over importing what is needed anyway", total / base, 1.05)


if __name__ == "__main__":
    main()

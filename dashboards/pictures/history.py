"""Three quiet days before the demo, without which burn rates and budgets are those of its minutes.

They are made up: a steady load, of which a little less fails than the objective allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboards.pictures.processes import program, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS: Final = 3 * 86_400
_SCRAPE_STEP: Final = 60
_WRITE_SECONDS: Final = 120.0
# Calls per second of each job and client, somewhat fewer than in the demo.
_RATES: Final = {
    ("caller", "billing"): 9.0,
    ("caller", "inventory"): 8.0,
    ("caller", "search"): 10.0,
    ("caller", "partner"): 1.0,
    ("load", "caller"): 15.0,
}
_BAD: Final = 0.0004
_SLOW: Final = 0.004
_CALLS: Final = "platform_http_call_duration_seconds"


def write(data: Path, end: int, rule_step: int) -> None:
    """Write the days until *end* into the data folder of a Prometheus.

    Args:
        data: The folder.
        end: Seconds since the epoch.
        rule_step: Seconds between two evaluations of rules. An average over what was recorded
            before and during the demo is right only if that did not change.

    Raises:
        ProcessError: If promtool is missing or fails.
    """
    text = data.with_suffix(".txt")
    with text.open("w") as file:
        for line in _lines(end, rule_step):
            file.write(f"{line}\n")
        file.write("# EOF\n")
    command = [program("promtool", "prometheus"), "tsdb", "create-blocks-from", "--quiet"]
    # Fewer blocks than promtool makes by itself: it reads its input again for each of them.
    command += ["--max-block-duration=500h", "openmetrics", str(text), str(data)]
    run(command, folder=data.parent, seconds=_WRITE_SECONDS)


def _lines(end: int, rule_step: int) -> Iterator[str]:
    for (job, client), rate in _RATES.items():
        labels = f'client="{client}",job="{job}"'
        good, bad = rate * (1 - _BAD), rate * _BAD
        slow = good * _SLOW
        # What the demo's own counters say from its beginning on.
        origin = f'{labels},instance="earlier",operation="earlier"'
        counters = {
            f'{_CALLS}_count{{{origin},outcome="success"}}': good,
            f'{_CALLS}_count{{{origin},outcome="error"}}': bad,
            f'{_CALLS}_bucket{{{origin},outcome="success",le="0.5"}}': good - slow,
        }
        for passed in range(0, _SECONDS + 1, _SCRAPE_STEP):
            for series, per_second in counters.items():
                yield f"{series} {per_second * passed:.3f} {end - _SECONDS + passed}"
        # What the rules would have recorded of them.
        recorded = {
            "calls:rate5m": rate,
            "calls_bad:rate5m": bad,
            "calls_slow:rate5m": slow,
            "calls:rate1h": rate,
            "calls_bad:rate1h": bad,
        }
        for passed in range(0, _SECONDS, rule_step):
            for name, value in recorded.items():
                series = f"job_client:platform_http_{name}{{{labels}}}"
                yield f"{series} {value:.6f} {end - _SECONDS + passed}"

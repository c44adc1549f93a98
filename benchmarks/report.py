"""How a benchmark prints: Markdown tables, and what was promised with what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

HOLDS = "- holds: "
BROKEN = "- **does not hold**: "


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table and an empty line."""
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    print(flush=True)


def promise(what: str, measured: float, most: float, unit: str = "", digits: int = 2) -> None:
    """Print whether *measured* is at most *most*."""
    verdict = HOLDS if measured <= most else BROKEN
    space = " " if unit else ""
    print(f"{verdict}{what}: {measured:.{digits}f}{space}{unit}, at most {most:.4g}{space}{unit}")


def promise_least(what: str, measured: float, least: float) -> None:
    """Print whether *measured* is at least *least*."""
    verdict = HOLDS if measured >= least else BROKEN
    print(f"{verdict}{what}: {measured:.2f}, at least {least:g}")


def median(values: Sequence[float]) -> float:
    """Return the median of *values*."""
    return statistics.median(values)


def undisturbed(values: Sequence[float]) -> float:
    """Return the mean of the smaller half of *values*: whatever else happens only adds to them."""
    return statistics.fmean(sorted(values)[: (len(values) + 1) // 2])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the quartiles of *values* as text, or what there is of them."""
    if len(values) < 2:
        return "one value"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.{digits}f} to {high:.{digits}f}"


def against(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratios of *values* to *base*, round by round."""
    return [value / reference for value, reference in zip(values, base, strict=True)]

"""The table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table

from platform_http.cli.demo.figures import Figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from platform_http.cli.demo.readings import Reading

_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def summary(reading: Reading, clients: Sequence[str]) -> Table:
    """Return the figures of the whole day: a column for each client and one for all.

    Args:
        reading: Totals at the end.
        clients: In the order of the columns.
    """
    table = Table(
        title=f"{reading.seconds:.0f} seconds, from the metrics registry",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("")
    for name in (*clients, "all"):
        table.add_column(name, justify="right", min_width=9)
    columns = [*(Figures(reading, client) for client in clients), Figures(reading, *clients)]

    def row(label: str, figures: Iterable[str], style: str = "") -> None:
        table.add_row(label, *figures, style=style)

    def rows(label: str, figures: Sequence[Mapping[str, float]]) -> None:
        row(label, (_count(sum(figure.values())) for figure in figures))
        # The last column is that of all clients, so it has every key.
        for key in figures[-1]:
            name = f"  {key.replace('_', ' ')}"
            row(name, (_count(figure.get(key, 0.0)) for figure in figures), "dim")

    row("calls", (_count(column.calls) for column in columns), "bold")
    for outcome in ("success", "error", "rejected", "cancelled"):
        row(f"  {outcome}", (_count(column.ended(outcome)) for column in columns))
    row("attempts", (_count(column.attempts) for column in columns), "bold")
    row("amplification", (_ratio(column.amplification) for column in columns))
    row("recovered by a retry", (_count(column.recovered) for column in columns), "bold")
    rows("resends", [column.resends for column in columns])
    rows("retry stops", [column.retry_stops for column in columns])
    if columns[-1].hedges:
        rows("hedges", [column.hedges for column in columns])
    rows("circuit transitions", [column.circuit_transitions for column in columns])
    rows("rejections", [column.rejections for column in columns])
    for label, share in _QUANTILES:
        row(f"{label} of calls", (duration(column.call_duration(share)) for column in columns))
    for label, waits in (
        ("p95 of permit waits", [column.permit_wait(0.95) for column in columns]),
        ("p95 of rate limit waits", [column.rate_limit_wait(0.95) for column in columns]),
    ):
        if waits[-1] is not None:
            row(label, map(duration, waits))
    return table


def duration(seconds: float | None) -> str:
    """Return *seconds* with a unit; a dash for ``None``."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def tokens(left: float | None) -> str:
    """Return how many whole tokens are *left*; a dash for ``None``."""
    # Rounded down: 9.9 do not pay for what costs 10.
    return "-" if left is None else str(int(left))


def _count(value: float) -> str:
    return f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

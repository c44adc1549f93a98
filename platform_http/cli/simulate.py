"""``platform-http simulate``: what settings do to a fleet, before the incident does it."""

from __future__ import annotations

import math
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from platform_http.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from platform_http.settings import ClientSettings
    from platform_http.simulation import Report, Scenario

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(help="Name of a shipped scenario, see --list, or path of a TOML file."),
    ] = None,
    *,
    assigned: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of every variant, such as RETRY__MAX_ATTEMPTS=2.",
        ),
    ] = None,
    versus: Annotated[
        list[str] | None,
        typer.Option(
            "--vs",
            metavar="LABEL:NAME=VALUE,...",
            help="Compare with these settings on top, or with the built-in variant naive.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same numbers for the same seed.")] = 1,
    clients: Annotated[
        int | None, typer.Option(min=1, help="Client processes that share the same calls.")
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(min=1, help="About so many calls; upstreams grow or shrink with them."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every second of every variant.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw goodput, requests and p99 over time.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the shipped scenarios.")] = False,
) -> None:
    """Play a scenario with the real policies in simulated time, and compare settings.

    PLATFORM_HTTP_* variables apply; what the scenario sets beats them, --set beats both.

    Exit codes: 0 success; 2 wrong usage, an invalid scenario or setting, or a file that cannot be
    written.
    """
    # Lines that go to a file or a pipe stay whole.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    try:
        if show_list:
            console.print(_shipped())
            return
        if scenario is None:
            raise typer.BadParameter("name a scenario, or use --list")
        story = _sized(scenario, clients, calls)
        variants = _variants(story, assigned or [], versus or [])
        if png is not None:
            _require_drawing()
        reports = list(_played(story, variants, seed))
        console.print(_summary(story, reports, seed))
        _write(story, reports, csv, png)
    except (ConfigurationError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _shipped() -> Table:
    from platform_http.simulation import shipped  # noqa: PLC0415 - pydantic takes its time

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, story in shipped().items():
        table.add_row(name, story.title)
    return table


def _sized(name: str, clients: int | None, calls: int | None) -> Scenario:
    from platform_http.simulation import load  # noqa: PLC0415 - as above

    story = load(name)
    if calls is not None:
        story = story.scaled(calls)
    return story if clients is None else story.model_copy(update={"clients": clients})


def _variants(
    story: Scenario, assigned: Sequence[str], versus: Sequence[str]
) -> list[tuple[str, ClientSettings]]:
    """Return every variant with its settings; what is wrong with any of them is raised at once."""
    from platform_http.simulation.variants import (  # noqa: PLC0415 - as above
        Variant,
        assignment,
        resolve,
        variant,
    )

    found: list[str] = []
    base: dict[str, object] = dict(story.settings)
    for text in assigned:
        try:
            name, value = assignment(text)
        except ConfigurationError as error:
            found += error.violations
        else:
            base[name] = value
    asked = [Variant("settings", {})]
    for text in versus:
        try:
            asked.append(variant(text))
        except ConfigurationError as error:
            found += error.violations
    labels = [each.label for each in asked]
    if len(set(labels)) < len(labels):
        found.append("two variants have the same label; the first one is called settings")
    resolved: list[tuple[str, ClientSettings]] = []
    for each in asked:
        try:
            resolved.append((each.label, resolve({**base, **each.assignments})))
        except ConfigurationError as error:
            found += error.violations
    if found:
        # Every variant repeats what is wrong with the settings that they share.
        raise ConfigurationError(list(dict.fromkeys(found)))
    return resolved


def _require_drawing() -> None:
    try:
        import platform_http.simulation.plot  # noqa: F401, PLC0415 - the extra simulation
    except ImportError:
        raise ConfigurationError(
            ['--png needs matplotlib: pip install "platform-http[simulation]"']
        ) from None


def _played(
    story: Scenario, variants: Sequence[tuple[str, ClientSettings]], seed: int
) -> Iterator[Report]:
    from platform_http.simulation import simulate  # noqa: PLC0415 - as above

    for label, settings in variants:
        yield simulate(story, settings, label=label, seed=seed)


def _write(story: Scenario, reports: Sequence[Report], csv: Path | None, png: Path | None) -> None:
    if csv is not None:
        from platform_http.simulation import series_file  # noqa: PLC0415 - as above

        series_file.write(reports, csv)
    if png is not None:
        from platform_http.simulation import plot  # noqa: PLC0415 - the extra simulation

        plot.draw(story, reports, png)


def _summary(story: Scenario, reports: Sequence[Report], seed: int) -> RenderableType:
    heading = Text(story.title, style="bold")
    size = Text(f"{story.clients} clients, {reports[0].calls} calls, seed {seed}", style="dim")
    return Group(heading, size, Text(), _figures(story, reports), Text(), _curves(story, reports))


def _figures(story: Scenario, reports: Sequence[Report]) -> Table:
    """Return a row per figure and a column per variant."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for report in reports:
        table.add_column(report.label, justify="right")
    rows = {
        "successes per second": [f"{report.goodput:.0f}" for report in reports],
        "calls that succeed": [f"{report.ratio:.1%}" for report in reports],
    }
    for upstream in story.upstream:
        rows[f"requests to {upstream.name} per call"] = [
            f"{report.amplification(upstream.name):.2f}" for report in reports
        ]
    if any(report.hedges for report in reports):
        rows["hedges per call"] = [f"{report.hedges / report.calls:.1%}" for report in reports]
    rows["p50 of successes"] = [_seconds(report.p50) for report in reports]
    rows["p99 of successes"] = [_seconds(report.p99) for report in reports]
    rows["goodput back after"] = [_recovery(report.recovery) for report in reports]
    if story.arrivals.pattern == "herd":
        rows["fullest 100 ms of resends / mean"] = [
            "-" if report.burst is None else f"{report.burst:.1f}" for report in reports
        ]
    for error in dict.fromkeys(error for report in reports for error in report.errors):
        rows[f"failed: {error}"] = [str(report.errors.get(error, 0)) for report in reports]
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _recovery(value: float | None) -> str:
    match value:
        case None:
            return "-"
        case math.inf:
            return "never in this run"
        case _:
            return f"{value:.0f} s"


def _curves(story: Scenario, reports: Sequence[Report]) -> Table:
    """Return a sparkline of goodput per variant, above a bar where something is wrong."""
    table = Table(box=None, pad_edge=False, show_header=False)
    top = max(second.successes for report in reports for second in report.seconds) or 1
    width = min(_WIDTH, len(reports[0].seconds))
    for report in reports:
        goodput = [second.successes for second in report.seconds]
        heights = (sum(part) / len(part) / top for part in _parts(goodput, width))
        line = "".join(_BLOCKS[min(7, int(height * 8))] for height in heights)
        table.add_row(f"goodput, {report.label}", line)
    disturbed = [
        any(
            each.start < second + 1 and second < each.start + each.duration
            for each in story.disturbance
        )
        for second in range(len(reports[0].seconds))
    ]
    if any(disturbed):
        line = "".join("━" if any(part) else " " for part in _parts(disturbed, width))
        table.add_row("disturbance", line)
    return table


def _parts(values: Sequence[int], width: int) -> Iterator[Sequence[int]]:
    """Cut *values* into *width* parts of almost the same length."""
    for place in range(width):
        yield values[place * len(values) // width : (place + 1) * len(values) // width]

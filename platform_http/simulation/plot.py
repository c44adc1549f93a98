"""The time series of variants as a picture. It needs the extra ``simulation``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from platform_http.simulation.report import Report
    from platform_http.simulation.scenario import Scenario

_PANELS = ("calls per second that succeed", "requests per call", "p99 of successes, seconds")


def draw(scenario: Scenario, reports: Sequence[Report], file: Path) -> None:
    """Draw goodput, requests per call and p99 over time, disturbances shaded.

    Args:
        scenario: What was played.
        reports: The variants.
        file: The PNG, written over.

    Raises:
        OSError: If *file* cannot be written.
    """
    figure = Figure(figsize=(9, 7), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(len(_PANELS), 1, sharex=True))
    figure.suptitle(scenario.title)
    _offered(panels[0], reports[0])
    # The first one on top: where they are the same, it is the one that was asked for.
    for place, report in enumerate(reports):
        _curves(panels, report, zorder=2 + len(reports) - place)
    for panel, title in zip(panels, _PANELS, strict=True):
        panel.set_title(title, loc="left", fontsize="medium")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        for disturbance in scenario.disturbance:
            end = disturbance.start + disturbance.duration
            panel.axvspan(disturbance.start, end, color="tab:red", alpha=0.1, linewidth=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    panels[-1].set_xlabel("seconds")
    panels[-1].set_xlim(0, scenario.duration)
    # Without the version of the library, so that the same run is the same file.
    figure.savefig(file, format="png", metadata={"Software": None})


def _offered(panel: Axes, report: Report) -> None:
    seconds = report.seconds
    panel.plot(
        [second.start for second in seconds],
        [second.calls for second in seconds],
        color="tab:gray",
        linewidth=0.8,
        linestyle="dotted",
        label="calls that begin",
    )


def _curves(panels: Sequence[Axes], report: Report, zorder: float) -> None:
    seconds = report.seconds
    starts = [second.start for second in seconds]
    goodput = [float(second.successes) for second in seconds]
    # A second without a call has no ratio, one without a success no percentile.
    requests = [s.attempts / s.calls if s.calls else math.nan for s in seconds]
    slowest = [math.nan if second.p99 is None else second.p99 for second in seconds]
    for panel, values in zip(panels, (goodput, requests, slowest), strict=True):
        panel.plot(starts, values, linewidth=1.3, label=report.label, zorder=zorder)

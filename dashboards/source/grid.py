"""Place panels on Grafana's grid of 24 columns.

The auto-layout of the Grafana Foundation SDK overflows the grid, so positions and ids are set here.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard

COLUMNS: Final = 24


class Grid:
    """Fills a dashboard line by line, from the most important panel down.

    Attributes:
        panels: What was placed, in order.
    """

    def __init__(self) -> None:
        self.panels: list[dashboard.Panel | dashboard.RowPanel] = []
        self._next_y = 0

    def row(self, title: str) -> None:
        """Begin a row called *title*."""
        row = dashboard.RowPanel(title=title)
        self._place(row, x=0, width=COLUMNS, height=1)
        self._next_y += 1

    def line(self, height: int, *panels: tuple[int, dashboard.Panel]) -> None:
        """Place *panels* side by side, each with its width in columns in front of it.

        Args:
            height: Height of all of them in grid units, > 0.
            panels: Widths and panels from left to right.

        Raises:
            ValueError: If the widths do not fill the 24 columns exactly, or a size is not positive.
        """
        widths = [width for width, _ in panels]
        if sum(widths) != COLUMNS or min(widths) < 1 or height < 1:
            raise ValueError(
                f"a line of height {height} with panels of widths {widths}: "
                f"sizes are positive and the widths add up to {COLUMNS}"
            )
        x = 0
        for width, panel in panels:
            self._place(panel, x=x, width=width, height=height)
            x += width
        self._next_y += height

    def _place(
        self, panel: dashboard.Panel | dashboard.RowPanel, *, x: int, width: int, height: int
    ) -> None:
        panel.grid_pos = dashboard.GridPos(h=height, w=width, x=x, y=self._next_y)
        panel.id_val = len(self.panels) + 1
        self.panels.append(panel)

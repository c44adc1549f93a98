"""A dashboard as its JSON says it, with names for the parts that rules look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dashboards.source.promql import Vocabulary


class Finding(NamedTuple):
    """What one rule has against one place."""

    rule: str
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.rule}]"


class Target(NamedTuple):
    """A query of a panel, and where it stands."""

    place: str
    panel: dict[str, Any]
    content: dict[str, Any]

    @property
    def expr(self) -> str:
        """The PromQL."""
        return str(self.content.get("expr", ""))


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard.

    Attributes:
        name: Name of its file without the suffix.
        content: The parsed JSON.
    """

    name: str
    content: dict[str, Any]

    @property
    def uid(self) -> str:
        """Its uid, "" without one."""
        return str(self.content.get("uid") or "")

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        """Its variables by name, in order."""
        found = self.content.get("templating", {}).get("list", [])
        return {variable.get("name", ""): variable for variable in found}

    @property
    def annotations(self) -> list[dict[str, Any]]:
        """Its annotation queries."""
        return list(self.content.get("annotations", {}).get("list", []))

    def everything(self) -> Iterator[dict[str, Any]]:
        """Yield panels and rows, those inside collapsed rows too."""
        for panel in self.content.get("panels", []):
            yield panel
            yield from panel.get("panels", [])

    def panels(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each panel that is no row, and where it stands."""
        for panel in self.everything():
            if panel.get("type") != "row":
                yield f"{self.name}: {panel.get('title') or panel.get('id')!r}", panel

    def targets(self) -> Iterator[Target]:
        """Yield the queries of all panels."""
        for place, panel in self.panels():
            for target in panel.get("targets", []):
                yield Target(f"{place}, query {target.get('refId', '?')}", panel, target)


@dataclass(frozen=True, slots=True)
class Set:
    """All dashboards that link to each other, and what their queries may ask for."""

    boards: tuple[Board, ...]
    vocabulary: Vocabulary

    @property
    def by_uid(self) -> Mapping[str, Board]:
        """The dashboards by uid."""
        return {board.uid: board for board in self.boards}


# What a rule has against a dashboard of a set: places and messages.
Complaints = Iterator[tuple[str, str]]
if TYPE_CHECKING:
    Rule = Callable[[Board, Set], Complaints]

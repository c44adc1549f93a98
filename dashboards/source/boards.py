"""The six dashboards by name, and their text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.source import connections, dependency, fleet, overview, resilience, slo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grafana_foundation_sdk.models import dashboard

BOARDS: Final[Mapping[str, Callable[[], dashboard.Dashboard]]] = {
    "overview": overview.board,
    "dependency": dependency.board,
    "resilience": resilience.board,
    "connections": connections.board,
    "slo": slo.board,
    "fleet": fleet.board,
}


def text(board: dashboard.Dashboard) -> str:
    """Return *board* as JSON, the same for the same dashboard whatever order it was built in."""
    content = json.loads(JSONEncoder().encode(board))
    for entry in (*content["links"], *content["annotations"]["list"]):
        # The SDK hides every link and annotation in a menu, and has no way to say otherwise.
        del entry["placement"]
    return json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

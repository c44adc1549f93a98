"""Settings whose policy does not exist yet: they must not be accepted silently."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from platform_http.settings.variables import variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from platform_http.settings.rules import Statement

NOT_AVAILABLE_YET: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "json": (),
        "web.status_host": (),
        "web.status_page": (),
        "web.status_port": (),
    }
)
"""Sections and fields without a policy, with the values that are accepted besides the default:
those that switch the thing off or ask for what aiohttp does by itself. A field's own line beats
that of its section. Whatever brings a policy removes its lines."""


def unavailable(statement: Statement) -> Iterator[str]:
    """Return a line for every value that was set and asks for a policy that does not exist."""
    known = variables()
    for path in statement.labels:
        accepted = accepted_so_far(path)
        if accepted is not None and known[path].of(statement.values) not in accepted:
            yield f"{statement.label(path)} asks for what is not available yet; remove it"


def accepted_so_far(path: str) -> tuple[object, ...] | None:
    """Return the only values that *path* takes until its policy exists, or ``None`` for all."""
    place = path
    while place not in NOT_AVAILABLE_YET:
        place = place.rpartition(".")[0]
        if not place:
            return None
    return (variables()[path].default, *NOT_AVAILABLE_YET[place])

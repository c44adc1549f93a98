"""The report as JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import TYPE_CHECKING, Any

from platform_http.call import Origin
from platform_http.settings.listing import as_plain

if TYPE_CHECKING:
    from platform_http.web.status.report import Report


def as_json(report: Report) -> str:
    """Return *report* as a JSON object; its fields are those of the dataclasses."""
    return json.dumps(_plain(report), indent=1)


def _plain(value: object) -> object:
    match value:
        case Origin():
            return str(value)
        case enum.Enum():
            return value.value
        case tuple() if hasattr(value, "_fields"):
            return {name: _plain(getattr(value, name)) for name in value._fields}
        case tuple() | list():
            return [_plain(each) for each in value]
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return _fields(value)
        case _:
            return as_plain(value)


def _fields(value: Any) -> dict[str, object]:
    return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}

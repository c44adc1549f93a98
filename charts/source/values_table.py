"""The table of values: the order and the meaning from the schema, the defaults from the values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from charts.source.policies import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charts.source.policies import Schema


def values_table(schema: Schema, values: dict[str, Any]) -> str:
    """Return a row for each value in Markdown, ending in a newline.

    Policies are one row: the library documents them.

    Raises:
        ValueError: If a value has no description, or the schema does not know it.
    """
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [row for name, value in values.items() for row in _rows(schema, schema, name, value)]
    return "\n".join(rows) + "\n"


def _rows(root: Schema, parent: Schema, path: str, value: object) -> Iterator[str]:
    part = _resolved(root, parent)["properties"].get(path.rpartition(".")[2])
    if part is None:
        raise ValueError(f"values.schema.json does not know {path}")
    if "description" not in part:
        raise ValueError(f"values.schema.json does not describe {path}")
    is_policies = part.get("$ref") == f"#/$defs/{POLICIES}"
    if isinstance(value, dict) and value and not is_policies:
        for name, below in value.items():
            yield from _rows(root, part, f"{path}.{name}", below)
    else:
        default = "see `values.yaml`" if is_policies and value else f"`{json.dumps(value)}`"
        yield f"| `{path}` | {default} | {part['description'].replace('|', chr(92) + '|')} |"


def _resolved(root: Schema, part: Schema) -> Schema:
    """Return the definition that *part* refers to, or *part* itself."""
    for each in (part, *part.get("allOf", ())):
        if "$ref" in each:
            definition: Schema = root["$defs"][each["$ref"].rpartition("/")[2]]
            return definition
    return part

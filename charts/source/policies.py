"""The schema of policies: what ``platformHttp`` accepts is what the library's settings accept."""

from __future__ import annotations

import json
from typing import Any, Final

from platform_http.settings.environment import Environment
from platform_http.settings.rules import OF_THE_PROCESS

Schema = dict[str, Any]

POLICIES: Final = "policies"
_CLIENT: Final = f"{POLICIES}.client"

# The rule of the library, without "__", which separates sections in a variable.
_CLIENT_NAME: Final = "^[a-z][a-z0-9]*([_-][a-z0-9]+)*$"

_PROPERTIES: Final = "properties"
_ANNOTATIONS: Final = frozenset({"default", "description", "format", "title", "writeOnly"})


def is_policy_definition(name: str) -> bool:
    """Tell whether *name* is one of the definitions that :func:`policies` makes."""
    return name == POLICIES or name.startswith(f"{POLICIES}.")


def policies() -> Schema:
    """Return the definitions of policies by their names, the whole under :data:`POLICIES`.

    Secrets are left out, because these values become a ConfigMap, and of a client's policies what
    is of the whole process.
    """
    definitions: Schema = {}
    library = Environment.model_json_schema()["$defs"]
    profile = _section(library, "Profile", "", definitions)
    definitions[_CLIENT] = _of_one_client(profile, "", definitions)
    clients = {
        "description": "Policies of one client, by its name (free-form names).",
        "type": ["object", "null"],
        "propertyNames": {"pattern": _CLIENT_NAME},
        "additionalProperties": {"$ref": f"#/$defs/{_CLIENT}"},
    }
    definitions[POLICIES] = {
        **profile,
        "description": "Policies of every client, and below `clients` what differs for one.",
        _PROPERTIES: {**profile[_PROPERTIES], "clients": clients},
    }
    return dict(sorted(definitions.items()))


def _section(library: Schema, name: str, path: str, definitions: Schema) -> Schema:
    """Return the section called *name* at *path*, and add those within it to *definitions*."""
    section = library[name]
    properties: Schema = {}
    for field, schema in section[_PROPERTIES].items():
        here = f"{path}.{field}" if path else field
        if "$ref" in schema:
            below = _section(library, schema["$ref"].rpartition("/")[2], here, definitions)
            if below[_PROPERTIES]:
                definitions[f"{POLICIES}.{here}"] = below
                properties[field] = {"$ref": f"#/$defs/{POLICIES}.{here}"}
        elif '"format": "password"' not in json.dumps(schema):
            properties[field] = _field(schema)
    return {
        "description": section["description"],
        "type": ["object", "null"],
        "additionalProperties": False,
        _PROPERTIES: properties,
    }


def _of_one_client(section: Schema, path: str, definitions: Schema) -> Schema:
    """Return *section* at *path* without what is of the process; add what is cut in it."""
    properties: Schema = {}
    for field, part in section[_PROPERTIES].items():
        here = f"{path}.{field}" if path else field
        if here in OF_THE_PROCESS:
            continue
        properties[field] = part
        if any(each.startswith(f"{here}.") for each in OF_THE_PROCESS):
            below = definitions[f"{POLICIES}.{here}"]
            definitions[f"{_CLIENT}.{here}"] = _of_one_client(below, here, definitions)
            properties[field] = {"$ref": f"#/$defs/{_CLIENT}.{here}"}
    return {**section, _PROPERTIES: properties}


def _field(schema: Schema) -> Schema:
    """Return what the chart accepts where the library accepts *schema*."""
    alternatives = [_alternative(each) for each in schema.get("anyOf", [schema])]
    # Null is "as the library has it". Where the library takes it for "off", a word says that.
    null: Schema = {"type": "null"}
    alternatives.append({"const": "none"} if null in alternatives else null)
    return {"description": schema["description"], "anyOf": alternatives}


def _alternative(schema: Schema) -> Schema:
    # No pattern for URLs: whoever breaks it is shown the value, which may hold a login.
    return {key: schema[key] for key in sorted(schema.keys() - _ANNOTATIONS)}

"""Every setting of a client as people read it: its value without secrets, and where it is from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from platform_http.settings.variables import variables, without_secrets

if TYPE_CHECKING:
    from platform_http.settings.http_settings import HttpSettings


class Listed(NamedTuple):
    """One setting of one client.

    Args:
        path: Dotted, for example ``timeout.attempt``.
        value: In force; a secret is ``set (hidden)``.
        origin: Where it comes from, see :meth:`HttpSettings.origin_of`.
    """

    path: str
    value: object
    origin: str


def listing(settings: HttpSettings, client: str) -> list[Listed]:
    """Return every setting of *client* in the order of the documentation.

    Raises:
        ConfigurationError: If *client* cannot be a client's name.
    """
    resolved = settings.client(client)
    return [
        Listed(path, without_secrets(variable.of(resolved)), settings.origin_of(client, path))
        for path, variable in variables().items()
    ]


def as_plain(value: object) -> object:
    """Return *value* as JSON can say it, with the word that switches a timeout off."""
    match value:
        case float() if math.isinf(value):
            return "none"
        case frozenset():
            return sorted(value)
        case Path():
            return str(value)
        case _:
            return value


def as_text(value: object) -> str:
    """Return *value* as a variable would hold it; empty for what is not set."""
    simple = as_plain(value)
    match simple:
        case None:
            return ""
        case bool():
            return str(simple).lower()
        case float():
            return f"{simple:g}"
        case list() | tuple():
            return ",".join(map(str, simple)) or "[]"
        case dict():
            return json.dumps(simple)
        case _:
            return str(simple)

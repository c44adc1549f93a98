"""The settings that a run compares, by the names that the environment uses."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings
from platform_http.settings.variables import PREFIX, split_name, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platform_http.settings import ClientSettings

PROFILES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "naive": MappingProxyType(
            {
                "RETRY__MAX_ATTEMPTS": 4,
                "RETRY__BACKOFF_INITIAL": 0.01,
                "RETRY__BACKOFF_MAX": 0.01,
                "RETRY__BACKOFF_THROTTLED": 0.01,
                "RETRY__RESPECT_RETRY_AFTER": False,
                # Resends cost nothing, so the budget is never spent.
                "RETRY__BUDGET__COST": 0,
                "RETRY__BUDGET__COST_TIMEOUT": 0,
                "CIRCUIT_BREAKER__MODE": "off",
                "CONCURRENCY__LIMIT": 0,
                "HEDGING__ENABLED": False,
                "THROTTLE__ENABLED": False,
                "PROPAGATION__ENABLED": False,
            }
        )
    }
)
"""Built-in variants. ``naive`` is the usual loop: three resends almost at once, and nothing else
that would hold anything back."""

# A comma inside of a value is followed by anything but a name and "=".
_BETWEEN = re.compile(r",(?=[A-Za-z_]+=)")


class Variant(NamedTuple):
    """One side of a comparison.

    Args:
        label: What reports call it.
        assignments: Values by variable.
    """

    label: str
    assignments: Mapping[str, object]


def assignment(text: str) -> tuple[str, str]:
    """Return the name and the value of ``NAME=VALUE``.

    Raises:
        ConfigurationError: If *text* is not of that form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigurationError([f"{text!r} is not NAME=VALUE; write RETRY__MAX_ATTEMPTS=2"])
    return name, value


def variant(text: str) -> Variant:
    """Read ``LABEL:NAME=VALUE,NAME=VALUE``, or the name of a profile.

    Raises:
        ConfigurationError: If *text* is neither.
    """
    label, colon, rest = text.partition(":")
    if not colon and label in PROFILES:
        return Variant(label, PROFILES[label])
    if not label or not rest:
        raise ConfigurationError(
            [f"{text!r} is neither LABEL:NAME=VALUE,... nor one of {', '.join(PROFILES)}"]
        )
    if label in PROFILES:
        raise ConfigurationError([f"{label} is built in; choose another label for these settings"])
    return Variant(label, dict(map(assignment, _BETWEEN.split(rest))))


def resolve(assignments: Mapping[str, object]) -> ClientSettings:
    """Return the client settings that a process with these variables would have.

    Args:
        assignments: Values by variable, with or without the prefix. Variables of the environment
            apply where they are not assigned.

    Raises:
        ConfigurationError: With everything that is wrong, one line each.
    """
    found: list[str] = []
    values: dict[str, object] = {}
    for name, value in assignments.items():
        suffix = name.upper().removeprefix(PREFIX)
        client, path = split_name(suffix)
        if client is not None:
            found.append(f"{name} is for one client; a simulated fleet has one kind, leave it out")
        elif path is None:
            found.append(f"{name} {unknown(suffix)}")
        else:
            *sections, field = path.split(".")
            group = values
            for section in sections:
                inner = group.setdefault(section, {})
                assert isinstance(inner, dict)
                group = inner
            group[field] = value
    try:
        settings = HttpSettings(**values)
    except ConfigurationError as error:
        raise ConfigurationError([*found, *error.violations]) from None
    if found:
        raise ConfigurationError(found)
    return settings.client()

"""Settings for tests: those of production, but nobody waits for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from platform_http.settings import isolated_settings

if TYPE_CHECKING:
    from platform_http.settings import HttpSettings

FAST: Mapping[str, object] = MappingProxyType(
    {
        # The other timeouts and backoffs adapt to these, and to what a test sets.
        "timeout": {"total": 5},
        "retry": {"backoff_max": 0.002, "retry_after_max": 0},
        "tls": {"reload_interval": math.inf},
        "shutdown": {"grace": 1},
    }
)
"""Every policy as by default, and waits that no test notices.

A call ends within five seconds, and a ``Retry-After`` of a second or more is not waited for.
"""


def fast_settings(**overrides: object) -> HttpSettings:
    """Return settings for tests: :data:`FAST`, the defaults elsewhere, and no environment.

    Args:
        **overrides: As for :class:`~platform_http.HttpSettings`, stronger than all of it.

    Raises:
        ConfigurationError: If the overrides are invalid or contradict the rest.
    """
    return isolated_settings(FAST, **overrides)


def merged(base: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Return *base* with *extra* over it, section by section and field by field.

    Args:
        base: Settings as for :class:`~platform_http.HttpSettings`.
        extra: The same, stronger.
    """
    result = dict(base)
    for key, value in extra.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result

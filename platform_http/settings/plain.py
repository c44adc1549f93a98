"""The profile under which a session behaves like a bare ``aiohttp.ClientSession``."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN: Mapping[str, object] = MappingProxyType(
    {
        "timeout": {
            "total": 300,
            "attempt": math.inf,
            "connect": 30,
            "read": math.inf,
            "pool": math.inf,
        },
        "pool": {"limit_per_host": 0},
        "dns": {"cache_ttl": 10},
        "tls": {"allow_insecure": True, "reload_interval": math.inf},
        "retry": {"enabled": False},
        "circuit_breaker": {"mode": "off"},
        "concurrency": {"limit": 0},
        "propagation": {"enabled": False},
        "cookies": {"enabled": True},
        "redirects": {"mode": "follow", "max": 10},
        "egress": {"mode": "off"},
        "response": {"max_body": None},
        "telemetry": {"traces": False, "metrics": False},
    }
)
"""Every policy off, cookies on, redirects as aiohttp follows them, and aiohttp's own timeouts and
pool. Nothing is recorded either: a ``traceparent`` is more than aiohttp sends."""

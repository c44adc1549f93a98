"""For the tests of services: fixtures, servers and proxies that misbehave on purpose, and parity.

The fixtures are in :mod:`pytest_platform_http`, which pytest finds by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from platform_http.testing.black_hole import black_hole
from platform_http.testing.fake_clock import FakeClock
from platform_http.testing.fault_proxy import FaultProxy
from platform_http.testing.fault_server import FaultServer
from platform_http.testing.leaks import LeakDetector, LeakError
from platform_http.testing.wire import ReceivedRequest

if TYPE_CHECKING:
    from platform_http.testing.captured_metrics import CapturedMetrics
    from platform_http.testing.captured_spans import CapturedSpans
    from platform_http.testing.fast_settings import FAST, fast_settings

__all__ = [
    "FAST",
    "CapturedMetrics",
    "CapturedSpans",
    "FakeClock",
    "FaultProxy",
    "FaultServer",
    "LeakDetector",
    "LeakError",
    "ReceivedRequest",
    "black_hole",
    "fast_settings",
]

# The SDK of OpenTelemetry and the models of the settings cost more than all the rest.
_LATE = {
    "FAST": "platform_http.testing.fast_settings",
    "CapturedMetrics": "platform_http.testing.captured_metrics",
    "CapturedSpans": "platform_http.testing.captured_spans",
    "fast_settings": "platform_http.testing.fast_settings",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        value: object = getattr(importlib.import_module(_LATE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

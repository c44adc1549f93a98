"""For the tests of services: servers and proxies that misbehave on purpose, a leak detector."""

from platform_http.testing.black_hole import black_hole
from platform_http.testing.fault_proxy import FaultProxy
from platform_http.testing.fault_server import FaultServer
from platform_http.testing.leaks import LeakDetector, LeakError
from platform_http.testing.wire import ReceivedRequest

__all__ = [
    "FaultProxy",
    "FaultServer",
    "LeakDetector",
    "LeakError",
    "ReceivedRequest",
    "black_hole",
]

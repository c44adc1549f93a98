"""For the tests of services: a scripted server, a port that swallows connects, a leak detector."""

from platform_http.testing.black_hole import black_hole
from platform_http.testing.fault_server import FaultServer
from platform_http.testing.leaks import LeakDetector, LeakError
from platform_http.testing.wire import ReceivedRequest

__all__ = ["FaultServer", "LeakDetector", "LeakError", "ReceivedRequest", "black_hole"]

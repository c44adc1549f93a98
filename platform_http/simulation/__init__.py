"""What settings do to a fleet: discrete events around the policy objects that production uses.

Nothing here decides over a resend, an open circuit, a queue or a hedge: ``platform_http.policies``
does, under a simulated clock. Only what surrounds them is modelled: callers, time and upstreams.

Connections are not: no pool, no TLS, no bodies. Each client process has one origin.
"""

from platform_http.simulation.reading import load, shipped
from platform_http.simulation.report import Report
from platform_http.simulation.run import simulate
from platform_http.simulation.scenario import Scenario

__all__ = ["Report", "Scenario", "load", "shipped", "simulate"]

"""What every test gets; the fixtures themselves are those of pytest_platform_http."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No test is timed: the machine may be busy, and coverage makes everything slower.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

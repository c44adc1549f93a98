"""What every test gets; the fixtures themselves are those of pytest_platform_http."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry import trace
from opentelemetry.util._once import Once

# No test is timed: the machine may be busy, and coverage makes everything slower.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a developer's machine are none of a test's."""
    for name in list(os.environ):
        if name.upper().startswith("PLATFORM_HTTP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def fresh_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry as in a new process; whatever the test sets up globally ends with it."""
    for name in tuple(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())

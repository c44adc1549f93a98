"""Fixtures that every test gets."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from platform_http.testing import LeakDetector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# No test is timed: the machine may be busy, and coverage makes everything slower.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "closes_in_flight(reason): the test closes sessions under running requests on purpose",
    )


@pytest.fixture
async def no_leaks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail the test when it leaves a task, a file descriptor or an acquired connection behind."""
    marker = request.node.get_closest_marker("closes_in_flight")
    async with LeakDetector(closes_in_flight=marker is not None):
        yield


@pytest.fixture(autouse=True)
def _no_leaks_in_async_tests(request: pytest.FixtureRequest) -> None:
    # Set up first and torn down last, so that the fixtures of a test tidy up before the look.
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_leaks")

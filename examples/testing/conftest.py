"""The client of the tests is that of production, with the scripted server as its upstream."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from examples.testing.orders import Orders
from platform_http import SessionFactory
from platform_http.testing import FaultServer


@pytest.fixture
def platform_http_overrides(fault_server: FaultServer) -> Mapping[str, object]:
    """Override a fixture of the plugin: these are the settings of every test."""
    return {
        "clients": {
            "orders": {
                "base_url": str(fault_server.url),
                "timeout": {"total": 1},
                "circuit_breaker": {"minimum_calls": 5},
            }
        }
    }


@pytest.fixture
async def orders(platform_http_factory: SessionFactory) -> Orders:
    """What the tests are about."""
    return Orders(platform_http_factory.session("orders"))

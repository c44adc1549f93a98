"""The good day, the bad day, and what the operators see of it."""

from __future__ import annotations

import pytest

from examples.testing.orders import Orders, OrdersUnavailableError
from platform_http.testing import CapturedMetrics, CapturedSpans, FakeClock, FaultServer
from platform_http.testing.actions import Action, hang, partial_body, reset, respond

JSON = {"Content-Type": "application/json"}
ORDER = respond(200, headers=JSON, body=b'{"total": 1299}')


async def test_an_order_has_a_total(orders: Orders, fault_server: FaultServer) -> None:
    fault_server.script = [ORDER]
    assert await orders.total(7) == 1299
    assert fault_server.requests[0].target == "/orders/7"


async def test_an_order_that_does_not_exist_costs_nothing(
    orders: Orders, fault_server: FaultServer
) -> None:
    fault_server.script = [respond(404)]
    assert await orders.total(7) == 0


@pytest.mark.parametrize("failure", [respond(503), reset()], ids=["503", "reset"])
async def test_a_passing_failure_is_not_noticed(
    orders: Orders, fault_server: FaultServer, failure: Action
) -> None:
    fault_server.script = [failure, ORDER]
    assert await orders.total(7) == 1299
    assert len(fault_server.requests) == 2


@pytest.mark.platform_http(clients={"orders": {"timeout": {"total": 0.1}}})
@pytest.mark.parametrize(
    "failure",
    [hang(), partial_body(b'{"total":', content_length=100), respond(500)],
    ids=["silent", "cut", "500"],
)
async def test_an_outage_is_an_error_of_its_own(
    orders: Orders, fault_server: FaultServer, failure: Action
) -> None:
    fault_server.script = [failure]
    with pytest.raises(OrdersUnavailableError, match="do not answer"):
        await orders.total(7)


@pytest.mark.platform_http(retry={"enabled": False})
async def test_an_upstream_that_is_down_is_left_alone_for_a_while(
    fake_clock: FakeClock, orders: Orders, fault_server: FaultServer
) -> None:
    fault_server.script = [respond(503)]
    for _ in range(5):
        with pytest.raises(OrdersUnavailableError, match="do not answer"):
            await orders.total(7)
    with pytest.raises(OrdersUnavailableError, match="known to be down"):
        await orders.total(7)
    assert len(fault_server.requests) == 5

    fault_server.script = [ORDER]
    fake_clock.advance(60)
    assert await orders.total(7) == 1299


async def test_operators_see_the_retry(
    orders: Orders,
    fault_server: FaultServer,
    captured_metrics: CapturedMetrics,
    captured_spans: CapturedSpans,
) -> None:
    fault_server.script = [respond(503), ORDER]
    retries = captured_metrics.delta("platform_http_retries_total", client="orders")
    await orders.total(7)
    assert retries() == 1
    (call,) = captured_spans.calls
    assert call.name == "orders.get"
    assert len(captured_spans.attempts_of(call)) == 2

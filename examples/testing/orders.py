"""What is tested: how a service asks another one for orders."""

from __future__ import annotations

import aiohttp

from platform_http import CallOptions, CircuitOpenError


class OrdersUnavailableError(Exception):
    """The other service does not answer; come back later."""


class Orders:
    """The orders of another service.

    Args:
        session: Of the client ``orders``.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def total(self, number: int) -> int:
        """Return what an order costs, in cents; 0 for an order that does not exist.

        Raises:
            OrdersUnavailableError: If there is no answer.
        """
        options = CallOptions(operation="orders.get", url_template="/orders/{number}")
        try:
            async with self._session.get(f"orders/{number}", trace_request_ctx=options) as response:
                if response.status == 404:
                    return 0
                response.raise_for_status()
                order = await response.json()
                return int(order["total"])
        except CircuitOpenError:
            raise OrdersUnavailableError("orders are known to be down") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OrdersUnavailableError("orders do not answer") from error

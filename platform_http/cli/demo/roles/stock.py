"""What the caller hears of inventory's stock, over one WebSocket that lasts as long as it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import aiohttp

from platform_http.call import CallOptions
from platform_http.errors import PlatformHttpError
from platform_http.web import session
from platform_http.websocket import Reconnect, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

_WATCH: Final = CallOptions(operation="stock.watch", url_template="/stock/feed")
# The day of the demo is a minute long, and inventory is down for a third of it.
_AGAIN: Final = Reconnect(maximum=2.0, limit=10_000)
_REST: Final = 5.0

_LOGGER = logging.getLogger(__name__)


async def watch_stock(app: web.Application) -> AsyncIterator[None]:
    """Listen as long as *app* runs."""
    watching = asyncio.create_task(_watch(app))
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def _watch(app: web.Application) -> None:
    inventory = session(app, "inventory")
    while True:
        try:
            async with connect(inventory, "stock/feed", reconnect=_AGAIN, options=_WATCH) as feed:
                async for change in feed:
                    _LOGGER.debug("stock changed: %d bytes", len(change.data))
        except (aiohttp.ClientError, PlatformHttpError, TimeoutError) as error:
            # Orders can do without it.
            _LOGGER.debug("no news of the stock: %s", type(error).__name__)
        await asyncio.sleep(_REST)

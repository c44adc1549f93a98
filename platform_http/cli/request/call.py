"""Makes the call of ``platform-http request``."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from platform_http.call import client_of
from platform_http.cli.request.recorder import Recorder, Recording
from platform_http.cli.unwaited import UnwaitedThreads
from platform_http.errors import PlatformHttpError
from platform_http.factory import SessionFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import CIMultiDictProxy

    from platform_http.cli.request.arguments import Order
    from platform_http.settings import HttpSettings


@dataclass(slots=True)
class Exchange:
    """What came of the call so far: complete, or as far as it got before an interruption."""

    recording: Recording = field(default_factory=Recording)
    headers: CIMultiDictProxy[str] | None = None
    received: int = 0
    error: Exception | None = None
    status: int = 0
    complete: bool = False
    """Whether the body came to its end."""
    started: float = 0.0
    ended: float = 0.0
    """Instants of the loop's clock, for a client without calls: one with every policy off."""


async def make_call(
    exchange: Exchange,
    order: Order,
    settings: HttpSettings,
    client: str,
    take: Callable[[bytes], None],
) -> None:
    """Make the call as a service would, and record it in *exchange*.

    Args:
        exchange: Holds what is known, also when this is cancelled.
        order: What to send.
        settings: Of all clients.
        client: Whose settings apply.
        take: Gets the pieces of the body, decoded.

    Raises:
        ConfigurationError: If the settings cannot be used.
        OSError: If *take* raises it. What the call itself raises is in *exchange*.
    """
    asyncio.get_running_loop().set_default_executor(UnwaitedThreads())
    # The failure of the call is shown; the library's own line about it would be the second.
    logging.getLogger("platform_http").addHandler(logging.NullHandler())
    # Its spans go nowhere, but the servers are told of the trace.
    provider = TracerProvider(shutdown_on_exit=False)
    try:
        async with SessionFactory(
            settings, registry=CollectorRegistry(), tracer_provider=provider
        ) as factory:
            session = factory.session(client)
            bound = client_of(session)
            assert bound is not None
            recorder = Recorder(bound)
            exchange.recording = recorder.recording
            clock = asyncio.get_running_loop().time
            exchange.started = clock()
            try:
                await _send(exchange, order, session, take)
            finally:
                exchange.ended = clock()
    finally:
        provider.shutdown()


async def _send(
    exchange: Exchange,
    order: Order,
    session: aiohttp.ClientSession,
    take: Callable[[bytes], None],
) -> None:
    try:
        async with session.request(
            order.method,
            order.url,
            headers=order.headers,
            data=order.body,
            trace_request_ctx=order.options,
        ) as response:
            exchange.headers, exchange.status = response.headers, response.status
            async for piece in response.content.iter_any():
                exchange.received += len(piece)
                take(piece)
            exchange.complete = True
    except (aiohttp.ClientError, PlatformHttpError, TimeoutError, ValueError) as error:
        exchange.error = error

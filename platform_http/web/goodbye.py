"""The end of WebSockets: told 1001 when all other requests are done, without the application."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import WSCloseCode, web

from platform_http.web.service import SERVICE

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from platform_http.web.service import Inbound, Service

_LOGGER = logging.getLogger("platform_http")

GOODBYE: Final = 1.0
"""Seconds that WebSockets have of a grace that others would take to its end, or a quarter of it."""

# For a peer to answer in; a peer that is gone must not hold the process up.
_ANSWER: Final = 2.0
_LOOK: Final = 0.02
_MESSAGE: Final = b"going away"


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run *handler* and know that it runs."""
    inbound = request.config_dict[SERVICE].inbound
    inbound.requests += 1
    try:
        return await handler(request)
    finally:
        inbound.requests -= 1
        # Not by the request: a middleware of the application may have handed on a copy.
        inbound.sockets.pop(request.task, None)


async def remember_socket(request: web.Request, response: web.StreamResponse) -> None:
    """Know the WebSocket that *request* becomes."""
    if isinstance(response, web.WebSocketResponse):
        request.config_dict[SERVICE].inbound.sockets[request.task] = response


def begin_goodbye(service: Service) -> None:
    """Begin to close the WebSockets of an application that is told to end, if nobody did yet."""
    if service.factory is not None and service.goodbye is None and service.ends_at is not None:
        # Not awaited: handlers that end by a later hook would keep the WebSockets from ending.
        service.goodbye = asyncio.create_task(say_goodbye(service.inbound, service.ends_at))


async def say_goodbye(inbound: Inbound, ends_at: float) -> None:
    """Close every WebSocket with 1001, "going away"; it is cancelled when there are none.

    That is as soon as nothing else is handled, and shortly before *ends_at* in any case: a request
    that takes its time may be what a WebSocket waits to tell of, and an idle WebSocket holds
    nobody up. One that opens later is closed as soon as it is open.

    Args:
        inbound: What is being handled.
        ends_at: Instant of the loop's clock at which handlers are cancelled.
    """
    loop = asyncio.get_running_loop()
    latest = ends_at - min(GOODBYE, (ends_at - loop.time()) / 4)
    told: set[web.WebSocketResponse] = set()
    async with asyncio.TaskGroup() as closing:
        while True:
            if inbound.requests <= len(inbound.sockets) or loop.time() >= latest:
                opened = {each for each in inbound.sockets.values() if _is_open(each)}
                for socket in opened - told:
                    closing.create_task(_close(socket, ends_at))
                told |= opened
            await asyncio.sleep(_LOOK)


def _is_open(socket: web.WebSocketResponse) -> bool:
    # Remembered before its handshake is sent, when it cannot be closed yet.
    return socket.get_extra_info("socket") is not None


async def _close(socket: web.WebSocketResponse, ends_at: float) -> None:
    until = min(ends_at, asyncio.get_running_loop().time() + _ANSWER)
    try:
        async with asyncio.timeout_at(until):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=_MESSAGE)
    except TimeoutError:
        pass
    # Of a class of the application's; the others are to be told all the same.
    except Exception as error:
        _LOGGER.warning("a WebSocket was not told that the service goes away", exc_info=error)

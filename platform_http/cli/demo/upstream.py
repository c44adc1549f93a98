"""A local server that plays its script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

from aiohttp import WSCloseCode, hdrs, web
from yarl import URL

from platform_http.cli.demo.script import Fault, Mood

if TYPE_CHECKING:
    import ssl
    from random import Random
    from types import TracebackType

    from platform_http.cli.demo.script import Phase, Script

_LOOPBACK: Final = "127.0.0.1"
_BODY: Final = b'{"answer": "%s"}\n' % (b"." * 480)
# Slower than an impatient caller, faster than any timeout of the demo.
_PIECES: Final = 8
_PAUSE: Final = 0.06
# Longer than any attempt timeout; the handler ends when the client hangs up.
_FOREVER: Final = 3600.0
_SHUTDOWN: Final = 0.2
# Of a feed: how often it tells something, and how often until it restarts.
_NEWS_EVERY: Final = 1.0
_NEWS_UNTIL_RESTART: Final = 8
# An interval of zero makes close() answer with a RST.
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Upstream:
    """Serves HTTP on a port of its own while it is entered.

    Args:
        script: Its day. It begins with the first phase; :meth:`enter_phase` goes on.
        rng: Decides which requests get a fault, and spreads the latencies.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        tls: What it speaks TLS with; ``None`` for plain HTTP.

    Attributes:
        script: As given.
        phase: The phase that is being played.
    """

    def __init__(
        self,
        script: Script,
        rng: Random,
        *,
        host: str = _LOOPBACK,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script
        self.phase: Phase = script.phases[0]
        self._rng = rng
        self._host = host
        self._wanted_port = port
        self._tls = tls
        self._server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN)
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> URL:
        """The root URL, the same for the whole day."""
        scheme = "http" if self._tls is None else "https"
        return URL.build(scheme=scheme, host=self._host, port=self._port, path="/")

    @property
    def _port(self) -> int:
        port: int = self._reservation.getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        # Bound but never listening: while nobody serves the port, connects to it are refused and
        # no other program is given it.
        self._reservation = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._reservation.bind((self._host, self._wanted_port))
            await self._runner.setup()
            await self._listen()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        self._reservation.close()

    async def enter_phase(self, phase: Phase) -> None:
        """Behave as *phase* says from now on."""
        self.phase = phase
        if phase.listens and self._site is None:
            await self._listen()
        elif not phase.listens and self._site is not None:
            site, self._site = self._site, None
            await site.stop()
            for connection in self._server.connections:
                connection.force_close()

    async def _listen(self) -> None:
        self._site = web.TCPSite(
            self._runner, self._host, self._port, reuse_port=True, ssl_context=self._tls
        )
        await self._site.start()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._feed(request)
        await request.read()
        phase = self.phase
        fault = phase.fault(self._rng.random())
        await asyncio.sleep(phase.latency * self._rng.uniform(0.5, 1.5))
        match fault:
            case None:
                return web.Response(body=_BODY)
            case Fault.UNAVAILABLE:
                return web.Response(status=503)
            case Fault.THROTTLED:
                return web.Response(status=429, headers={"Retry-After": "1"})
            case Fault.RESET:
                _reset(request)
            case Fault.HANG:
                await asyncio.sleep(_FOREVER)
            case Fault.SLOW_BODY:
                return await _send_in_pieces(request)
            case Fault.BROKEN_BODY:
                await _send_in_pieces(request, pieces=1)
                _reset(request)
        # Nobody is left to read it.
        return web.Response()

    async def _feed(self, request: web.BaseRequest) -> web.StreamResponse:
        """Tell news over a WebSocket, and restart now and then, as real ones do."""
        if self.phase.mood is Mood.FAILING:
            return web.Response(status=503)
        socket = web.WebSocketResponse(timeout=_SHUTDOWN)
        await socket.prepare(request)
        telling = asyncio.create_task(_tell_news(socket))
        try:
            async for _ in socket:
                pass
        finally:
            telling.cancel()
            await asyncio.wait({telling})
        return socket


async def _tell_news(socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        for number in range(_NEWS_UNTIL_RESTART):
            await socket.send_json({"changed": number})
            await asyncio.sleep(_NEWS_EVERY)
        await socket.close(code=WSCloseCode.SERVICE_RESTART)


async def _send_in_pieces(request: web.BaseRequest, pieces: int = _PIECES) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(_BODY)
    await response.prepare(request)
    size = -(-len(_BODY) // _PIECES)
    for number in range(pieces):
        await response.write(_BODY[number * size : (number + 1) * size])
        await asyncio.sleep(_PAUSE)
    return response


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    # The transport may have closed its socket already.
    with contextlib.suppress(OSError):
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()

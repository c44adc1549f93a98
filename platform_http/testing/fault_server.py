"""A server that does what a script says, down to the last byte and the last RST."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from yarl import URL

from platform_http.testing.actions import respond
from platform_http.testing.sockets import Listener, end_with_reset
from platform_http.testing.wire import MAX_HEAD, MalformedRequestError, read_request

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from platform_http.testing.actions import Action
    from platform_http.testing.wire import ReceivedRequest

Script: TypeAlias = "Sequence[Action] | Callable[[ReceivedRequest], Action]"

MAX_CONNECTIONS = 4096
MAX_REQUESTS = 100_000


class FaultServer:
    """A scripted HTTP/1.1 server on loopback, one action per request.

    ::

        async with FaultServer([respond(503), reset(), respond(200)]) as server:
            await session.get(server.url)
            assert len(server.requests) == 3

    Args:
        script: Actions by order of arrival over all connections, the last one repeated for ever;
            or a function that chooses the action for a request. By default all get a 200.
        ssl_context: Serve TLS with it.
        host: Address to bind, ``127.0.0.1`` by default.
        port: Port to bind; 0 takes a free one.
        path: Bind a Unix socket here instead.
        aborted_accepts: So many connections, the first ones, get a RST as soon as they are
            accepted, so early that a client on the same loop sees its connect fail; ``math.inf``
            for all of them.
        read_body: Whether to read a request's body before its action. Without it the action runs
            at the request's head, ``100 Continue`` is never sent, the body stays in the socket
            and the connection ends after the action.
        max_body: Bytes of a request body that are accepted.

    Attributes:
        requests: What was received, in order.
        malformed: What was received and is no request; such a connection is closed.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        aborted_accepts: float = 0,
        read_body: bool = True,
        max_body: int = 64 * 1024 * 1024,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.malformed: list[bytes] = []
        self._script: Script = script or [respond()]
        self._scripted_from = 0
        self._ssl_context = ssl_context
        self._host = host
        self._path = path
        self._listener = Listener(host, port, path)
        self._aborted_accepts = aborted_accepts
        self._read_body = read_body
        self._max_body = max_body
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        """The bound port; 0 for a Unix socket."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """Number of connections accepted so far, aborted ones included."""
        return self._listener.accepted

    @property
    def url(self) -> URL:
        """The root URL: ``http``, ``https``, or ``http+unix`` with the quoted path as host."""
        if self._path is not None:
            return URL(f"http+unix://{quote(self._path, safe='')}/", encoded=True)
        scheme = "http" if self._ssl_context is None else "https"
        return URL.build(scheme=scheme, host=self._host, port=self.port, path="/")

    @property
    def open_connections(self) -> int:
        """Number of connections that are open now."""
        return len(self._tasks)

    @property
    def script(self) -> Script:
        """What is done with requests; set anew, it begins with the next request."""
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script or [respond()]
        self._scripted_from = len(self.requests)

    async def wait_until(self, condition: Callable[[], object], *, within: float = 2.0) -> None:
        """Return as soon as *condition* is true.

        Args:
            condition: Looked at now, whenever a request arrived and whenever a connection was
                accepted or ended.
            within: Seconds, > 0.

        Raises:
            TimeoutError: If it stays false for that long.
        """
        async with asyncio.timeout(within):
            while not condition():
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        self._listener.open(self._accepted)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if exc is None and self._failures:
            raise self._failures[0]

    async def stop(self) -> None:
        """Reset every connection and close the listener, so that connects are refused."""
        self._listener.close()
        while self._tasks:
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # Transports that were aborted close their sockets in the loop's next round.
        await asyncio.sleep(0)

    def _accepted(self, sock: socket.socket) -> None:
        if self.connections <= self._aborted_accepts or len(self._tasks) >= MAX_CONNECTIONS:
            end_with_reset(sock)
            sock.close()
            return
        task = asyncio.create_task(self._serve(sock, self.connections))
        self._tasks.add(task)
        # A task that is cancelled before its first step never hands the socket to a transport.
        task.add_done_callback(lambda _: sock.close())
        task.add_done_callback(self._forget)
        self._notify()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _serve(self, sock: socket.socket, connection_id: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._ssl_context
            )
        except OSError:
            # The peer went away or the TLS handshake failed; the client's error tells the test.
            return
        connection = _Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        try:
            await self._converse(connection, connection_id)
        except MalformedRequestError as error:
            self.malformed.append(error.received)
        except ConnectionError:
            pass
        except asyncio.CancelledError:
            # Only stop() cancels this task.
            connection.reset()
        except Exception as error:  # noqa: BLE001 - a broken script must fail its test, see __aexit__
            self._failures.append(error)
        finally:
            await connection.finish()

    async def _converse(self, connection: _Connection, connection_id: int) -> None:
        while not connection.ended and len(self.requests) < MAX_REQUESTS:
            request = await read_request(
                connection.reader,
                connection_id=connection_id,
                max_body=self._max_body,
                read_body=self._read_body,
                send_continue=connection.send_continue,
            )
            if request is None:
                return
            self.requests.append(request)
            self._notify()
            connection.request = request
            await self._action(request)(connection)
            if not self._read_body:
                return

    def _action(self, request: ReceivedRequest) -> Action:
        if callable(self._script):
            return self._script(request)
        arrived = len(self.requests) - self._scripted_from
        return self._script[min(arrived, len(self._script)) - 1]


class _Connection:
    """The :class:`~platform_http.testing.actions.Exchange` of each request in turn."""

    request: ReceivedRequest

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.ended = False
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def send_continue(self) -> None:
        self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def hang(self) -> None:
        while await self.reader.read(MAX_HEAD):
            pass
        self.close()

    def close(self) -> None:
        self.ended = True
        self._writer.close()

    def reset(self) -> None:
        self.ended = True
        sock: socket.socket = self._writer.get_extra_info("socket")
        end_with_reset(sock)
        self._writer.transport.abort()

    async def finish(self) -> None:
        """Close, and come back when the socket is closed."""
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            self._writer.transport.abort()

"""A TCP proxy that makes the way to a server bad: slow, narrow, cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

from yarl import URL

from platform_http.testing.sockets import Listener, end_with_reset
from platform_http.testing.toxics import End, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from platform_http.testing.toxics import Stage, Toxic

Direction: TypeAlias = Literal["upstream", "downstream"]

_CHUNK = 65_536
# Bytes that wait for their time; whoever sends more waits too, as on a real wire.
_IN_FLIGHT = 262_144


class FaultProxy:
    """Stands between a client and any TCP server, and does to the bytes what its toxics say.

    ::

        async with FaultProxy("127.0.0.1", server.port) as proxy:
            proxy.add(Latency(0.2, jitter=0.1))
            cut = proxy.add(Limit(1000))
            await session.get(proxy.url)
            proxy.remove(cut)

    Toxics act in the order in which they were added, on what is read from then on; bytes that wait
    for their time already are passed on at it.

    Args:
        host: Address of the server.
        port: Its port.
        listen_host: Address to bind, ``127.0.0.1`` by default.
        listen_port: Port to bind; 0 takes a free one.
        seed: Of all jitter; the n-th connection's is the same in every run.

    Attributes:
        passed: Bytes that were passed on, by direction.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        listen_host: str = "127.0.0.1",
        listen_port: int = 0,
        seed: int = 0,
    ) -> None:
        self.passed: dict[Direction, int] = {"upstream": 0, "downstream": 0}
        self._target = (host, port)
        self._listen_host = listen_host
        self._listener = Listener(listen_host, listen_port)
        self._seed = seed
        self._toxics: dict[Direction, list[_Handle]] = {"upstream": [], "downstream": []}
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._failures: list[BaseException] = []

    @property
    def port(self) -> int:
        """The bound port."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """Number of connections accepted so far."""
        return self._listener.accepted

    @property
    def url(self) -> URL:
        """The root URL over plain HTTP; ``proxy.url.with_scheme("https")`` for a TLS server."""
        return URL.build(scheme="http", host=self._listen_host, port=self.port, path="/")

    @property
    def open_connections(self) -> int:
        """Number of connections that are open now."""
        return len(self._links)

    def add(self, toxic: Toxic, direction: Direction = "downstream") -> _Handle:
        """Let *toxic* act on every connection, running ones included.

        Args:
            toxic: One of :mod:`platform_http.testing.toxics`, or anything with its ``stage()``.
            direction: ``downstream`` is from the server to the client, ``upstream`` the other way.

        Returns:
            What :meth:`remove` takes.
        """
        handle = _Handle(toxic, direction)
        self._toxics[direction].append(handle)
        return handle

    def remove(self, handle: _Handle) -> None:
        """End what :meth:`add` began.

        Raises:
            ValueError: If it was ended before.
        """
        self._toxics[handle.direction].remove(handle)

    def clear(self) -> None:
        """End everything that :meth:`add` began."""
        for handles in self._toxics.values():
            handles.clear()

    def reset_connections(self) -> None:
        """End every connection with a RST now; new ones are accepted."""
        for link in self._links.values():
            link.end(End.RESET)

    async def __aenter__(self) -> Self:
        self._listener.open(self._serve)
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
        while self._links:
            self.reset_connections()
            await asyncio.wait(tuple(self._links))

    def _serve(self, sock: socket.socket) -> None:
        link = _Link(self._target, sock)
        rng = random.Random(self._seed * 1_000_003 + self.connections)  # noqa: S311 - jitter
        task = asyncio.get_running_loop().create_task(link.run(self._pipes(link, rng)))
        link.task = task
        self._links[task] = link
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        link = self._links.pop(task)
        # Here and not in the task: one that is cancelled before its first step runs nothing.
        link.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            # A toxic that fails must fail its test, see __aexit__.
            self._failures.append(error)

    def _pipes(self, link: _Link, rng: random.Random) -> Iterator[_Pipe]:
        ways: dict[Direction, tuple[socket.socket, socket.socket]] = {
            "upstream": (link.client, link.server),
            "downstream": (link.server, link.client),
        }
        for direction, (source, target) in ways.items():
            seed = rng.random()
            shaper = _Shaper(self._toxics[direction], random.Random(seed))  # noqa: S311 - jitter
            yield _Pipe(source, target, shaper, self._counter(direction))

    def _counter(self, direction: Direction) -> Callable[[int], None]:
        def count(size: int) -> None:
            self.passed[direction] += size

        return count


class _Handle:
    """One toxic at work. Compared by identity: equal toxics may be added twice."""

    __slots__ = ("direction", "toxic")

    def __init__(self, toxic: Toxic, direction: Direction) -> None:
        self.toxic = toxic
        self.direction = direction

    def __repr__(self) -> str:
        return f"<{self.toxic!r} {self.direction}>"


class _Shaper:
    """The toxics of one direction of one connection, each with its state."""

    def __init__(self, handles: list[_Handle], rng: random.Random) -> None:
        self._handles = handles
        self._rng = rng
        self._stages: dict[_Handle, Stage] = {}

    def shape(self, piece: Piece) -> Iterable[Piece]:
        """Return what becomes of *piece*."""
        pieces = [piece]
        for handle in tuple(self._handles):
            stage = self._stages.get(handle)
            if stage is None:
                stage = self._stages[handle] = handle.toxic.stage(self._rng)
            pieces = [shaped for each in pieces for shaped in stage(each)]
        return pieces


class _Link:
    """One connection of a client and its connection to the server."""

    task: asyncio.Task[None]

    def __init__(self, target: tuple[str, int], client: socket.socket) -> None:
        self._target = target
        self._ended: End | None = None
        self.client = client
        self.server = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
        self.server.setblocking(False)

    def end(self, how: End) -> None:
        """End both connections."""
        if self._ended is None:
            self._ended = how
            self.task.cancel()

    def close(self) -> None:
        """Close both sockets in the way that was asked for."""
        for sock in (self.client, self.server):
            if self._ended is End.RESET:
                end_with_reset(sock)
            sock.close()

    async def run(self, pipes: Iterable[_Pipe]) -> None:
        """Copy both ways until both directions, or the connection, have ended."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(self.server, self._target)
        except OSError:
            self._ended = End.RESET
            return
        steps = [step for pipe in pipes for step in (pipe.read(), pipe.write())]
        tasks = [loop.create_task(step) for step in steps]
        try:
            for done in asyncio.as_completed(tasks):
                how = await done
                if how is not None:
                    self._ended = how
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class _Pipe:
    """One direction: a reader that shapes, and a writer that waits."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        shaper: _Shaper,
        count: Callable[[int], None],
    ) -> None:
        self._source = source
        self._target = target
        self._shaper = shaper
        self._count = count
        self._pieces: deque[Piece] = deque()
        self._waiting = 0
        self._changed = asyncio.Event()
        self._over = False

    async def read(self) -> End | None:
        """Read and shape until this way ends; return how the connection ends, if it does."""
        loop = asyncio.get_running_loop()
        while True:
            while self._waiting >= _IN_FLIGHT:
                await self._pause()
            try:
                data = await loop.sock_recv(self._source, _CHUNK)
            except OSError:
                return End.RESET
            end = None if data else End.HALF
            for piece in self._shaper.shape(Piece(loop.time(), data, end)):
                self._pieces.append(piece)
                self._waiting += len(piece.data)
            self._over = end is not None
            self._changed.set()
            if self._over:
                return None

    async def write(self) -> End | None:
        """Pass on what is due; return how the whole connection ends, if it does."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._pieces:
                if self._over:
                    return None
                await self._pause()
            due, data, end = self._pieces[0]
            if (delay := due - loop.time()) > 0:
                await asyncio.sleep(delay)
            if end is End.HALF:
                with contextlib.suppress(OSError):
                    self._target.shutdown(socket.SHUT_WR)
                return None
            if end is not None:
                return end
            try:
                await loop.sock_sendall(self._target, data)
            except OSError:
                return End.RESET
            self._pieces.popleft()
            self._waiting -= len(data)
            self._count(len(data))
            self._changed.set()

    async def _pause(self) -> None:
        """Wait for the other half of this pipe."""
        self._changed.clear()
        await self._changed.wait()

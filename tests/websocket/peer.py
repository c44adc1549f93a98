"""A WebSocket server that does what a script says, down to the last bit of a frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from yarl import URL

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a server sends it: unmasked."""
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


@dataclass
class Peer:
    """One connection, after its 101."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """The next frame, unmasked."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        assert second & 0x80, "a client masks"
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length])
        return first & 0x0F, (int.from_bytes(data) ^ key).to_bytes(length)

    async def agree(self) -> int:
        """Answer the client's close frame; its code."""
        while True:
            opcode, payload = await self.read()
            if opcode == CLOSE:
                await self.send(frame(CLOSE, payload[:2]))
                return struct.unpack("!H", payload[:2])[0] if payload else 1005

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class PeerServer:
    """Runs the n-th script for the n-th connection, the last one for all others.

    Bytes are sent in place of a 101, and ``None`` never answers the handshake.
    """

    scripts: list[Script | bytes | None]
    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    accepted: int = 0
    open: int = 0

    @property
    def url(self) -> URL:
        return URL(f"ws://127.0.0.1:{self.port}/feed?token=geheim")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
        self.accepted += 1
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            if script is None:
                await asyncio.get_running_loop().create_future()
            if isinstance(script, bytes):
                writer.write(script)
                await writer.drain()
                return
            digest = hashlib.sha1(headers["Sec-WebSocket-Key"].encode() + _MAGIC).digest()
            extra = "Sec-WebSocket-Protocol: chat\r\n" * ("Sec-WebSocket-Protocol" in headers)
            extra += "Sec-WebSocket-Extensions: permessage-deflate\r\n" * (
                "Sec-WebSocket-Extensions" in headers
            )
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + base64.b64encode(digest)
                + b"\r\n"
                + extra.encode()
                + b"\r\n"
            )
            peer = Peer(reader, writer, headers)
            self.peers.append(peer)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(peer)
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    *scripts: Script | bytes | None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[PeerServer]:
    """Serve on loopback; whatever a script raises fails the test."""
    made = PeerServer(list(scripts))
    running: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made.serve(reader, writer))
        running.add(task)
        task.add_done_callback(finished)

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            failures.append(task.exception())

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]


async def echo(peer: Peer) -> None:
    """Send back what comes, and agree to an end."""
    while True:
        opcode, payload = await peer.read()
        if opcode == CLOSE:
            await peer.send(frame(CLOSE, payload[:2]))
            return
        if opcode in (TEXT, BINARY):
            await peer.send(frame(opcode, payload))
        elif opcode == PING:
            await peer.send(frame(PONG, payload))


async def silent(peer: Peer) -> None:
    """Neither read nor write."""
    await asyncio.get_running_loop().create_future()


def json_frame(value: object) -> bytes:
    return frame(TEXT, json.dumps(value).encode())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)

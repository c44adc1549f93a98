"""HTTP/1.1 requests as a server sees them on the wire.

The parser is deliberately small and strict: it frames by ``Content-Length`` or chunked coding and
keeps every byte of the head, so that a test can look at exactly what a client sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD = 256 * 1024
"""Bytes of a request head that are read at most."""


class MalformedRequestError(ValueError):
    """The bytes are not an HTTP/1.1 request.

    Attributes:
        received: What was read of it.
    """

    def __init__(self, received: bytes) -> None:
        super().__init__(f"not an HTTP/1.1 request ({len(received)} bytes)")
        self.received = received


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request that reached the server.

    Attributes:
        method: As sent.
        target: The request target as sent: a path with query, an absolute URL or an authority.
        headers: Multi-valued, in the order sent.
        body: Decoded from its framing; empty when the server does not read bodies.
        connection_id: 1-based number of the connection it came on.
        time: Instant of ``loop.time()`` at which its head was complete.
        head: Request line and headers, byte for byte.
    """

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    body: bytes
    connection_id: int
    time: float
    head: bytes = field(repr=False)


async def read_request(
    reader: asyncio.StreamReader,
    *,
    connection_id: int,
    max_body: int,
    read_body: bool,
    send_continue: Callable[[], None],
) -> ReceivedRequest | None:
    """Read the next request of a connection.

    Args:
        reader: Where the bytes come from.
        connection_id: Recorded in the request.
        max_body: Decoded bytes of a body that are accepted, >= 0.
        read_body: Whether to read the body at all.
        send_continue: Called before the body is read when the client waits for ``100 Continue``.

    Returns:
        The request, or ``None`` when the peer closed the connection between two requests.

    Raises:
        MalformedRequestError: If the bytes are no request, end in the middle or exceed a limit.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise MalformedRequestError(error.partial) from None
    except asyncio.LimitOverrunError:
        raise MalformedRequestError(await reader.read(MAX_HEAD)) from None
    time = asyncio.get_running_loop().time()
    method, target, headers = _parse_head(head)
    body = b""
    if read_body:
        if headers.get("Expect", "").lower() == "100-continue":
            send_continue()
        try:
            body = await _read_body(reader, headers, max_body)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            raise MalformedRequestError(head) from None
    return ReceivedRequest(
        method, target, CIMultiDictProxy(headers), body, connection_id, time, head
    )


def _parse_head(head: bytes) -> tuple[str, str, CIMultiDict[str]]:
    request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, _, rest = request_line.partition(" ")
    target, _, version = rest.partition(" ")
    if not target or not version.startswith("HTTP/1."):
        raise MalformedRequestError(head)
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequestError(head)
        headers.add(name, value.strip())
    return method, target, headers


async def _read_body(
    reader: asyncio.StreamReader, headers: CIMultiDict[str], max_body: int
) -> bytes:
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        return await _read_chunks(reader, max_body)
    length = int(headers.get("Content-Length", "0"))
    if not 0 <= length <= max_body:
        raise ValueError("the body is larger than the server accepts")
    return await reader.readexactly(length)


async def _read_chunks(reader: asyncio.StreamReader, max_body: int) -> bytes:
    body = bytearray()
    while True:
        size_line = await reader.readuntil(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if not 0 <= size <= max_body - len(body):
            raise ValueError("the body is larger than the server accepts")
        if size == 0:
            # Trailers are read up to the empty line and dropped.
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end in CRLF")

r"""What a scripted server does with a request: answers, and every way of not answering.

An action is an async callable that gets the connection; these functions make the usual ones, and
they compose::

    script = [
        respond(503, headers={"Retry-After": "1"}),
        delay(0.2, respond(200, body=b"late")),
        sequence(respond(200), delay(0.01, raw(b"HTTP/1.1 500 Unsolicited\r\n\r\n"))),
        partial_body(b"only this", content_length=1000, then="reset"),
    ]

``then`` says what becomes of the connection afterwards: ``"keep"`` reads the next request,
``"close"`` sends a FIN, ``"reset"`` a RST, and ``"hang"`` leaves it open and silent.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from platform_http.testing.wire import ReceivedRequest

_STANDARD = frozenset(HTTPStatus)

Then: TypeAlias = Literal["keep", "close", "reset", "hang"]


class Exchange(Protocol):
    """One received request and the connection to answer it on."""

    @property
    def request(self) -> ReceivedRequest:
        """The request to answer."""

    async def send(self, data: bytes) -> None:
        """Write *data* and wait until the transport took it.

        Raises:
            ConnectionError: If the peer is gone.
        """

    async def hang(self) -> None:
        """Say nothing until the peer closes the connection or the server stops."""

    def close(self) -> None:
        """End the connection with a FIN, after what was sent."""

    def reset(self) -> None:
        """End the connection with a RST."""


Action: TypeAlias = "Callable[[Exchange], Awaitable[None]]"


def response_bytes(
    status: int = 200,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    reason: str | None = None,
    content_length: int | None = None,
) -> bytes:
    """Return a whole HTTP/1.1 response as bytes.

    Args:
        status: Status code.
        headers: Added as they are. ``Content-Length`` is added when neither it nor
            ``Transfer-Encoding`` is among them and the status may have a body.
        body: Sent as it is, after the headers.
        reason: Reason phrase; by default the standard one, or none for a status without.
        content_length: Announced instead of the length of *body*.
    """
    fields = list(headers.items() if hasattr(headers, "items") else headers)
    names = {name.lower() for name, _ in fields}
    bodiless = status < 200 or status in (204, 304)
    if not bodiless and names.isdisjoint({"content-length", "transfer-encoding"}):
        length = len(body) if content_length is None else content_length
        fields.append(("Content-Length", str(length)))
    if reason is None:
        reason = HTTPStatus(status).phrase if status in _STANDARD else ""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def respond(
    status: int = 200,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    reason: str | None = None,
    then: Then = "keep",
) -> Action:
    """Answer properly; the arguments are those of :func:`response_bytes`."""
    return raw(response_bytes(status, headers=headers, body=body, reason=reason), then=then)


def raw(data: bytes, *, then: Then = "keep") -> Action:
    """Send *data* as it is."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(data)
        await _end(exchange, then)

    return act


def close() -> Action:
    """End the connection with a FIN, without a byte of an answer."""
    return raw(b"", then="close")


def reset() -> Action:
    """End the connection with a RST, without a byte of an answer."""
    return raw(b"", then="reset")


def hang() -> Action:
    """Never answer: stay silent until the peer goes away or the server stops."""
    return raw(b"", then="hang")


def delay(seconds: float, action: Action) -> Action:
    """Wait *seconds*, >= 0, before *action*."""

    async def act(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await action(exchange)

    return act


def sequence(*actions: Action) -> Action:
    """Perform *actions* one after the other for the same request.

    For bytes that nobody asked for, let a delayed :func:`raw` follow a :func:`respond`.
    """

    async def act(exchange: Exchange) -> None:
        for action in actions:
            await action(exchange)

    return act


def drip(data: bytes, *, interval: float, size: int = 1, then: Then = "keep") -> Action:
    """Send *data* in pieces of *size* bytes with *interval* seconds before each but the first.

    Combine it with :func:`response_bytes` for a response that arrives slowly, head included.
    """

    async def act(exchange: Exchange) -> None:
        for start in range(0, len(data), size):
            if start:
                await asyncio.sleep(interval)
            await exchange.send(data[start : start + size])
        await _end(exchange, then)

    return act


def repeat(data: bytes, *, interval: float) -> Action:
    """Send *data* again and again, *interval* seconds apart, until the peer goes away.

    For a flood of interim responses, or a stream without an end.
    """

    async def act(exchange: Exchange) -> None:
        while True:
            await exchange.send(data)
            await asyncio.sleep(interval)

    return act


def stall() -> Action:
    """Do nothing, not even read, until the server stops: the peer's sends fill up and block."""

    async def act(exchange: Exchange) -> None:  # noqa: ARG001 - nothing is done with it
        await asyncio.get_running_loop().create_future()

    return act


def chunked(
    pieces: Iterable[bytes],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    interval: float = 0.0,
    complete: bool = True,
    then: Then = "keep",
) -> Action:
    """Answer with ``Transfer-Encoding: chunked``.

    Args:
        pieces: The chunks, none of them empty.
        status: Status code.
        headers: More headers.
        interval: Seconds before each chunk, >= 0.
        complete: Whether to send the terminating chunk.
        then: What becomes of the connection.
    """
    chunks = tuple(pieces)

    async def act(exchange: Exchange) -> None:
        framing = {**(headers or {}), "Transfer-Encoding": "chunked"}
        await exchange.send(response_bytes(status, headers=framing))
        for chunk in chunks:
            await asyncio.sleep(interval)
            await exchange.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if complete:
            await exchange.send(b"0\r\n\r\n")
        await _end(exchange, then)

    return act


def partial_body(
    sent: bytes,
    *,
    content_length: int,
    status: int = 200,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    then: Then = "close",
) -> Action:
    """Announce *content_length* bytes of body and send only *sent*."""
    data = response_bytes(status, headers=headers, body=sent, content_length=content_length)
    return raw(data, then=then)


async def _end(exchange: Exchange, then: Then) -> None:
    if then == "close":
        exchange.close()
    elif then == "reset":
        exchange.reset()
    elif then == "hang":
        await exchange.hang()

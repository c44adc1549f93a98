"""What a :class:`~platform_http.testing.FaultProxy` does to the bytes that pass through it.

A toxic is a description; each direction of each connection gets a state of its own from it. They
are sans-I/O: a toxic turns one piece of a stream into others, each with the instant at which it is
due, and the proxy does the waiting.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

_PIECES_PER_SECOND = 50


class End(enum.Enum):
    """How a stream ends."""

    HALF = enum.auto()
    """No more bytes this way: what a FIN of the sender means."""
    CLOSE = enum.auto()
    """Both directions are closed."""
    RESET = enum.auto()
    """Both directions are closed with a RST."""


class Piece(NamedTuple):
    """Some bytes of a stream, or its end.

    Args:
        due: Instant at which it is passed on.
        data: Empty for an end.
        end: ``None`` for bytes.
    """

    due: float
    data: bytes
    end: End | None = None


Stage: TypeAlias = "Callable[[Piece], Iterator[Piece]]"


class Toxic(Protocol):
    """Anything that changes a stream."""

    def stage(self, rng: Random) -> Stage:
        """Return the state for one direction of one connection.

        Args:
            rng: Source of jitter, seeded by the proxy.
        """


@dataclass(frozen=True, slots=True)
class Latency:
    """Passes everything on later, without making it slower.

    Args:
        seconds: Delay, >= 0.
        jitter: The delay varies by up to so many seconds either way, 0 to *seconds*. Bytes stay
            in order.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= self.seconds:
            raise ValueError("Latency takes seconds >= jitter >= 0")

    def stage(self, rng: Random) -> Stage:
        """Return the state for one direction of one connection."""
        latest = 0.0

        def pass_on(piece: Piece) -> Iterator[Piece]:
            nonlocal latest
            delay = self.seconds + rng.uniform(-self.jitter, self.jitter)
            latest = max(latest, piece.due + delay)
            yield piece._replace(due=latest)

        return pass_on


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Passes at most so many bytes a second on.

    Args:
        rate: Bytes per second, > 0.
    """

    rate: float

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError("Bandwidth takes a rate > 0 bytes per second")

    def stage(self, rng: Random) -> Stage:  # noqa: ARG002 - the protocol's signature
        """Return the state for one direction of one connection."""
        free = 0.0
        size = max(1, int(self.rate / _PIECES_PER_SECOND))

        def pass_on(piece: Piece) -> Iterator[Piece]:
            nonlocal free
            for part in _parts(piece, size):
                free = max(free, part.due) + len(part.data) / self.rate
                yield part._replace(due=free)

        return pass_on


@dataclass(frozen=True, slots=True)
class SlowClose:
    """Passes the end of the stream on later.

    Args:
        seconds: Delay, >= 0.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError("SlowClose takes seconds >= 0")

    def stage(self, rng: Random) -> Stage:  # noqa: ARG002 - the protocol's signature
        """Return the state for one direction of one connection."""

        def pass_on(piece: Piece) -> Iterator[Piece]:
            late = 0.0 if piece.end is None else self.seconds
            yield piece._replace(due=piece.due + late)

        return pass_on


@dataclass(frozen=True, slots=True)
class Timeout:
    """Swallows everything, and closes the connection some time after the first byte.

    Args:
        seconds: Time until it closes, >= 0; ``None`` never closes.
    """

    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds >= 0:
            raise ValueError("Timeout takes seconds >= 0, or None")

    def stage(self, rng: Random) -> Stage:  # noqa: ARG002 - the protocol's signature
        """Return the state for one direction of one connection."""
        return _swallow(self.seconds, End.CLOSE)


@dataclass(frozen=True, slots=True)
class Reset:
    """Swallows everything, and resets the connection some time after the first byte.

    Args:
        seconds: Time until the RST, >= 0.
    """

    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError("Reset takes seconds >= 0")

    def stage(self, rng: Random) -> Stage:  # noqa: ARG002 - the protocol's signature
        """Return the state for one direction of one connection."""
        return _swallow(self.seconds, End.RESET)


@dataclass(frozen=True, slots=True)
class Slicer:
    """Passes bytes on in small pieces.

    Args:
        size: Bytes of a piece, >= 1.
        variation: The size varies by up to so many bytes either way, 0 to *size* - 1.
        delay: Seconds between two pieces, >= 0.
    """

    size: int
    variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.variation < self.size and self.delay >= 0):
            raise ValueError("Slicer takes size > variation >= 0 bytes and a delay >= 0 seconds")

    def stage(self, rng: Random) -> Stage:
        """Return the state for one direction of one connection."""
        free = 0.0

        def pass_on(piece: Piece) -> Iterator[Piece]:
            nonlocal free
            rest = piece
            while len(rest.data) > (size := self.size + self._varied(rng)):
                free = max(free, rest.due)
                yield rest._replace(due=free, data=rest.data[:size])
                free += self.delay
                rest = rest._replace(data=rest.data[size:])
            free = max(free, rest.due)
            yield rest._replace(due=free)
            if rest.end is None:
                free += self.delay

        return pass_on

    def _varied(self, rng: Random) -> int:
        return rng.randint(-self.variation, self.variation)


@dataclass(frozen=True, slots=True)
class Limit:
    """Closes the connection after so many bytes.

    Args:
        size: Bytes that pass, >= 0.
    """

    size: int

    def __post_init__(self) -> None:
        if not self.size >= 0:
            raise ValueError("Limit takes a size >= 0 bytes")

    def stage(self, rng: Random) -> Stage:  # noqa: ARG002 - the protocol's signature
        """Return the state for one direction of one connection."""
        left = self.size

        def pass_on(piece: Piece) -> Iterator[Piece]:
            nonlocal left
            if piece.end is not None or len(piece.data) <= left:
                left -= len(piece.data)
                yield piece
                return
            if left:
                yield piece._replace(data=piece.data[:left])
            left = 0
            yield Piece(piece.due, b"", End.CLOSE)

        return pass_on


def _swallow(seconds: float | None, end: End) -> Stage:
    ended = False

    def pass_on(piece: Piece) -> Iterator[Piece]:
        nonlocal ended
        if seconds is not None and not ended:
            ended = True
            yield Piece(piece.due + seconds, b"", end)

    return pass_on


def _parts(piece: Piece, size: int) -> Iterator[Piece]:
    if piece.end is not None:
        yield piece
    for start in range(0, len(piece.data), size):
        yield piece._replace(data=piece.data[start : start + size])

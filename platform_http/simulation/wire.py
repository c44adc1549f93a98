"""What passes between a client and an upstream."""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol


class Reply(NamedTuple):
    """An answer.

    Args:
        status: HTTP status code.
        retry_after: Seconds that it asks to wait, or ``None``.
    """

    status: int
    retry_after: float | None = None


class Lost(enum.Enum):
    """There is no answer."""

    REFUSED = enum.auto()
    """No connection: nothing was sent."""
    RESET = enum.auto()
    """The connection ended before the answer."""


class Request(Protocol):
    """What an upstream sees of an attempt.

    Attributes:
        deadline: Instant until which its caller waits; infinite when the caller does not say.
    """

    deadline: float

    def answered(self, reply: Reply | Lost) -> None:
        """Take the answer, whether or not anybody still waits for it. Called once."""

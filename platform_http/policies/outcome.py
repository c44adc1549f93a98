"""What one attempt amounts to, for the retry policy and for the circuit breaker.

The two ask different questions. Retry asks whether another try may help; the breaker asks whether
the server did its part. A 429 is worth another try and still no failure of the server.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final


class Kind(enum.Enum):
    """What the retry policy makes of an attempt."""

    SUCCESS = enum.auto()
    """Nothing to resend."""
    TRANSIENT = enum.auto()
    """Another attempt may succeed."""
    THROTTLED = enum.auto()
    """The server asks for fewer requests: another attempt may succeed after a longer wait."""
    PERMANENT = enum.auto()
    """Another attempt would fail in the same way."""
    NEUTRAL = enum.auto()
    """Cancelled by the caller: nothing was learned."""


class Health(enum.Enum):
    """What the circuit breaker records of an attempt."""

    OK = enum.auto()
    """The server did its part."""
    FAILED = enum.auto()
    """The server, or the way to it, failed."""
    NEUTRAL = enum.auto()
    """Says nothing about the server: a cancel, a local shortage, a 429."""


class Outcome(NamedTuple):
    """The verdict on one attempt.

    Args:
        kind: What the retry policy makes of it.
        health: What the circuit breaker records.
        reason: The ``error.type`` word, ``""`` when there is no error.
        once: Whether a resend for this reason is worth it at most once per call. A name that
            does not resolve twice in a row will not resolve a third time.
    """

    kind: Kind
    health: Health
    reason: str = ""
    once: bool = False


def health_of(status: int) -> Health:
    """Return what the circuit breaker records of an attempt that was answered with *status*."""
    if status < 500 and status != 429:
        return _OK
    return Health.NEUTRAL if status == 429 else Health.FAILED


# By a name of its own: Python 3.11 is slow to find a member in its enumeration.
_OK: Final = Health.OK

_ANSWERED = Outcome(Kind.SUCCESS, Health.OK)


def of_status(status: int, retry_statuses: Collection[int]) -> Outcome:
    """Return the outcome of an attempt that was answered with *status*.

    Args:
        status: HTTP status code.
        retry_statuses: The codes that are worth another attempt; a set makes this cheapest.

    Returns:
        429 is throttled, or permanent when it is not listed, and neutral for the breaker in both
        cases; a listed status is transient; any other status from 500 up is permanent; the rest
        is a success. For the breaker a status from 500 up has failed, and all others but 429 are
        ok. The reason is the code for 429, for listed statuses and from 500 up.

    Source: retry rule 1 of the resilience rules; RFC 6585 for 429.
    """
    listed = status in retry_statuses
    if not listed and status < 500 and status != 429:
        return _ANSWERED
    return _of_notable_status(status, listed)


@functools.lru_cache(maxsize=256)
def _of_notable_status(status: int, listed: bool) -> Outcome:
    if status == 429:
        return Outcome(Kind.THROTTLED if listed else Kind.PERMANENT, health_of(status), "429")
    return Outcome(
        Kind.TRANSIENT if listed else Kind.PERMANENT,
        health_of(status),
        str(status),
    )

"""Close codes: which may be sent, what they mean, and the frame that carries one."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

NO_CODE: Final = 1005
LOST: Final = 1006

RECONNECT_CODES: Final = frozenset({1001, LOST, 1011, 1012, 1013, 1014})
"""Ends that another connection may cure; see :mod:`platform_http.websocket` for all of them."""

_CLEAN: Final = frozenset({1000, 1001, NO_CODE})
# RFC 6455, section 7.4, and IANA's registry; the rest is reserved or never sent.
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011})
_APPLICATIONS_OWN: Final = range(3000, 5000)
_MAX_REASON: Final = 123


@dataclass(frozen=True, slots=True)
class Ending:
    """How one connection ended.

    Args:
        code: The close code, :data:`NO_CODE` or :data:`LOST`.
        reason: What the peer said about it.
        error_type: An ``error.type`` word; empty if nothing went wrong.
        by_peer: Whether the peer began the end, or is the cause of it.
        failure: What an application's hook raised, if that is why.
    """

    code: int
    reason: str = ""
    error_type: str = ""
    by_peer: bool = True
    failure: BaseException | None = None

    @property
    def clean(self) -> bool:
        """Whether whoever iterates comes to a normal end."""
        return self.failure is None and (not self.by_peer or self.code in _CLEAN)


def by_frame(code: int, reason: str) -> Ending:
    """Return the end that a peer's close frame brings; *code* 0 is a frame without one."""
    if code == LOST or code >= _APPLICATIONS_OWN.stop:
        # No peer may send these; aiohttp refuses the other reserved ones.
        return by_violation(1002)
    code = code or NO_CODE
    return Ending(code, reason, error_type="" if code in _CLEAN else str(code))


def by_violation(code: int) -> Ending:
    """Return the end after *code* had to be sent because of what the peer sent."""
    return Ending(code, error_type="response_too_large" if code == 1009 else "invalid_response")


def by_loss(error_type: str = "response_ended") -> Ending:
    """Return the end of a connection that was not closed but lost."""
    return Ending(LOST, error_type=error_type)


def close_frame(code: int, reason: str) -> bytes:
    """Return the payload of a close frame.

    Raises:
        ValueError: If *code* may not be sent, or *reason* is longer than 123 bytes in UTF-8.
    """
    if code not in _SENDABLE and code not in _APPLICATIONS_OWN:
        raise ValueError(
            f"close code {code!r} may not be sent: use 1000 to 1003, 1007 to 1011 or 3000 to 4999"
        )
    text = reason.encode()
    if len(text) > _MAX_REASON:
        raise ValueError(
            f"the reason of a close has {len(text)} bytes in UTF-8; {_MAX_REASON} fit a frame"
        )
    return struct.pack("!H", code) + text


def reply_frame(ending: Ending) -> bytes:
    """Return the payload that answers a peer's close frame: the code alone, if it had one."""
    return b"" if ending.code == NO_CODE else struct.pack("!H", ending.code)

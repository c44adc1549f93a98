"""When a WebSocket is connected anew: what an application chooses, and which failures may pass."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import hdrs

from platform_http.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    EgressDeniedError,
    FactoryClosedError,
    RateLimitedError,
    RequestRejectedError,
)
from platform_http.outcomes import of_exception
from platform_http.policies import retry_after
from platform_http.policies.outcome import Kind
from platform_http.policies.reconnect import ReconnectPolicy
from platform_http.websocket.closing import RECONNECT_CODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from platform_http.websocket.connection import WebSocket


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How a WebSocket is connected anew.

    Args:
        on_reconnect: Run after every connect but the first, with the WebSocket: what it sends goes
            out before the messages that wait, so it is where to subscribe again. What it raises
            ends the WebSocket and reaches whoever receives; if something that it waits for was
            cancelled, the connection counts as lost. It may close the WebSocket.
        on_reconnect_timeout: Seconds that *on_reconnect* may take, > 0; after that the connection
            counts as lost.
        initial: Upper bound of the first wait, seconds, > 0; it doubles with every wait.
        maximum: Cap on every wait, seconds, finite, >= *initial*.
        limit: Connects within *window*, those that fail included, >= 0.
        window: Seconds, > 0.
        stable: Seconds after which a connection has lasted, >= 0: then the waits start anew.
        retry_after_max: Longest ``Retry-After`` that is waited for, seconds, >= 0.
        codes: Close codes after which it is connected anew; 1006 stands for a lost connection.

    Raises:
        ValueError: If a number is out of its range.
    """

    on_reconnect: Callable[[WebSocket], Awaitable[None]] | None = None
    on_reconnect_timeout: float = 10.0
    initial: float = 0.5
    maximum: float = 30.0
    limit: int = 60
    window: float = 3600.0
    stable: float = 30.0
    retry_after_max: float = 60.0
    codes: frozenset[int] = RECONNECT_CODES

    def __post_init__(self) -> None:
        for name in ("initial", "window", "on_reconnect_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Reconnect.{name} must be > 0, got {getattr(self, name)!r}")
        for name in ("limit", "stable", "retry_after_max"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Reconnect.{name} must be >= 0, got {getattr(self, name)!r}")
        if not self.initial <= self.maximum < math.inf:
            raise ValueError(
                f"Reconnect.maximum must be finite and >= initial, got {self.maximum!r}"
            )

    def policy(self, clock: Callable[[], float]) -> ReconnectPolicy:
        """Return what decides over one WebSocket."""
        return ReconnectPolicy(
            initial=self.initial,
            maximum=self.maximum,
            limit=self.limit,
            window=self.window,
            stable=self.stable,
            retry_after_max=self.retry_after_max,
            clock=clock,
            rng=random.Random(),  # noqa: S311 - jitter, not cryptography
        )


class Verdict(NamedTuple):
    """What a failed handshake means for the next one.

    Args:
        passes: Whether another one may succeed.
        asked: Seconds that the server wants to be left alone, if it said so.
        refused: Seconds for which one of our own policies refuses anyway.
    """

    passes: bool
    asked: float | None = None
    refused: float = 0.0


def verdict(error: Exception) -> Verdict:
    """Judge a handshake that failed with *error*."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        passes = error.status == 429 or error.status >= 500
        return Verdict(passes, _retry_after(error) if passes else None)
    if isinstance(error, CircuitOpenError | RateLimitedError):
        return Verdict(passes=True, refused=error.retry_after)
    if isinstance(error, EgressDeniedError | FactoryClosedError):
        return Verdict(passes=False)
    # A full pool, a throttle: it passes. A deadline: the next handshake has one of its own.
    if isinstance(error, RequestRejectedError | DeadlineExceededError | asyncio.TimeoutError):
        return Verdict(passes=True)
    return Verdict(passes=of_exception(error).kind is Kind.TRANSIENT)


def _retry_after(error: aiohttp.WSServerHandshakeError) -> float | None:
    value = error.headers.get(hdrs.RETRY_AFTER) if error.headers else None
    return None if value is None else retry_after.parse(value, now=time.time())

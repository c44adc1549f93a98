"""When a token may be used, and when another one is to be asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from platform_http.policies import backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

REFRESH_FROM: Final = 0.75
REFRESH_TO: Final = 0.9
"""A token is refreshed in between these shares of its lifetime, so that a fleet whose tokens were
issued in the same second does not ask for new ones in the same second."""

MARGIN: Final = 0.05
MARGIN_MAX: Final = 10.0
"""This share of its lifetime, and no more than so many seconds, a token is not used any more: it
has to be valid when the server looks at it."""

PAUSE_FIRST: Final = 1.0
PAUSE_MAX: Final = 30.0
"""Seconds between refreshes that fail, doubling; at least half of each is waited."""

REFRESH_PAUSE: Final = 1.0
"""Seconds after a refresh within which nothing asks for another one, neither a 401 nor the end of
the token: a server that refuses every token, or an endpoint whose tokens end at once, must not make
every call a refresh."""


class TokenSchedule:
    """Decides over the life of one token. It never sees the token itself.

    Args:
        clock: Seconds that never go backwards.
        rng: Source of jitter; seeded in tests.

    Source: RFC 6749, section 5.1 (``expires_in``); security.md, "Auth providers".
    """

    __slots__ = (
        "_clock",
        "_failures",
        "_obtained_at",
        "_paused_until",
        "_refresh_at",
        "_rng",
        "_usable_until",
    )

    def __init__(self, *, clock: Callable[[], float], rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._obtained_at = -math.inf
        self._usable_until = -math.inf
        self._refresh_at = -math.inf
        self._paused_until = -math.inf

    @property
    def usable(self) -> bool:
        """Whether there is a token that the server still takes."""
        return self._clock() < self._usable_until

    @property
    def due(self) -> bool:
        """Whether a refresh is to be started now, be the token usable or not."""
        now = self._clock()
        return now >= self._refresh_at and now >= self._paused_until

    @property
    def pause(self) -> float:
        """Seconds until the next refresh may be started after one that failed, >= 0."""
        return max(0.0, self._paused_until - self._clock())

    def obtained(self, lifetime: float | None) -> None:
        """Begin the life of a new token.

        Args:
            lifetime: Seconds from now until it ends, >= 0; ``None`` if nobody said, and then it
                lives until it is revoked.
        """
        now = self._clock()
        self._failures = 0
        self._paused_until = -math.inf
        self._obtained_at = now
        if lifetime is None:
            self._usable_until = self._refresh_at = math.inf
            return
        share = REFRESH_FROM + (REFRESH_TO - REFRESH_FROM) * self._rng.random()
        life = lifetime - min(MARGIN * lifetime, MARGIN_MAX)
        self._usable_until = now + max(REFRESH_PAUSE, life)
        self._refresh_at = now + max(REFRESH_PAUSE, lifetime * share)

    def failed(self) -> None:
        """Keep the token as it is, and pause before the next refresh."""
        self._failures += 1
        # Equal jitter: with a wait that may be nothing, every call would be a refresh.
        ceiling = min(PAUSE_MAX, PAUSE_FIRST * 2.0 ** min(self._failures - 1, 1023)) / 2
        wait = ceiling + backoff.delay(1, initial=ceiling, maximum=ceiling, rng=self._rng)
        self._paused_until = self._clock() + wait

    def revoked(self) -> None:
        """End the token: the server refused it, unless it is hardly older than the refusal."""
        if self._clock() - self._obtained_at >= REFRESH_PAUSE:
            self._usable_until = self._refresh_at = -math.inf

"""How long to wait before a resend when the server does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


def delay(resend: int, *, initial: float, maximum: float, rng: Random) -> float:
    """Return the wait before resend number *resend*.

    Args:
        resend: 1-based number of the resend.
        initial: Upper bound of the first wait, seconds, > 0.
        maximum: Cap on every wait, seconds, finite, > 0.
        rng: Source of jitter, drawn from once; seeded in tests.

    Returns:
        Seconds in [0, min(maximum, initial * 2 ** (resend - 1))].

    Raises:
        ValueError: If *resend* < 1.

    Source: full jitter, AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    if resend < 1:
        raise ValueError(f"resend is 1-based, got {resend!r}")
    # 2.0 ** 1024 raises OverflowError; a product beyond the largest float is merely infinite.
    ceiling = min(maximum, initial * 2.0 ** min(resend - 1, 1023))
    return rng.random() * ceiling

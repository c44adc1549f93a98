"""Defaults adapt, settings do not: what was not set never contradicts what was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from platform_http.settings.model import Profile


def adapt(profile: Profile, said: Collection[str]) -> Profile:
    """Return *profile* with every field that was not set adapted to those that were.

    - attempt = min(4, total), or longer where connect and pool timeouts that were set take more
    - total = 10, or the attempt timeout if that is longer
    - read = min(4, total)
    - connect, pool = min(1, attempt / 4), or half of what the other one leaves of the attempt
    - queue timeout = min(5, total)
    - breaker window = max(30, 2 * attempt)
    - concurrency limit = the smaller pool limit
    - burst = rate
    - trust = ``file`` if there is a CA file
    - of a wait and its maximum, the one that was not set gives way

    Args:
        profile: Values that were set, and plain defaults elsewhere.
        said: Paths of the fields that were set, for example ``timeout.total``.
    """
    changes: dict[str, dict[str, object]] = {}
    for path, value in _defaults(profile, said):
        if path not in said:
            section, _, name = path.partition(".")
            changes.setdefault(section, {})[name] = value
    return profile.model_copy(
        update={
            section: getattr(profile, section).model_copy(update=values)
            for section, values in changes.items()
        }
    )


def _defaults(profile: Profile, said: Collection[str]) -> Iterator[tuple[str, object]]:
    timeout = profile.timeout
    # An infinite timeout is switched off: it asks for nothing.
    connect = timeout.connect if "timeout.connect" in said else math.inf
    pool = timeout.pool if "timeout.pool" in said else math.inf
    taken = sum(each for each in (connect, pool) if each < math.inf)
    ceiling = timeout.total if "timeout.total" in said else math.inf
    attempt = timeout.attempt
    if "timeout.attempt" not in said:
        attempt = min(ceiling, max(4.0, 2 * taken))
    total = min(ceiling, max(10.0, attempt if attempt < math.inf else 0.0))
    share = min(1.0, attempt / 4)
    yield "timeout.attempt", attempt
    yield "timeout.total", total
    yield "timeout.read", min(4.0, total)
    yield "timeout.connect", min(share, (attempt - pool) / 2) if pool < math.inf else share
    yield "timeout.pool", min(share, (attempt - connect) / 2) if connect < math.inf else share
    yield "concurrency.queue_timeout", min(5.0, total)
    yield "circuit_breaker.window", max(30.0, 2 * attempt) if attempt < math.inf else 30.0

    limits = [limit for limit in (profile.pool.limit, profile.pool.limit_per_host) if limit]
    yield "concurrency.limit", min(limits, default=0)
    yield "rate_limit.burst", profile.rate_limit.rate
    yield "tls.trust", "file" if profile.tls.ca_file else "system"

    retry = profile.retry
    longest = retry.backoff_max
    if "retry.backoff_max" not in said:
        waits = {
            "retry.backoff_initial": retry.backoff_initial,
            "retry.backoff_throttled": retry.backoff_throttled,
        }
        longest = max(longest, *(wait for path, wait in waits.items() if path in said), 0.0)
    yield "retry.backoff_max", longest
    yield "retry.backoff_initial", min(retry.backoff_initial, longest)
    yield "retry.backoff_throttled", min(retry.backoff_throttled, longest)

    breaker = profile.circuit_breaker
    longest = breaker.open_duration_max
    if "circuit_breaker.open_duration_max" not in said:
        longest = max(longest, breaker.open_duration)
    yield "circuit_breaker.open_duration_max", longest
    yield "circuit_breaker.open_duration", min(breaker.open_duration, longest)

"""Reading a ``Retry-After`` header that may come from anybody."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime

LONGEST = 366 * 86400.0
"""Cap on what :func:`parse` returns, seconds: a year is as good as never, and always finite."""

_SECONDS = re.compile(r"[0-9]{1,10}")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"


@functools.cache
def _dates() -> tuple[re.Pattern[str], ...]:
    """Return the three forms of HTTP-date, compiled at the first one that comes.

    Neither strptime (it speaks the locale's language) nor email.utils (it takes much that is no
    HTTP-date) reads them safely.
    """
    return (
        re.compile(
            rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"
        ),
        re.compile(rf"[A-Z][a-z]+, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
        re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
    )


def parse(value: str, *, now: float) -> float | None:
    """Return how long a ``Retry-After`` header asks to wait.

    Args:
        value: The header's value, from an untrusted server.
        now: The current time, seconds since the epoch.

    Returns:
        Seconds in [0, :data:`LONGEST`], 0.0 for a date in the past, or ``None`` for anything that
        is neither 1 to 10 ASCII digits nor an HTTP-date. Never raises.

    Source: RFC 9110, sections 10.2.3 (Retry-After) and 5.6.7 (HTTP-date).
    """
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST)
    instant = _instant(value, now)
    return None if instant is None else min(max(0.0, instant - now), LONGEST)


def _instant(value: str, now: float) -> float | None:
    """Return the epoch seconds that an HTTP-date names, or ``None``."""
    for form in _dates():
        if match := form.fullmatch(value):
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year = _full_year(year, datetime.fromtimestamp(now, UTC).year)
    try:
        return datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            # A leap second is valid in an HTTP-date but not in a datetime.
            min(int(match["second"]), 59),
            tzinfo=UTC,
        ).timestamp()
    except ValueError:
        return None


def _full_year(two_digits: int, this_year: int) -> int:
    """Return the year that ends in *two_digits* and is at most 50 years ahead (RFC 9110)."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year

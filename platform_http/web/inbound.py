"""Inbound deadlines: a handler's calls end before its caller has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from platform_http.call import deadline
from platform_http.web.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler

# Twelve digits of milliseconds are 31 years; nobody means more, and int() of a long text is slow.
_MAX_DIGITS: Final = 12


@web.middleware
async def bound_by_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Run *handler* within the time that the caller says it has left.

    The header can only shorten: what a caller asks for beyond the configured timeouts has no
    effect, and what is no number of milliseconds > 0 is ignored. ``PROPAGATION__ENABLED=false``
    switches it off. What the handler leaves running in the background inherits the bound.
    """
    propagation = request.config_dict[SERVICE].load_settings().client().propagation
    if propagation.enabled:
        seconds = _seconds(request.headers.getall(propagation.timeout_header, ()))
        if seconds is not None:
            with deadline(seconds):
                return await handler(request)
    return await handler(request)


def _seconds(values: Sequence[str]) -> float | None:
    """Return the shortest of the times that *values* give, or ``None`` if there is none."""
    # To some proxies 0 means "no limit", so it cannot mean that the time is up.
    times = [int(value) for value in map(str.strip, values) if _is_number(value)]
    return min((time for time in times if time > 0), default=0) / 1000 or None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS

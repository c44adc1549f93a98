"""Tells an upstream which attempt this is and how much time the call has left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from platform_http.call import Attempt, Origin
    from platform_http.settings import PropagationSettings


class DeadlinePropagation:
    """Writes the attempt's number and the remaining deadline onto requests to trusted origins.

    Args:
        settings: The names of the headers.
        may_tell: Whether an origin may be told. Caching is its business.
    """

    def __init__(self, settings: PropagationSettings, may_tell: Callable[[Origin], bool]) -> None:
        self._attempt_header = settings.attempt_header
        self._timeout_header = settings.timeout_header
        self._may_tell = may_tell

    def write(self, attempt: Attempt, request: aiohttp.ClientRequest) -> None:
        """Set both headers, the second one where there is a deadline."""
        headers = request.headers
        if not self._may_tell(attempt.origin):
            return
        headers[self._attempt_header] = str(attempt.number)
        remaining = attempt.call.deadline - attempt.started
        if remaining != math.inf:
            headers[self._timeout_header] = str(max(1, int(remaining * 1000)))

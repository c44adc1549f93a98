"""How long the helpers may take: no total but the one that is asked for."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import aiohttp

from platform_http.call import DEFAULT_OPTIONS, CallOptions, ambient_deadline, client_of
from platform_http.errors import DeadlineExceededError

if TYPE_CHECKING:
    from platform_http.call import Client


class Bounds:
    """The deadline of what is made of several calls, and the options of each.

    The session's own total does not apply: how large a body is says nothing of its server. Silence
    does, and so do ``CallOptions.timeout``, over all calls together, and ``deadline()``.

    Args:
        session: Of a factory, or any other one.
        options: Of the caller.
    """

    def __init__(self, session: aiohttp.ClientSession, options: CallOptions | None) -> None:
        self.options = options or DEFAULT_OPTIONS
        self.client: Client | None = client_of(session)
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        own = self._started + (self.options.timeout or math.inf)
        self._until = min(own, ambient_deadline())

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite if there is none."""
        return self._until - self._loop.time()

    def of_request(self) -> dict[str, Any]:
        """Return the arguments that bound the next request.

        Raises:
            DeadlineExceededError: If the deadline has passed.
        """
        remaining = self.remaining
        if remaining <= 0:
            raise DeadlineExceededError(
                f"the deadline of {self._until - self._started:.3g} s passed"
            )
        options = dataclasses.replace(self.options, timeout=remaining)
        arguments: dict[str, Any] = {"trace_request_ctx": options}
        timeout = self._session.timeout
        if self.client is None or timeout.total is not None:
            # Nothing of ours bounds a call of this session. Its total becomes the longest silence.
            arguments["timeout"] = aiohttp.ClientTimeout(
                total=None if remaining == math.inf else remaining,
                connect=timeout.connect or timeout.total,
                sock_connect=timeout.sock_connect,
                sock_read=timeout.sock_read or timeout.total,
                ceil_threshold=timeout.ceil_threshold,
            )
        return arguments

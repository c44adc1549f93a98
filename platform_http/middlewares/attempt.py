"""The attempt: one try that passed every policy, with its timeout, its watchers and its end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from platform_http.call import CURRENT_ATTEMPT, CURRENT_CALL, Attempt, AttemptResponse, Origin
from platform_http.errors import AttemptTimeoutError, FactoryClosedError
from platform_http.outcomes import error_type, translate

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import Call, Client


class AttemptMiddleware:
    """Runs the request under the attempt timeout and the call's deadline, and reports on it.

    On expiry it raises a timeout error, so that every ``CancelledError`` that outer layers see is
    the caller's.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make one attempt."""
        call = CURRENT_CALL.get()
        assert call is not None
        client = self._client
        now = client.loop.time()
        if now >= call.deadline:
            raise call.deadline_exceeded()
        attempt = Attempt(call, Origin.of(request.url), request.method, request.url, now)
        token = CURRENT_ATTEMPT.set(attempt)
        client.observer.attempt_started(attempt, request)
        try:
            response = await self._bounded(attempt, request, handler)
        except asyncio.CancelledError:
            if self._was_closed():
                raise self._closed(attempt) from None
            self._cancelled(attempt, request)
            raise
        except Exception as error:  # noqa: BLE001 - reported whatever it is, and raised again
            public = translate(error, request.url)
            self._failed(attempt, error_type(public))
            try:
                if public is error:
                    raise
                raise public from public.__cause__
            finally:
                # A traceback keeps this frame; the frame must not keep the error.
                del public
        finally:
            CURRENT_ATTEMPT.reset(token)
        attempt.ended = client.loop.time()
        attempt.status = response.status
        attempt.response_headers = response.headers
        if response.version is not None:
            attempt.protocol_version = f"{response.version.major}.{response.version.minor}"
        client.observer.attempt_ended(attempt)
        cast("AttemptResponse", response).watch(attempt)
        return response

    async def _bounded(
        self, attempt: Attempt, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        call = attempt.call
        limit = math.inf if call.upgrade else attempt.started + call.attempt_timeout
        when = min(limit, call.deadline)
        if when == math.inf:
            return await handler(request)
        timer = asyncio.timeout_at(when)
        try:
            async with timer:
                return await handler(request)
        except TimeoutError as error:
            # aiohttp's own timeouts are TimeoutErrors too; ours is the bare one of this timer.
            if type(error) is not TimeoutError or not timer.expired():
                raise
            raise self._expired(call, limit) from None

    def _expired(self, call: Call, limit: float) -> Exception:
        if call.deadline <= limit:
            return call.deadline_exceeded()
        return AttemptTimeoutError(
            f"no response headers within {call.attempt_timeout:.3g} s "
            f"(client {call.client.name!r}, attempt {call.attempts})"
        )

    def _failed(self, attempt: Attempt, reason: str) -> None:
        attempt.error_type = reason
        attempt.ended = self._client.loop.time()
        self._client.observer.attempt_ended(attempt)

    def _was_closed(self) -> bool:
        """Tell a closing connector, which cancels its waiters, from a caller who cancels a task."""
        task = asyncio.current_task()
        return self._client.closing and task is not None and not task.cancelling()

    def _closed(self, attempt: Attempt) -> FactoryClosedError:
        self._failed(attempt, FactoryClosedError.error_type)
        return FactoryClosedError(
            f"the session factory closed while client {self._client.name!r} waited",
            attempts=attempt.call.sent,
        )

    def _cancelled(self, attempt: Attempt, request: aiohttp.ClientRequest) -> None:
        # A per-request ``timeout=`` cancels the task and becomes a TimeoutError further out.
        if getattr(request._timer, "_cancelled", False):  # noqa: SLF001 - the only signal there is
            self._failed(attempt, error_type(TimeoutError()))
        else:
            attempt.cancelled = True
            attempt.ended = self._client.loop.time()
            self._client.observer.attempt_ended(attempt)

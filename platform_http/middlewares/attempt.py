"""The attempt: one try that passed every policy, with its timeout, its watchers and its end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from platform_http.call import Attempt, AttemptResponse
from platform_http.errors import AttemptTimeoutError, FactoryClosedError
from platform_http.outcomes import error_type, translate

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest, Call, Client
    from platform_http.middlewares.propagation import DeadlinePropagation


class AttemptMiddleware:
    """Runs the request under the attempt timeout and the call's deadline, and reports on it.

    On expiry it raises a timeout error, so that every ``CancelledError`` that outer layers see is
    the caller's.
    """

    def __init__(self, client: Client, propagation: DeadlinePropagation | None) -> None:
        self._client = client
        self._propagation = propagation

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make one attempt."""
        ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
        call = ours.call
        assert call is not None
        attempt = self._begin(call, request, ours)
        limit = math.inf if call.upgrade else attempt.started + call.attempt_timeout
        when = min(limit, call.deadline)
        timeout = None if when == math.inf else self._client.timers.timeout(when)
        try:
            try:
                response = await handler(request)
            except asyncio.CancelledError:
                if timeout is not None:
                    stopped, timeout = timeout, None
                    if stopped.stop():
                        raise self._expired(call, limit) from None
                raise
            finally:
                if timeout is not None:
                    timeout.stop()
        except BaseException as error:  # noqa: BLE001 - reported whatever it is, and raised again
            public = self._failure(attempt, request, error)
            try:
                if public is error:
                    raise
                raise public from (public.__cause__ or error)
            finally:
                # A traceback keeps this frame; the frame must not keep the error.
                del public
        attempt.ended = self._client.loop.time()
        attempt.status = response.status
        attempt.response_headers = response.headers
        attempt.version = response.version
        self._client.observer.attempt_ended(attempt)
        cast("AttemptResponse", response).watch(attempt)
        return response

    def _begin(self, call: Call, request: aiohttp.ClientRequest, ours: AttemptRequest) -> Attempt:
        client = self._client
        if request.session.closed:
            raise self._closed_error(call)
        now = client.loop.time()
        if now >= call.deadline:
            raise call.deadline_exceeded()
        url = request.url
        attempt = Attempt(call, ours.origin_of(url), request.method, url, now)
        ours.attempt = attempt
        if ours.on_attempt is not None:
            ours.on_attempt()
        if ours.on_resend is not None:
            resent, ours.on_resend = ours.on_resend, None
            resent()
        if self._propagation is not None:
            self._propagation.write(attempt, request)
        client.observer.attempt_started(attempt, request)
        return attempt

    def _expired(self, call: Call, limit: float) -> Exception:
        if call.deadline <= limit:
            return call.deadline_exceeded()
        return AttemptTimeoutError(
            f"no response headers within {call.attempt_timeout:.3g} s "
            f"(client {call.client.name!r}, attempt {call.attempts})"
        )

    def _failure(
        self, attempt: Attempt, request: aiohttp.ClientRequest, error: BaseException
    ) -> BaseException:
        """End the attempt, and return what its caller is to see of *error*."""
        public: BaseException = error
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if request.session.closed and task is not None and not task.cancelling():
                # A closing connector cancels its waiters without cancelling their tasks.
                public = self._closed_error(attempt.call)
            elif getattr(request._timer, "_cancelled", False):  # noqa: SLF001 - the only signal
                # A per-request ``timeout=`` cancels the task and is a TimeoutError further out.
                attempt.error_type = error_type(TimeoutError())
            else:
                attempt.cancelled = True
        elif isinstance(error, Exception):
            if request.session.closed:
                public = self._closed_error(attempt.call)
            else:
                public = translate(error, request.url)
        if not isinstance(public, asyncio.CancelledError):
            attempt.error_type = error_type(public)
        attempt.ended = self._client.loop.time()
        self._client.observer.attempt_ended(attempt)
        return public

    def _closed_error(self, call: Call) -> FactoryClosedError:
        return FactoryClosedError(
            f"the session of client {self._client.name!r} was closed under a running call",
            attempts=call.sent,
        )

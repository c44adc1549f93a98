"""The attempt: one try that passed every policy, with its timeout, its watchers and its end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from platform_http.call import Attempt
from platform_http.errors import AttemptTimeoutError, FactoryClosedError
from platform_http.outcomes import error_type, translate

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest, AttemptResponse, Call, Client, Origin
    from platform_http.middlewares.circuit_breaker import CircuitBreakerGate
    from platform_http.middlewares.concurrency import ConcurrencyGate
    from platform_http.middlewares.propagation import DeadlinePropagation
    from platform_http.policies.concurrency import Slot


class AttemptMiddleware:
    """Runs the request under the attempt timeout and the call's deadline, and reports on it.

    In front of it stand its gates, asked in the order of the arguments: policies that admit or
    refuse an attempt and want to know how it went. They are no middlewares of their own, because
    each of those is one more coroutine that every wake-up passes through. What they gave out, they
    get back on every path.

    On expiry it raises a timeout error, so that every ``CancelledError`` that outer layers see is
    the caller's.

    Args:
        client: Whose attempts these are.
        breaker: The circuit breakers; ``None`` is off.
        concurrency: The concurrency limits, likewise.
        propagation: Tells upstreams of the deadline, likewise.
    """

    def __init__(
        self,
        client: Client,
        breaker: CircuitBreakerGate | None,
        concurrency: ConcurrencyGate | None,
        propagation: DeadlinePropagation | None,
    ) -> None:
        self._client = client
        self._breaker = breaker
        self._concurrency = concurrency
        self._propagation = propagation

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make one attempt, when the gates let it through."""
        ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
        call = ours.call
        assert call is not None
        origin = ours.origin_of(request.url)
        breaker, concurrency = self._breaker, self._concurrency
        permit = None if breaker is None else breaker.admit(call, origin)
        slot: Slot | None = None
        attempt: Attempt | None = None
        try:
            if concurrency is not None:
                slot = concurrency.take(origin) or await concurrency.turn(call, origin)
            attempt = self._begin(call, origin, request, ours)
            if permit is not None:
                # How long an attempt takes is counted without its wait for a turn.
                permit.begin()
            response = await handler(request)
            self._answered(attempt, response)
        except BaseException as error:  # noqa: BLE001 - reported whatever it is, and raised again
            public: BaseException = error
            try:
                if attempt is not None and not attempt.ended:
                    public = self._failure(attempt, request, error)
                if public is error:
                    raise
                raise public from public.__cause__
            finally:
                # Even where the error is one that cannot be looked at.
                if slot is not None:
                    slot.release()
                if permit is not None and breaker is not None:
                    breaker.failed(permit, attempt, public)
                # A traceback keeps this frame; the frame must not keep the error.
                del public
        if slot is not None and concurrency is not None:
            concurrency.hold(slot, attempt)
        if permit is not None and breaker is not None:
            breaker.answered(permit, attempt)
        return response

    def _begin(
        self, call: Call, origin: Origin, request: aiohttp.ClientRequest, ours: AttemptRequest
    ) -> Attempt:
        client = self._client
        if request.session.closed:
            raise self._closed_error(call)
        now = client.clock()
        if now >= call.deadline:
            raise call.deadline_exceeded()
        attempt = ours.attempt = Attempt(call, origin, request.method, request.url, now)
        if ours.on_resend is not None:
            resent, ours.on_resend = ours.on_resend, None
            resent()
        if self._propagation is not None:
            self._propagation.write(attempt, request)
        client.observer.attempt_started(attempt, request)
        until = now + call.attempt_timeout
        if call.deadline < until:  # noqa: PLR1730 - min() takes as long as six function calls
            until = call.deadline
        if until < math.inf:
            attempt.bind(client.timers, until)
        return attempt

    def _answered(self, attempt: Attempt, response: aiohttp.ClientResponse) -> None:
        theirs: AttemptResponse = response  # type: ignore[assignment] # made by our response class
        client = self._client
        attempt.release(client.timers)
        attempt.ended = client.clock()
        attempt.status = response.status
        attempt.response_headers = response.headers
        attempt.version = response.version
        client.observer.attempt_ended(attempt)
        theirs.watch(attempt)

    def _failure(
        self, attempt: Attempt, request: aiohttp.ClientRequest, error: BaseException
    ) -> BaseException:
        """End the attempt, and return what its caller is to see of *error*, with its cause."""
        is_expired = attempt.release(self._client.timers)
        public: BaseException = error
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if is_expired:
                public = self._expired(attempt)
            elif request.session.closed and task is not None and not task.cancelling():
                # A closing connector cancels its waiters without cancelling their tasks.
                public = self._closed_error(attempt.call)
                public.__cause__ = error
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
            if public is not error:
                public.__cause__ = public.__cause__ or error
        if not isinstance(public, asyncio.CancelledError):
            attempt.error_type = error_type(public)
        attempt.ended = self._client.clock()
        self._client.observer.attempt_ended(attempt)
        return public

    def _expired(self, attempt: Attempt) -> Exception:
        call = attempt.call
        if call.deadline <= attempt.started + call.attempt_timeout:
            return call.deadline_exceeded()
        return AttemptTimeoutError(
            f"no response headers within {call.attempt_timeout:.3g} s "
            f"(client {call.client.name!r}, attempt {call.attempts})"
        )

    def _closed_error(self, call: Call) -> FactoryClosedError:
        return FactoryClosedError(
            f"the session of client {self._client.name!r} was closed under a running call",
            attempts=call.sent,
        )

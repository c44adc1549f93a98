"""Retry: the only owner of resends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from platform_http.call import AttemptResponse, BodyEnd
from platform_http.errors import DeadlineExceededError, PoolTimeoutError, RequestRejectedError
from platform_http.middlewares.replay import make_replayable
from platform_http.middlewares.resend import announce, is_consumed, make_way, stopped
from platform_http.outcomes import error_type, of_exception
from platform_http.policies import retry_after
from platform_http.policies.outcome import of_status
from platform_http.policies.retry import Resend, Stop

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import Attempt, AttemptRequest, Call, Client, Observer, Origin
    from platform_http.policies.outcome import Outcome
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.retry import RetryPolicy
    from platform_http.policies.retry_budget import RetryBudget

# The server may still be at work on what timed out, so another attempt costs more.
_TIMEOUTS = frozenset({"attempt_timeout", "connect_timeout", "read_timeout"})

# Refusals that are stop reasons by their own name.
_STOPPING_REFUSALS = frozenset({"circuit_open", "concurrency_limited", "rate_limited"})


class RetryMiddleware:
    """Resends what may be resent, and otherwise returns the last response or error unchanged."""

    def __init__(
        self, client: Client, policy: RetryPolicy, budgets: LruRegistry[Origin, RetryBudget]
    ) -> None:
        self._client = client
        self._policy = policy
        self._budgets = budgets
        self._statuses = client.settings.retry.statuses

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make attempts until the policy stops."""
        ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
        call = ours.call
        assert call is not None
        if call.max_attempts == 1:
            return await handler(request)
        if request.body:
            return await self._replayed(call, request, handler)
        sent = call.sent
        try:
            response = await handler(request)
        except Exception as error:
            if _refuses(error):
                # There is no earlier result to return in its place. The budget, of which nothing is
                # needed, is shown all the same.
                self._budgets.get(ours.origin_of(request.url))
                stopped(call, _stop_reason(error_type(error)), error)
                raise
            first = _Result(of_exception(error), error=error, sent=call.sent > sent)
        else:
            outcome = of_status(response.status, self._statuses)
            if not outcome.reason:
                # Most calls end here.
                origin = ours.origin_of(request.url)
                budget = self._budgets.get(origin)
                if not budget.untouched:
                    _Account(budget, origin, self._client.observer).earn(response)
                return response
            first = _Result(outcome, response=response, sent=True)
        try:
            return await self._until_stopped(call, request, handler, first)
        finally:
            # A traceback keeps this frame; the frame must not keep the error of that traceback.
            del first

    async def _replayed(
        self, call: Call, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make attempts with a body, which has to be there for each of them."""
        unfinished = None
        if self._policy.may_resend(request.method, idempotent=_idempotent(call, request)):
            unfinished = await make_replayable(request)
        try:
            first = await self._attempt(call, request, handler)
            try:
                return await self._until_stopped(call, request, handler, first)
            finally:
                del first
        finally:
            if unfinished is not None and not is_consumed(request):
                unfinished.cancel()

    async def _until_stopped(
        self,
        call: Call,
        request: aiohttp.ClientRequest,
        handler: ClientHandlerType,
        result: _Result,
    ) -> aiohttp.ClientResponse:
        """Make attempts after the one that came to *result* until the policy stops."""
        origin = cast("AttemptRequest", request).origin_of(request.url)
        account = _Account(self._budgets.get(origin), origin, self._client.observer)
        earlier: _Result | None = None
        once_spent = False
        try:
            while True:
                decision = self._decide(call, request, result, once_spent=once_spent)
                if isinstance(decision, Resend) and not account.pay(call, result.outcome):
                    decision = Stop("budget")
                if not isinstance(decision, Resend):
                    final = earlier if result.refused and earlier is not None else result
                    if decision is not None:
                        stopped(call, decision.reason, final.error)
                    elif result.response is not None:
                        account.earn(result.response)
                    return final.conclude()
                once_spent = once_spent or result.outcome.once
                earlier = result
                await self._wait(call, request, result.response, decision)
                result = await self._attempt(call, request, handler)
        finally:
            account.settle(call)
            # As above.
            result = earlier = final = None  # type: ignore[assignment] # the names die here

    async def _attempt(
        self, call: Call, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> _Result:
        sent = call.sent
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - every failure is classified, none is lost
            return _Result(of_exception(error), error=error, sent=call.sent > sent)
        return _Result(of_status(response.status, self._statuses), response=response, sent=True)

    def _decide(
        self, call: Call, request: aiohttp.ClientRequest, result: _Result, *, once_spent: bool
    ) -> Resend | Stop | None:
        outcome = result.outcome
        if not outcome.reason:
            return None
        if result.refused:
            return Stop(_stop_reason(outcome.reason))
        if isinstance(result.error, DeadlineExceededError):
            return Stop("deadline")
        if result.response is not None and _is_refused_by_upstream(result.response):
            return Stop("upstream_refused")
        return self._policy.decide(
            outcome,
            method=request.method,
            resends=call.resends,
            max_attempts=call.max_attempts,
            idempotent=_idempotent(call, request),
            sent=result.sent,
            replayable=not is_consumed(request),
            retry_after=_retry_after(result.response),
            remaining=call.deadline - self._client.clock(),
            once_spent=once_spent,
        )

    async def _wait(
        self,
        call: Call,
        request: aiohttp.ClientRequest,
        response: aiohttp.ClientResponse | None,
        resend: Resend,
    ) -> None:
        clock = self._client.clock
        wake = clock() + resend.delay
        announce(call, request, resend.reason, resend.delay)
        # Within the backoff, which is waited for anyway.
        await make_way(request, response, resend.delay)
        await asyncio.sleep(max(0.0, wake - clock()))


class _Account:
    """What one hop of a call takes from the retry budget of its origin, and gives back."""

    __slots__ = ("_attempts", "_budget", "_observer", "_origin", "_paid")

    def __init__(self, budget: RetryBudget, origin: Origin, observer: Observer) -> None:
        self._budget = budget
        self._origin = origin
        self._observer = observer
        self._paid = 0.0
        self._attempts = 0

    def pay(self, call: Call, outcome: Outcome) -> bool:
        """Pay for a resend; ``False`` if the budget does not allow it."""
        cost = self._budget.spend(timeout=outcome.reason in _TIMEOUTS)
        if cost is None:
            return False
        self._paid = cost
        self._attempts = call.attempts
        self._report()
        return True

    def settle(self, call: Call) -> None:
        """Give back what was paid for a resend that was never made."""
        if self._paid and call.attempts == self._attempts:
            self._budget.succeeded(self._paid)
            self._report()

    def earn(self, response: aiohttp.ClientResponse) -> None:
        """Refund the budget for a success, once the body has shown that it is one."""
        attempt = cast("AttemptResponse", response).attempt
        if self._budget.recovered() or attempt is None:
            # It may have filled up by itself since it was last reported.
            self._report()
        else:
            attempt.when_judged(self._refund)

    def _refund(self, attempt: Attempt) -> None:
        if attempt.body in (None, BodyEnd.COMPLETE):
            self._budget.succeeded(self._paid)
            self._report()

    def _report(self) -> None:
        self._observer.budget_changed(self._origin, self._budget.tokens)


class _Result:
    """What an attempt came to: a response or an error."""

    __slots__ = ("error", "outcome", "response", "sent")

    def __init__(
        self,
        outcome: Outcome,
        *,
        sent: bool,
        response: aiohttp.ClientResponse | None = None,
        error: Exception | None = None,
    ) -> None:
        self.outcome = outcome
        self.sent = sent
        self.response = response
        self.error = error

    @property
    def refused(self) -> bool:
        """Whether a policy refused."""
        return self.error is not None and _refuses(self.error)

    def conclude(self) -> aiohttp.ClientResponse:
        """Return the response or raise the error."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                del self
        assert self.response is not None
        return self.response


def _refuses(error: Exception) -> bool:
    """Tell whether a policy refused; a full pool is a failure of the attempt itself."""
    return isinstance(error, RequestRejectedError) and not isinstance(error, PoolTimeoutError)


def _stop_reason(refusal: str) -> str:
    """Return the stop reason for the ``error.type`` word of a refusal."""
    return refusal if refusal in _STOPPING_REFUSALS else "not_retryable"


def _idempotent(call: Call, request: aiohttp.ClientRequest) -> bool | None:
    """Judge by what was said, else by the key that the server sees; ``None`` leaves it open."""
    if call.options.idempotent is not None:
        return call.options.idempotent
    return True if "Idempotency-Key" in request.headers else None


def _is_refused_by_upstream(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("X-Should-Retry", "").strip().lower() == "false"


def _retry_after(response: aiohttp.ClientResponse | None) -> float | None:
    if response is None or response.status not in (429, 503):
        return None
    value = response.headers.get("Retry-After")
    return None if value is None else retry_after.parse(value, now=time.time())

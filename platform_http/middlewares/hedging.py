"""Hedging: a second attempt beside a slow one, and the first success wins."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, cast

from platform_http.call import CURRENT_CALL, Origin
from platform_http.policies.outcome import Kind, of_status

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import AttemptRequest, Call, Client
    from platform_http.policies.hedging import HedgePolicy
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.retry_budget import RetryBudget

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class HedgingMiddleware:
    """Starts a second attempt of a safe request when the first one takes longer than usual.

    A hedge is an attempt: it counts against the attempts of its call, is paid for by the retry
    budget, and passes every inner policy. A fast failure does not win over a slow success. Losers
    are cancelled, awaited and closed before the winner is returned.
    """

    def __init__(
        self,
        client: Client,
        hedges: LruRegistry[Origin, HedgePolicy],
        budgets: LruRegistry[Origin, RetryBudget],
    ) -> None:
        self._client = client
        self._hedges = hedges
        self._budgets = budgets
        self._statuses = client.settings.retry.statuses
        # Its own look: with retries switched off a call may still be hedged.
        self._max_attempts = client.settings.retry.max_attempts

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt, and a second one if it is slow."""
        call = CURRENT_CALL.get()
        assert call is not None
        if not self._may_hedge(call, request):
            return await handler(request)
        origin = Origin.of(request.url)
        policy = self._hedges.get(origin)
        policy.call_started()
        clock = self._client.loop.time
        started = clock()
        delay = policy.delay()
        if delay is None:
            response = await handler(request)
        else:
            response = await self._hedged(
                request, handler, delay, may_hedge=lambda: self._admit(call, policy, origin)
            )
        if of_status(response.status, self._statuses).kind is Kind.SUCCESS:
            policy.record(clock() - started)
        return response

    async def _hedged(
        self,
        request: aiohttp.ClientRequest,
        handler: ClientHandlerType,
        delay: float,
        *,
        may_hedge: Callable[[], bool],
    ) -> aiohttp.ClientResponse:
        # The two share no writer and no response: the copy is made before anything is sent.
        twin = copy.copy(request)
        twin.headers = request.headers.copy()
        # Of the two only the first one can be a resend.
        cast("AttemptRequest", twin).on_resend = None
        first = asyncio.create_task(_run(handler, request))
        tasks = [first]
        winner = None
        try:
            await asyncio.wait(tasks, timeout=delay)
            if not first.done() and may_hedge():
                tasks.append(asyncio.create_task(_run(handler, twin)))
            winner = await self._race(tasks)
            return winner.result()
        finally:
            if len(tasks) > 1:
                won = winner is not None and winner is not first
                self._client.observer.hedge_ended("won" if won else "lost")
            await _settle([task for task in tasks if task is not winner])

    def _may_hedge(self, call: Call, request: aiohttp.ClientRequest) -> bool:
        return (
            call.options.hedge is not False
            and not call.upgrade
            and request.method in _SAFE_METHODS
            and not request.body
            and call.resends + 1 < (call.options.max_attempts or self._max_attempts)
        )

    def _admit(self, call: Call, policy: HedgePolicy, origin: Origin) -> bool:
        if policy.admit() and self._budgets.get(origin).spend(timeout=False) is not None:
            call.resends += 1
            self._client.observer.budget_changed(origin, self._budgets.get(origin).tokens)
            return True
        self._client.observer.hedge_ended("denied")
        return False

    async def _race(
        self, tasks: list[asyncio.Task[aiohttp.ClientResponse]]
    ) -> asyncio.Task[aiohttp.ClientResponse]:
        """Return the first success, else what the first attempt came to."""
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # In the order in which they were started, should both be done.
            best = next((task for task in tasks if task in done and self._succeeded(task)), None)
            if best is not None:
                return best
        return tasks[0]

    def _succeeded(self, task: asyncio.Task[aiohttp.ClientResponse]) -> bool:
        if task.cancelled() or task.exception() is not None:
            return False
        return of_status(task.result().status, self._statuses).kind is Kind.SUCCESS


async def _run(
    handler: ClientHandlerType, request: aiohttp.ClientRequest
) -> aiohttp.ClientResponse:
    # create_task() wants a coroutine, and a handler may return any awaitable.
    return await handler(request)


async def _settle(tasks: list[asyncio.Task[aiohttp.ClientResponse]]) -> None:
    """Cancel what still runs, wait for it, and close what it returned all the same."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, BaseException):
            result.close()

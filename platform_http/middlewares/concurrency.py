"""Concurrency limit per origin: a bounded queue in front, a permit until the body ends."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from platform_http.errors import ConcurrencyLimitError
from platform_http.policies.concurrency import Slot

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import (
        Attempt,
        AttemptRequest,
        Call,
        Client,
        Origin,
    )
    from platform_http.policies.concurrency import ConcurrencyLimit
    from platform_http.policies.registry import LruRegistry


class ConcurrencyMiddleware:
    """Lets at most so many attempts to one origin be in flight.

    The permit is held until the body is read, closed or lost, and by a WebSocket until its 101.
    Waiting for it is bounded by the queue's timeout and the call's deadline, and is never held
    against the server.
    """

    def __init__(self, client: Client, limits: LruRegistry[Origin, ConcurrencyLimit]) -> None:
        self._client = client
        self._limits = limits
        self._settings = client.settings.concurrency

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt when it is its turn."""
        ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
        call = ours.call
        assert call is not None
        origin = ours.origin_of(request.url)
        limit = self._limits.get(origin)
        slot = limit.take() or await self._enter(call, origin, limit)
        if slot is None:
            return await handler(request)
        try:
            response = await handler(request)
        except BaseException:
            slot.release()
            raise
        attempt: Attempt | None = response.attempt  # type: ignore[attr-defined] # of our response class
        if attempt is None:
            slot.release()
        else:
            held = slot
            attempt.when_ended(lambda _: held.release())
        return response

    async def _enter(self, call: Call, origin: Origin, limit: ConcurrencyLimit) -> Slot | None:
        """Return a slot, or ``None`` where the limit only counts and there is none."""
        loop = self._client.loop
        turn: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not turn.done():
                turn.set_result(None)

        entry = limit.enter(wake)
        if isinstance(entry, Slot):
            return entry
        if not self._settings.enforce:
            if entry is not None:
                entry.leave()
            self._client.observer.rejected(
                call, origin, ConcurrencyLimitError.error_type, enforced=False
            )
            return None
        if entry is None:
            raise self._refused(call, origin, "and its queue is full")
        started = loop.time()
        until = min(started + self._settings.queue_timeout, call.deadline)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until) as timer:
                await turn
        except BaseException:
            # It may have been granted in this very moment.
            entry.leave()
            if not timer.expired():
                raise
            if call.deadline <= until:
                raise call.deadline_exceeded() from None
            raise self._refused(call, origin, "and no turn came in time") from None
        finally:
            self._client.observer.concurrency_waited(loop.time() - started)
        assert entry.slot is not None
        return entry.slot

    def _refused(self, call: Call, origin: Origin, why: str) -> ConcurrencyLimitError:
        self._client.observer.rejected(call, origin, ConcurrencyLimitError.error_type)
        return ConcurrencyLimitError(
            f"client {self._client.name!r} has {self._settings.limit} requests to {origin} in "
            f"flight {why}; see CONCURRENCY__LIMIT and CONCURRENCY__QUEUE",
            attempts=call.sent,
        )

"""Concurrency limit per origin: a bounded queue in front, a slot until the body ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from platform_http.errors import ConcurrencyLimitError
from platform_http.policies.concurrency import Slot

if TYPE_CHECKING:
    import asyncio

    from platform_http.call import Attempt, Call, Client, Origin
    from platform_http.policies.concurrency import ConcurrencyLimit
    from platform_http.policies.registry import LruRegistry


class ConcurrencyGate:
    """Lets at most so many attempts to one origin be in flight.

    The slot is held until the body is read, closed or lost, and by a WebSocket until its 101.
    Waiting for it is bounded by the queue's timeout and the call's deadline, and is never held
    against the server.
    """

    def __init__(self, client: Client, limits: LruRegistry[Origin, ConcurrencyLimit]) -> None:
        self._client = client
        self._limits = limits
        self._settings = client.settings.concurrency

    def take(self, origin: Origin) -> Slot | None:
        """Return a slot if one is free; else wait for a :meth:`turn`."""
        return self._limits.get(origin).take()

    async def turn(self, call: Call, origin: Origin) -> Slot | None:
        """Return a slot when it is the call's turn.

        Returns:
            ``None`` where the limit only counts, and none is free.

        Raises:
            ConcurrencyLimitError: If the queue is full, or no turn comes in time.
            DeadlineExceededError: If the call's deadline passes first.
        """
        client = self._client
        started = client.clock()
        turn = _Turn(client.loop, min(started + self._settings.queue_timeout, call.deadline))
        entry = self._limits.get(origin).enter(turn.come)
        if isinstance(entry, Slot):
            return entry
        if not self._settings.enforce:
            if entry is not None:
                entry.leave()
            client.observer.rejected(call, origin, ConcurrencyLimitError.error_type, enforced=False)
            return None
        if entry is None:
            raise self._refused(call, origin, "and its queue is full")
        is_bounded = turn.when < math.inf
        if is_bounded:
            client.timers.add(turn)
        try:
            await turn.over
        except BaseException:
            # It may have been granted in this very moment.
            entry.leave()
            raise
        finally:
            if is_bounded:
                client.timers.discard(turn)
            client.observer.concurrency_waited(client.clock() - started)
        if entry.slot is None:
            entry.leave()
            if call.deadline <= turn.when:
                raise call.deadline_exceeded()
            raise self._refused(call, origin, "and no turn came in time")
        return entry.slot

    def hold(self, slot: Slot, attempt: Attempt) -> None:
        """Give *slot* back once the body of *attempt* has ended."""
        if attempt.body is None:
            attempt.when_ended(lambda _: slot.release())
        else:
            slot.release()

    def _refused(self, call: Call, origin: Origin, why: str) -> ConcurrencyLimitError:
        self._client.observer.rejected(call, origin, ConcurrencyLimitError.error_type)
        return ConcurrencyLimitError(
            f"client {self._client.name!r} has {self._settings.limit} requests to {origin} in "
            f"flight {why}; see CONCURRENCY__LIMIT and CONCURRENCY__QUEUE",
            attempts=call.sent,
        )


class _Turn:
    """The end of a wait: a slot has come, or it is too late for one."""

    __slots__ = ("over", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self.over: asyncio.Future[None] = loop.create_future()
        self.when = when

    def come(self) -> None:
        """Wake who waits."""
        if not self.over.done():
            self.over.set_result(None)

    # Not by a cancel of the task, which would have to be told from the caller's.
    expire = come

"""How many may be in flight at once, and in which order the others wait."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Slot:
    """The right to be in flight. Give it back on every path."""

    __slots__ = ("limit",)

    # What it is a place of, set by whoever makes it, until it is given back. No constructor: one in
    # Python takes longer than all the rest of taking a slot.
    limit: ConcurrencyLimit | None

    def release(self) -> None:
        """Hand the place to whoever has waited longest; later calls do nothing."""
        limit, self.limit = self.limit, None
        if limit is not None:
            limit.vacate()


class Ticket:
    """A place in the queue. Leave it on every path on which its slot is not released.

    Attributes:
        slot: What was waited for; ``None`` until it is granted.
    """

    __slots__ = ("_abandon", "slot")

    def __init__(self, abandon: Callable[[Ticket], None]) -> None:
        self._abandon = abandon
        self.slot: Slot | None = None

    def leave(self) -> None:
        """Stop waiting, or release the slot if it was granted already; later calls do nothing."""
        if self.slot is not None:
            self.slot.release()
        else:
            self._abandon(self)


class ConcurrencyLimit:
    """At most *limit* in flight, at most *queue* more waiting, first come first served.

    A slot that is released goes straight to the oldest ticket, so nobody who comes later overtakes
    it. Every operation takes the same time however many wait.

    Args:
        limit: Slots, >= 1.
        queue: Tickets that may wait, >= 0.

    Attributes:
        in_use: Slots that were given out and not released, in [0, *limit*].

    Source: the semaphore bulkhead of resilience4j, with a bounded queue.
    """

    __slots__ = ("_bound", "_limit", "_waiting", "in_use")

    def __init__(self, *, limit: int, queue: int) -> None:
        self._limit = limit
        self._bound = queue
        # An ordered dictionary, not a deque: leaving from the middle must cost the same.
        self._waiting: OrderedDict[Ticket, Callable[[], None]] = OrderedDict()
        self.in_use = 0

    @property
    def waiting(self) -> int:
        """Tickets that wait for a slot."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether a new limit would behave the same; nobody waits while a slot is free."""
        return not self.in_use

    def take(self) -> Slot | None:
        """Return a slot if one is free; nobody waits then, so nobody is overtaken."""
        if self.in_use < self._limit:
            self.in_use += 1
            slot = Slot()
            slot.limit = self
            return slot
        return None

    def enter(self, wake: Callable[[], None]) -> Slot | Ticket | None:
        """Return a slot, or a place in the queue, or ``None`` when the queue is full.

        Args:
            wake: Called once when the ticket has got its slot, from within the release that freed
                it; not called for a slot that is free at once, nor after the ticket was left. It
                must not raise, and should only schedule what goes on with the slot.
        """
        slot = self.take()
        if slot is not None:
            return slot
        if len(self._waiting) >= self._bound:
            return None
        ticket = Ticket(self._abandon)
        self._waiting[ticket] = wake
        return ticket

    def _abandon(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket, None)

    def vacate(self) -> None:
        """Take a place back; :meth:`Slot.release` calls it once for each slot."""
        if not self._waiting:
            self.in_use -= 1
            return
        ticket, wake = self._waiting.popitem(last=False)
        ticket.slot = slot = Slot()
        slot.limit = self
        # Last, so that it finds the ticket granted and the counts right.
        wake()

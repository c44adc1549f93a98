"""One policy object per key, for as many keys as the world has, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BOUND = 16_384
"""Entries that a registry keeps unless told otherwise: as many origins as a client calls in turn
without making any of their policies anew."""

EXAMINED = 32
"""Entries that one new key considers for eviction at most, so that a miss costs the same at any
size; it is one where the oldest can go."""


class _Entry(Generic[V]):
    __slots__ = ("since", "value")

    def __init__(self, value: V, since: int) -> None:
        self.value = value
        self.since = since
        """Entries that had been made when it took its place in the order."""


class LruRegistry(Generic[K, V]):
    """Objects made on demand and kept while they are used or have something to remember.

    Beyond *bound*, a new key evicts those *evictable* entries among the :data:`EXAMINED` least
    recently used ones that it takes to hold *bound* again. Where that is not enough the registry
    grows, but never beyond twice *bound*: there the least recently used entry goes whatever it
    remembers. A breaker that forgets does less harm than memory without an end, and an open
    breaker whose origin is never called again stays open for ever.

    An evicted object may still be in somebody's hands; it works on, only unlisted.

    A use moves an entry behind all others once, until the next new key. Nothing is evicted in
    between, and where all of thousands of keys are known, moving each of them with each use would
    be most of what they cost. So the order among those used between two new keys is that of their
    first use.

    The default policies of one origin take 2.2 KiB together. A client that is made to call ever
    new origins therefore holds 36 MiB of them, or 72 MiB if all those origins fail.

    Args:
        create: Makes the object of a key.
        evictable: Whether an object can be forgotten without loss.
        bound: Entries above which it evicts, >= 1.
    """

    __slots__ = ("_bound", "_create", "_entries", "_evictable", "_latest", "_made")

    def __init__(
        self,
        create: Callable[[K], V],
        *,
        evictable: Callable[[V], bool],
        bound: int = BOUND,
    ) -> None:
        self._create = create
        self._evictable = evictable
        self._bound = bound
        # Not a plain dict: finding the oldest of one that shrinks at its front is linear.
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._made = 0
        # The most recently used one, which nothing evicts before another one takes its place. Key
        # and object in one, for who steers a circuit from another thread.
        self._latest: tuple[K, V] | tuple[object, None] = (object(), None)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V:
        """Return the object of *key*, made now if there is none, and count it as used."""
        latest = self._latest
        if key == latest[0]:
            # Most clients have one, or call one several times in a row.
            return latest[1]  # type: ignore[return-value] # no key is equal to a mere object
        entries = self._entries
        entry = entries.get(key)
        if entry is None:
            made = self._create(key)
            self._make_room()
            self._made += 1
            entries[key] = entry = _Entry(made, self._made)
        elif entry.since != self._made:
            entry.since = self._made
            # Not moved: who steers a circuit from another thread may have evicted it by now.
            entries.pop(key, None)
            entries[key] = entry
        self._latest = (key, entry.value)
        return entry.value

    def items(self) -> list[tuple[K, V]]:
        """Return a snapshot of all entries, least recently used first, using none of them."""
        return [(key, entry.value) for key, entry in list(self._entries.items())]

    def _make_room(self) -> None:
        entries = self._entries
        excess = len(entries) - self._bound + 1
        if excess <= 0:
            return
        # The oldest can go as a rule, so nothing is copied to look at more than that.
        oldest = islice(entries.items(), EXAMINED)
        forgettable = (key for key, entry in oldest if self._evictable(entry.value))
        for key in list(islice(forgettable, excess)):
            del entries[key]
        if len(entries) >= 2 * self._bound:
            entries.popitem(last=False)

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


class LruRegistry(Generic[K, V]):
    """Objects made on demand and kept while they are used or have something to remember.

    Beyond *bound*, a new key evicts those *evictable* entries among the :data:`EXAMINED` least
    recently used ones that it takes to hold *bound* again. Where that is not enough the registry
    grows, but never beyond twice *bound*: there the least recently used entry goes whatever it
    remembers. A breaker that forgets does less harm than memory without an end, and an open
    breaker whose origin is never called again stays open for ever.

    An evicted object may still be in somebody's hands; it works on, only unlisted.

    The default policies of one origin take 1.9 KiB together. A client that is made to call ever
    new origins therefore holds 31 MiB of them, or 62 MiB if all those origins fail.

    Args:
        create: Makes the object of a key.
        evictable: Whether an object can be forgotten without loss.
        bound: Entries above which it evicts, >= 1.
    """

    __slots__ = ("_bound", "_create", "_entries", "_evictable", "_latest")

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
        self._entries: OrderedDict[K, V] = OrderedDict()
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
        try:
            entries.move_to_end(key)
        except KeyError:
            made = self._create(key)
            self._make_room()
            entries[key] = made
        value = entries[key]
        self._latest = (key, value)
        return value

    def items(self) -> list[tuple[K, V]]:
        """Return a snapshot of all entries, least recently used first, using none of them."""
        return list(self._entries.items())

    def _make_room(self) -> None:
        entries = self._entries
        excess = len(entries) - self._bound + 1
        if excess <= 0:
            return
        # The oldest can go as a rule, so nothing is copied to look at more than that.
        oldest = islice(entries.items(), EXAMINED)
        forgettable = (key for key, value in oldest if self._evictable(value))
        for key in list(islice(forgettable, excess)):
            del entries[key]
        if len(entries) >= 2 * self._bound:
            entries.popitem(last=False)

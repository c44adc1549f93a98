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

EXAMINED = 32
"""Entries that one new key considers for eviction, so that a miss costs the same at any size."""


class LruRegistry(Generic[K, V]):
    """Objects made on demand and kept while they are used or have something to remember.

    Beyond *bound*, a new key evicts those *evictable* entries among the :data:`EXAMINED` least
    recently used ones that it takes to hold *bound* again. Where that is not enough the registry
    grows, but never beyond twice *bound*: there the least recently used entry goes whatever it
    remembers. A breaker that forgets does less harm than memory without an end, and an open
    breaker whose origin is never called again stays open for ever.

    An evicted object may still be in somebody's hands; it works on, only unlisted.

    Args:
        create: Makes the object of a key.
        evictable: Whether an object can be forgotten without loss.
        bound: Entries above which it evicts, >= 1.
    """

    __slots__ = ("_bound", "_create", "_entries", "_evictable", "_latest", "_latest_key")

    def __init__(
        self,
        create: Callable[[K], V],
        *,
        evictable: Callable[[V], bool],
        bound: int = 1024,
    ) -> None:
        self._create = create
        self._evictable = evictable
        self._bound = bound
        # Not a plain dict: finding the oldest of one that shrinks at its front is linear.
        self._entries: OrderedDict[K, V] = OrderedDict()
        # The most recently used one, which nothing evicts before another one takes its place.
        self._latest_key: K | None = None
        self._latest: V

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V:
        """Return the object of *key*, made now if there is none, and count it as used."""
        if key == self._latest_key:
            # Most clients have one, or call one several times in a row.
            return self._latest
        entries = self._entries
        try:
            entries.move_to_end(key)
        except KeyError:
            self._make_room()
            entries[key] = self._create(key)
        self._latest_key = key
        self._latest = entries[key]
        return self._latest

    def items(self) -> list[tuple[K, V]]:
        """Return a snapshot of all entries, least recently used first, using none of them."""
        return list(self._entries.items())

    def _make_room(self) -> None:
        entries = self._entries
        if len(entries) < self._bound:
            return
        for key, value in list(islice(entries.items(), EXAMINED)):
            if self._evictable(value):
                del entries[key]
                if len(entries) < self._bound:
                    return
        if len(entries) >= 2 * self._bound:
            entries.popitem(last=False)

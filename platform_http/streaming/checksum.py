"""Checksums as they are published: ``sha256:`` and hexadecimal digits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

# Those of a length of their own; the shake family has none.
_ALGORITHMS = frozenset(hashlib.algorithms_guaranteed) - {"shake_128", "shake_256"}
_HEXADECIMAL = frozenset("0123456789abcdef")


class Hasher(Protocol):
    """The part of a ``hashlib`` object that is used."""

    def update(self, data: bytes, /) -> None:
        """Take *data* in."""

    def hexdigest(self) -> str:
        """Return the digest of all that was taken in."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a file is checked against.

    Args:
        algorithm: A name that ``hashlib`` knows.
        digest: Lower-case hexadecimal digits; empty to compute and not compare.
    """

    algorithm: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read ``algorithm:hex``, or ``algorithm`` alone.

        Raises:
            ValueError: If the algorithm is unknown or the digits are not of its length.
        """
        algorithm, colon, digest = text.strip().lower().replace("-", "").partition(":")
        if algorithm not in _ALGORITHMS:
            known = ", ".join(sorted(_ALGORITHMS))
            raise ValueError(f"checksum needs an algorithm, one of {known}, before its colon")
        length = hashlib.new(algorithm, usedforsecurity=False).digest_size * 2
        if colon and (len(digest) != length or not _HEXADECIMAL.issuperset(digest)):
            raise ValueError(f"a checksum by {algorithm} has {length} hexadecimal digits")
        return cls(algorithm, digest)

    def hasher(self) -> Hasher:
        """Return a new object to compute it with."""
        # Published checksums may be old ones; whoever passes one has judged what it is worth.
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}" if self.digest else self.algorithm

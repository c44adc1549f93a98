"""The first Ctrl-C or SIGTERM ends a program in order; the next one asks it to hurry."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Signals:
    """Raises KeyboardInterrupt for the first of the two signals, where it does not have to wait.

    Attributes:
        number: The first signal that came; ``None`` until then.
        again: Whether another one came after it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.again = False
        self._is_held = False

    def listen(self) -> None:
        """Begin; call it in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raise nothing in the block; ``number`` says afterwards whether a signal came."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def _received(self, number: int, _: object) -> None:
        if self.number is not None:
            self.again = True
            return
        self.number = number
        if not self._is_held:
            raise KeyboardInterrupt

"""A clock that a test moves by hand."""

from __future__ import annotations


class FakeClock:
    """A clock that moves only when it is told to; for ``SessionFactory(clock=...)``.

    ::

        clock = FakeClock()
        async with SessionFactory(settings, clock=clock) as factory:
            ...                    # five failures: the circuit is open
            clock.advance(60)      # and now it lets a probe through

    It is what the policies go by: how long a circuit stays open and which results its window still
    holds, how fast a retry budget, a rate limit and a throttle recover. What is really waited for
    goes by the event loop's own clock and is not moved by it: timeouts and deadlines, backoff, the
    wait for a permit or a token, the age of a connection. Keep those short in the settings of a
    test instead.

    Args:
        now: Its first reading, seconds.

    Attributes:
        now: Its reading, seconds.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the reading, seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: >= 0.

        Raises:
            ValueError: If *seconds* is negative or not a number.
        """
        if not seconds >= 0:
            raise ValueError(
                f"a clock never goes back: advance() takes seconds >= 0, got {seconds}"
            )
        self.now += seconds

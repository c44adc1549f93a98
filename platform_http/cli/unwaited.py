"""Threads that nobody waits for: a name resolution that hangs must not hold up what is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


class UnwaitedThreads(ThreadPoolExecutor):
    """A default executor of an event loop that lets ``asyncio.run`` end while a thread is busy.

    The system's resolver cannot be interrupted. Its answer is of no use to a command whose time is
    up; the process still ends only when the resolver gives up, after all output.
    """

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the base's signature
        """Take no more work, and return at once."""
        super().shutdown(wait=False, cancel_futures=True)

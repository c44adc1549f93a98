"""Finds what asynchronous code leaves behind: tasks, file descriptors, acquired connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from aiohttp import BaseConnector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from types import TracebackType
    from typing import Self

_FILE_DESCRIPTORS = Path("/proc/self/fd")

# Closing transports takes a few rounds of the loop; a collection costs more than all of them.
_POLLS_BEFORE_COLLECTION = 10


class LeakError(AssertionError):
    """Something was left behind.

    Attributes:
        leaks: One line per thing.
    """

    def __init__(self, leaks: list[str]) -> None:
        self.leaks = tuple(leaks)
        super().__init__("\n".join(["left behind:", *(f"  - {leak}" for leak in self.leaks)]))


class LeakDetector:
    """Fails when a block leaves more behind than it found.

    ::

        async with LeakDetector():
            ...

    It looks at three things: tasks of the running loop; file descriptors of the process, where
    ``/proc`` shows them; and connections that are acquired, in any aiohttp connector made inside
    the block, at its end or at the moment a connector is closed. The last matters because closing
    a session tidies up after a response that was never released.

    Args:
        settle: Seconds, >= 0, that tasks and descriptors get to disappear by themselves.
        closes_in_flight: The block closes connectors under running requests on purpose.

    Raises:
        LeakError: On leaving the block, unless another exception is already on its way.
    """

    def __init__(self, *, settle: float = 1.0, closes_in_flight: bool = False) -> None:
        self._settle = settle
        self._closes_in_flight = closes_in_flight
        self._tasks: weakref.WeakSet[asyncio.Task[object]] = weakref.WeakSet()
        self._descriptors: dict[str, str] = {}
        self._connectors: weakref.WeakSet[BaseConnector] = weakref.WeakSet()
        self._abandoned: list[str] = []
        self._watch = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        self._tasks = weakref.WeakSet(asyncio.all_tasks())
        self._descriptors = _open_descriptors()
        self._watch_connectors()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.close()
        if exc is None:
            await self.check()

    async def check(self) -> None:
        """Wait up to the settle time for everything to be gone.

        Raises:
            LeakError: If something stays.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settle
        polls = 0
        while leaks := self._leaks():
            if loop.time() >= deadline:
                raise LeakError(leaks)
            polls += 1
            if polls == _POLLS_BEFORE_COLLECTION:
                # What only a reference cycle keeps alive goes with the collector, and is no leak.
                gc.collect()
            await asyncio.sleep(0.001 if polls < _POLLS_BEFORE_COLLECTION else 0.02)
        if self._abandoned and not self._closes_in_flight:
            raise LeakError(self._abandoned)

    def _leaks(self) -> list[str]:
        return [*self._leaked_tasks(), *self._leaked_descriptors(), *self._leaked_connections()]

    def _leaked_tasks(self) -> Iterator[str]:
        for task in asyncio.all_tasks() - set(self._tasks) - {asyncio.current_task()}:
            yield f"task {task.get_name()} ({getattr(task.get_coro(), '__qualname__', 'unknown')})"

    def _leaked_descriptors(self) -> Iterator[str]:
        now = _open_descriptors()
        if len(now) > len(self._descriptors):
            for number, target in now.items():
                if self._descriptors.get(number) != target:
                    yield f"file descriptor {number} ({target})"

    def _leaked_connections(self) -> Iterator[str]:
        for connector in self._connectors:
            if not connector.closed and (acquired := _acquired(connector)):
                yield f"{acquired} acquired in an open {type(connector).__name__}"

    def _watch_connectors(self) -> None:
        """Note every connector made, and what is acquired in a connector that is closed.

        aiohttp keeps no list of connectors and its ``close()`` forgets what was acquired, so both
        methods are wrapped while the block runs.
        """
        connectors, abandoned = self._connectors, self._abandoned
        original_init = BaseConnector.__init__
        # close() is overridden in subclasses; all of them end up in _close().
        original_close = BaseConnector._close  # noqa: SLF001 - see above, a canary watches the name

        def init(connector: BaseConnector, **options: object) -> None:
            original_init(connector, **options)  # type: ignore[arg-type]  # passed on unseen
            connectors.add(connector)

        def close(connector: BaseConnector, *, abort_ssl: bool = False) -> list[Awaitable[object]]:
            if not connector.closed and (acquired := _acquired(connector)):
                kind = type(connector).__name__
                abandoned.append(f"{acquired} acquired in a {kind} that was closed")
            return original_close(connector, abort_ssl=abort_ssl)

        self._watch.enter_context(patch.object(BaseConnector, "__init__", init))
        self._watch.enter_context(patch.object(BaseConnector, "_close", close))


def _acquired(connector: BaseConnector) -> str:
    """Return how many connections of *connector* are acquired, or nothing for none."""
    count = len(connector._acquired)  # noqa: SLF001 - no public view of it, a canary watches the name
    return f"{count} connection{'s' if count > 1 else ''}" if count else ""


def _open_descriptors() -> dict[str, str]:
    """Return the target of each open file descriptor, nothing where the system cannot tell."""
    descriptors = {}
    if _FILE_DESCRIPTORS.is_dir():
        for entry in list(_FILE_DESCRIPTORS.iterdir()):
            # The listing's own descriptor is gone by now.
            with contextlib.suppress(OSError):
                descriptors[entry.name] = str(entry.readlink())
    return descriptors

"""Rotation: changed CA, certificate and key files are taken over without a restart."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING

from platform_http.errors import ConfigurationError
from platform_http.transport import tls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platform_http.transport.client_tls import ClientTls, Profiles

_LOGGER = logging.getLogger("platform_http")

_LOOKS_PER_INTERVAL = 2


class FileWatch:
    """Decides when changed files are fit to be read: once two looks in a row see the same.

    A file that is being written, or a certificate whose key is yet to follow, is left alone until
    it has settled. What cannot be used is read again at every look: what is in its way may go
    without a change to the files, such as a permission or a shortage of descriptors.

    Args:
        current: What is in use.
    """

    def __init__(self, current: Profiles) -> None:
        self._current = current
        self._seen = current
        self._told: tuple[Profiles, str] | None = None

    def look(self, seen: Profiles) -> bool:
        """Tell whether what a look has *seen* is to be read now."""
        settled, self._seen = seen == self._seen, seen
        if seen == self._current:
            self._told = None
        return settled and seen != self._current

    def taken_over(self) -> None:
        """Note that what the last look saw is in use now."""
        self._current = self._seen
        self._told = None

    def is_news(self, problem: str) -> bool:
        """Tell whether *problem*, with what the last look saw, is another than the last one."""
        told, self._told = self._told, (self._seen, problem)
        return told != self._told


class TlsRotation:
    """Looks at the files of a factory's clients from time to time, in one task.

    Each client's files are looked at twice per ``TLS__RELOAD_INTERVAL``, so that what changed is in
    use within it. Files that cannot be used leave the previous ones in use.

    Args:
        clients: Whose files; each with what it uses now.
    """

    def __init__(self, clients: Iterable[tuple[ClientTls, Profiles]]) -> None:
        self._watches = {client: FileWatch(profiles) for client, profiles in clients}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task on the running loop, with nothing of the caller's context."""
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name="platform_http-tls-rotation", context=contextvars.Context()
        )

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        due = {client: clock() + _pause(client) for client in self._watches}
        while True:
            await asyncio.sleep(max(0.0, min(due.values()) - clock()))
            for client, instant in due.items():
                if instant <= clock():
                    await self.look(client)
                    due[client] = clock() + _pause(client)

    async def look(self, client: ClientTls) -> None:
        """Look at the files of *client*, and take them over if they are fit. Never raises."""
        watch = self._watches[client]
        try:
            profiles = await asyncio.to_thread(client.profiles)
            if watch.look(profiles):
                client.take_over(profiles, await tls.load_contexts(profiles))
                watch.taken_over()
        except ConfigurationError as error:
            if watch.is_news(str(error)):
                client.keep(error)
        except Exception as error:  # noqa: BLE001 - the next look may succeed; a task must not end
            if watch.is_news(type(error).__name__):
                _LOGGER.warning("cannot look at TLS files: %s", type(error).__name__)


def _pause(client: ClientTls) -> float:
    return client.reload_interval / _LOOKS_PER_INTERVAL

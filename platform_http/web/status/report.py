"""Gathers what the page shows, client by client on the event loop."""

from __future__ import annotations

import asyncio
import platform
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import aiohttp

from platform_http.settings.listing import listing
from platform_http.telemetry.metrics import library_version

if TYPE_CHECKING:
    from platform_http.factory import SessionFactory
    from platform_http.inspection import ClientInspection
    from platform_http.settings.listing import Listed


SHOWN_CLIENTS: Final = 100
"""Clients that are shown: those with settings of their own come before those without."""


@dataclass(frozen=True, slots=True)
class ClientReport:
    """One client.

    Args:
        name: Of the client.
        settings: All of them, without secrets.
        activity: What it is doing, ``None`` before its session was asked for.
    """

    name: str
    settings: tuple[Listed, ...]
    activity: ClientInspection | None

    @property
    def changed(self) -> tuple[Listed, ...]:
        """The settings that are not at their default."""
        return tuple(each for each in self.settings if each.origin != "default")


@dataclass(frozen=True, slots=True)
class Report:
    """A process at one instant.

    Args:
        made_at: Seconds since the epoch.
        uptime: Seconds since the application started.
        draining: Whether it is about to end.
        versions: Of this library, aiohttp and Python.
        clients: At most :data:`SHOWN_CLIENTS`, by name, the default first.
        clients_left_out: How many more there are.
    """

    made_at: float
    uptime: float
    draining: bool
    versions: dict[str, str]
    clients: tuple[ClientReport, ...]
    clients_left_out: int


class Reporter:
    """Makes the reports of one start of an application.

    Args:
        factory: Whose clients they are about.
    """

    def __init__(self, factory: SessionFactory) -> None:
        self._factory = factory
        self._settings: dict[str, tuple[Listed, ...]] = {}
        self._started = asyncio.get_running_loop().time()
        self._versions = {
            "platform_http": library_version(),
            "aiohttp": aiohttp.__version__,
            "Python": platform.python_version(),
        }

    async def report(self, *, draining: bool) -> Report:
        """Return what there is to show now; other work runs between one client and the next."""
        settings = self._factory.settings
        activity = {}
        for each in self._factory.inspect():
            activity[each.name] = each
            await asyncio.sleep(0)
        clients = []
        names = dict.fromkeys(("default", *settings.client_names, *activity))
        for name in islice(names, SHOWN_CLIENTS):
            clients.append(ClientReport(name, self._listed(name), activity.get(name)))
            await asyncio.sleep(0)
        return Report(
            made_at=time.time(),
            uptime=asyncio.get_running_loop().time() - self._started,
            draining=draining,
            versions=self._versions,
            clients=tuple(clients),
            clients_left_out=len(names) - len(clients),
        )

    def _listed(self, name: str) -> tuple[Listed, ...]:
        listed = self._settings.get(name)
        if listed is None:
            listed = self._settings[name] = tuple(listing(self._factory.settings, name))
        return listed

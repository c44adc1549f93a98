"""Where an Alertmanager sends its notifications."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from aiohttp import web


class Webhook:
    """An aiohttp server in a thread that keeps what it is sent, while it is entered.

    Attributes:
        port: On loopback.
        notifications: The groups of alerts, oldest first.
    """

    def __init__(self) -> None:
        self.port = 0
        self.notifications: list[dict[str, object]] = []
        self._listening = threading.Event()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        serving = self._serve()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[serving])
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._loop.close()

    def alerts(self, status: str) -> list[dict[str, object]]:
        """Return the alerts that came as *status*, `firing` or `resolved`."""
        return [
            alert
            for notification in tuple(self.notifications)
            for alert in notification["alerts"]
            if alert["status"] == status
        ]

    async def _serve(self) -> None:
        application = web.Application()
        application.router.add_post("/alerts", self._keep)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            self._listening.set()
            await self._stopped.wait()
        finally:
            await runner.cleanup()

    async def _keep(self, request: web.Request) -> web.Response:
        self.notifications.append(await request.json())
        return web.Response()

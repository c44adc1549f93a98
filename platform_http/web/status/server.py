"""Answers for the status page, on the application's port or on one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from platform_http.web.status.document import as_json
from platform_http.web.status.guard import is_loopback, refusal
from platform_http.web.status.page import JSON_PATH, PATH, as_html
from platform_http.web.status.report import Reporter
from platform_http.web.status.style import POLICY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from platform_http.factory import SessionFactory
    from platform_http.settings import WebSettings
    from platform_http.web.status.report import Report

_LONGEST_REFRESH: Final = 3600
_HEADERS: Final = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# For readers that are in the middle of a page when the process ends.
_LAST_READERS: Final = 0.2


class StatusPage:
    """The page of one start of an application.

    Args:
        factory: Whose clients it shows.
        settings: Of the default client: whether there is a page, and for whom.
        is_draining: Tells whether the application is about to end.
    """

    def __init__(
        self, factory: SessionFactory, settings: WebSettings, is_draining: Callable[[], bool]
    ) -> None:
        self._reporter = Reporter(factory)
        self._settings = settings
        self._is_draining = is_draining
        self._local_only = is_loopback(settings.status_host)
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer for the page or, by its path, for the JSON."""
        why = refusal(request, local_only=self._local_only)
        if why is not None:
            return web.Response(status=403, text=f"{why}\n", headers=_HEADERS)
        if request.path == JSON_PATH:
            text = await self._drawn(as_json)
            return web.Response(text=text, content_type="application/json", headers=_HEADERS)
        try:
            refresh = _refresh(request.query.get("refresh"))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n", headers=_HEADERS)
        text = await self._drawn(functools.partial(as_html, refresh=refresh))
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def _drawn(self, draw: Callable[[Report], str]) -> str:
        # However many ask: names are resolved in the same threads, and calls need the loop.
        async with self._one_at_a_time:
            report = await self._reporter.report(draining=self._is_draining())
            # A page of thousands of rows takes a while, which no call should wait for.
            return await asyncio.to_thread(draw, report)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve on the page's own port within the block, if it has one.

        Raises:
            OSError: If the port cannot be bound; a note names the setting.
        """
        host, port = self._settings.status_host, self._settings.status_port
        if port is None:
            yield
            return
        app = web.Application()
        for path in (PATH, JSON_PATH):
            app.router.add_get(path, self.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_READERS)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                error.add_note("the status page listens there: see WEB__STATUS_PORT")
                raise
            yield
        finally:
            await runner.cleanup()


def _refresh(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= _LONGEST_REFRESH:
        return int(text[:9])
    raise ValueError(f"refresh is a number of seconds from 1 to {_LONGEST_REFRESH}")

"""The cookie jar of clients whose redirects are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from platform_http.call import CURRENT_CALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yarl import URL


class GuardedCookieJar(aiohttp.CookieJar):
    """A jar that takes nothing from a call that a redirect led away from its first origin.

    Cookies know no ports, and no scheme unless they say so: what another origin sets would be sent
    to the first one. What goes to such an origin is up to the redirect guard.
    """

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Keep what a response sets."""
        call = CURRENT_CALL.get()
        if call is None or not call.strayed:
            super().update_cookies_from_headers(headers, response_url)

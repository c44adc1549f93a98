"""URLs that may be shown: without userinfo, fragment and the values of secret query parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Collection

    from yarl import URL

REDACTED: Final = "REDACTED"
_EVERY: Final = "*"


class UrlRedaction:
    """Takes the secrets out of URLs.

    Args:
        keys: Names of query parameters whose values are secret, in any case; ``*`` is all of them.
    """

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = frozenset(key.casefold() for key in keys)
        self._every = _EVERY in self._keys

    def __call__(self, url: URL) -> str:
        """Return *url* as text that holds no secret.

        Userinfo is dropped, and so is the fragment, which is never sent and may hold a token.
        Values of listed parameters become ``REDACTED``; the rest of the query is kept byte for
        byte. Names are compared decoded and without regard to case, so ``%54oken=`` is a token.
        """
        shown = f"{url.scheme}://{url.host_port_subcomponent}{url.raw_path}"
        query = url.raw_query_string
        if not query:
            return shown
        return f"{shown}?{'&'.join(map(self._parameter, query.split('&')))}"

    def _parameter(self, text: str) -> str:
        if self._every:
            name, separator, _ = text.partition("=")
            # A lone word may be the secret itself.
            return f"{name}={REDACTED}" if separator else (text and REDACTED)
        # Some servers also split at ";". A secret value may contain one, so all that follows the
        # first secret name goes.
        start = 0
        while True:
            name, separator, _ = text[start:].partition("=")
            first, semicolon, _ = name.partition(";")
            if semicolon:
                start += len(first) + 1
                continue
            if separator and unquote_plus(name).casefold() in self._keys:
                return f"{text[:start]}{name}={REDACTED}"
            start = text.find(";", start + len(name)) + 1
            if not start:
                return text

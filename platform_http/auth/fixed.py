"""Credentials that never change: basic, and a bearer token by value."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp


class FixedCredentials:
    """The same headers for every request. A 401 changes nothing about them.

    Args:
        headers: By name.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def ready(self) -> Mapping[str, str]:
        """Return the headers."""
        return self._headers

    def reject(self, headers: Mapping[str, str]) -> None:
        """Keep them: there are no others."""

    async def obtain(self, request: aiohttp.ClientRequest) -> Mapping[str, str]:  # noqa: ARG002 - signature of Credentials
        """Return the headers."""
        return self._headers


class _Authorization(dict[str, str]):
    """Headers that show their names alone: asyncio logs what tasks return, tokens too."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


def basic(username: str, password: str) -> Mapping[str, str]:
    """Return the header of HTTP Basic authentication, in UTF-8.

    Source: RFC 7617.
    """
    login = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    return _Authorization({"Authorization": f"Basic {login}"})


def bearer(token: str) -> Mapping[str, str]:
    """Return the header that presents a bearer *token*.

    Source: RFC 6750, section 2.1.
    """
    return _Authorization({"Authorization": f"Bearer {token}"})


def is_token(text: str) -> bool:
    """Tell whether *text* can be presented as a token: visible ASCII, and something at all.

    Anything else, a line break above all, would end the header or mean something else in it.
    """
    return bool(text) and text.isascii() and text.isprintable() and " " not in text

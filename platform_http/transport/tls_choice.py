"""What decides on the SSL context of a hop; those who have it are loaded with the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import ssl

    import aiohttp

SslArgument: TypeAlias = "ssl.SSLContext | bool | aiohttp.Fingerprint"

TLS_SCHEMES = frozenset({"https", "wss"})


class TlsChoice(NamedTuple):
    """What decides on the ``ssl=`` of one hop.

    Args:
        asked: The caller's ``ssl=``, ``True`` by default.
        own: Whether the hop goes to the client's own origin, which may see its certificate.
        strayed: Whether a redirect led elsewhere than the caller meant *asked* for.
    """

    asked: SslArgument
    own: bool
    strayed: bool

"""Pins: the keys of which every server's certificate chain must hold one."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

from platform_http.transport.certificates import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = "sha256/"


class Pins:
    """``TLS__PINS``. A key is rotated by listing the old pin and the new one for a while.

    Args:
        pins: SHA-256 digests of SubjectPublicKeyInfo in base64, with or without ``sha256/``.

    Source: RFC 7469, section 2.4, for what is pinned.
    """

    def __init__(self, pins: Iterable[str]) -> None:
        self._digests = frozenset(base64.b64decode(pin.removeprefix(_PREFIX)) for pin in pins)

    def match(self, chain: Iterable[bytes]) -> bool:
        """Tell whether one of the certificates, each in DER, holds a pinned key."""
        for der in chain:
            with contextlib.suppress(ValueError):  # no certificate, no key
                if Certificate.of(der).key_digest in self._digests:
                    return True
        return False


def pin(certificate: Certificate) -> str:
    """Return the pin that admits *certificate*. It is no secret: every client is shown the key."""
    return _PREFIX + base64.b64encode(certificate.key_digest).decode("ascii")

"""What the servers saw, as text: without their ports, and without credentials of real clients."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from platform_http.testing.parity.answer import Answer
    from platform_http.testing.parity.scenario import Request

_CREDENTIAL: Final = re.compile(
    r"auth|cookie|key|passw|secret|session|signature|token", re.IGNORECASE
)
_PARAMETER: Final = re.compile(r"([^?&=]+)=([^&]*)")

# Of every process its own: equal values look alike, and nobody can try which value it was.
_KEY: Final = os.urandom(16)


class WireText:
    """Shows what went over the wire in one scenario with one client.

    Both clients may have tokens, keys and cookies of their own, which would be in the report of
    every test that fails. Those of the scenario are shown, of others only whether they are equal.

    Args:
        port: Of the server.
        requests: What the scenario sends.
        answers: What came back; cookies are sent again.
    """

    def __init__(self, port: int, requests: Iterable[Request], answers: Iterable[Answer]) -> None:
        self._port = re.compile(rf"(:|%3A){port}(?!\d)", re.IGNORECASE)
        self._known: set[str] = set()
        for request in requests:
            self._known.update(request.headers.values())
            self._known.update(value for _, value in _PARAMETER.findall(request.path))
        for answer in answers:
            self._known.update(
                value.partition(";")[0]
                for name, value in answer.headers
                if name.lower() == "set-cookie"
            )

    def target(self, target: str) -> str:
        """Return a request target."""
        path, mark, query = target.partition("?")
        shown = _PARAMETER.sub(self._parameter, query)
        return self._without_port(path) + mark + self._without_port(shown)

    def sent(self, name: str, value: str) -> str:
        """Return the value of a request's header."""
        if not _CREDENTIAL.search(name):
            return self.received(value)
        pieces = value.split("; ") if name.lower() == "cookie" else [value]
        return "; ".join(map(self._concealed, pieces))

    def received(self, value: str) -> str:
        """Return the value of an answer's header."""
        return self._without_port(value)

    def _parameter(self, match: re.Match[str]) -> str:
        name, value = match.groups()
        return f"{name}={self._concealed(value) if _CREDENTIAL.search(name) else value}"

    def _concealed(self, value: str) -> str:
        if value in self._known:
            return value
        digest = hashlib.blake2b(value.encode(), key=_KEY, digest_size=4).hexdigest()
        return f"(not of the scenario, {digest})"

    def _without_port(self, text: str) -> str:
        # The rest of a number may look like a port: 48576 is the end of a megabyte.
        return self._port.sub(r"\1PORT", text)

"""What operators see of circuit breakers, and how they steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yarl import URL

from platform_http.call import Origin

if TYPE_CHECKING:
    from platform_http.policies.circuit_breaker import CircuitBreaker, CircuitSnapshot
    from platform_http.policies.registry import LruRegistry


class Circuits:
    """The circuit breakers of a factory, by client and origin.

    Only circuits that were asked for are known: a client that has not called an origin has none.
    What is forced stays forced until :meth:`automatic`, and is gone with the factory.
    """

    def __init__(self) -> None:
        self._breakers: dict[str, LruRegistry[Origin, CircuitBreaker]] = {}

    def add(self, client: str, breakers: LruRegistry[Origin, CircuitBreaker]) -> None:
        """Make the breakers of *client* known."""
        self._breakers[client] = breakers

    def snapshot(self) -> dict[str, dict[Origin, CircuitSnapshot]]:
        """Return the state of every circuit, by client and origin."""
        return {
            client: {origin: breaker.snapshot() for origin, breaker in breakers.items()}
            for client, breakers in self._breakers.items()
        }

    def force_open(self, client: str, origin: str) -> None:
        """Refuse every attempt of *client* to *origin*.

        Args:
            client: A client whose session exists.
            origin: Any URL of that origin, for example ``https://billing.internal``.

        Raises:
            KeyError: If *client* has no circuit breakers.
            ValueError: If *origin* is not an absolute URL.
        """
        self._breaker(client, origin).force_open()

    def force_closed(self, client: str, origin: str) -> None:
        """Admit every attempt of *client* to *origin*, whatever fails; see :meth:`force_open`."""
        self._breaker(client, origin).force_closed()

    def automatic(self, client: str, origin: str) -> None:
        """Let results decide again, from a closed circuit on; see :meth:`force_open`."""
        self._breaker(client, origin).automatic()

    def _breaker(self, client: str, origin: str) -> CircuitBreaker:
        url = URL(origin)
        if not url.absolute or not url.raw_host:
            raise ValueError("origin must be an absolute URL, for example https://host:8443")
        return self._breakers[client.lower().replace("-", "_")].get(Origin.of(url))

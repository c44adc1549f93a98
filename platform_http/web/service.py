"""What an application and the integration share: one factory, and whether the end is near."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from platform_http.policies.circuit_breaker import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from platform_http.factory import SessionFactory
    from platform_http.settings import HttpSettings
    from platform_http.web.status.server import StatusPage


@dataclass(slots=True)
class Inbound:
    """What an application handles at the moment.

    Attributes:
        requests: Handlers that run, those of WebSockets included.
        sockets: The WebSockets among them, by the task of their connection.
    """

    requests: int = 0
    sockets: dict[asyncio.Task[None], web.WebSocketResponse] = field(default_factory=dict)


@dataclass(slots=True)
class Service:
    """The state of one application.

    Args:
        registry: Takes the metrics and is shown at ``/metrics``.
        make_factory: Makes the factory of one start of the application from its settings.

    Attributes:
        settings: What configures the factory; ``None`` until they are read.
        factory: Entered; ``None`` before the start and after the end.
        draining: Whether the application is about to end.
        ends_at: Instant of the loop's clock at which outbound calls are given up; ``None`` leaves
            them their own ``SHUTDOWN__GRACE``.
        inbound: What is being handled.
        goodbye: Closes the WebSockets, once the application is told to end.
        status_page: Answered on the application's own port; ``None`` where it is not.
    """

    registry: CollectorRegistry
    make_factory: Callable[[HttpSettings], SessionFactory]
    settings: HttpSettings | None = None
    factory: SessionFactory | None = None
    draining: bool = False
    ends_at: float | None = None
    inbound: Inbound = field(default_factory=Inbound)
    goodbye: asyncio.Task[None] | None = None
    status_page: StatusPage | None = None

    def load_settings(self) -> HttpSettings:
        """Return the settings; the first time they are read from the environment, blocking.

        Raises:
            ConfigurationError: If the environment is invalid.
        """
        if self.settings is None:
            # As late as in the factory: whoever imports this module does not pay for the models.
            from platform_http.settings import load_settings  # noqa: PLC0415 - see above

            self.settings = load_settings()
        return self.settings

    def end_within(self, seconds: float) -> None:
        """Begin to end: outbound calls are given up *seconds* from now, unless sooner already."""
        self.draining = True
        if self.ends_at is None:
            self.ends_at = asyncio.get_running_loop().time() + seconds

    def remaining(self) -> float | None:
        """Return how long outbound calls have, seconds >= 0; ``None`` leaves them their own."""
        if self.ends_at is None:
            return None
        return max(0.0, self.ends_at - asyncio.get_running_loop().time())

    def open_circuits(self) -> list[dict[str, str]]:
        """Return client and origin of each open circuit that makes the service unready.

        A circuit that would let a probe through does not: without traffic there would never be
        one, and the service would stay unready for ever.
        """
        if self.factory is None:
            return []
        return [
            {"client": client, "origin": str(origin)}
            for client, circuits in self.factory.circuits.snapshot().items()
            for origin, circuit in circuits.items()
            if circuit.state is State.OPEN
            and circuit.retry_after > 0
            and self._unready_when_open(client)
        ]

    def _unready_when_open(self, client: str) -> bool:
        settings = self.load_settings().client(client)
        return not settings.web.ready_when_open and settings.circuit_breaker.mode != "observe"


SERVICE: Final = web.AppKey("platform_http_service", Service)

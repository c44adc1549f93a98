"""Client processes, each with the policy objects that a session of production would have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_http.call import Origin
from platform_http.errors import ConfigurationError
from platform_http.simulation.call import Call
from platform_http.wiring import PolicyMaker

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from platform_http.settings import ClientSettings
    from platform_http.simulation.events import Events
    from platform_http.simulation.recorder import Recorder
    from platform_http.simulation.upstream import Upstream

# Each process calls one upstream.
_ORIGIN = Origin("http", "upstream", 80)


class Process:
    """One client process: the policies of its one origin; ``None`` for what is switched off.

    Args:
        settings: Of the client.
        events: Simulated time.
        rng: Source of jitter.
    """

    __slots__ = ("breaker", "bucket", "budget", "hedge", "limit", "throttle")

    def __init__(self, settings: ClientSettings, events: Events, rng: Random) -> None:
        make = PolicyMaker(settings, events.clock, rng)
        self.budget = make.budget(_ORIGIN)
        self.breaker = None if settings.circuit_breaker.mode == "off" else make.breaker(_ORIGIN)
        self.limit = make.concurrency(_ORIGIN) if settings.concurrency.limit else None
        self.hedge = make.hedge(_ORIGIN) if settings.hedging.enabled else None
        self.throttle = make.throttle(_ORIGIN) if settings.throttle.enabled else None
        self.bucket = None if settings.rate_limit.rate is None else make.bucket(_ORIGIN)


class Fleet:
    """The client processes of one service, all with the same settings.

    Args:
        settings: Of the client in each process.
        processes: How many, >= 1.
        method: Of every request.
        upstream: Where they send.
        events: Simulated time.
        rng: Source of jitter, and of the process that makes the next call.
        recorder: Told what happens; ``None`` when nobody asks.

    Raises:
        ConfigurationError: If the settings ask for what is not simulated.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        processes: int,
        method: str,
        upstream: Upstream,
        events: Events,
        rng: Random,
        recorder: Recorder | None = None,
    ) -> None:
        if not settings.rate_limit.store.get_secret_value().startswith("memory"):
            raise ConfigurationError(
                ["RATE_LIMIT__STORE is a shared quota, which is not simulated; set memory://"]
            )
        retry = settings.retry
        self.settings = settings
        self.method = method
        self.upstream = upstream
        self.events = events
        self.recorder = recorder
        self.statuses = retry.statuses
        self.max_attempts = retry.max_attempts if retry.enabled else 1
        self.retry = PolicyMaker(settings, events.clock, rng).retry()
        self._rng = rng
        self._processes = [Process(settings, events, rng) for _ in range(processes)]

    def call(
        self, done: Callable[[bool], None], *, deadline: float, process: int | None = None
    ) -> None:
        """Begin a call now.

        Args:
            done: Called with whether it succeeded, when it ends.
            deadline: Instant at which whoever caused it stops waiting.
            process: Which process makes it, counted round; ``None`` picks one at random.
        """
        processes = self._processes
        place = int(self._rng.random() * len(processes)) if process is None else process
        Call(self, processes[place % len(processes)], deadline, done).begin()

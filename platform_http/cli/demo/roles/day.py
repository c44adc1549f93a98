"""The scripted day, again and again, and the incidents that interrupt it."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from platform_http.cli.demo.script import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platform_http.cli.demo.upstream import Upstream

_TICK: Final = 0.1
_HEALTHY: Final = Phase(0.0, "healthy")


class Day:
    """Drives upstreams through their scripts.

    Args:
        upstreams: Entered.
        duration: Length of the day, seconds, >= 0. It repeats; without a length every upstream is
            healthy until an incident.
    """

    def __init__(self, upstreams: Sequence[Upstream], duration: float) -> None:
        self._upstreams = {upstream.script.client: upstream for upstream in upstreams}
        self._duration = duration
        self._incidents: dict[str, tuple[Phase, float]] = {}
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        # Entering a phase opens and closes ports, one change at a time.
        self._changing = asyncio.Lock()

    @property
    def clients(self) -> tuple[str, ...]:
        """Names of the upstreams."""
        return tuple(self._upstreams)

    async def run(self) -> None:
        """Enter phases when they are due, until cancelled."""
        while True:
            for upstream in self._upstreams.values():
                await self._enter_phase(upstream)
            await asyncio.sleep(_TICK)

    async def interrupt(self, client: str, phase: Phase, seconds: float) -> None:
        """Let an upstream behave as *phase* says from now on.

        Args:
            client: Name of the upstream.
            phase: What it does instead of its script.
            seconds: For how long, > 0; then it is where its script would be without this.

        Raises:
            KeyError: If there is no such upstream.
        """
        upstream = self._upstreams[client]
        self._incidents[client] = (phase, self._loop.time() + seconds)
        await self._enter_phase(upstream)

    def describe(self) -> dict[str, dict[str, object]]:
        """Return what each upstream does now, by name."""
        return {client: self._describe(upstream) for client, upstream in self._upstreams.items()}

    def _describe(self, upstream: Upstream) -> dict[str, object]:
        phase = upstream.phase
        left = self._incident_left(upstream.script.client)
        return {
            "url": str(upstream.url),
            "phase": phase.name,
            "faults": {fault.name.lower(): share for fault, share in phase.faults.items()},
            "latency": phase.latency,
            "listens": phase.listens,
            "incident_seconds_left": round(left, 1) if left > 0 else None,
        }

    async def _enter_phase(self, upstream: Upstream) -> None:
        async with self._changing:
            phase = self._phase(upstream)
            if phase is not upstream.phase:
                await upstream.enter_phase(phase)

    def _phase(self, upstream: Upstream) -> Phase:
        if self._incident_left(upstream.script.client) > 0:
            return self._incidents[upstream.script.client][0]
        if self._duration == 0:
            return _HEALTHY
        return upstream.script.at((self._loop.time() - self._began) / self._duration % 1.0)

    def _incident_left(self, client: str) -> float:
        _, ends = self._incidents.get(client, (_HEALTHY, -math.inf))
        return ends - self._loop.time()

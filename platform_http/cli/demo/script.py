"""The scripted day: what each upstream does, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fault(Enum):
    """What an upstream does to a request instead of answering it properly."""

    UNAVAILABLE = "503"
    THROTTLED = "429 with Retry-After"
    RESET = "reset before an answer"
    HANG = "no answer at all"
    SLOW_BODY = "body in small pieces"
    BROKEN_BODY = "reset within the body"


class Mood(Enum):
    """How a phase is drawn; the value is its mark on a terminal without colours."""

    FINE = "-"
    SLOW = "~"
    FAILING = "x"
    DOWN = "#"


@dataclass(frozen=True, slots=True)
class Phase:
    """What an upstream does from one moment of the day on.

    Args:
        start: Share of the day that is over when it begins, in [0, 1).
        name: What a spectator reads.
        mood: How it is drawn.
        latency: Usual time until an answer, seconds, >= 0.
        faults: Share of requests that get each fault, together at most 1.
        listens: Whether connects are accepted; if not, they are refused.
    """

    start: float
    name: str
    mood: Mood = Mood.FINE
    latency: float = 0.02
    faults: Mapping[Fault, float] = field(default_factory=lambda: MappingProxyType({}))
    listens: bool = True

    def fault(self, roll: float) -> Fault | None:
        """Return the fault of the request that rolled *roll*, uniform in [0, 1)."""
        for fault, share in self.faults.items():
            if roll < share:
                return fault
            roll -= share
        return None


@dataclass(frozen=True, slots=True)
class Script:
    """The day of one upstream.

    Args:
        client: Name of the upstream, and of the client that calls it.
        phases: In the order of their starts, the first at 0.
    """

    client: str
    phases: tuple[Phase, ...]

    def at(self, moment: float) -> Phase:
        """Return the phase at *moment*, a share of the day in [0, 1)."""
        return next(phase for phase in reversed(self.phases) if phase.start <= moment)


DAY: Final = (
    Script(
        "billing",
        (
            Phase(0.00, "healthy"),
            Phase(0.18, "slow, some hang", Mood.SLOW, latency=0.25, faults={Fault.HANG: 0.06}),
            Phase(0.36, "503s", Mood.FAILING, faults={Fault.UNAVAILABLE: 0.4}),
            Phase(0.46, "calm"),
            Phase(0.52, "503s again", Mood.FAILING, faults={Fault.UNAVAILABLE: 0.4}),
            Phase(0.62, "recovering", Mood.SLOW, latency=0.1, faults={Fault.UNAVAILABLE: 0.08}),
            Phase(0.76, "healthy"),
        ),
    ),
    Script(
        "inventory",
        (
            Phase(0.00, "healthy"),
            Phase(0.15, "dying: resets", Mood.FAILING, latency=0.05, faults={Fault.RESET: 0.5}),
            Phase(0.25, "dead: refuses connects", Mood.DOWN, listens=False),
            Phase(0.55, "restarting", Mood.SLOW, latency=0.2, faults={Fault.UNAVAILABLE: 0.15}),
            Phase(0.68, "healthy"),
        ),
    ),
    Script(
        "search",
        (
            Phase(0.00, "healthy"),
            Phase(0.10, "throttling: 429", Mood.FAILING, faults={Fault.THROTTLED: 0.3}),
            Phase(0.35, "some hang", Mood.SLOW, faults={Fault.HANG: 0.06}),
            Phase(0.45, "slow bodies", Mood.SLOW, faults={Fault.SLOW_BODY: 0.5}),
            Phase(0.65, "resets within bodies", Mood.FAILING, faults={Fault.BROKEN_BODY: 0.3}),
            Phase(0.82, "healthy"),
        ),
    ),
)
"""Between them the three go through all that retries, hedges and circuit breakers are for."""

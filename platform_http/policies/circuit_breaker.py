"""Stop sending to a server that fails, and find out gently when it is back."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

from platform_http.policies.outcome import Health
from platform_http.policies.sliding_window import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

OPEN_JITTER = 0.1
"""An open period is stretched by up to this share, so that a fleet does not probe in step."""


class State(enum.Enum):
    """What the breaker lets through: everything, nothing, or one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Refusal(NamedTuple):
    """No permit.

    Args:
        retry_after: Seconds until the breaker may admit again, >= 0.
    """

    retry_after: float


class Permit:
    """The right to send one attempt. Give it back on every path, by exactly one of its verbs.

    The first :meth:`record` or :meth:`release` counts, later ones do nothing.
    """

    __slots__ = ("_generation", "_settle")

    def __init__(self, settle: Callable[[int, Health], None], generation: int) -> None:
        self._settle: Callable[[int, Health], None] | None = settle
        self._generation = generation

    def record(self, health: Health) -> None:
        """Tell the breaker how the attempt went; ``Health.NEUTRAL`` is a :meth:`release`."""
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(self._generation, health)

    def release(self) -> None:
        """Give the permit back and record nothing."""
        self.record(Health.NEUTRAL)


class CircuitBreaker:
    """A circuit breaker over the failure ratio of a sliding window.

    - *Closed*: everything passes. It opens at the result that finds at least *minimum_calls*
      results in the window and a share of failures of at least *failure_ratio*.
    - *Open*: nothing passes for ``open_duration * 2 ** k`` seconds, capped at
      *open_duration_max* and then times U(1, 1 + :data:`OPEN_JITTER`); k counts the failed probes
      since it was last closed. It stays open until somebody asks.
    - *Half-open*: one probe at a time. *half_open_successes* good ones close it, one failure
      reopens it, a neutral one makes room for the next.

    Every permit carries a **generation**, and a result from an older one is ignored: each change
    of state and each probe begins a new generation. So what was sent before the trip neither
    closes nor reopens anything, and neither does a probe that has been replaced.

    A probe may be lost without a word. After its **lease** the next caller becomes the probe; until
    then, and for as long as nobody has replaced it, its result counts.

    Args:
        failure_ratio: Share of failures at which it opens, in (0, 1].
        minimum_calls: Results in the window below which it never opens, >= 1.
        window: Length of the window, seconds, > 0.
        open_duration: First open period, seconds, > 0.
        open_duration_max: Longest open period before jitter, seconds, >= *open_duration*.
        half_open_successes: Good probes that close it, >= 1.
        probe_lease: Seconds after which a silent probe may be replaced, > 0; infinite never
            replaces. Take it longer than the attempt timeout, or a probe that runs into that
            timeout may be replaced just before it can report the failure.
        clock: Current instant in seconds; may stand still or jump ahead, never goes backwards.
        rng: Source of jitter, drawn from once for each opening; seeded in tests.
        on_transition: Called with the previous and the new state after each change. It must not
            raise.

    Source: Nygard, "Release It!"; Polly v8 and resilience4j for window and states; generations
    after gobreaker.
    """

    __slots__ = (
        "_clock",
        "_failure_ratio",
        "_generation",
        "_good_probes",
        "_half_open_successes",
        "_lease_ends",
        "_minimum_calls",
        "_next_open",
        "_on_transition",
        "_open_duration",
        "_open_duration_max",
        "_open_until",
        "_probe_lease",
        "_rng",
        "_state",
        "_unsettled",
        "_window",
    )

    def __init__(
        self,
        *,
        failure_ratio: float,
        minimum_calls: int,
        window: float,
        open_duration: float,
        open_duration_max: float,
        half_open_successes: int,
        probe_lease: float,
        clock: Callable[[], float],
        rng: Random,
        on_transition: Callable[[State, State], None] | None = None,
    ) -> None:
        self._failure_ratio = failure_ratio
        self._minimum_calls = minimum_calls
        self._open_duration = open_duration
        self._open_duration_max = open_duration_max
        self._half_open_successes = half_open_successes
        self._probe_lease = probe_lease
        self._clock = clock
        self._rng = rng
        self._on_transition = on_transition
        self._window = SlidingWindow(window, clock())
        self._state = State.CLOSED
        self._generation = 0
        # Permits of this generation that were not given back; in half-open that is the probe.
        self._unsettled = 0
        self._next_open = open_duration
        self._open_until = 0.0
        self._lease_ends = 0.0
        self._good_probes = 0

    @property
    def state(self) -> State:
        """The state after the last call; an open period that is over still reads as open."""
        return self._state

    @property
    def idle_closed(self) -> bool:
        """Whether a new breaker would behave the same, but for the successes it has seen.

        That is: closed, no permit of this generation is out, and the window holds no failure.
        """
        if self._state is not State.CLOSED or self._unsettled:
            return False
        self._window.advance(self._clock())
        return not self._window.failed

    def admit(self) -> Permit | Refusal:
        """Return the right to send one attempt, or how long to wait for it."""
        if self._state is State.CLOSED:
            self._unsettled += 1
            return Permit(self._settle, self._generation)
        now = self._clock()
        if self._state is State.OPEN:
            if now < self._open_until:
                return Refusal(self._open_until - now)
            self._good_probes = 0
            self._change(State.HALF_OPEN)
        if self._unsettled and now < self._lease_ends:
            lease = self._lease_ends - now
            return Refusal(self._open_duration if math.isinf(lease) else lease)
        self._generation += 1
        self._unsettled = 1
        self._lease_ends = now + self._probe_lease
        return Permit(self._settle, self._generation)

    def _settle(self, generation: int, health: Health) -> None:
        if generation != self._generation:
            return
        self._unsettled -= 1
        if health is Health.NEUTRAL:
            return
        if self._state is State.CLOSED:
            self._count(health)
        else:
            self._judge_probe(health)

    def _count(self, health: Health) -> None:
        window = self._window
        window.advance(self._clock())
        if health is Health.OK:
            window.add_ok()
        else:
            window.add_failed()
        if window.failed:
            calls = window.ok + window.failed
            if calls >= self._minimum_calls and window.failed / calls >= self._failure_ratio:
                self._open()

    def _judge_probe(self, health: Health) -> None:
        if health is Health.FAILED:
            self._open()
            return
        self._good_probes += 1
        if self._good_probes >= self._half_open_successes:
            self._window.clear(self._clock())
            self._next_open = self._open_duration
            self._change(State.CLOSED)

    def _open(self) -> None:
        period = self._next_open * (1.0 + OPEN_JITTER * self._rng.random())
        self._open_until = self._clock() + period
        self._next_open = min(self._next_open * 2.0, self._open_duration_max)
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        previous, self._state = self._state, state
        self._generation += 1
        self._unsettled = 0
        # Last, so that a callback that looks at the breaker sees the new state whole.
        if self._on_transition is not None:
            self._on_transition(previous, state)

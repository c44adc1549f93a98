"""Stop sending to a server that fails or hangs, and find out gently when it is back."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

from platform_http.policies.in_flight import InFlight
from platform_http.policies.outcome import Health
from platform_http.policies.sliding_window import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from typing import Final

OPEN_JITTER = 0.1
"""An open period is stretched by up to this share, so that a fleet does not probe in step."""


class State(enum.Enum):
    """What the breaker lets through: everything, nothing, or one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# By names of their own: Python 3.11 takes as long to find a member in its enumeration as for four
# function calls.
_CLOSED: Final = State.CLOSED
_OPEN: Final = State.OPEN
_HALF_OPEN: Final = State.HALF_OPEN
_OK: Final = Health.OK
_NEUTRAL: Final = Health.NEUTRAL


class Refusal(NamedTuple):
    """No permit.

    Args:
        retry_after: Seconds until the breaker may admit again, >= 0.
    """

    retry_after: float


class CircuitSnapshot(NamedTuple):
    """A breaker at one instant, for status pages.

    Args:
        state: The state; an open period that is over still reads as open.
        forced: The state that an operator holds it in, or ``None``.
        ok: Successes in the window. While open, what it opened on is still in it.
        failed: Failures in the window.
        slow: Slow attempts: those of the window and those that are running.
        in_flight: Permits that are out and whose result will count.
        retry_after: Seconds until it may admit again, >= 0.
    """

    state: State
    forced: State | None
    ok: int
    failed: int
    slow: int
    in_flight: int
    retry_after: float


class Permit:
    """The right to send one attempt. Give it back on every path, by exactly one of its verbs.

    The first :meth:`record` or :meth:`release` counts, later ones do nothing.

    Attributes:
        breaker: Takes what is recorded, once; ``None`` if nothing is to be learned any more.
        generation: The period of the breaker in which the result counts.
        is_timed: Whether it makes a difference when the attempt begins.
        began: Instant at which the attempt began, on the breaker's clock; infinite until then.
        would_refuse: Whether this attempt is sent only because the breaker merely observes.
    """

    __slots__ = ("began", "breaker", "generation", "is_timed", "would_refuse")

    # No constructor: one in Python takes longer than to set all of these.
    breaker: CircuitBreaker | None
    generation: int
    is_timed: bool
    began: float
    would_refuse: bool

    def begin(self) -> None:
        """Say that the attempt is sent now, after all waits; from here on it can become slow.

        Time in a queue of our own is never the server's fault. The first call counts; after the
        permit was given back, none does.
        """
        if self.is_timed and self.breaker is not None:
            self.is_timed = False
            self.breaker.start(self)

    def record(self, health: Health) -> None:
        """Tell the breaker how the attempt went; ``Health.NEUTRAL`` is a :meth:`release`."""
        breaker, self.breaker = self.breaker, None
        if breaker is not None:
            breaker.settle(self, health)

    def release(self) -> None:
        """Give the permit back and record nothing."""
        self.record(_NEUTRAL)


def _permit(breaker: CircuitBreaker | None, generation: int, is_timed: bool) -> Permit:
    permit = Permit()
    permit.breaker = breaker
    permit.generation = generation
    permit.is_timed = is_timed
    permit.began = math.inf
    permit.would_refuse = breaker is None
    return permit


class CircuitBreaker:
    """A circuit breaker over the shares of failures and of slow attempts in a sliding window.

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
    then, and for as long as nobody has replaced it, its result counts. The lease runs from the
    admission, and anew from :meth:`Permit.begin`.

    **Slow calls.** With *slow_call_duration* and *slow_call_ratio*, an attempt is slow that has
    taken that long since :meth:`Permit.begin`, whether it was answered by then or is still running.
    The share of slow ones, among the results of the window and the slow running ones, is looked at
    with each result and with each admission; so a server that answers nothing at all opens the
    circuit too, long before the first timeout. A slow probe is a failed one. What was given back
    neutral was never slow.

    **Observing**, it counts, changes state and tells of it, but never refuses: a permit says that
    it would have been refused, and teaches the breaker nothing. That holds when it is forced open.

    **Steering.** :meth:`force_open` and :meth:`force_closed` hold a state against all results until
    :meth:`automatic`; forced open, there are no probes either.

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
        slow_call_duration: Seconds that make an attempt slow, > 0; ``None`` is never.
        slow_call_ratio: Share of slow attempts at which it opens, in (0, 1]; ``None`` is never.
        observe: Whether it only observes.

    Source: Nygard, "Release It!"; Polly v8 and resilience4j for window and states; generations
    after gobreaker.
    """

    __slots__ = (
        "_clock",
        "_failure_ratio",
        "_forced",
        "_generation",
        "_good_probes",
        "_half_open_successes",
        "_minimum_calls",
        "_next_open",
        "_observe",
        "_on_transition",
        "_open_duration",
        "_open_duration_max",
        "_open_until",
        "_probe_began",
        "_probe_lease",
        "_rng",
        "_running",
        "_slow_after",
        "_slow_ratio",
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
        slow_call_duration: float | None = None,
        slow_call_ratio: float | None = None,
        observe: bool = False,
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
        self._observe = observe
        # Closed attempts by age; without slow calls nobody asks for it, and admitting is cheaper.
        self._running: InFlight[Permit] | None = None
        self._slow_after = self._slow_ratio = math.inf
        if slow_call_duration is not None and slow_call_ratio is not None:
            self._running = InFlight(slow_call_duration)
            self._slow_after, self._slow_ratio = slow_call_duration, slow_call_ratio
        self._window = SlidingWindow(window, clock())
        self._state = _CLOSED
        self._forced: State | None = None
        self._generation = 0
        # Permits of this generation that were not given back; in half-open that is the probe.
        self._unsettled = 0
        self._next_open = open_duration
        self._open_until = 0.0
        self._probe_began = 0.0
        self._good_probes = 0

    @property
    def state(self) -> State:
        """The state after the last call; an open period that is over still reads as open."""
        return self._state

    @property
    def forced(self) -> State | None:
        """The state that it is held in, open or closed, or ``None`` when it decides by itself."""
        return self._forced

    @property
    def idle_closed(self) -> bool:
        """Whether a new breaker would behave the same, but for the successes it has seen.

        That is: closed and not forced, no permit of this generation is out, and the window holds
        no failure and nothing slow.
        """
        if self._state is not _CLOSED or self._forced is not None or self._unsettled:
            return False
        self._window.advance(self._clock())
        return not (self._window.failed or self._window.slow)

    def snapshot(self) -> CircuitSnapshot:
        """Return what there is to see, and change nothing."""
        now = self._clock()
        window = self._window
        window.advance(now)
        return CircuitSnapshot(
            state=self._state,
            forced=self._forced,
            ok=window.ok,
            failed=window.failed,
            slow=window.slow + (0 if self._running is None else self._running.slow(now)),
            in_flight=self._unsettled,
            retry_after=self._wait(now),
        )

    def admit(self) -> Permit | Refusal:
        """Return the right to send one attempt, or how long to wait for it."""
        if self._state is _CLOSED and self._running is None:
            self._unsettled += 1
            return _permit(self, self._generation, False)
        now = self._clock()
        # Whoever is told of a change may take the probe or steer elsewhere: so ask again after it.
        if self._opens_by_age(now):
            self._open(now)
            return self.admit()
        wait = self._wait(now)
        if wait > 0.0:
            return _permit(None, self._generation, False) if self._observe else Refusal(wait)
        if self._state is _OPEN:
            self._good_probes = 0
            self._change(_HALF_OPEN)
            return self.admit()
        if self._state is _HALF_OPEN:
            self._begin_generation()
            self._probe_began = now
        self._unsettled += 1
        return _permit(self, self._generation, True)

    def refuses_for(self) -> float:
        """Return the seconds that :meth:`admit` would refuse for now, and change nothing.

        0.0 leaves it to :meth:`admit`, which may refuse all the same: where it is a probe or the
        age of running attempts that decides, asking is part of it.
        """
        if self._state is not _OPEN or self._observe:
            return 0.0
        return self._wait(self._clock())

    def force_open(self) -> None:
        """Refuse everything, probes included, until told otherwise."""
        self._forced = _OPEN
        if self._state is not _OPEN:
            self._change(_OPEN)

    def force_closed(self) -> None:
        """Admit everything, whatever comes back, until told otherwise."""
        self._forced = _CLOSED
        if self._state is not _CLOSED:
            self._close()

    def automatic(self) -> None:
        """End the forcing: closed, with nothing remembered. Nothing if it was not forced."""
        if self._forced is not None:
            self._forced = None
            self._close()

    def _wait(self, now: float) -> float:
        """Return the seconds, >= 0, until a caller is let through."""
        if self._state is _CLOSED:
            return 0.0
        if self._forced is not None:
            return self._open_duration
        if self._state is _OPEN:
            return max(0.0, self._open_until - now)
        if not self._unsettled:
            return 0.0
        lease = self._probe_began + self._probe_lease - now
        return self._open_duration if math.isinf(lease) else max(0.0, lease)

    def _opens_by_age(self, now: float) -> bool:
        """Tell whether attempts that are still running open the circuit."""
        if self._running is None or self._state is _OPEN:
            return False
        if self._state is _HALF_OPEN:
            return self._running.slow(now) > 0
        self._window.advance(now)
        return self._forced is None and self._too_slow(now)

    def _too_slow(self, now: float) -> bool:
        if self._running is None:
            return False
        window = self._window
        running = self._running.slow(now)
        calls = window.ok + window.failed + running
        return calls >= self._minimum_calls and (window.slow + running) / calls >= self._slow_ratio

    def _too_many_failed(self) -> bool:
        failed = self._window.failed
        calls = self._window.ok + failed
        return calls >= self._minimum_calls and failed / calls >= self._failure_ratio

    def start(self, permit: Permit) -> None:
        """Take note that an attempt begins; :meth:`Permit.begin` calls it."""
        if permit.generation != self._generation:
            return
        permit.began = now = self._clock()
        if self._running is not None:
            self._running.start(permit, now)
        if self._state is _HALF_OPEN:
            self._probe_began = now

    def settle(self, permit: Permit, health: Health) -> None:
        """Take what came of an attempt; :meth:`Permit.record` calls it once for each permit."""
        if permit.generation != self._generation:
            return
        self._unsettled -= 1
        running = self._running
        if running is not None and permit.began < math.inf:
            running.finish(permit)
        if health is _NEUTRAL:
            return
        now = self._clock()
        if self._state is not _CLOSED:
            is_slow = now - permit.began >= self._slow_after
            self._judge_probe(now, is_good=health is _OK and not is_slow)
            return
        window = self._window
        if now >= window.bucket_ends:
            window.advance(now)
        if health is _OK:
            window.add_ok()
        else:
            window.add_failed()
        if running is not None:
            if now - permit.began >= self._slow_after:
                window.add_slow()
        elif not window.failed:
            # Nothing opens it; nearly all results end here.
            return
        if self._forced is None and (self._too_many_failed() or self._too_slow(now)):
            self._open(now)

    def _judge_probe(self, now: float, *, is_good: bool) -> None:
        if not is_good:
            self._open(now)
            return
        self._good_probes += 1
        if self._good_probes >= self._half_open_successes:
            self._close()

    def _open(self, now: float) -> None:
        period = self._next_open * (1.0 + OPEN_JITTER * self._rng.random())
        self._open_until = now + period
        self._next_open = min(self._next_open * 2.0, self._open_duration_max)
        self._change(_OPEN)

    def _close(self) -> None:
        self._window.clear(self._clock())
        self._next_open = self._open_duration
        self._change(_CLOSED)

    def _change(self, state: State) -> None:
        previous, self._state = self._state, state
        self._begin_generation()
        # Last, so that a callback that looks at the breaker sees the new state whole.
        if self._on_transition is not None and previous is not state:
            self._on_transition(previous, state)

    def _begin_generation(self) -> None:
        self._generation += 1
        self._unsettled = 0
        if self._running is not None:
            self._running.clear()

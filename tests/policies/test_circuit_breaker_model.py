"""The breaker against a model that remembers everything and is slow and plain."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from platform_http.policies.circuit_breaker import (
    OPEN_JITTER,
    CircuitBreaker,
    Permit,
    Refusal,
    State,
)
from platform_http.policies.outcome import Health
from tests.policies.fake_clock import FakeClock

WINDOW = 10.0
OPEN_DURATION = 2.0
OPEN_DURATION_MAX = 9.0
LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
}


class BreakerMachine(RuleBasedStateMachine):
    """Ten buckets of one second; all instants are quarters, so sums are exact."""

    @initialize(
        ratio=st.sampled_from([0.25, 0.5, 1.0]),
        minimum=st.integers(1, 4),
        successes=st.integers(1, 3),
        lease=st.sampled_from([0.5, 4.0]),
        seed=st.integers(0, 3),
    )
    def start(self, ratio, minimum, successes, lease, seed):
        self.clock = FakeClock(0.0)
        self.transitions = []
        self.breaker = CircuitBreaker(
            failure_ratio=ratio,
            minimum_calls=minimum,
            window=WINDOW,
            open_duration=OPEN_DURATION,
            open_duration_max=OPEN_DURATION_MAX,
            half_open_successes=successes,
            probe_lease=lease,
            clock=self.clock,
            rng=Random(seed),
            on_transition=lambda *change: self.transitions.append(change),
        )
        self.ratio, self.minimum, self.successes, self.lease = ratio, minimum, successes, lease
        self.twin = Random(seed)
        self.permits = []
        # The model: all results since the window began, and the permits that still count.
        self.state = State.CLOSED
        self.window_began = 0.0
        self.results = []
        self.live = set()
        self.failed_probes = 0
        self.good_probes = 0
        self.open_until = 0.0
        self.lease_ends = 0.0

    def remembered(self):
        """Return the results of the current bucket and the nine before it."""
        current = (self.clock.now - self.window_began) // 1.0
        return [
            health
            for instant, health in self.results
            if current - (instant - self.window_began) // 1.0 < 10
        ]

    def model_opens(self):
        period = min(OPEN_DURATION * 2**self.failed_probes, OPEN_DURATION_MAX)
        self.open_until = self.clock.now + period * (1.0 + OPEN_JITTER * self.twin.random())
        self.failed_probes += 1
        self.state = State.OPEN
        self.live.clear()

    def model_closes(self):
        self.state = State.CLOSED
        self.failed_probes = 0
        self.results = []
        self.window_began = self.clock.now
        self.live.clear()

    @rule(quarters=st.integers(0, 12) | st.sampled_from([40, 41, 400]))
    def time_passes(self, quarters):
        self.clock.advance(quarters / 4)

    @rule()
    def the_open_period_or_the_lease_ends(self):
        due = {State.OPEN: self.open_until, State.HALF_OPEN: self.lease_ends}.get(self.state, 0.0)
        # Quarters keep the model exact; the period itself is jittered.
        while self.clock.now < due:
            self.clock.advance(0.25)

    @rule()
    def somebody_asks(self):
        now = self.clock.now
        answer = self.breaker.admit()
        if self.state is State.OPEN:
            if now < self.open_until:
                assert answer == Refusal(self.open_until - now)
                return
            self.state = State.HALF_OPEN
            self.good_probes = 0
        if self.state is State.HALF_OPEN:
            if self.live and now < self.lease_ends:
                assert answer == Refusal(self.lease_ends - now)
                return
            self.live.clear()
            self.lease_ends = now + self.lease
        assert isinstance(answer, Permit)
        self.permits.append(answer)
        self.live.add(answer)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), health=st.sampled_from(Health))
    def a_permit_comes_back(self, data, health):
        permit = data.draw(st.sampled_from(self.permits))
        self.settle(permit, health)

    @precondition(lambda self: self.live)
    @rule(health=st.sampled_from([Health.OK, Health.FAILED]))
    def the_latest_permit_reports(self, health):
        self.settle(self.permits[-1], health)

    def settle(self, permit, health):
        before = self.breaker.state
        if health is Health.NEUTRAL:
            permit.release()
            assert self.breaker.state is before
        else:
            permit.record(health)
        if permit not in self.live:
            assert self.breaker.state is before
            return
        self.live.discard(permit)
        if health is Health.NEUTRAL:
            return
        if self.state is State.CLOSED:
            self.results.append((self.clock.now, health))
            results = self.remembered()
            failed = results.count(Health.FAILED)
            if len(results) >= self.minimum and failed and failed / len(results) >= self.ratio:
                self.model_opens()
        elif health is Health.FAILED:
            self.model_opens()
        else:
            self.good_probes += 1
            if self.good_probes == self.successes:
                self.model_closes()

    @invariant()
    def the_states_agree(self):
        assert self.breaker.state is self.state

    @invariant()
    def idleness_agrees(self):
        idle = (
            self.state is State.CLOSED and not self.live and Health.FAILED not in self.remembered()
        )
        assert self.breaker.idle_closed is idle

    @invariant()
    def at_most_one_probe_counts(self):
        assert self.state is State.CLOSED or len(self.live) <= 1

    @invariant()
    def transitions_are_legal_and_chained(self):
        assert set(self.transitions) <= LEGAL
        states = [State.CLOSED, *(current for _, current in self.transitions)]
        assert [previous for previous, _ in self.transitions] == states[:-1]

    def teardown(self):
        """Whatever happened, and with every permit lost, it admits after a finite time."""
        if hasattr(self, "breaker"):
            self.clock.advance(OPEN_DURATION_MAX * (1 + OPEN_JITTER) + self.lease)
            assert isinstance(self.breaker.admit(), Permit)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(deadline=None, max_examples=150, stateful_step_count=50)

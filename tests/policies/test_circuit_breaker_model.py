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
    CircuitSnapshot,
    Permit,
    Refusal,
    State,
)
from platform_http.policies.outcome import Health
from platform_http.testing import FakeClock

WINDOW = 10.0
OPEN_DURATION = 2.0
OPEN_DURATION_MAX = 9.0
LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.OPEN),
    (State.HALF_OPEN, State.CLOSED),
}
BY_HAND = {(State.OPEN, State.CLOSED)}


class BreakerMachine(RuleBasedStateMachine):
    """Ten buckets of one second; all instants are quarters, so sums are exact."""

    @initialize(
        ratio=st.sampled_from([0.25, 0.5, 1.0]),
        minimum=st.integers(1, 4),
        successes=st.integers(1, 3),
        lease=st.sampled_from([0.5, 4.0]),
        slow=st.sampled_from([(None, None), (0.5, 0.5), (1.0, 1.0), (3.0, 0.25)]),
        observe=st.sampled_from([False, False, True]),
        seed=st.integers(0, 3),
    )
    def start(self, ratio, minimum, successes, lease, slow, observe, seed):
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
            slow_call_duration=slow[0],
            slow_call_ratio=slow[1],
            observe=observe,
        )
        self.ratio, self.minimum, self.successes, self.lease = ratio, minimum, successes, lease
        self.slow_after, self.slow_ratio = slow
        self.observe = observe
        self.twin = Random(seed)
        self.permits = []
        # The model: all results since the window began, and when the attempts of the permits that
        # still count began, if they did.
        self.state = State.CLOSED
        self.forced = None
        self.steered = False
        self.window_began = 0.0
        self.results = []
        self.live = {}
        self.failed_probes = 0
        self.good_probes = 0
        self.open_until = 0.0
        self.lease_ends = 0.0

    def remembered(self):
        """Return the results, and whether they were slow, of this bucket and the nine before."""
        current = (self.clock.now - self.window_began) // 1.0
        return [
            (health, slow)
            for instant, health, slow in self.results
            if current - (instant - self.window_began) // 1.0 < 10
        ]

    def is_slow(self, began):
        if self.slow_after is None or began is None:
            return False
        return self.clock.now - began >= self.slow_after

    def slow_running(self):
        return sum(map(self.is_slow, self.live.values()))

    def too_slow(self):
        slow = sum(slow for _, slow in self.remembered()) + self.slow_running()
        calls = len(self.remembered()) + self.slow_running()
        return calls >= self.minimum and slow > 0 and slow / calls >= self.slow_ratio

    def too_many_failed(self):
        results = [health for health, _ in self.remembered()]
        failed = results.count(Health.FAILED)
        return len(results) >= self.minimum and failed > 0 and failed / len(results) >= self.ratio

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

    def model_wait(self):
        """Return how long the model refuses from now on, 0.0 if it does not."""
        if self.state is State.CLOSED:
            return 0.0
        if self.forced is State.OPEN:
            return OPEN_DURATION
        if self.state is State.OPEN:
            return max(0.0, self.open_until - self.clock.now)
        return max(0.0, self.lease_ends - self.clock.now) if self.live else 0.0

    @rule(quarters=st.integers(0, 12) | st.sampled_from([40, 41, 400]))
    def time_passes(self, quarters):
        self.clock.advance(quarters / 4)

    @rule()
    def the_open_period_or_the_lease_ends(self):
        due = {State.OPEN: self.open_until, State.HALF_OPEN: self.lease_ends}.get(self.state, 0.0)
        # Quarters keep the model exact; the period itself is jittered.
        while self.clock.now < due:
            self.clock.advance(0.25)

    @rule(begins=st.booleans())
    def somebody_asks(self, begins):
        answer = self.breaker.admit()
        if self.state is State.CLOSED and not self.forced:
            if self.slow_after is not None and self.too_slow():
                self.model_opens()
        elif self.state is State.HALF_OPEN and self.slow_running():
            self.model_opens()
        wait = self.model_wait()
        if wait:
            self.expect_refusal(answer, wait)
            return
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
            self.good_probes = 0
        if self.state is State.HALF_OPEN:
            self.live.clear()
            self.lease_ends = self.clock.now + self.lease
        assert isinstance(answer, Permit)
        assert not answer.would_refuse
        self.permits.append(answer)
        self.live[answer] = None
        if begins:
            self.begin(answer)

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def an_attempt_begins(self, data):
        self.begin(data.draw(st.sampled_from(self.permits)))

    def begin(self, permit):
        permit.begin()
        if permit in self.live and self.live[permit] is None:
            self.live[permit] = self.clock.now
            if self.state is State.HALF_OPEN:
                self.lease_ends = self.clock.now + self.lease

    def expect_refusal(self, answer, wait):
        if self.observe:
            assert isinstance(answer, Permit)
            assert answer.would_refuse
            self.permits.append(answer)
        else:
            assert answer == Refusal(wait)

    @rule()
    def it_is_forced_open(self):
        self.breaker.force_open()
        self.steered = True
        self.forced = State.OPEN
        if self.state is not State.OPEN:
            self.state = State.OPEN
            self.live.clear()

    @rule()
    def it_is_forced_closed(self):
        self.breaker.force_closed()
        self.steered = True
        self.forced = State.CLOSED
        if self.state is not State.CLOSED:
            self.model_closes()

    @rule()
    def it_decides_by_itself_again(self):
        self.breaker.automatic()
        if self.forced:
            self.forced = None
            self.model_closes()

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
        is_slow = self.is_slow(self.live.pop(permit))
        if health is Health.NEUTRAL:
            return
        if self.state is State.CLOSED:
            self.results.append((self.clock.now, health, is_slow))
            if not self.forced and (
                self.too_many_failed() or (self.slow_after is not None and self.too_slow())
            ):
                self.model_opens()
        elif health is Health.FAILED or is_slow:
            self.model_opens()
        else:
            self.good_probes += 1
            if self.good_probes == self.successes:
                self.model_closes()

    @invariant()
    def everything_that_can_be_seen_agrees(self):
        results = [health for health, _ in self.remembered()]
        seen = self.breaker.snapshot()
        assert seen == CircuitSnapshot(
            state=self.state,
            forced=self.forced,
            ok=results.count(Health.OK),
            failed=results.count(Health.FAILED),
            slow=sum(slow for _, slow in self.remembered()) + self.slow_running(),
            in_flight=len(self.live),
            retry_after=self.model_wait(),
        )
        assert (self.breaker.state, self.breaker.forced) == seen[:2]

    @invariant()
    def idleness_agrees(self):
        is_idle = (
            self.state is State.CLOSED
            and not self.forced
            and not self.live
            and not any(health is Health.FAILED or slow for health, slow in self.remembered())
        )
        assert self.breaker.idle_closed is is_idle

    @invariant()
    def at_most_one_probe_counts(self):
        assert self.state is State.CLOSED or len(self.live) <= 1

    @invariant()
    def transitions_are_legal_and_chained(self):
        assert set(self.transitions) <= (LEGAL | BY_HAND if self.steered else LEGAL)
        states = [State.CLOSED, *(current for _, current in self.transitions)]
        assert [previous for previous, _ in self.transitions] == states[:-1]

    def teardown(self):
        """Whatever happened, and with every permit lost, it admits after a finite time."""
        if not hasattr(self, "breaker"):
            return
        if self.forced is State.OPEN:
            self.breaker.automatic()
        # What was lost may be found to be slow by the first who asks.
        answers = []
        for _ in range(2):
            self.clock.advance(OPEN_DURATION_MAX * (1 + OPEN_JITTER) + self.lease)
            answers.append(self.breaker.admit())
        assert any(isinstance(answer, Permit) and not answer.would_refuse for answer in answers)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(deadline=None, max_examples=200, stateful_step_count=50)

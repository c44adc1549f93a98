"""The budget against exact arithmetic, and against what it promises a server that is down."""

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platform_http.policies.retry_budget import RetryBudget
from platform_http.testing import FakeClock


class BudgetMachine(RuleBasedStateMachine):
    """All numbers are quarters and sixteenths, so that floats hold them exactly."""

    @initialize(
        capacity=st.sampled_from([0.25, 5.0, 30.0, 100.0]),
        cost=st.sampled_from([0.0, 2.5, 10.0]),
        cost_timeout=st.sampled_from([0.0, 10.0, 20.0]),
        refund=st.sampled_from([0.0, 0.25, 1.0]),
        trickle=st.sampled_from([0.0, 0.25, 1.0]),
    )
    def start(self, capacity, cost, cost_timeout, refund, trickle):
        self.clock = FakeClock(0.0)
        self.budget = RetryBudget(
            capacity=capacity,
            cost=cost,
            cost_timeout=cost_timeout,
            refund=refund,
            trickle=trickle,
            clock=self.clock,
        )
        self.capacity, self.refund, self.trickle = map(Fraction, (capacity, refund, trickle))
        self.costs = {False: Fraction(cost), True: Fraction(cost_timeout)}
        self.tokens = self.capacity
        self.calls = []
        # Instant, tokens paid and tokens earned by successes, of every event.
        self.ledger = []

    def earn(self, tokens):
        self.tokens = min(self.capacity, self.tokens + tokens)

    @rule(quarters=st.integers(0, 40) | st.sampled_from([400, 4000]))
    def time_passes(self, quarters):
        self.clock.advance(quarters / 4)
        self.earn(Fraction(quarters, 4) * self.trickle)

    @rule(timeout=st.booleans(), resend_of=st.integers(0, 3))
    def an_attempt_fails(self, timeout, resend_of):
        cost = self.costs[timeout]
        paid = self.budget.spend(timeout=timeout)
        if self.tokens < cost:
            assert paid is None
            return
        assert paid == cost
        self.tokens -= cost
        self.ledger.append((self.clock.now, cost, Fraction(0)))
        if resend_of < len(self.calls):
            self.calls[resend_of] = paid
        else:
            self.calls.append(paid)

    @rule()
    def a_call_succeeds_at_once(self):
        self.budget.succeeded(0.0)
        self.earn(self.refund)
        self.ledger.append((self.clock.now, Fraction(0), self.refund))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_resent_call_succeeds(self, data):
        cost = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.budget.succeeded(cost)
        self.earn(Fraction(cost) or self.refund)
        self.ledger.append((self.clock.now, Fraction(0), Fraction(cost) or self.refund))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_resent_call_fails_for_good(self, data):
        self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    @invariant()
    def the_tokens_agree(self):
        assert self.budget.tokens == self.tokens
        assert 0 <= self.budget.tokens <= self.capacity

    @invariant()
    def fullness_agrees(self):
        assert self.budget.full is (self.tokens == self.capacity)

    def teardown(self):
        """From any event to any other: no more was paid than saved, trickled and earned."""
        for first, (begin, _, _) in enumerate(getattr(self, "ledger", [])):
            paid = earned = Fraction(0)
            for instant, cost, income in self.ledger[first:]:
                paid += cost
                assert paid <= self.capacity + Fraction(instant - begin) * self.trickle + earned
                earned += income


TestBudget = BudgetMachine.TestCase
TestBudget.settings = settings(deadline=None, max_examples=80, stateful_step_count=50)

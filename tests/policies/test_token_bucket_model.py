"""The bucket against exact arithmetic, and against the bound that a quota is."""

import math
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platform_http.policies.token_bucket import TokenBucket
from platform_http.testing import FakeClock


class Taken:
    """A token, the instant it is due at, and when it came back, if it did."""

    def __init__(self, due):
        self.due = due
        self.refunded_at = None


class BucketMachine(RuleBasedStateMachine):
    """All instants are sixteenths and intervals powers of two, so that floats are exact."""

    @initialize(
        rate=st.sampled_from([0.5, 1.0, 4.0]),
        per=st.sampled_from([1.0, 2.0]),
        burst=st.sampled_from([0.5, 1.0, 1.5, 4.0]),
    )
    def start(self, rate, per, burst):
        self.clock = FakeClock(0.0)
        self.bucket = TokenBucket(rate=rate, per=per, burst=burst, clock=self.clock)
        self.interval = Fraction(per) / Fraction(rate)
        self.burst = max(Fraction(1), Fraction(burst))
        self.level = self.burst
        self.taken = []

    @property
    def now(self):
        return Fraction(self.clock.now)

    def wait(self):
        return max(Fraction(0), (1 - self.level) * self.interval)

    @rule(sixteenths=st.integers(0, 40) | st.sampled_from([160, 4000]))
    def time_passes(self, sixteenths):
        self.clock.advance(sixteenths / 16)
        new = Fraction(sixteenths, 16) / self.interval
        self.level = min(self.burst, self.level + new)

    @rule(max_wait=st.sampled_from([0.0, 0.25, 2.0, 10.0, math.inf]), times=st.integers(1, 6))
    def somebody_asks(self, max_wait, times):
        for _ in range(times):
            expected = self.wait()
            wait = self.bucket.take(max_wait)
            if expected > max_wait:
                assert wait is None
            else:
                assert wait == expected
                self.level -= 1
                self.taken.append(Taken(self.now + expected))

    @precondition(lambda self: any(token.refunded_at is None for token in self.taken))
    @rule(data=st.data())
    def a_token_comes_back(self, data):
        token = data.draw(st.sampled_from([t for t in self.taken if t.refunded_at is None]))
        self.bucket.refund()
        self.level = min(self.burst, self.level + 1)
        token.refunded_at = self.now

    @invariant()
    def the_waits_agree(self):
        assert self.bucket.retry_after == self.wait()

    @invariant()
    def fullness_agrees(self):
        assert self.bucket.full is (self.level == self.burst)

    def teardown(self):
        tokens = getattr(self, "taken", [])
        kept = sorted(token.due for token in tokens if token.refunded_at is None)
        returned = [token.due for token in tokens if token.refunded_at is not None]
        for number, due in enumerate(kept, start=1):
            assert number <= due / self.interval + self.burst
        for first, begin in enumerate(kept):
            handed_on = sum(due < begin for due in returned)
            for number, end in enumerate(kept[first:], start=1):
                assert number <= (end - begin) / self.interval + self.burst + handed_on
        if not returned:
            assert kept == [token.due for token in tokens], "served in the order of asking"


TestBucket = BucketMachine.TestCase
TestBucket.settings = settings(deadline=None, max_examples=100, stateful_step_count=50)


class PatientBucketMachine(BucketMachine):
    """Nobody gives a token back: there the bound holds in every interval, to the token."""

    a_token_comes_back = None


TestPatientBucket = PatientBucketMachine.TestCase
TestPatientBucket.settings = settings(deadline=None, max_examples=50, stateful_step_count=50)

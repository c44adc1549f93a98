from random import Random

from platform_http.policies.circuit_breaker import CircuitBreaker, Permit, Refusal, State
from platform_http.policies.outcome import Health
from platform_http.testing import FakeClock


class Circuit:
    """A breaker on a fake clock, and the transitions it told of."""

    def __init__(self, **overrides):
        self.clock = FakeClock()
        self.transitions = []
        numbers = {
            "failure_ratio": 0.5,
            "minimum_calls": 20,
            "window": 30.0,
            "open_duration": 5.0,
            "open_duration_max": 60.0,
            "half_open_successes": 3,
            "probe_lease": 4.0,
            "rng": Random(1),
            "on_transition": lambda previous, current: self.transitions.append((previous, current)),
        }
        self.breaker = CircuitBreaker(clock=self.clock, **(numbers | overrides))

    def record(self, health, times=1):
        for _ in range(times):
            self.permit().record(health)

    def permit(self):
        """Return a permit whose attempt begins at once."""
        permit = self.breaker.admit()
        assert isinstance(permit, Permit)
        permit.begin()
        return permit

    def refusal(self):
        refusal = self.breaker.admit()
        assert isinstance(refusal, Refusal)
        return refusal

    def trip(self):
        self.record(Health.FAILED, times=20)
        assert self.breaker.state is State.OPEN

    def wait_open(self):
        """Let the open period pass."""
        self.clock.advance(self.refusal().retry_after)

    def half_open(self):
        """Trip, wait, and return the first probe."""
        self.trip()
        self.wait_open()
        probe = self.permit()
        assert self.breaker.state is State.HALF_OPEN
        return probe

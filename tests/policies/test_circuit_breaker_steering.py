"""Observing instead of refusing, forcing a state, and looking from outside."""

from random import Random

import pytest

from platform_http.policies.circuit_breaker import CircuitSnapshot, Permit, Refusal, State
from platform_http.policies.outcome import Health
from tests.policies.circuit import Circuit


@pytest.fixture
def circuit():
    return Circuit()


@pytest.fixture
def observer():
    return Circuit(observe=True)


def test_an_enforcing_breaker_permits_nothing_that_it_would_refuse(circuit):
    assert not circuit.permit().would_refuse
    assert not circuit.half_open().would_refuse


def test_an_observing_breaker_changes_state_and_permits_what_it_would_refuse(observer):
    assert not observer.permit().would_refuse
    observer.trip()
    assert observer.permit().would_refuse
    assert observer.transitions == [(State.CLOSED, State.OPEN)]


def test_what_would_have_been_refused_teaches_an_observing_breaker_nothing(observer):
    observer.trip()
    before = observer.breaker.snapshot()
    for health in Health:
        permit = observer.permit()
        assert permit.would_refuse
        permit.record(health)
        assert permit.would_refuse
        observer.permit().release()
    assert observer.breaker.snapshot() == before


def test_an_observing_breaker_probes_and_closes_as_an_enforcing_one_would(observer):
    observer.trip()
    observer.clock.advance(5.5)
    probe, other = observer.permit(), observer.permit()
    assert (probe.would_refuse, other.would_refuse) == (False, True)
    other.record(Health.FAILED)
    assert observer.breaker.state is State.HALF_OPEN
    probe.record(Health.OK)
    observer.record(Health.OK, times=2)
    assert observer.breaker.state is State.CLOSED


def test_an_observing_breaker_reopens_by_its_probe(observer):
    observer.trip()
    observer.clock.advance(5.5)
    observer.record(Health.FAILED)
    assert observer.breaker.state is State.OPEN
    observer.clock.advance(9.9)
    assert observer.permit().would_refuse


def test_an_observing_breaker_refuses_nothing_even_when_it_is_forced_open(observer):
    observer.breaker.force_open()
    assert observer.permit().would_refuse


def test_forced_open_it_refuses_for_good_and_sends_no_probe(circuit):
    circuit.breaker.force_open()
    assert circuit.breaker.forced is State.OPEN
    for _ in range(5):
        assert circuit.breaker.admit() == Refusal(5.0)
        circuit.clock.advance(1e4)
    assert circuit.transitions == [(State.CLOSED, State.OPEN)]


def test_forcing_open_an_open_breaker_tells_of_no_change_and_ends_its_period(circuit):
    circuit.trip()
    circuit.breaker.force_open()
    circuit.clock.advance(6.0)
    assert circuit.breaker.admit() == Refusal(5.0)
    assert circuit.transitions == [(State.CLOSED, State.OPEN)]


def test_forced_open_results_of_attempts_and_probes_change_nothing(circuit):
    before = circuit.permit()
    probe = circuit.half_open()
    circuit.breaker.force_open()
    before.record(Health.OK)
    for health in (Health.OK, Health.FAILED):
        probe.record(health)
    assert circuit.breaker.admit() == Refusal(5.0)
    assert circuit.transitions[2:] == [(State.HALF_OPEN, State.OPEN)]


def test_forcing_takes_no_draw():
    rng, twin = Random(9), Random(9)
    circuit = Circuit(rng=rng)
    circuit.breaker.force_open()
    circuit.breaker.force_closed()
    circuit.breaker.automatic()
    assert rng.getstate() == twin.getstate()


def test_forced_closed_it_admits_whatever_comes_back(circuit):
    circuit.breaker.force_closed()
    circuit.record(Health.FAILED, times=100)
    assert circuit.breaker.forced is State.CLOSED
    assert circuit.breaker.snapshot().failed == 100
    assert circuit.transitions == []


def test_forced_closed_it_ignores_slow_attempts_too():
    circuit = Circuit(slow_call_duration=1.0, slow_call_ratio=0.1)
    circuit.breaker.force_closed()
    running = [circuit.permit() for _ in range(50)]
    circuit.clock.advance(2.0)
    running.append(circuit.permit())
    for permit in running:
        permit.record(Health.OK)
    assert circuit.transitions == []


@pytest.mark.parametrize("prepare", [Circuit.trip, Circuit.half_open])
def test_forcing_closed_lets_traffic_through_at_once(circuit, prepare):
    prepare(circuit)
    circuit.breaker.force_closed()
    circuit.record(Health.OK, times=100)
    assert circuit.transitions[-1][1] is State.CLOSED


def test_forcing_a_closed_breaker_closed_keeps_what_it_has_counted(circuit):
    late = circuit.permit()
    circuit.record(Health.FAILED, times=3)
    circuit.breaker.force_closed()
    late.record(Health.FAILED)
    assert circuit.breaker.snapshot().failed == 4


@pytest.mark.parametrize("force", ["force_open", "force_closed"])
def test_automatic_is_closed_with_a_clean_window_and_decides_again(circuit, force):
    circuit.record(Health.FAILED, times=19)
    getattr(circuit.breaker, force)()
    circuit.breaker.automatic()
    assert circuit.breaker.forced is None
    assert circuit.breaker.idle_closed
    circuit.record(Health.FAILED, times=19)
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN
    assert 5.0 <= circuit.refusal().retry_after <= 5.5


def test_automatic_counts_no_attempt_from_before_it(circuit):
    before = circuit.permit()
    circuit.breaker.force_closed()
    during = circuit.permit()
    circuit.breaker.automatic()
    before.record(Health.FAILED)
    during.record(Health.FAILED)
    assert circuit.breaker.idle_closed


def test_automatic_tells_of_a_change_only_if_there_is_one(circuit):
    circuit.breaker.force_closed()
    circuit.breaker.automatic()
    assert circuit.transitions == []
    circuit.breaker.force_open()
    circuit.breaker.automatic()
    assert circuit.transitions == [(State.CLOSED, State.OPEN), (State.OPEN, State.CLOSED)]


def test_automatic_does_not_close_what_opened_by_itself(circuit):
    circuit.trip()
    circuit.breaker.automatic()
    assert circuit.breaker.state is State.OPEN
    circuit.refusal()


def test_open_periods_start_over_after_automatic(circuit):
    circuit.half_open().record(Health.FAILED)
    circuit.breaker.force_open()
    circuit.breaker.automatic()
    circuit.trip()
    assert circuit.refusal().retry_after <= 5.5


@pytest.mark.parametrize("force", ["force_open", "force_closed"])
def test_a_forced_breaker_is_not_idle(circuit, force):
    getattr(circuit.breaker, force)()
    assert not circuit.breaker.idle_closed


def test_a_callback_that_forces_it_open_leaves_no_probe():
    def steer(previous, current):
        if current is State.HALF_OPEN:
            circuit.breaker.force_open()

    circuit = Circuit(on_transition=steer)
    circuit.trip()
    circuit.wait_open()
    assert circuit.breaker.admit() == Refusal(5.0)


def test_a_callback_that_forces_it_closed_lets_the_caller_through():
    circuit = Circuit(
        on_transition=lambda previous, current: (
            circuit.breaker.force_closed() if current is State.HALF_OPEN else None
        )
    )
    circuit.trip()
    circuit.wait_open()
    assert isinstance(circuit.breaker.admit(), Permit)
    assert circuit.breaker.state is State.CLOSED


def test_a_snapshot_of_a_closed_breaker_counts_its_window_and_what_is_in_flight(circuit):
    circuit.record(Health.OK, times=5)
    circuit.record(Health.FAILED, times=2)
    permits = [circuit.permit() for _ in range(3)]
    assert circuit.breaker.snapshot() == CircuitSnapshot(
        state=State.CLOSED, forced=None, ok=5, failed=2, slow=0, in_flight=3, retry_after=0.0
    )
    permits[0].release()
    circuit.clock.advance(30.0)
    assert circuit.breaker.snapshot()[2:] == (0, 0, 0, 2, 0.0)


def test_a_snapshot_of_an_open_breaker_tells_what_it_opened_on_and_how_long_it_stays(circuit):
    circuit.trip()
    wait = circuit.refusal().retry_after
    circuit.clock.advance(1.0)
    assert circuit.breaker.snapshot() == CircuitSnapshot(
        state=State.OPEN,
        forced=None,
        ok=0,
        failed=20,
        slow=0,
        in_flight=0,
        retry_after=pytest.approx(wait - 1.0),
    )
    circuit.clock.advance(60.0)
    assert circuit.breaker.snapshot()[0] is State.OPEN
    assert circuit.breaker.snapshot().retry_after == 0.0


def test_a_snapshot_of_a_half_open_breaker_tells_of_the_probe(circuit):
    probe = circuit.half_open()
    circuit.clock.advance(1.0)
    assert circuit.breaker.snapshot().in_flight == 1
    assert circuit.breaker.snapshot().retry_after == pytest.approx(3.0)
    circuit.clock.advance(9.0)
    assert circuit.breaker.snapshot().retry_after == 0.0
    probe.release()
    assert circuit.breaker.snapshot()[5:] == (0, 0.0)


def test_a_snapshot_tells_what_is_forced(circuit):
    circuit.breaker.force_open()
    assert circuit.breaker.snapshot() == (State.OPEN, State.OPEN, 0, 0, 0, 0, 5.0)
    circuit.breaker.force_closed()
    assert circuit.breaker.snapshot() == (State.CLOSED, State.CLOSED, 0, 0, 0, 0, 0.0)


def test_looking_at_a_breaker_opens_nothing():
    circuit = Circuit(slow_call_duration=1.0, slow_call_ratio=0.1)
    running = [circuit.permit() for _ in range(50)]
    circuit.clock.advance(2.0)
    assert circuit.breaker.snapshot().slow == 50
    assert circuit.breaker.state is State.CLOSED
    assert len(running) == 50


def test_it_tells_how_long_it_refuses_and_changes_nothing_by_that(circuit):
    assert circuit.breaker.refuses_for() == 0.0
    circuit.trip()
    wait = circuit.breaker.refuses_for()
    assert wait == circuit.refusal().retry_after > 0
    circuit.clock.advance(wait)
    # Whether the next one is a probe is for its admission to say.
    assert circuit.breaker.refuses_for() == 0.0
    assert circuit.breaker.state is State.OPEN
    circuit.permit()
    assert circuit.breaker.refuses_for() == 0.0
    assert circuit.refusal().retry_after > 0


def test_forced_open_it_refuses_for_an_open_period(circuit):
    circuit.breaker.force_open()
    assert circuit.breaker.refuses_for() == circuit.refusal().retry_after == 5.0


def test_an_observing_breaker_never_refuses_beforehand(observer):
    observer.breaker.force_open()
    assert observer.breaker.refuses_for() == 0.0

import math
from random import Random

import pytest

from platform_http.policies.circuit_breaker import OPEN_JITTER, Permit, State
from platform_http.policies.outcome import Health
from tests.policies.circuit import Circuit


def slow_circuit(**overrides):
    """A breaker that opens when half of at least four attempts take two seconds or longer."""
    numbers = {"slow_call_duration": 2.0, "slow_call_ratio": 0.5, "minimum_calls": 4}
    return Circuit(**(numbers | overrides))


@pytest.fixture
def circuit():
    return slow_circuit()


def half_open(circuit):
    """Open it by failures, wait, and return the first probe."""
    circuit.record(Health.FAILED, times=4)
    circuit.wait_open()
    return circuit.permit()


def take(circuit, seconds, health=Health.OK, times=1):
    """Let *times* attempts run beside each other for *seconds*."""
    permits = [circuit.permit() for _ in range(times)]
    circuit.clock.advance(seconds)
    for permit in permits:
        permit.record(health)


def test_slow_answers_open_it_at_the_result_that_completes_the_minimum(circuit):
    for _ in range(3):
        take(circuit, 2.0)
        assert circuit.breaker.state is State.CLOSED
    take(circuit, 2.0)
    assert circuit.transitions == [(State.CLOSED, State.OPEN)]


def test_an_answer_just_below_the_duration_is_not_slow(circuit):
    for _ in range(10):
        take(circuit, 1.999)
    assert circuit.breaker.state is State.CLOSED
    assert circuit.breaker.idle_closed


def test_it_opens_at_the_share_of_slow_ones_and_not_below():
    circuit = slow_circuit(minimum_calls=5)
    take(circuit, 0.0, times=4)
    for _ in range(3):
        take(circuit, 2.0)
    assert circuit.breaker.state is State.CLOSED
    take(circuit, 2.0)
    assert circuit.breaker.state is State.OPEN


def test_a_quick_result_that_completes_the_minimum_opens_it_too(circuit):
    for _ in range(3):
        take(circuit, 2.0)
    take(circuit, 0.0)
    assert circuit.breaker.state is State.OPEN


def test_slow_failures_count_as_slow_and_as_failed():
    circuit = slow_circuit(failure_ratio=1.0)
    take(circuit, 0.0, times=2)
    take(circuit, 2.0, Health.FAILED)
    assert circuit.breaker.snapshot()[2:5] == (2, 1, 1)
    take(circuit, 2.0, Health.FAILED)
    assert circuit.breaker.state is State.OPEN


def test_quick_failures_still_open_it(circuit):
    take(circuit, 0.0, times=2)
    for _ in range(2):
        take(circuit, 0.0, Health.FAILED)
    assert circuit.breaker.state is State.OPEN


def test_slow_ones_older_than_the_window_do_not_count(circuit):
    for _ in range(3):
        take(circuit, 2.0)
    circuit.clock.advance(30.0)
    take(circuit, 2.0)
    assert circuit.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "settings",
    [{}, {"slow_call_duration": 2.0}, {"slow_call_ratio": 0.5}],
    ids=["neither", "duration only", "ratio only"],
)
def test_without_duration_and_ratio_nothing_is_slow(settings):
    circuit = Circuit(minimum_calls=4, **settings)
    for _ in range(10):
        take(circuit, 1e6)
    running = [circuit.permit() for _ in range(50)]
    circuit.clock.advance(1e6)
    circuit.permit()
    assert len(running) == 50
    assert circuit.breaker.state is State.CLOSED


def test_a_hung_server_that_answers_nothing_opens_it_by_the_age_of_what_is_running():
    """Failure story 17, with the default minimum."""
    circuit = slow_circuit(minimum_calls=20)
    running = [circuit.permit() for _ in range(30)]
    circuit.clock.advance(1.999)
    running.append(circuit.permit())
    assert circuit.breaker.state is State.CLOSED
    circuit.clock.advance(0.001)
    assert 5.0 <= circuit.refusal().retry_after <= 5.0 * (1 + OPEN_JITTER)
    assert circuit.transitions == [(State.CLOSED, State.OPEN)]


def test_running_attempts_need_the_minimum_too():
    circuit = slow_circuit(minimum_calls=20)
    running = [circuit.permit() for _ in range(19)]
    circuit.clock.advance(60.0)
    running.append(circuit.permit())
    circuit.clock.advance(2.0)
    circuit.refusal()
    assert len(running) == 20


def test_running_attempts_count_beside_results():
    circuit = slow_circuit(minimum_calls=8)
    take(circuit, 0.0, times=4)
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(1.999)
    circuit.permit().release()
    circuit.clock.advance(0.001)
    circuit.refusal()
    assert len(running) == 4


def test_running_attempts_below_the_share_do_not_open_it():
    circuit = slow_circuit()
    take(circuit, 0.0, times=5)
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(10.0)
    circuit.permit()
    assert circuit.breaker.state is State.CLOSED
    assert len(running) == 4


def test_a_result_counts_with_those_that_are_slow_and_still_running():
    circuit = slow_circuit(slow_call_ratio=1.0)
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(2.0)
    running[0].record(Health.OK)
    assert circuit.breaker.state is State.OPEN


def test_an_attempt_that_was_slow_while_running_is_slow_once_when_it_ends(circuit):
    permits = [circuit.permit() for _ in range(3)]
    circuit.clock.advance(3.0)
    assert circuit.breaker.snapshot().slow == 3
    permits[0].record(Health.OK)
    assert circuit.breaker.snapshot()[2:6] == (1, 0, 3, 2)


def test_attempts_given_back_neutral_were_never_slow(circuit):
    permits = [circuit.permit() for _ in range(50)]
    circuit.clock.advance(60.0)
    for permit in permits:
        permit.release()
    circuit.permit().release()
    assert circuit.breaker.state is State.CLOSED
    assert circuit.breaker.idle_closed


def test_what_was_running_before_the_trip_is_neither_slow_nor_counted_after_closing():
    circuit = slow_circuit(half_open_successes=1)
    hung = [circuit.permit() for _ in range(10)]
    circuit.clock.advance(2.0)
    circuit.wait_open()
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED
    for permit in hung:
        permit.record(Health.OK)
    circuit.permit()
    assert circuit.breaker.snapshot()[2:6] == (0, 0, 0, 1)


def test_an_attempt_does_not_age_while_it_waits_for_its_turn(circuit):
    waiting = [circuit.breaker.admit() for _ in range(10)]
    circuit.clock.advance(60.0)
    assert circuit.breaker.snapshot().slow == 0
    for permit in waiting:
        permit.begin()
    circuit.clock.advance(1.999)
    for permit in waiting[4:]:
        permit.record(Health.OK)
    assert circuit.breaker.snapshot()[2:6] == (6, 0, 0, 4)
    circuit.clock.advance(0.001)
    assert circuit.breaker.snapshot().slow == 4


def test_an_attempt_that_never_began_is_not_slow(circuit):
    waiting = [circuit.breaker.admit() for _ in range(50)]
    circuit.clock.advance(60.0)
    for permit in waiting[:20]:
        permit.record(Health.OK)
    for permit in waiting[20:]:
        permit.release()
    assert circuit.breaker.snapshot()[2:6] == (20, 0, 0, 0)
    assert circuit.breaker.idle_closed


def test_an_attempt_begins_once(circuit):
    permit = circuit.permit()
    circuit.clock.advance(1.5)
    permit.begin()
    circuit.clock.advance(0.5)
    permit.record(Health.OK)
    assert circuit.breaker.snapshot()[2:6] == (1, 0, 1, 0)


def test_nothing_begins_after_its_permit_was_given_back(circuit):
    permit = circuit.breaker.admit()
    permit.record(Health.OK)
    permit.begin()
    circuit.clock.advance(60.0)
    assert circuit.breaker.snapshot()[2:6] == (0, 0, 0, 0)


def test_an_attempt_from_before_the_trip_that_begins_after_it_is_not_running_for_the_breaker():
    circuit = slow_circuit(half_open_successes=1)
    waiting = [circuit.breaker.admit() for _ in range(10)]
    half_open(circuit).record(Health.OK)
    for permit in waiting:
        permit.begin()
    circuit.clock.advance(60.0)
    assert circuit.breaker.snapshot()[2:6] == (0, 0, 0, 0)
    circuit.permit()
    assert circuit.breaker.state is State.CLOSED


def test_a_probe_that_waits_for_its_turn_is_not_slow(circuit):
    circuit.record(Health.FAILED, times=4)
    circuit.wait_open()
    probe = circuit.breaker.admit()
    circuit.clock.advance(3.0)
    assert circuit.refusal().retry_after == pytest.approx(1.0)
    probe.begin()
    circuit.clock.advance(1.0)
    probe.record(Health.OK)
    assert circuit.breaker.state is State.HALF_OPEN


def test_each_look_at_the_age_forgets_old_results_first(circuit):
    """The share is that of the window's results, not of those that the window held at the last."""
    take(circuit, 0.0, times=5)
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(30.0)
    circuit.refusal()
    assert len(running) == 4


def test_a_slow_probe_reopens_it_though_it_was_answered(circuit):
    probe = half_open(circuit)
    circuit.clock.advance(2.0)
    probe.record(Health.OK)
    assert circuit.breaker.state is State.OPEN
    assert circuit.refusal().retry_after >= 10.0


def test_a_probe_just_quick_enough_is_good():
    circuit = slow_circuit(half_open_successes=1)
    probe = half_open(circuit)
    circuit.clock.advance(1.999)
    probe.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED


def test_a_slow_probe_that_is_cancelled_says_nothing(circuit):
    probe = half_open(circuit)
    circuit.clock.advance(3.0)
    probe.release()
    circuit.permit()
    assert circuit.breaker.state is State.HALF_OPEN


def test_a_hung_probe_reopens_it_before_its_lease_ends(circuit):
    probe = half_open(circuit)
    circuit.clock.advance(1.999)
    assert circuit.refusal().retry_after == pytest.approx(2.001)
    circuit.clock.advance(0.001)
    assert 10.0 <= circuit.refusal().retry_after <= 10.0 * (1 + OPEN_JITTER)
    probe.record(Health.OK)
    assert circuit.breaker.state is State.OPEN


def test_a_probe_whose_lease_ends_before_it_is_slow_is_replaced():
    circuit = slow_circuit(slow_call_duration=10.0, probe_lease=4.0)
    half_open(circuit)
    circuit.clock.advance(4.0)
    second = circuit.permit()
    circuit.clock.advance(3.0)
    circuit.refusal()
    assert circuit.breaker.state is State.HALF_OPEN
    second.record(Health.OK)
    circuit.clock.advance(100.0)
    circuit.permit()
    assert circuit.breaker.state is State.HALF_OPEN


def test_with_an_infinite_lease_a_hung_probe_still_ends():
    circuit = slow_circuit(probe_lease=math.inf)
    half_open(circuit)
    circuit.clock.advance(2.0)
    circuit.wait_open()
    circuit.permit()


def test_a_breaker_that_remembers_slow_answers_is_not_idle(circuit):
    take(circuit, 2.0)
    assert not circuit.breaker.idle_closed
    circuit.clock.advance(30.0)
    assert circuit.breaker.idle_closed


def test_opening_by_age_takes_one_draw_as_any_opening_does():
    rng, twin = Random(9), Random(9)
    circuit = slow_circuit(rng=rng)
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(2.0)
    circuit.refusal()
    twin.random()
    assert rng.getstate() == twin.getstate()
    assert len(running) == 4


def test_a_callback_that_steers_when_it_opens_by_age_is_obeyed_at_once():
    circuit = slow_circuit(on_transition=lambda previous, current: circuit.breaker.force_closed())
    running = [circuit.permit() for _ in range(4)]
    circuit.clock.advance(2.0)
    assert isinstance(circuit.breaker.admit(), Permit)
    assert circuit.breaker.state is State.CLOSED
    assert len(running) == 4

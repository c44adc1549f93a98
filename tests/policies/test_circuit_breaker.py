import math
from random import Random

import pytest

from platform_http.policies.circuit_breaker import OPEN_JITTER, Permit, Refusal, State
from platform_http.policies.outcome import Health, of_status
from tests.policies.circuit import Circuit


@pytest.fixture
def circuit():
    return Circuit()


def test_states_go_by_the_words_that_metrics_use():
    assert [state.value for state in State] == ["closed", "open", "half_open"]


def test_a_new_breaker_admits(circuit):
    assert circuit.breaker.state is State.CLOSED
    assert isinstance(circuit.breaker.admit(), Permit)


def test_it_opens_at_the_result_that_completes_the_minimum(circuit):
    circuit.record(Health.FAILED, times=19)
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN
    assert circuit.transitions == [(State.CLOSED, State.OPEN)]


def test_it_opens_at_the_ratio_and_not_below(circuit):
    circuit.record(Health.OK, times=11)
    circuit.record(Health.FAILED, times=10)
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN


def test_a_success_that_completes_the_minimum_opens_it_too(circuit):
    circuit.record(Health.FAILED, times=19)
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.OPEN


def test_a_ratio_of_one_takes_failures_only():
    circuit = Circuit(failure_ratio=1.0)
    circuit.record(Health.OK)
    circuit.record(Health.FAILED, times=50)
    assert circuit.breaker.state is State.CLOSED


def test_a_ratio_that_binary_fractions_cannot_hold_is_met_exactly():
    circuit = Circuit(failure_ratio=0.1, minimum_calls=30)
    circuit.record(Health.OK, times=27)
    circuit.record(Health.FAILED, times=3)
    assert circuit.breaker.state is State.OPEN


def test_failures_older_than_the_window_do_not_count(circuit):
    circuit.record(Health.FAILED, times=19)
    circuit.clock.advance(30.0)
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.CLOSED


def test_failures_within_the_window_add_up_over_its_buckets(circuit):
    for _ in range(20):
        circuit.record(Health.FAILED)
        circuit.clock.advance(1.0)
    assert circuit.breaker.state is State.OPEN


def test_429_does_not_count(circuit):
    circuit.record(of_status(429, {429}).health, times=100)
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED, times=19)
    assert circuit.breaker.state is State.CLOSED


def test_a_hundred_caller_cancels_leave_a_closed_breaker_as_before(circuit):
    circuit.record(Health.FAILED, times=19)
    permits = [circuit.permit() for _ in range(100)]
    for permit in permits:
        permit.release()
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN


@pytest.mark.parametrize("first", [Health.OK, Health.NEUTRAL])
def test_only_the_first_verb_of_a_permit_counts(circuit, first):
    permit = circuit.permit()
    permit.record(first)
    for _ in range(50):
        permit.record(Health.FAILED)
        permit.release()
    assert circuit.breaker.state is State.CLOSED
    assert circuit.breaker.idle_closed


def test_a_permit_released_before_its_result_records_nothing(circuit):
    for _ in range(50):
        permit = circuit.permit()
        permit.release()
        permit.record(Health.FAILED)
    assert circuit.breaker.idle_closed


def test_an_open_breaker_refuses_and_says_for_how_long(circuit):
    circuit.trip()
    waits = []
    for _ in range(4):
        waits.append(circuit.refusal().retry_after)
        circuit.clock.advance(1.0)
    assert 5.0 <= waits[0] <= 5.0 * (1 + OPEN_JITTER)
    assert waits == pytest.approx([waits[0] - second for second in range(4)])


def test_it_stays_open_to_the_end_of_its_period_and_admits_then(circuit):
    circuit.trip()
    wait = circuit.refusal().retry_after
    circuit.clock.advance(wait - 0.001)
    assert 0.0 < circuit.refusal().retry_after <= 0.0011
    circuit.clock.advance(0.001)
    circuit.permit()


def test_it_reads_as_open_until_somebody_asks(circuit):
    circuit.trip()
    circuit.clock.advance(3600.0)
    assert circuit.breaker.state is State.OPEN
    circuit.permit()
    assert circuit.breaker.state is State.HALF_OPEN


def test_a_late_success_from_before_the_trip_leaves_it_open(circuit):
    late = circuit.permit()
    circuit.trip()
    late.record(Health.OK)
    assert circuit.breaker.state is State.OPEN
    circuit.refusal()


@pytest.mark.parametrize("health", list(Health))
def test_a_late_result_from_before_the_trip_neither_settles_nor_replaces_the_probe(circuit, health):
    late = circuit.permit()
    circuit.half_open()
    late.record(health)
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.refusal()


@pytest.mark.parametrize("health", list(Health))
def test_a_late_result_from_before_the_trip_is_not_counted_after_closing(health):
    circuit = Circuit(minimum_calls=2, half_open_successes=1)
    late = [circuit.permit() for _ in range(50)]
    circuit.record(Health.FAILED, times=2)
    circuit.wait_open()
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED
    for permit in late:
        permit.record(health)
    assert circuit.breaker.state is State.CLOSED
    assert circuit.breaker.idle_closed


def test_open_periods_double_with_each_failed_probe_up_to_the_maximum(circuit):
    circuit.trip()
    for period in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]:
        wait = circuit.refusal().retry_after
        assert period <= wait <= period * (1 + OPEN_JITTER)
        circuit.clock.advance(wait)
        circuit.record(Health.FAILED)


def test_open_periods_start_over_after_closing(circuit):
    circuit.half_open().record(Health.FAILED)
    circuit.wait_open()
    circuit.record(Health.OK, times=3)
    circuit.trip()
    assert circuit.refusal().retry_after <= 5.0 * (1 + OPEN_JITTER)


def test_two_breakers_that_trip_together_do_not_probe_together():
    circuits = [Circuit(rng=Random(seed)) for seed in (1, 2)]
    for circuit in circuits:
        circuit.trip()
    first, second = (circuit.refusal().retry_after for circuit in circuits)
    assert first != second


def test_each_opening_takes_exactly_one_draw_and_nothing_else_does():
    rng, twin = Random(9), Random(9)
    circuit = Circuit(rng=rng)
    circuit.half_open().record(Health.FAILED)
    circuit.wait_open()
    circuit.record(Health.OK, times=3)
    for _ in range(2):
        twin.random()
    assert rng.getstate() == twin.getstate()


def test_fifty_concurrent_calls_on_a_half_open_breaker_send_one_probe(circuit):
    circuit.trip()
    circuit.wait_open()
    answers = [circuit.breaker.admit() for _ in range(50)]
    assert [type(answer) for answer in answers] == [Permit] + [Refusal] * 49
    assert {answer.retry_after for answer in answers[1:]} == {4.0}


def test_it_closes_after_enough_good_probes_with_an_empty_window(circuit):
    circuit.half_open().record(Health.OK)
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED
    circuit.record(Health.FAILED, times=19)
    assert circuit.breaker.state is State.CLOSED
    assert circuit.transitions == [
        (State.CLOSED, State.OPEN),
        (State.OPEN, State.HALF_OPEN),
        (State.HALF_OPEN, State.CLOSED),
    ]


def test_any_failed_probe_reopens_and_the_next_trial_starts_from_nothing(circuit):
    circuit.half_open().record(Health.OK)
    circuit.record(Health.OK)
    circuit.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN
    circuit.wait_open()
    circuit.record(Health.OK, times=2)
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED


def test_a_cancelled_probe_neither_closes_nor_sticks(circuit):
    circuit.half_open().release()
    assert circuit.breaker.state is State.HALF_OPEN
    for _ in range(10):
        circuit.permit().release()
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.record(Health.OK, times=3)
    assert circuit.breaker.state is State.CLOSED


def test_a_cancelled_probe_does_not_undo_the_good_ones_before(circuit):
    circuit.half_open().record(Health.OK)
    circuit.record(Health.OK)
    circuit.permit().release()
    circuit.record(Health.OK)
    assert circuit.breaker.state is State.CLOSED


def test_a_lost_probe_is_replaced_when_its_lease_ends(circuit):
    circuit.half_open()
    circuit.clock.advance(3.0)
    assert circuit.refusal().retry_after == pytest.approx(1.0)
    circuit.clock.advance(1.0)
    circuit.permit()
    assert circuit.refusal().retry_after == 4.0


def test_the_lease_of_a_probe_starts_anew_when_its_attempt_begins(circuit):
    """What it waits for before is not the server's time; a wait without end is bounded too."""
    circuit.trip()
    circuit.wait_open()
    probe = circuit.breaker.admit()
    circuit.clock.advance(3.0)
    assert circuit.refusal().retry_after == pytest.approx(1.0)
    probe.begin()
    assert circuit.refusal().retry_after == 4.0
    circuit.clock.advance(3.9)
    circuit.refusal()
    probe.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN


def test_a_replaced_probe_that_begins_late_extends_no_lease(circuit):
    circuit.trip()
    circuit.wait_open()
    replaced = circuit.breaker.admit()
    circuit.clock.advance(4.0)
    circuit.permit()
    circuit.clock.advance(3.0)
    replaced.begin()
    assert circuit.refusal().retry_after == pytest.approx(1.0)


@pytest.mark.parametrize("health", list(Health))
def test_the_late_result_of_a_replaced_probe_is_ignored(health):
    circuit = Circuit(half_open_successes=1)
    lost = circuit.half_open()
    circuit.clock.advance(4.0)
    circuit.permit()
    lost.record(health)
    assert circuit.breaker.state is State.HALF_OPEN
    circuit.refusal()


def test_a_probe_that_fails_just_after_its_lease_still_reopens_if_nobody_replaced_it(circuit):
    """A hung server answers no probe in time: half-open must not go on for ever."""
    probe = circuit.half_open()
    circuit.clock.advance(4.001)
    probe.record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN


def test_an_infinite_lease_never_lets_a_second_probe_through():
    circuit = Circuit(probe_lease=math.inf)
    probe = circuit.half_open()
    circuit.clock.advance(1e9)
    assert circuit.refusal().retry_after == 5.0
    probe.release()
    circuit.permit()


def test_a_breaker_with_a_permit_out_is_not_idle(circuit):
    assert circuit.breaker.idle_closed
    permit = circuit.permit()
    assert not circuit.breaker.idle_closed
    permit.record(Health.OK)
    assert circuit.breaker.idle_closed


def test_a_breaker_is_idle_again_once_its_failures_are_forgotten(circuit):
    circuit.record(Health.FAILED)
    assert not circuit.breaker.idle_closed
    circuit.clock.advance(26.0)
    assert not circuit.breaker.idle_closed
    circuit.clock.advance(4.0)
    assert circuit.breaker.idle_closed


def test_a_breaker_that_is_not_closed_is_not_idle(circuit):
    circuit.trip()
    assert not circuit.breaker.idle_closed
    circuit.wait_open()
    circuit.permit().release()
    assert not circuit.breaker.idle_closed
    circuit.record(Health.OK, times=3)
    assert circuit.breaker.idle_closed


def test_a_callback_sees_the_new_state(circuit):
    seen = []
    circuit = Circuit(on_transition=lambda previous, current: seen.append(circuit.breaker.state))
    circuit.half_open().record(Health.FAILED)
    assert seen == [State.OPEN, State.HALF_OPEN, State.OPEN]


def test_a_callback_that_asks_for_a_permit_gets_the_only_probe():
    taken = []

    def take(previous, current):
        if current is State.HALF_OPEN:
            taken.append(circuit.breaker.admit())

    circuit = Circuit(on_transition=take)
    circuit.trip()
    circuit.wait_open()
    circuit.refusal()
    assert isinstance(taken[0], Permit)


def test_a_breaker_needs_nobody_to_watch_it():
    circuit = Circuit(on_transition=None)
    circuit.half_open().record(Health.FAILED)
    assert circuit.breaker.state is State.OPEN

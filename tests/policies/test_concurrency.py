import functools
import gc
import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from platform_http.policies.concurrency import ConcurrencyLimit, Slot, Ticket


class Waiter:
    """Somebody who enters, and remembers how often it was woken and what it found then."""

    def __init__(self, limit):
        self.woken = 0
        self.slot_when_woken = None
        self.place = limit.enter(self.wake)

    def wake(self):
        self.woken += 1
        self.slot_when_woken = self.place.slot


def filled(limit, queue):
    """Return a limit of which every slot is taken, and those slots."""
    full = ConcurrencyLimit(limit=limit, queue=queue)
    return full, [full.enter(pytest.fail) for _ in range(limit)]


def test_a_free_slot_is_given_at_once_and_wakes_nobody():
    limit = ConcurrencyLimit(limit=2, queue=5)
    slots = [limit.enter(pytest.fail) for _ in range(2)]
    assert all(isinstance(slot, Slot) for slot in slots)
    assert (limit.in_use, limit.waiting) == (2, 0)
    for slot in slots:
        slot.release()
    assert (limit.in_use, limit.waiting) == (0, 0)


def test_who_asks_is_told_of_each_change_of_what_is_in_use_and_of_nothing_else():
    limit, told = ConcurrencyLimit(limit=2, queue=5), []
    limit.on_change = lambda: told.append(limit.in_use)
    slots = [limit.take(), limit.enter(pytest.fail)]
    waiter = Waiter(limit)
    assert told == [1, 2]
    slots[0].release()
    assert waiter.slot_when_woken is not None
    assert told == [1, 2]
    slots[1].release()
    waiter.place.leave()
    waiter.place.leave()
    assert told == [1, 2, 1, 0]


def test_beyond_the_limit_there_is_a_queue_and_beyond_the_queue_nothing():
    limit, _ = filled(2, queue=3)
    places = [limit.enter(pytest.fail) for _ in range(5)]
    assert [type(place) for place in places] == [Ticket] * 3 + [type(None)] * 2
    assert all(ticket.slot is None for ticket in places[:3])
    assert (limit.in_use, limit.waiting) == (2, 3)


def test_without_a_queue_nobody_waits():
    limit, slots = filled(1, queue=0)
    assert limit.enter(pytest.fail) is None
    slots[0].release()
    assert isinstance(limit.enter(pytest.fail), Slot)


def test_a_released_slot_goes_to_whoever_has_waited_longest():
    limit, slots = filled(2, queue=9)
    waiters = [Waiter(limit) for _ in range(4)]
    slots[1].release()
    assert [waiter.woken for waiter in waiters] == [1, 0, 0, 0]
    slots[0].release()
    assert [waiter.woken for waiter in waiters] == [1, 1, 0, 0]
    waiters[1].place.slot.release()
    assert [waiter.woken for waiter in waiters] == [1, 1, 1, 0]
    assert (limit.in_use, limit.waiting) == (2, 1)


def test_a_waiter_is_woken_with_its_slot_in_hand():
    limit, slots = filled(1, queue=1)
    waiter = Waiter(limit)
    slots[0].release()
    assert isinstance(waiter.slot_when_woken, Slot)
    assert waiter.slot_when_woken is waiter.place.slot


def test_nobody_overtakes_the_queue():
    limit, slots = filled(1, queue=9)
    first = Waiter(limit)
    slots[0].release()
    late = limit.enter(pytest.fail)
    assert isinstance(late, Ticket)
    assert first.woken == 1


def test_a_slot_is_released_once_however_often_it_is_told_to():
    limit, slots = filled(2, queue=9)
    waiters = [Waiter(limit) for _ in range(2)]
    for _ in range(3):
        slots[0].release()
    assert [waiter.woken for waiter in waiters] == [1, 0]
    for _ in range(3):
        slots[1].release()
        waiters[0].place.slot.release()
        waiters[1].place.slot.release()
    assert limit.in_use == 0
    assert limit.idle


def test_who_leaves_the_queue_is_not_woken_and_makes_room():
    limit, slots = filled(1, queue=2)
    first, second = Waiter(limit), Waiter(limit)
    assert limit.enter(pytest.fail) is None
    for _ in range(2):
        first.place.leave()
    assert limit.waiting == 1
    assert isinstance(limit.enter(lambda: None), Ticket)
    slots[0].release()
    assert (first.woken, second.woken) == (0, 1)
    assert first.place.slot is None


def test_who_leaves_after_the_grant_passes_the_slot_on():
    """A caller that is cancelled between the grant and its next step."""
    limit, slots = filled(1, queue=9)
    first, second = Waiter(limit), Waiter(limit)
    slots[0].release()
    for _ in range(3):
        first.place.leave()
    assert (first.woken, second.woken) == (1, 1)
    second.place.leave()
    assert limit.in_use == 0


def test_leaving_after_the_slot_was_released_does_nothing():
    limit, slots = filled(1, queue=9)
    waiter = Waiter(limit)
    slots[0].release()
    waiter.place.slot.release()
    after = limit.enter(pytest.fail)
    waiter.place.leave()
    assert limit.in_use == 1
    after.release()
    assert limit.idle


def test_a_limit_is_idle_when_nothing_is_in_flight():
    limit = ConcurrencyLimit(limit=1, queue=1)
    assert limit.idle
    slot = limit.enter(pytest.fail)
    assert not limit.idle
    slot.release()
    assert limit.idle


def test_ten_thousand_waiters_are_served_in_order_and_all_slots_come_back():
    limit, slots = filled(20, queue=10_000)
    served = []
    tickets = [limit.enter(functools.partial(served.append, number)) for number in range(10_000)]
    for slot in slots:
        slot.release()
    while len(served) < 10_000:
        tickets[len(served) - 20].slot.release()
    for ticket in tickets:
        ticket.leave()
    assert served == list(range(10_000))
    assert (limit.in_use, limit.waiting) == (0, 0)


def test_memory_is_linear_in_those_who_wait_and_what_they_leave_behind_does_not_grow():
    limit, _ = filled(1, queue=10_000)
    kept = []
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):
            tickets = [limit.enter(pytest.fail) for _ in range(10_000)]
            for ticket in [*tickets[5000:], *reversed(tickets[:5000])]:
                ticket.leave()
            del tickets, ticket
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert limit.waiting == 0
    assert peak < 10_000 * 600
    # What other threads of the process do meanwhile counts too; ten thousand tickets are megabytes.
    assert kept[2] < 1.1 * kept[0]


class LimitMachine(RuleBasedStateMachine):
    """The limit against a list of who waits and a set of who is in."""

    @initialize(limit=st.integers(1, 3), queue=st.integers(0, 4))
    def start(self, limit, queue):
        self.limit, self.queue = limit, queue
        self.subject = ConcurrencyLimit(limit=limit, queue=queue)
        self.slots = []  # every slot ever given at once
        self.tickets = []  # every ticket ever given
        self.woken = {}
        # The model.
        self.inside = set()
        self.line = []

    def occupy(self):
        """Let the model's oldest waiter in."""
        if self.line and len(self.inside) < self.limit:
            self.inside.add(self.line.pop(0))

    @rule()
    def somebody_enters(self):
        number = len(self.woken)
        self.woken[number] = 0

        def wake():
            self.woken[number] += 1

        place = self.subject.enter(wake)
        if len(self.inside) < self.limit:
            assert isinstance(place, Slot)
            self.inside.add(number)
            self.slots.append((number, place))
        elif len(self.line) < self.queue:
            assert isinstance(place, Ticket)
            self.line.append(number)
            self.tickets.append((number, place))
        else:
            assert place is None

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def a_slot_is_released(self, data):
        number, slot = data.draw(st.sampled_from(self.slots))
        slot.release()
        self.inside.discard(number)
        self.occupy()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def a_ticket_is_left(self, data):
        number, ticket = data.draw(st.sampled_from(self.tickets))
        ticket.leave()
        if number in self.line:
            self.line.remove(number)
        self.inside.discard(number)
        self.occupy()

    @precondition(lambda self: any(ticket.slot for _, ticket in self.tickets))
    @rule(data=st.data())
    def a_granted_slot_is_released(self, data):
        granted = [(number, ticket) for number, ticket in self.tickets if ticket.slot]
        number, ticket = data.draw(st.sampled_from(granted))
        ticket.slot.release()
        self.inside.discard(number)
        self.occupy()

    @invariant()
    def the_counts_agree(self):
        assert self.subject.in_use == len(self.inside) <= self.limit
        assert self.subject.waiting == len(self.line) <= self.queue
        assert self.subject.idle is not bool(self.inside or self.line)

    @invariant()
    def nobody_waits_while_a_slot_is_free(self):
        assert not self.line or len(self.inside) == self.limit

    @invariant()
    def exactly_those_who_got_a_slot_after_waiting_were_woken_and_only_once(self):
        queued = dict(self.tickets)
        for number, times in self.woken.items():
            ticket = queued.get(number)
            assert times == (ticket is not None and ticket.slot is not None)
            if ticket is not None and number in self.inside:
                assert times == 1
            if number in self.line:
                assert times == 0

    def teardown(self):
        """When everybody goes, every slot is back."""
        if hasattr(self, "subject"):
            for _, ticket in self.tickets:
                ticket.leave()
            for _, slot in self.slots:
                slot.release()
            assert (self.subject.in_use, self.subject.waiting) == (0, 0)


TestLimit = LimitMachine.TestCase
TestLimit.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)

"""What a session counts by itself ends where prometheus_client's own verbs end, at a look."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.values import MultiProcessValue, MutexValue

from platform_http.call import Origin
from platform_http.policies.concurrency import ConcurrencyLimit
from platform_http.telemetry import tallies
from platform_http.telemetry.tallies import Distribution, Ledger, LedgerAtOnce

ORIGIN = Origin("http", "api.example.com", 80)
SERVER = {"server_address": "api.example.com", "server_port": "80"}
ACTIVE = {"http_request_method": "GET", **SERVER}
DURATIONS = "http_client_request_duration_seconds_count"
ANSWERED = {**ACTIVE, "http_response_status_code": "200"}

AMOUNTS = st.lists(st.floats(0, 20) | st.sampled_from([0.005, 0.25, 10.0]))


def readings(registry: CollectorRegistry) -> list[tuple[str, str, float]]:
    return [
        (sample.name.removeprefix("their_").removeprefix("our_"), str(sample.labels), sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def span(number: int) -> SpanContext:
    return SpanContext(number, number + 1, is_remote=False, trace_flags=TraceFlags(1))


def fail(error: Exception) -> None:
    raise error


def ledger_of() -> Ledger:
    return Ledger(fail)


def buckets(histogram: Histogram) -> list[float]:
    return [bucket.get() for bucket in histogram._buckets]


def answer(scene, *, operation: str | None = None) -> None:
    call = scene.call(operation=operation)
    attempt, _ = scene.attempt(call)
    scene.answer(attempt)
    call.close("success", "", scene.now)


class TestADistribution:
    @given(batches=st.lists(AMOUNTS, max_size=4))
    def test_ends_where_a_histogram_does_however_often_it_is_carried_over(self, batches) -> None:
        theirs, ours = CollectorRegistry(), CollectorRegistry()
        histogram = Histogram("their_seconds", "x", registry=theirs)
        distribution = Distribution(Histogram("our_seconds", "x", registry=ours))
        for amounts in batches:
            for amount in amounts:
                histogram.observe(amount)
                distribution.observe(amount)
            distribution.carry()
        for (*ours_name, our_value), (*their_name, their_value) in zip(
            readings(ours), readings(theirs), strict=True
        ):
            assert ours_name == their_name
            assert our_value == pytest.approx(their_value)

    def test_is_carried_over_once(self) -> None:
        histogram = Histogram("a_seconds", "x", registry=None)
        distribution = Distribution(histogram)
        distribution.observe(0.3)
        for _ in range(3):
            distribution.carry()
        distribution.end()
        assert sum(buckets(histogram)) == 1
        assert histogram._sum.get() == 0.3

    def test_counts_its_samples_for_a_counter_too(self) -> None:
        counter = Counter("b", "x", registry=None)
        distribution = Distribution(Histogram("a_seconds", "x", registry=None), counter)
        for amount in (0.1, 0.2, 30):
            distribution.observe(amount)
        distribution.carry()
        distribution.observe(0.1)
        distribution.carry()
        assert counter._value.get() == 4

    def test_shows_the_last_example_of_each_bucket_with_its_own_moment(self, monkeypatch) -> None:
        moments = iter((100.0, 200.0, 300.0, 400.0))
        monkeypatch.setattr(tallies, "time", lambda: next(moments))
        registry = CollectorRegistry()
        distribution = Distribution(Histogram("a_seconds", "x", registry=registry))
        distribution.observe(0.02, span(1))
        distribution.observe(0.021, span(2))
        distribution.observe(9.0, span(3))
        distribution.observe(9.5)
        distribution.carry()

        def shown():
            (family,) = registry.collect()
            return {
                sample.labels["le"]: (
                    sample.exemplar.labels["trace_id"],
                    sample.exemplar.labels["span_id"],
                    sample.exemplar.value,
                    sample.exemplar.timestamp,
                )
                for sample in family.samples
                if sample.exemplar
            }

        first = {"0.025": (f"{2:032x}", f"{3:016x}", 0.021, 200.0)}
        assert shown() == {**first, "10.0": (f"{3:032x}", f"{4:016x}", 9.0, 300.0)}
        distribution.observe(8.0, span(4))
        distribution.carry()
        assert shown() == {**first, "10.0": (f"{4:032x}", f"{5:016x}", 8.0, 400.0)}

    def test_an_example_that_another_session_has_replaced_is_not_put_back(self) -> None:
        histogram = Histogram("a_seconds", "x", registry=None)
        old, new = Distribution(histogram), Distribution(histogram)
        old.observe(0.02, span(1))
        old.carry()
        new.observe(0.02, span(2))
        new.carry()
        old.observe(0.02)
        old.carry()
        exemplar = histogram._buckets[2].get_exemplar()
        assert exemplar.labels["trace_id"] == f"{2:032x}"

    def test_finds_what_it_needs_in_a_child(self) -> None:
        histogram = Histogram("d_seconds", "x", registry=None)
        values = (histogram._sum, *histogram._buckets)
        assert all(type(value) is MutexValue for value in values)
        assert len(histogram._upper_bounds) == len(histogram._buckets)
        assert all(low < high for low, high in pairwise(histogram._upper_bounds))


class Foreign:
    """A value of another kind, which nobody has told us of."""

    def __init__(self, *_: object, **__: object) -> None:
        self._amount = 0.0

    def inc(self, amount):
        self._amount += amount

    def set_exemplar(self, exemplar):
        self.exemplar = exemplar

    def get(self):
        return self._amount


def test_values_of_another_kind_are_left_to_the_verbs_of_their_child(monkeypatch) -> None:
    monkeypatch.setattr("prometheus_client.values.ValueClass", Foreign)
    durations = Histogram("a_seconds", "x", ["client"], registry=None)
    calls = Counter("b", "x", ["client"], registry=None)
    ledger = ledger_of()
    ledger.distribution(durations, "billing").observe(0.02, span(1))
    ledger.counted(durations, ("billing",), calls, ("billing",)).observe(0.02)
    child = durations.labels("billing")
    assert sum(buckets(child)) == 2
    assert child._buckets[2].exemplar.labels == {"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}
    assert calls.labels("billing")._value.get() == 1


def test_a_child_without_buckets_is_left_to_its_verbs() -> None:
    observed = []
    child = SimpleNamespace(observe=lambda amount, exemplar: observed.append((amount, exemplar)))
    ledger_of().distribution(SimpleNamespace(labels=lambda *_: child), "billing").observe(1.0)
    assert observed == [(1.0, None)]


class TestALedger:
    def test_carries_over_to_the_family_that_is_looked_at(self) -> None:
        first, second = (Counter(name, "x", ["client"], registry=None) for name in "ab")
        ledger = ledger_of()
        ledger.tally(first, "billing").value += 2
        ledger.tally(second, "billing").value += 3
        ledger.carry_over(first)
        assert first.labels("billing")._value.get() == 2
        assert second.labels("billing")._value.get() == 0
        ledger.settle()
        assert second.labels("billing")._value.get() == 3

    def test_keeps_what_was_counted_when_it_is_closed_and_takes_back_what_was_up(self) -> None:
        counter = Counter("a", "x", ["client"], registry=None)
        gauge = Gauge("b", "x", ["client"], registry=None)
        ledger = ledger_of()
        ledger.tally(counter, "billing").value += 2
        level = ledger.tally(gauge, "billing")
        level.value += 2
        gauge.labels("billing").inc(5)
        ledger.carry_over(gauge)
        assert gauge.labels("billing")._value.get() == 7
        level.value += 1
        ledger.close()
        assert counter.labels("billing")._value.get() == 2
        assert gauge.labels("billing")._value.get() == 5


class Unnamed:
    """What names a span whose names are no numbers."""

    trace_id = span_id = "none"


class TestWhatCannotBeCarriedOver:
    @pytest.mark.parametrize("verb", ["carry_over", "settle", "close"])
    def test_is_told_of_and_keeps_nothing_else_back(self, verb) -> None:
        durations = Histogram("a_seconds", "x", ["client"], registry=None)
        failures: list[Exception] = []
        ledger = Ledger(failures.append)
        broken = ledger.distribution(durations, "broken")
        broken.observe(0.02, Unnamed())
        ledger.distribution(durations, "billing").observe(0.02)
        for _ in range(2):
            getattr(ledger, verb)(*[durations] if verb == "carry_over" else [])
        assert sum(buckets(durations.labels("billing"))) == 1
        assert sum(buckets(durations.labels("broken"))) == 1
        assert [type(failure) for failure in failures] == [ValueError]

    def test_is_counted_and_does_not_break_the_look(self, scene) -> None:
        scene.telemetry._series.call_ended(scene.call(), Unnamed())
        for _ in range(2):
            assert scene.sample("platform_http_call_duration_seconds_count", outcome="error") == 1
            assert scene.sample("platform_http_telemetry_errors_total", hook="tally") == 1

    def test_counts_nothing_twice_where_it_is_interrupted(self, monkeypatch) -> None:
        histogram = Histogram("a_seconds", "x", registry=None)
        distribution = Distribution(histogram)
        for amount in (0.02, 0.3, 3):
            distribution.observe(amount)
        inc = MutexValue.inc

        def interrupted(value: MutexValue, amount: float) -> None:
            inc(value, amount)
            raise KeyboardInterrupt

        with monkeypatch.context() as interrupting:
            interrupting.setattr(MutexValue, "inc", interrupted)
            with pytest.raises(KeyboardInterrupt):
                distribution.carry()
        distribution.carry()
        assert sum(buckets(histogram)) == 1

    def test_is_told_of_when_others_may_look_again(self) -> None:
        durations = Histogram("a_seconds", "x", ["client"], registry=None)
        ledger = Ledger(lambda _: looked.append(ledger.settle()))
        looked: list[None] = []
        ledger.distribution(durations, "billing").observe(0.02, Unnamed())
        ledger.carry_over(durations)
        assert looked == [None]


def test_what_a_finalizer_counts_for_the_first_time_does_not_disturb_the_end(monkeypatch) -> None:
    counters = [Counter(name, "x", ["client"], registry=None) for name in "ab"]
    ledger = ledger_of()
    ledger.tally(counters[0], "billing").value += 1
    inc = Counter.inc

    def finalizing(counter: Counter, amount: float) -> None:
        ledger.tally(counters[1], "billing").value += 1
        inc(counter, amount)

    with monkeypatch.context() as patched:
        patched.setattr(Counter, "inc", finalizing)
        ledger.settle()
    ledger.settle()
    assert [counter.labels("billing")._value.get() for counter in counters] == [1, 1]


def test_a_span_that_cannot_be_named_does_not_unbalance_the_gauge(scene, monkeypatch) -> None:
    attempt, _ = scene.attempt(scene.call())
    monkeypatch.setattr(scene.telemetry, "_example", lambda _: fail(ValueError()))
    scene.answer(attempt)
    assert scene.sample("http_client_active_requests", **ACTIVE) == 0


def test_who_looks_at_one_family_finds_all_that_was_counted_for_it(scene) -> None:
    for looks in range(1, 3):
        answer(scene)
        for name in ("platform_http_calls_total", "platform_http_call_duration_seconds_count"):
            only = scene.registry.restricted_registry([name])
            values = [
                sample.value
                for family in only.collect()
                for sample in family.samples
                if sample.labels["outcome"] == "success"
            ]
            assert values == [looks]


def test_nothing_is_counted_twice_or_lost_while_several_threads_look(make_scene) -> None:
    scene = make_scene(traces=False)
    done = threading.Event()
    falls: list[str] = []

    def look() -> None:
        latest = 0.0
        while not done.is_set():
            seen = scene.sample("platform_http_calls_total", outcome="success")
            if seen < latest:
                falls.append("calls")
            latest = seen

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    lookers = [threading.Thread(target=look) for _ in range(3)]
    try:
        for looker in lookers:
            looker.start()
        for number in range(1500):
            answer(scene, operation=f"o{number % 3}" if number % 2 else None)
    finally:
        done.set()
        for looker in lookers:
            looker.join()
        sys.setswitchinterval(interval)
    assert not falls
    for name in ("platform_http_calls_total", "platform_http_call_duration_seconds_count"):
        assert scene.sample(name, outcome="success") == 750
        for operation in ("o0", "o1", "o2"):
            assert scene.sample(name, outcome="success", operation=operation) == 250
    assert scene.sample(DURATIONS, **ANSWERED) == 1500
    total = scene.sample(DURATIONS.replace("_count", "_sum"), **ANSWERED)
    assert total == pytest.approx(1500 * 0.02)
    assert scene.sample("http_client_active_requests", **ACTIVE) == 0


class TestSessionsOfOneName:
    def test_add_up(self, make_scene) -> None:
        first = make_scene()
        second = make_scene(registry=first.registry)
        limits = []
        for scene in (first, second):
            answer(scene)
            scene.attempt(scene.call())
            scene.telemetry.connections(ORIGIN).active.value += 1
            limits.append(ConcurrencyLimit(limit=2, queue=0))
            scene.telemetry.concurrency_watched(ORIGIN, limits[-1])
            limits[-1].take()
        assert first.sample(DURATIONS, **ANSWERED) == 2
        assert first.sample("platform_http_calls_total", outcome="success") == 2
        assert first.sample("http_client_active_requests", **ACTIVE) == 2
        assert first.sample("platform_http_concurrency_in_use", **SERVER) == 2
        active = {"http_connection_state": "active", **SERVER}
        assert first.sample("http_client_open_connections", **active) == 2

    def test_that_is_closed_has_carried_everything_over(self, scene) -> None:
        answer(scene)
        scene.telemetry.session_closed()
        calls = scene.metrics.calls.labels("billing", "", "success", "")
        assert calls._value.get() == 1

    def test_that_is_closed_is_still_heard_of_when_its_last_calls_end(self, make_scene) -> None:
        scene = make_scene()
        other = make_scene(registry=scene.registry)
        call = scene.call()
        attempt, _ = scene.attempt(call)
        scene.telemetry.session_closed()
        assert other.sample("http_client_active_requests", **ACTIVE) == 1
        scene.answer(attempt)
        call.close("success", "", scene.now)
        del scene.telemetry, scene.client, call, attempt
        gc.collect()
        assert other.sample("http_client_active_requests", **ACTIVE) == 0
        assert other.sample(DURATIONS, **ANSWERED) == 1
        assert other.sample("platform_http_calls_total", outcome="success") == 1

    def test_that_is_dropped_leaves_what_it_counted_and_nothing_else(self, make_scene) -> None:
        scene = make_scene()
        other = make_scene(registry=scene.registry)
        answer(scene)
        scene.attempt(scene.call())
        limit = ConcurrencyLimit(limit=2, queue=0)
        scene.telemetry.concurrency_watched(ORIGIN, limit)
        limit.take()
        connections = scene.telemetry.connections(ORIGIN)
        connections.idle.value += 1
        idle = {"http_connection_state": "idle", **SERVER}
        assert other.sample("http_client_open_connections", **idle) == 1
        answer(scene)
        assert len(scene.metrics._ledgers) == 2
        del scene.telemetry, scene.client
        gc.collect()
        assert other.sample(DURATIONS, **ANSWERED) == 2
        assert other.sample("platform_http_calls_total", outcome="success") == 2
        assert other.sample("http_client_active_requests", **ACTIVE) == 0
        assert other.sample("http_client_open_connections", **idle) == 0
        assert other.sample("platform_http_concurrency_in_use", **SERVER) == 0
        assert len(other.metrics._ledgers) == 1

    def test_that_are_dropped_pile_nothing_up_when_nobody_looks(self, make_scene) -> None:
        scene = make_scene()
        for _ in range(5):
            dropped = make_scene(registry=scene.registry)
            answer(dropped)
            del dropped.telemetry, dropped.client
            gc.collect()
        assert len(scene.metrics._ledgers) <= 2
        assert scene.sample(DURATIONS, **ANSWERED) == 5


def test_two_who_look_at_once_carry_over_once(scene, monkeypatch) -> None:
    answer(scene)
    begun, may_end = threading.Event(), threading.Event()
    inc = MutexValue.inc

    def slow(value: MutexValue, amount: float) -> None:
        begun.set()
        assert may_end.wait(10)
        inc(value, amount)

    monkeypatch.setattr(MutexValue, "inc", slow)
    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(scene.sample, DURATIONS, **ANSWERED)]
        assert begun.wait(10)
        looks.append(pool.submit(scene.sample, DURATIONS, **ANSWERED))
        wait(looks, 0.05, FIRST_COMPLETED)
        may_end.set()
        assert [look.result(10) for look in looks] == [1, 1]


def test_who_looks_while_another_thread_closes_a_session_misses_nothing_of_it(
    make_scene, monkeypatch
) -> None:
    scene = make_scene()
    other = make_scene(registry=scene.registry)
    answer(scene)
    begun, may_end = threading.Event(), threading.Event()
    close = Ledger.close

    def slow(ledger: Ledger) -> None:
        begun.set()
        assert may_end.wait(10)
        close(ledger)

    monkeypatch.setattr(Ledger, "close", slow)
    del scene.telemetry, scene.client
    gc.collect()
    with ThreadPoolExecutor(1) as pool:
        look = pool.submit(other.sample, DURATIONS, **ANSWERED)
        assert begun.wait(10)
        try:
            assert other.sample(DURATIONS, **ANSWERED) == 1
        finally:
            may_end.set()
        assert look.result(10) == 1


class TestALimit:
    def test_that_is_gone_holds_nothing(self, scene) -> None:
        limit = ConcurrencyLimit(limit=2, queue=0)
        scene.telemetry.concurrency_watched(ORIGIN, limit)
        slot = limit.take()
        assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 1
        del limit, slot
        gc.collect()
        assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 0

    def test_that_was_replaced_is_shown_for_as_long_as_it_is_held(self, scene) -> None:
        old, new = (ConcurrencyLimit(limit=2, queue=0) for _ in range(2))
        scene.telemetry.concurrency_watched(ORIGIN, old)
        slot = old.take()
        scene.telemetry.concurrency_watched(ORIGIN, new)
        del old
        new.take()
        assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 2
        slot.release()
        assert scene.sample("platform_http_concurrency_in_use", **SERVER) == 1

    def test_that_comes_and_goes_leaves_nothing_behind(self, scene) -> None:
        for _ in range(5):
            scene.telemetry.concurrency_watched(ORIGIN, ConcurrencyLimit(limit=2, queue=0))
            gc.collect()
        permits, _ = scene.telemetry._series.server(ORIGIN)._permits
        assert len(permits._limits) == 1


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Let the values of children made from now on be those that processes share."""
    values = MultiProcessValue()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr("prometheus_client.values.ValueClass", values)
    yield
    values.close_all_files()


@pytest.mark.usefixtures("shared")
class TestWhatProcessesShare:
    def test_does_not_keep_its_session(self, make_scene) -> None:
        scene = make_scene()
        left = weakref.ref(scene.telemetry)
        gc.disable()
        try:
            del scene.telemetry, scene.client
            assert left() is None
        finally:
            gc.enable()

    def test_moves_at_once(self, make_scene) -> None:
        scene = make_scene()
        assert not scene.metrics._ledgers
        metrics, server = scene.metrics, ("billing", "api.example.com", "80")
        active = metrics.active_requests.labels("billing", "GET", "api.example.com", "80")
        call = scene.call()
        attempt, _ = scene.attempt(call)
        assert active._value.get() == 1
        scene.answer(attempt)
        assert active._value.get() == 0
        duration = metrics.request_duration.labels(
            "billing", "GET", "api.example.com", "80", "", "200", ""
        )
        assert sum(buckets(duration)) == 1
        call.close("success", "", scene.now)
        assert metrics.calls.labels("billing", "", "success", "")._value.get() == 1
        assert sum(buckets(metrics.call_duration.labels("billing", "", "success"))) == 1
        connections = scene.telemetry.connections(ORIGIN)
        connections.active.value += 2
        connections.active.value -= 1
        connections.idle.value += 1
        for state in ("active", "idle"):
            assert metrics.open_connections.labels(*server, state)._value.get() == 1
        scene.telemetry.rejected(call, ORIGIN, "circuit_open")
        assert metrics.rejections.labels(*server, "circuit_open")._value.get() == 1
        scene.telemetry.session_closed()
        assert metrics.open_connections.labels(*server, "idle")._value.get() == 1

    def test_shows_the_slots_of_a_limit_at_each_change(self, make_scene) -> None:
        scene = make_scene()
        in_use = scene.metrics.concurrency_in_use.labels("billing", "api.example.com", "80")
        limit = ConcurrencyLimit(limit=2, queue=1)
        scene.telemetry.concurrency_watched(ORIGIN, limit)
        slots = [limit.take(), limit.enter(lambda: None)]
        assert in_use._value.get() == 2
        ticket = limit.enter(lambda: None)
        slots[0].release()
        assert in_use._value.get() == 2
        ticket.leave()
        assert in_use._value.get() == 1
        slots[1].release()
        assert in_use._value.get() == 0

    def test_that_cannot_be_written_is_counted_and_breaks_nothing(
        self, make_scene, monkeypatch
    ) -> None:
        def explode(*_: object) -> None:
            raise OSError

        scene = make_scene()
        connections = scene.telemetry.connections(ORIGIN)
        with monkeypatch.context() as failing:
            failing.setattr("prometheus_client.Gauge.inc", explode)
            connections.active.value += 1
        assert connections.active.value == 1
        failures = scene.metrics.telemetry_errors.labels("billing", "tally")
        assert failures._value.get() == 1


def test_a_ledger_for_other_processes_keeps_nothing() -> None:
    durations = Histogram("a_seconds", "x", ["client"], registry=None)
    calls = Counter("b", "x", ["client"], registry=None)
    ledger = LedgerAtOnce(lambda _: None)
    ledger.counted(durations, ("billing",), calls, ("billing",)).observe(0.02)
    ledger.distribution(durations, "billing").observe(0.02)
    assert sum(buckets(durations.labels("billing"))) == 2
    assert calls.labels("billing")._value.get() == 1
    assert not ledger._entries


FORK = """
import os, threading
from platform_http.telemetry import tallies
from tests.telemetry.stand_ins import Scene

scene = Scene()
call = scene.call()
attempt, _ = scene.attempt(call)
scene.answer(attempt)
call.close("success", "", scene.now)

looking, may_end = threading.Event(), threading.Event()
carry = tallies.Distribution.carry

def slow(self):
    looking.set()
    may_end.wait(0.2)
    carry(self)

tallies.Distribution.carry = slow
look = lambda: scene.sample("platform_http_calls_total", outcome="success")
looker = threading.Thread(target=look)
looker.start()
looking.wait()
child = os.fork()
if not child:
    tallies.Distribution.carry = carry
    os._exit(0 if look() == 1 else 1)
looker.join()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert look() == 1
"""


def test_a_process_that_is_forked_during_a_look_can_look_itself() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=30)

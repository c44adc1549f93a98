"""Many timeouts on one timer of the loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from platform_http import timers as timers_module
from platform_http.timers import Bounded, Timers, clock_of


class Entry:
    def __init__(self, when: float) -> None:
        self.when = when
        self.expired_at = math.inf

    def expire(self) -> None:
        self.expired_at = asyncio.get_running_loop().time()


@pytest.fixture
async def timers() -> Timers:
    return Timers(asyncio.get_running_loop())


async def test_each_expires_in_its_own_time(timers: Timers) -> None:
    now = asyncio.get_running_loop().time()
    entries = [Entry(now + seconds) for seconds in (0.03, 0.01, 0.02)]
    for entry in entries:
        timers.add(entry)
    await asyncio.sleep(0.1)
    assert all(entry.when <= entry.expired_at < math.inf for entry in entries)
    assert len(timers) == 0


async def test_those_that_are_late_expire_in_their_order(timers: Timers) -> None:
    told: list[float] = []

    class Telling(Entry):
        def expire(self) -> None:
            told.append(self.when)

    # In one slice, whose order is that of a set.
    begin = asyncio.get_running_loop().time() // 1 + 2
    entries = [Telling(begin + number / 1000) for number in (9, 3, 7, 1, 5, 8, 2, 6, 4)]
    for entry in entries:
        timers.add(entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timers.loop, "time", lambda: begin + 1)
        timers._wake()
    assert told == sorted(told)
    assert len(told) == len(entries)


async def test_what_was_discarded_does_not_expire(timers: Timers) -> None:
    entry = Entry(asyncio.get_running_loop().time() + 0.01)
    timers.add(entry)
    timers.discard(entry)
    timers.discard(entry)
    await asyncio.sleep(0.03)
    assert entry.expired_at == math.inf


async def test_one_that_is_sooner_does_not_wait_for_one_that_is_later(timers: Timers) -> None:
    now = asyncio.get_running_loop().time()
    late, soon = Entry(now + 60), Entry(now + 0.01)
    timers.add(late)
    timers.add(soon)
    await asyncio.sleep(0.03)
    assert soon.expired_at < math.inf
    assert late.expired_at == math.inf
    assert len(timers) == 1


async def test_one_that_fails_to_end_is_told_and_keeps_none_of_the_others(timers: Timers) -> None:
    class Failing(Entry):
        def expire(self) -> None:
            raise ValueError("no end")

    loop = asyncio.get_running_loop()
    told = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    when = loop.time() + 0.01
    entries = [Entry(when) for _ in range(8)]
    later = Entry(when + 0.02)
    for entry in (*entries[:4], Failing(when), *entries[4:], later):
        timers.add(entry)
    await asyncio.sleep(0.06)
    assert all(entry.expired_at < math.inf for entry in (*entries, later))
    assert [str(error) for error in told] == ["no end"]


async def test_what_another_one_discards_while_it_expires_does_not_expire(timers: Timers) -> None:
    class Discarding(Entry):
        other: Entry

        def expire(self) -> None:
            super().expire()
            timers.discard(self.other)

    now = asyncio.get_running_loop().time()
    one, other = Discarding(now - 1), Discarding(now - 1)
    one.other, other.other = other, one
    timers.add(one)
    timers.add(other)
    timers._wake()
    assert sorted(each.expired_at == math.inf for each in (one, other)) == [False, True]
    assert len(timers) == 0


def test_one_that_expires_costs_no_look_at_thousands_of_others() -> None:
    looks = 0
    expired = []

    class Watched:
        def __init__(self, when: float) -> None:
            self._when = when

        @property
        def when(self) -> float:
            nonlocal looks
            looks += 1
            return self._when

        def expire(self) -> None:
            expired.append(self._when)

    class Loop:
        now = 1000.0
        wake = None

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, callback: Callable[[], None], *, context: object) -> Loop:
            self.now, self.wake = when, callback
            return self

        def cancel(self) -> None:
            self.wake = None

    loop = Loop()
    timers = Timers(loop)
    instants = [1001 + number / 1000 for number in range(4000)]
    for instant in instants:
        timers.add(Watched(instant))
    while loop.wake is not None:
        wake, loop.wake = loop.wake, None
        wake()
    assert expired == instants
    assert looks < 200 * len(instants)


async def test_what_is_bound_is_cancelled_in_its_task_and_says_so(timers: Timers) -> None:
    bounded = Bounded()
    bounded.bind(timers, asyncio.get_running_loop().time() + 0.01)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(5)
    assert bounded.release(timers)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_was_released_cancels_nothing(timers: Timers) -> None:
    bounded = Bounded()
    bounded.bind(timers, asyncio.get_running_loop().time() + 0.01)
    assert not bounded.release(timers)
    await asyncio.sleep(0.03)


async def test_a_bound_and_a_cancel_at_once_are_a_cancel(timers: Timers) -> None:
    seen = []

    async def wait() -> None:
        bounded = Bounded()
        bounded.bind(timers, asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            seen.append(bounded.release(timers))
            raise

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    timers._wake()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False]


async def test_a_slice_without_entries_is_not_waited_for(timers: Timers) -> None:
    now = asyncio.get_running_loop().time()
    gone = Entry(now + 0.01)
    timers.add(gone)
    timers.discard(gone)
    later = [Entry(now + seconds) for seconds in (0.2, 0.1)]
    for entry in later:
        timers.add(entry)
    assert len(timers._slices) == 2
    await asyncio.sleep(0.3)
    assert all(entry.when <= entry.expired_at < math.inf for entry in later)
    assert not timers._slices
    assert timers._handle is None


async def test_the_clock_of_a_loop_is_its_own() -> None:
    loop = asyncio.get_running_loop()
    clock = clock_of(loop)
    assert loop.time() <= clock() <= loop.time()


async def test_a_loop_that_keeps_its_own_time_is_asked() -> None:
    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    loop = Loop()
    try:
        assert clock_of(loop)() == 7.0
    finally:
        loop.close()


async def test_a_time_that_a_test_gives_to_all_loops_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.BaseEventLoop, "time", lambda _: 7.0)
        assert clock_of(loop)() == 7.0


async def test_the_current_task_is_found_as_asyncio_finds_it() -> None:
    # In Python 3.11 by a private name.
    assert timers_module._current_task(asyncio.get_running_loop()) is asyncio.current_task()

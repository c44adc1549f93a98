"""Many timeouts on one timer of the loop."""

import asyncio
import math

import pytest

from platform_http.timers import Timers


class Entry:
    def __init__(self, when: float) -> None:
        self.when = when
        self.expired_at = math.inf

    def expire(self) -> None:
        self.expired_at = asyncio.get_running_loop().time()


@pytest.fixture
async def timers():
    timers = Timers(asyncio.get_running_loop())
    yield timers
    timers.close()


async def test_each_expires_in_its_own_time(timers: Timers) -> None:
    now = asyncio.get_running_loop().time()
    entries = [Entry(now + seconds) for seconds in (0.03, 0.01, 0.02)]
    for entry in entries:
        timers.add(entry)
    await asyncio.sleep(0.1)
    assert all(entry.when <= entry.expired_at < math.inf for entry in entries)
    assert len(timers) == 0


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


async def test_nothing_expires_after_closing(timers: Timers) -> None:
    entry = Entry(asyncio.get_running_loop().time() + 0.01)
    timers.add(entry)
    timers.close()
    await asyncio.sleep(0.03)
    assert entry.expired_at == math.inf


async def test_a_timeout_cancels_its_task_and_says_so(timers: Timers) -> None:
    timeout = timers.timeout(asyncio.get_running_loop().time() + 0.01)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(5)
    assert timeout.stop()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timeout_that_was_stopped_cancels_nothing(timers: Timers) -> None:
    timeout = timers.timeout(asyncio.get_running_loop().time() + 0.01)
    assert not timeout.stop()
    await asyncio.sleep(0.03)


async def test_a_timeout_and_a_cancel_at_once_are_a_cancel(timers: Timers) -> None:
    seen = []

    async def wait() -> None:
        timeout = timers.timeout(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            seen.append(timeout.stop())
            raise

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    timers._wake()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False]

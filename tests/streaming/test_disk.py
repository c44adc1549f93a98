"""Threads that write: waited for whatever happens."""

from __future__ import annotations

import asyncio
import threading

import pytest

from platform_http.streaming.disk import BLOCK, Spool, off_loop


async def test_a_cancelled_task_comes_back_when_its_thread_is_done() -> None:
    started, release, done = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait()
        done.set()

    task = asyncio.create_task(off_loop(work))
    await started.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_what_a_thread_raises_is_raised() -> None:
    def work() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await off_loop(work)


async def test_a_spool_gathers_what_arrives_while_it_writes_and_then_makes_wait() -> None:
    written: list[int] = []
    release = threading.Event()

    def write(pieces: list[bytes]) -> None:
        release.wait()
        written.append(sum(map(len, pieces)))

    spool = Spool(write)
    half = bytes(BLOCK // 2)
    await spool.put(half)
    await spool.put(half)
    full = asyncio.create_task(spool.put(half))
    await asyncio.sleep(0)
    assert not full.done()
    release.set()
    await full
    await spool.drain()
    assert written == [BLOCK // 2, BLOCK]


async def test_nothing_is_written_after_a_piece_that_could_not_be() -> None:
    written: list[bytes] = []

    def write(pieces: list[bytes]) -> None:
        if pieces == [b"1"]:
            raise OSError(28, "No space left on device")
        written.extend(pieces)

    spool = Spool(write)
    await spool.put(b"1")
    with pytest.raises(OSError, match="No space"):
        while True:
            await spool.put(b"2")
            await asyncio.sleep(0.001)
    await spool.drain()
    assert written == []

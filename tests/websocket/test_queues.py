"""The queues between an application and its socket."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import WSMessage, WSMsgType

from platform_http.websocket.queues import Frame, Inbox, Outbox


class EndedError(Exception):
    pass


def text(content: str) -> Frame:
    return Frame(WSMsgType.TEXT, content.encode())


def message(content: str) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, content, "")


def outbox(limit: int) -> Outbox:
    return Outbox(limit, lambda: None)


class TestAnOutbox:
    async def test_lets_waiting_senders_in_one_by_one_in_their_order(self) -> None:
        box = outbox(1)
        await box.put(text("0"), None)
        waiting = [asyncio.create_task(box.put(text(str(n)), None)) for n in (1, 2, 3)]
        taken = []
        while len(taken) < 4:
            await asyncio.sleep(0)
            assert len(box) <= 1
            frame = box.next()
            if frame is not None:
                taken.append(frame.payload)
        assert taken == [b"0", b"1", b"2", b"3"]
        assert box.next() is None
        await asyncio.gather(*waiting)

    async def test_holds_no_message_whose_sender_was_cancelled_or_ran_out_of_time(self) -> None:
        box = outbox(1)
        await box.put(text("first"), None)
        waiting = asyncio.create_task(box.put(text("cancelled"), None))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        with pytest.raises(TimeoutError, match="queue of 1 messages had no room"):
            await box.put(text("late"), 0.01)
        assert box.next() == text("first")
        assert box.next() is None
        await box.put(text("second"), 0)
        assert box.next() == text("second")

    async def test_refuses_all_who_wait_and_all_who_come_once_it_has_ended(self) -> None:
        box = outbox(1)
        await box.put(text("kept"), None)
        waiting = [asyncio.create_task(box.put(text("refused"), None)) for _ in range(5)]
        await asyncio.sleep(0)
        box.end(EndedError)
        async with asyncio.timeout(2):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, EndedError) for result in results)
        with pytest.raises(EndedError):
            await box.put(text("refused"), None)
        assert len(box) == 1


class TestAnInbox:
    async def test_hands_out_what_it_has_before_it_tells_of_its_end(self) -> None:
        box = Inbox(2, lambda: None)
        box.put(message("a"))
        assert box.has_room
        box.put(message("b"))
        assert not box.has_room
        box.end(EndedError)
        assert [(await box.get()).data for _ in range(2)] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(EndedError):
                await box.get()

    async def test_tells_all_who_wait_of_its_end(self) -> None:
        box = Inbox(2, lambda: None)
        waiting = [asyncio.create_task(box.get()) for _ in range(3)]
        await asyncio.sleep(0)
        box.end(EndedError)
        async with asyncio.timeout(2):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, EndedError) for result in results)

    async def test_keeps_a_message_that_comes_as_its_reader_is_cancelled(self) -> None:
        box = Inbox(2, lambda: None)
        waiting = asyncio.create_task(box.get())
        await asyncio.sleep(0)
        box.put(message("kept"))
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert (await box.get()).data == "kept"

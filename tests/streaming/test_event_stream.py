"""The format of Server-Sent Events, by the examples and rules of the standard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.streaming import ServerSentEvent, StreamFormatError
from platform_http.streaming.event_stream import EventParser


def parsed(*pieces: bytes, **options) -> list[ServerSentEvent]:
    parser = EventParser(**options)
    return [event for piece in pieces for event in parser.feed(piece)]


def message(data: str, **options: str) -> ServerSentEvent:
    return ServerSentEvent(data, **options)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
        (
            b": test\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
            [message("first event", id="1"), message("second event"), message(" third")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]),
        (b"data:test\n\ndata: test\n\n", [message("test"), message("test")]),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [message("1", event="add"), message("2")]),
        (b"event: add\n\ndata: 2\n\n", [message("2")]),
        (b"id: 7\n\ndata: x\n\n", [message("x", id="7")]),
        (b"id: 7\ndata: x\n\nid: 8\0\ndata: y\n\n", [message("x", id="7"), message("y", id="7")]),
        (b"\xef\xbb\xbfdata: x\n\n", [message("x")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", []),
        (b"data: x\r\rdata: y\r\n\r\ndata: z\n\n", [message("x"), message("y"), message("z")]),
        (b"data: x\r\ndata: y\r\n\r\n", [message("x\ny")]),
        (b"data: \xff\n\n", [message("�")]),
        (b"Data: x\nunknown: y\n:\ndata : z\n\n", []),
        (b"data: not finished\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream: bytes, events) -> None:
    assert parsed(stream) == events
    # One byte at a time, it is the same stream.
    assert parsed(*(stream[i : i + 1] for i in range(len(stream)))) == events


@given(st.data())
def test_where_a_stream_is_cut_makes_no_difference(data: st.DataObject) -> None:
    stream = data.draw(st.text("dataidevent: \r\n1\ufeff", max_size=80)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*pieces) == parsed(stream)


def test_the_servers_wait_is_in_seconds_and_only_digits_count() -> None:
    parser = EventParser()
    for line, retry in [
        (b"retry: 1500\n", 1.5),
        (b"retry: -1\n", 1.5),
        (b"retry: 1.5\n", 1.5),
        ("retry: ٣\n".encode(), 1.5),
        (b"retry:0\n", 0.0),
        (b"retry:" + b"9" * 5000 + b"\n", 86400.0),
    ]:
        list(parser.feed(line))
        assert parser.retry == retry


def test_an_id_counts_once_its_event_is_complete() -> None:
    parser = EventParser(last_event_id="1")
    list(parser.feed(b"id: 2\n"))
    assert parser.last_event_id == "1"
    list(parser.feed(b"\n"))
    assert parser.last_event_id == "2"
    assert parser.anew().last_event_id == "2"


@pytest.mark.parametrize(
    "pieces",
    [[b"data: 123456789"], [b"data: 12\ndata: 34\n"], [b"x" * 5] * 4, [b": 123456789\n\n"]],
)
def test_an_event_that_is_too_large_is_an_error(pieces: list[bytes]) -> None:
    with pytest.raises(StreamFormatError, match="max_event, 10 bytes"):
        parsed(*pieces, max_event=10)


def test_many_small_events_are_no_large_one() -> None:
    assert len(parsed(b"data: 1\n\n" * 1000, max_event=10)) == 1000


def test_comments_that_keep_a_connection_alive_for_weeks_are_no_large_event() -> None:
    assert parsed(*[b": alive\n"] * 1000, b"data: 1\n", *[b"id: 2\n"] * 9, b"\n", max_event=20) == [
        message("1", id="2")
    ]


def test_an_empty_piece_in_a_line_end_ends_no_other_line() -> None:
    assert parsed(b"data: 1\r", b"", b"\ndata: 2\n\n") == [message("1\n2")]


def test_a_limit_that_allows_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_event"):
        EventParser(max_event=0)

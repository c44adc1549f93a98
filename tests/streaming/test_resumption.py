"""When a body that was cut is asked for again."""

from __future__ import annotations

import math
import random

import pytest
from yarl import URL

from platform_http import CallOptions
from platform_http.streaming.ranges import ContentRange, content_range, validator
from platform_http.streaming.resumption import PROGRESS, Resumption

URL_ = URL("http://host.test/")


class Highest(random.Random):
    def random(self) -> float:
        return 1.0


def resumption(**options) -> Resumption:
    return Resumption(None, CallOptions(**options), Highest())


def delays(subject: Resumption, *gains: int, remaining: float = math.inf) -> list[float | None]:
    return [
        subject.delay(URL_, gained=gain, remaining=remaining, timed_out=False) for gain in gains
    ]


def test_waits_grow_until_the_attempts_are_used_up() -> None:
    subject = resumption(max_attempts=4)
    assert delays(subject, 0, PROGRESS - 1, 0, 0) == [0.1, 0.2, 0.4, None]
    assert subject.stop_reason == "attempts"


def test_progress_begins_the_count_anew() -> None:
    assert delays(resumption(), 0, 0, PROGRESS, 0, 0, 0) == [0.1, 0.2, 0.05, 0.1, 0.2, None]


def test_a_wait_that_the_deadline_does_not_leave_room_for_is_not_begun() -> None:
    subject = resumption()
    assert delays(subject, 0, remaining=0.1) == [None]
    assert subject.stop_reason == "deadline"


@pytest.mark.parametrize("options", [{"max_attempts": 1}, {"idempotent": False}])
def test_a_call_that_must_not_be_resent_is_not(options) -> None:
    assert delays(resumption(**options), PROGRESS) == [None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 9, 10)),
        ("Bytes 5-9/*", ContentRange(5, 9, None)),
        ("bytes */10", ContentRange(None, None, 10)),
        ("bytes */*", None),
        ("bytes 9-5/10", None),
        ("bytes 0-10/10", None),
        ("bytes -1-5/10", None),
        ("lines 0-9/10", None),
        ("", None),
    ],
)
def test_a_content_range_is_read_or_not_at_all(value: str, expected) -> None:
    assert content_range({"Content-Range": value}) == expected


def test_a_date_that_cannot_be_read_or_compared_is_no_validator() -> None:
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    assert validator({"Last-Modified": modified, "Date": modified}) is None
    assert validator({"Last-Modified": modified}) is None
    assert validator({"Last-Modified": "yesterday", "Date": modified}) is None
    # Without a zone the one is naive, and the other is not.
    assert validator({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 -0000", "Date": modified}) is None

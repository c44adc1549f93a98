"""What a timer that comes late belongs to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from platform_http.cli.request.assembly import _between, _waits
from platform_http.cli.request.call import Exchange
from platform_http.cli.request.recorder import Recording, Waited, Watched


@pytest.mark.parametrize(
    ("begun", "waits"),
    [
        (10.1, [("backoff", 0.0, 0.1)]),
        (10.12, [("backoff", 0.0, 0.12)]),
        (10.3, [("backoff", 0.0, 0.1), ("preparation", 0.1, 0.2)]),
    ],
)
def test_a_backoff_lasts_until_its_timer_wakes_and_no_longer(begun, waits) -> None:
    found = list(_between([Waited("backoff", 10.0, 10.1)], 2, 10.0, 10.0, begun))
    assert [(each.name, each.start, each.duration) for each in found] == waits


def test_what_an_interruption_cut_short_is_a_wait_for_the_next_attempt() -> None:
    attempt = SimpleNamespace(number=1, started=10.0, ended=10.2)
    made = Watched(attempt, hop=1, waits=[], resend_reason=None)
    exchange = Exchange(recording=Recording(attempts=[made]))
    [backoff] = _waits(exchange, 10.0, 10.5)
    assert (backoff.name, backoff.before) == ("backoff", 2)
    assert (backoff.start, backoff.duration) == (0.2, 0.3)

    exchange.recording.waits.append(Waited("rate_limit", 10.2, 10.5))
    [wait] = _waits(exchange, 10.0, 10.5)
    assert (wait.name, wait.before) == ("rate_limit", 2)


def test_a_wait_that_was_told_late_does_not_outlast_the_attempt() -> None:
    found = list(_between([Waited("concurrency", 10.2, 10.4)], 1, 10.0, 10.0, 10.3))
    assert [(each.name, each.start, each.duration) for each in found] == [
        ("preparation", 0.0, 0.2),
        ("concurrency", 0.2, 0.1),
    ]

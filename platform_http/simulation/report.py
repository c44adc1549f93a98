"""The figures of one run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from platform_http.simulation.recorder import Recorder
    from platform_http.simulation.scenario import Scenario

RECOVERED: Final = 0.95
"""Share of the goodput before a disturbance at which it counts as over."""

_STEADY: Final = 3
"""Seconds for which goodput must be back."""

_WARM_UP: Final = 2
"""Seconds at the start that are no measure of normal: the first calls are still under way."""


class Second(NamedTuple):
    """One second of a run.

    Args:
        start: Seconds since the start of the run.
        calls: Calls that began.
        successes: Calls that succeeded: the goodput.
        attempts: Requests that the fleet sent.
        p50: Median of the successful calls that ended, seconds; ``None`` without any.
        p99: Their 99th percentile, seconds; ``None`` without any.
        waiting: Requests in the queues of the last upstream.
    """

    start: int
    calls: int
    successes: int
    attempts: int
    p50: float | None
    p99: float | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Report:
    """What one variant came to.

    Args:
        label: Of the variant.
        calls: Calls that were made.
        successes: Calls that succeeded.
        errors: The other calls by their ``error.type``.
        sent: Requests that each upstream got.
        resends: Attempts of the fleet after a failed one.
        hedges: Attempts of the fleet beside a slow one.
        p50: Median of the successful calls, seconds; ``None`` without any.
        p99: Their 99th percentile, seconds; ``None`` without any.
        recovery: Seconds from the end of the last disturbance until goodput is back; infinite if
            it is not within the run, ``None`` where there is no before and after.
        burst: Resends in the fullest 100 ms over the mean of all 100 ms from the first to the
            last resend; ``None`` without resends.
        seconds: The run second by second, without what ended after it.
    """

    label: str
    calls: int
    successes: int
    errors: Mapping[str, int]
    sent: Mapping[str, int]
    resends: int
    hedges: int
    p50: float | None
    p99: float | None
    recovery: float | None
    burst: float | None
    seconds: Sequence[Second]

    @property
    def ratio(self) -> float:
        """Share of the calls that succeeded, in [0, 1]."""
        return self.successes / self.calls if self.calls else 0.0

    @property
    def goodput(self) -> float:
        """Calls that succeeded per second of the run."""
        return sum(second.successes for second in self.seconds) / len(self.seconds)

    def amplification(self, upstream: str) -> float:
        """Return the requests that *upstream* got per call of the fleet."""
        return self.sent[upstream] / self.calls if self.calls else 0.0


def report(label: str, scenario: Scenario, record: Recorder, sent: Mapping[str, int]) -> Report:
    """Return the figures of a run.

    Args:
        label: Of the variant.
        scenario: What was played.
        record: What happened.
        sent: Requests that each upstream got.
    """
    latencies = sorted(each for second in record.latencies.values() for each in second)
    resends = record.resends.filled()
    seconds = [_second(record, place) for place in range(math.ceil(scenario.duration))]
    return Report(
        label=label,
        calls=record.calls.total,
        successes=record.successes.total,
        errors=dict(record.errors.most_common()),
        sent=sent,
        resends=record.resends.total,
        hedges=record.hedges.total,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        recovery=_recovery(scenario, [second.successes for second in seconds]),
        burst=max(resends) * len(resends) / sum(resends) if resends else None,
        seconds=seconds,
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile of *ordered* values, ``None`` of none.

    Args:
        ordered: Ascending.
        share: In (0, 1].
    """
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _second(record: Recorder, place: int) -> Second:
    latencies = sorted(record.latencies.get(place, ()))
    return Second(
        start=place,
        calls=record.calls[place],
        successes=record.successes[place],
        attempts=record.attempts[place],
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        waiting=record.waiting[place],
    )


def _recovery(scenario: Scenario, successes: Sequence[int]) -> float | None:
    if not scenario.disturbance:
        return None
    begin = min(each.start for each in scenario.disturbance)
    end = max(each.start + each.duration for each in scenario.disturbance)
    before = successes[_WARM_UP : int(begin)]
    if not any(before) or end >= scenario.duration:
        return None
    enough = RECOVERED * _STEADY * sum(before) / len(before)
    for place in range(math.ceil(end), len(successes) - _STEADY + 1):
        if sum(successes[place : place + _STEADY]) >= enough:
            return place - end
    return math.inf

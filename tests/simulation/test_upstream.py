from __future__ import annotations

import math
from random import Random

import pytest

from platform_http.simulation.events import Events
from platform_http.simulation.scenario import Scenario, UpstreamModel
from platform_http.simulation.upstream import ERROR_SECONDS, Upstream
from platform_http.simulation.wire import Lost, Reply
from tests.simulation.scenes import scene, trouble


class _Request:
    """Notes when and how it was answered."""

    def __init__(self, events: Events, deadline: float = math.inf) -> None:
        self._events = events
        self.deadline = deadline
        self.reply: Reply | Lost | None = None
        self.at = math.nan

    def answered(self, reply: Reply | Lost) -> None:
        assert self.reply is None
        self.reply = reply
        self.at = self._events.now


def _play(scenario: Scenario, *instants: float) -> list[_Request]:
    """Send requests at *instants* to the upstream of *scenario*."""
    events = Events()
    upstream = Upstream(scenario.upstream[0], events=events, rng=Random(1))
    for disturbance in scenario.disturbance:
        upstream.disturb(disturbance)
    requests = [_Request(events) for _ in instants]
    for request, instant in zip(requests, instants, strict=True):
        events.at(instant, upstream.receive, request)
    events.run()
    assert upstream.received == len(instants)
    assert upstream.waiting == 0
    return requests


def test_a_request_takes_its_service_time():
    (request,) = _play(scene(), 1)
    assert request.reply == Reply(200)
    assert request.at == pytest.approx(1.1)


def test_requests_beyond_the_workers_wait_in_the_order_in_which_they_came():
    requests = _play(scene(workers=2), 1, 1, 1, 1, 1)
    assert [request.at for request in requests] == pytest.approx([1.1, 1.1, 1.2, 1.2, 1.3])


def test_a_full_queue_answers_503_at_once():
    requests = _play(scene(workers=1, queue=1), 1, 1, 1)
    assert [request.reply for request in requests] == [Reply(200), Reply(200), Reply(503)]
    assert requests[-1].at == pytest.approx(1 + ERROR_SECONDS)


def test_a_crash_resets_what_is_in_flight_and_refuses_what_comes_until_it_is_over():
    down = scene(trouble("crash", start=1.05, duration=1), workers=1)
    served, waiting, refused, later = _play(down, 1, 1, 1.5, 2.5)
    assert served.reply is waiting.reply is Lost.RESET
    assert served.at == waiting.at == 1.05
    assert refused.reply is Lost.REFUSED
    assert later.reply == Reply(200)
    assert later.at == pytest.approx(2.6)


def test_refusing_lets_what_is_in_flight_finish():
    served, refused = _play(scene(trouble("refuse", start=1.05, duration=1)), 1, 1.06)
    assert served.reply == Reply(200)
    assert refused.reply is Lost.REFUSED


def test_a_status_is_answered_without_work():
    answer = trouble("status", status=429, retry_after=7, duration=2)
    failed, fine = _play(scene(answer), 1, 3)
    assert failed.reply == Reply(429, 7)
    assert failed.at == pytest.approx(1 + ERROR_SECONDS)
    assert fine.reply == Reply(200)


def test_a_slow_down_applies_to_what_begins_while_it_lasts():
    early, slow, late = _play(
        scene(trouble("slow_down", start=1.05, duration=1, factor=10)), 1, 2, 3
    )
    assert early.at == pytest.approx(1.1)
    assert slow.at == pytest.approx(3)
    assert late.at == pytest.approx(3.1)


def test_less_capacity_is_fewer_workers_until_it_is_back():
    half = scene(trouble("capacity", start=0, duration=1.15, factor=0.5), workers=2)
    requests = _play(half, 1, 1, 1, 1)
    # One at a time, and both as soon as the second worker is there.
    assert [request.at for request in requests] == pytest.approx([1.1, 1.2, 1.25, 1.3])


def test_no_capacity_at_all_keeps_everything_waiting():
    (request,) = _play(scene(trouble("capacity", duration=5, factor=0)), 1)
    assert request.at == pytest.approx(5.1)


def test_disturbances_that_overlap_add_up_and_end_one_by_one():
    story = scene(
        trouble("slow_down", start=0, duration=3, factor=2),
        trouble("slow_down", start=0, duration=2, factor=5),
    )
    both, one, none = _play(story, 1, 2.5, 3.5)
    assert [both.at, one.at, none.at] == pytest.approx([2, 2.7, 3.6])


def test_a_disturbance_of_some_replicas_leaves_the_others_alone():
    broken = scene(trouble("status", replicas=1), replicas=4)
    requests = _play(broken, *[1 + place / 100 for place in range(2000)])
    share = sum(request.reply == Reply(503) for request in requests) / len(requests)
    assert share == pytest.approx(0.25, abs=0.03)


def test_the_mean_wait_is_what_queueing_theory_says():
    # M/M/c: Erlang C, with 5 workers that are 80 % busy.
    workers, mean, rate = 5, 0.1, 40.0
    load = rate * mean
    busy = load / workers
    queued = load**workers / math.factorial(workers) / (1 - busy)
    some = sum(load**k / math.factorial(k) for k in range(workers))
    expected = queued / (some + queued) * mean / (workers * (1 - busy)) + mean

    model = UpstreamModel.model_validate(
        {
            "name": "api",
            "workers": workers,
            "queue": 10**6,
            "service_time": {"distribution": "exponential", "mean": mean},
        }
    )
    events, rng = Events(), Random(1)
    upstream = Upstream(model, events=events, rng=Random(2))
    instant, began, requests = 0.0, [], []
    for _ in range(60_000):
        instant += rng.expovariate(rate)
        request = _Request(events)
        began.append(instant)
        requests.append(request)
        events.at(instant, upstream.receive, request)
    events.run()
    spent = [request.at - begin for request, begin in zip(requests, began, strict=True)]
    assert sum(spent) / len(spent) == pytest.approx(expected, rel=0.05)


def test_a_lognormal_service_time_has_the_percentiles_that_were_asked_for():
    model = scene(service_time={"distribution": "lognormal", "p50": 0.04, "p99": 0.2}).upstream[0]
    sample = model.service_time.sampler(Random(1))
    times = sorted(sample() for _ in range(40_000))
    assert times[20_000] == pytest.approx(0.04, rel=0.03)
    assert times[39_600] == pytest.approx(0.2, rel=0.05)

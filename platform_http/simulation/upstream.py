"""A modelled upstream: replicas with workers and a queue, and what happens to them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from platform_http.simulation.scenario import Capacity, Crash, SlowDown, Status
from platform_http.simulation.wire import Lost, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from platform_http.simulation.events import Events
    from platform_http.simulation.fleet import Fleet
    from platform_http.simulation.scenario import Disturbance, UpstreamModel
    from platform_http.simulation.wire import Request

ERROR_SECONDS: Final = 0.001
"""How long it takes to be refused, or to be answered without any work."""

_DONE: Final = Reply(200)
_FULL: Final = Reply(503)


class Upstream:
    """The replicas of one service behind a load balancer that picks at random.

    Args:
        model: What the scenario says of it.
        events: Simulated time.
        rng: Source of service times and of the balancer's picks.
        downstream: Makes the call that each request needs, or ``None``.

    Attributes:
        received: Requests so far, refused ones included.
    """

    def __init__(
        self, model: UpstreamModel, *, events: Events, rng: Random, downstream: Fleet | None = None
    ) -> None:
        self._events = events
        self._rng = rng
        work = _Work(model.service_time.sampler(rng), events, downstream)
        self._replicas = [_Replica(model, work) for _ in range(model.replicas)]
        self.received = 0

    @property
    def waiting(self) -> int:
        """Requests in the queues of all replicas."""
        return sum(len(replica.waiting) for replica in self._replicas)

    def receive(self, request: Request) -> None:
        """Take a request and answer it some day."""
        self.received += 1
        self._replicas[int(self._rng.random() * len(self._replicas))].receive(request)

    def disturb(self, disturbance: Disturbance) -> None:
        """Plan a disturbance, its beginning and its end."""
        for replica in self._replicas[: disturbance.replicas]:
            self._events.at(disturbance.start, replica.begin, disturbance)
            end = disturbance.start + disturbance.duration
            self._events.at(end, replica.end, disturbance)


class _Work:
    """What the replicas of an upstream have in common."""

    __slots__ = ("downstream", "events", "seconds")

    def __init__(
        self, seconds: Callable[[], float], events: Events, downstream: Fleet | None
    ) -> None:
        self.seconds = seconds
        self.events = events
        self.downstream = downstream


class _Replica:
    __slots__ = (
        "_active",
        "_all_workers",
        "_events",
        "_queue",
        "_serving",
        "_slowness",
        "_trouble",
        "_work",
        "_workers",
        "waiting",
    )

    def __init__(self, model: UpstreamModel, work: _Work) -> None:
        self._work = work
        self._events = work.events
        self._all_workers = self._workers = model.workers
        self._queue = model.queue
        self._slowness = 1.0
        # What every new request gets at once, if anything.
        self._trouble: Reply | Lost | None = None
        self._active: list[Disturbance] = []
        # A dictionary, because its order is the same in each run.
        self._serving: dict[Request, None] = {}
        self.waiting: deque[Request] = deque()

    def receive(self, request: Request) -> None:
        if self._trouble is not None:
            self._answer_soon(request, self._trouble)
        elif len(self._serving) < self._workers:
            self._serve(request)
        elif len(self.waiting) < self._queue:
            self.waiting.append(request)
        else:
            self._answer_soon(request, _FULL)

    def begin(self, disturbance: Disturbance) -> None:
        self._active.append(disturbance)
        self._adjust()
        if isinstance(disturbance, Crash):
            lost = [*self._serving, *self.waiting]
            self._serving.clear()
            self.waiting.clear()
            for request in lost:
                request.answered(Lost.RESET)

    def end(self, disturbance: Disturbance) -> None:
        self._active.remove(disturbance)
        self._adjust()
        self._serve_waiting()

    def _adjust(self) -> None:
        share, self._slowness, self._trouble = 1.0, 1.0, None
        for disturbance in self._active:
            if isinstance(disturbance, Capacity):
                share *= disturbance.factor
            elif isinstance(disturbance, SlowDown):
                self._slowness *= disturbance.factor
            elif isinstance(disturbance, Status):
                self._trouble = Reply(disturbance.status, disturbance.retry_after)
            else:
                self._trouble = Lost.REFUSED
        self._workers = round(self._all_workers * share)

    def _answer_soon(self, request: Request, reply: Reply | Lost) -> None:
        def answer(request: Request) -> None:
            request.answered(reply)

        self._events.at(self._events.now + ERROR_SECONDS, answer, request)

    def _serve(self, request: Request) -> None:
        self._serving[request] = None
        seconds = self._work.seconds() * self._slowness
        self._events.at(self._events.now + seconds, self._worked, request)

    def _worked(self, request: Request) -> None:
        if request not in self._serving:
            # Lost in a crash.
            return
        downstream = self._work.downstream
        if downstream is None:
            self._finish(request, _DONE)
            return

        def called(succeeded: bool) -> None:
            if request in self._serving:
                self._finish(request, _DONE if succeeded else _FULL)

        downstream.call(called, deadline=request.deadline)

    def _finish(self, request: Request, reply: Reply) -> None:
        del self._serving[request]
        self._serve_waiting()
        request.answered(reply)

    def _serve_waiting(self) -> None:
        while self.waiting and len(self._serving) < self._workers:
            self._serve(self.waiting.popleft())

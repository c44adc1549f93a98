"""One fault, one client, and the nine invariants that hold whatever the fault was.

I1 no connection is acquired and nobody waits for one; I2 tasks and I3 file descriptors are back at
their baseline; I4 what the server saw, attempts, CLIENT spans and call samples agree; I5 the
exception is a declared one; I6 the deadline holds; I7 no secret is told; I8 a spoilt connection is
not used again; I9 every permit is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp
from yarl import URL

from platform_http.errors import PlatformHttpError
from platform_http.factory import SessionFactory
from platform_http.middlewares.attempt import AttemptMiddleware
from platform_http.middlewares.retry import RetryMiddleware
from platform_http.settings import HttpSettings
from platform_http.testing import FakeClock, FaultServer, ReceivedRequest
from platform_http.testing.actions import Action, respond
from tests.faults import canaries
from tests.functional.conftest import Observed, merged
from tests.security.canaries import found_in

TOTAL = 0.5
ATTEMPT = 0.25

SETTINGS: Mapping[str, object] = {
    "timeout": {"total": TOTAL, "attempt": ATTEMPT, "connect": 0.1, "pool": 0.1},
    "retry": {"backoff_initial": 0.001, "backoff_max": 0.002, "backoff_throttled": 0.001},
    # Off by default, and so that they never refuse here: they hand permits out all the same.
    "circuit_breaker": {"slow_call_duration": 60, "slow_call_ratio": 1},
    "rate_limit": {"rate": 10_000},
}

_GRACE = 0.25
_TICK = 0.01
_TIMEOUTS = frozenset({"attempt_timeout", "connect_timeout", "read_timeout"})

# Tasks of the servers that stand in for the network.
_STAGE = ("FaultServer.", "_Link.", "_Pipe.")


class Script:
    """Plays actions for faulty requests in order, the last for ever; ``/clean`` is always fine."""

    def __init__(self, *actions: Action) -> None:
        self._actions = actions
        self._played = 0

    def __call__(self, request: ReceivedRequest) -> Action:
        if "/clean" in request.target:
            return respond(body=b"clean")
        action = self._actions[min(self._played, len(self._actions) - 1)]
        self._played += 1
        return action


@dataclass
class Result:
    """What a caller got."""

    status: int = 0
    body: bytes = b""
    error: BaseException | None = None
    elapsed: float = 0.0


async def _read(response: aiohttp.ClientResponse) -> bytes:
    return await response.read()


class _Stalls:
    """Adds up by how much the loop is late, which no deadline can make up for."""

    def __init__(self) -> None:
        self.total = 0.0

    async def measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            self.total += loop.time() - due


@dataclass
class Scene:
    """A client under a fault, and what is known of its calls."""

    observed: Observed
    factory: SessionFactory
    log: list[logging.LogRecord]
    session: aiohttp.ClientSession
    connector: aiohttp.BaseConnector
    results: list[Result] = field(default_factory=list)
    servers: list[FaultServer] = field(default_factory=list)
    started: int = 0
    hook_errors: int = 0
    _attempts: int = 0
    _requests: int = 0
    _tasks: set[asyncio.Task[object]] = field(default_factory=set)
    _complaints: list[dict[str, object]] = field(default_factory=list)

    def expect(self, *, attempts: int, requests: int) -> None:
        """State how many attempts were made, and how many requests reached a server, more."""
        self._attempts += attempts
        self._requests += requests

    @contextlib.asynccontextmanager
    async def server(self, *script: Action, **options: object) -> AsyncIterator[FaultServer]:
        """Run a server whose requests are counted."""
        async with FaultServer(Script(*script), **options) as server:
            self.servers.append(server)
            yield server

    async def call(
        self,
        url: URL,
        *,
        method: str = "GET",
        deadline: float = TOTAL,
        stall: float = 0.0,
        consume: Callable[[aiohttp.ClientResponse], Awaitable[bytes]] = _read,
        **options: object,
    ) -> Result:
        """Make a call with a secret in every place, and check I5 and I6.

        Args:
            url: Where to.
            method: What.
            deadline: Seconds that it may take.
            stall: Seconds for which the loop is blocked on purpose.
            consume: Reads the response.
            **options: Of the request.
        """
        headers = canaries.HEADERS | options.pop("headers", {})
        return await self.measured(
            lambda: self._get(canaries.planted(url), method, consume, headers=headers, **options),
            deadline=deadline,
            stall=stall,
        )

    async def _get(self, url: URL, method: str, consume, **options: object) -> Result:
        async with self.session.request(method, url, **options) as response:
            return Result(response.status, await consume(response))

    async def measured(
        self, make: Callable[[], Awaitable[Result]], *, deadline: float = TOTAL, stall: float = 0.0
    ) -> Result:
        """Run one call of any kind, and check I5 and I6."""
        self.started += 1
        stalls = _Stalls()
        meter = asyncio.create_task(stalls.measure())
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            result = await make()
        except Exception as error:
            result = Result(error=error)
        finally:
            elapsed = clock() - began
            meter.cancel()
            await asyncio.wait([meter])
        result.elapsed = elapsed
        self.results.append(result)
        if result.error is not None:
            # I5: nothing but what the documentation tells to catch.
            assert isinstance(result.error, PlatformHttpError | aiohttp.ClientError), result.error
        allowed = deadline + _GRACE + stall + stalls.total
        assert elapsed <= allowed, f"I6: {elapsed:.3f} s, allowed {allowed:.3f} s"
        return result

    async def assert_clean_again(self, server: FaultServer, *, reuses: bool = False) -> None:
        """I8: the next request to *server* is fine, and on a connection that nothing spoilt."""
        spoilt = {request.connection_id for request in server.requests}
        result = await self.call(server.url / "clean")
        assert (result.status, result.body) == (200, b"clean"), f"I8: {result}"
        self.expect(attempts=1, requests=1)
        if reuses:
            assert server.requests[-1].connection_id in spoilt, "a sound connection was given up"
        else:
            assert server.requests[-1].connection_id not in spoilt, "I8: a spoilt connection"

    async def check(self) -> None:
        """Check I1, I2, I4, I7 and I9; I3 and again I2 are the leak detector's, after the end."""
        left: list[str] = []
        for _ in range(50):
            left = [*self._connections(), *self._own_tasks(), *self._permits()]
            if not left:
                break
            await asyncio.sleep(0.01)
        assert not left, left
        self._check_counts()
        self._check_budget()
        # What nobody retrieved is told to the loop's handler when it is collected.
        gc.collect()
        told = found_in(self._texts())
        assert not told, f"I7: {told}"
        assert not self._complaints, self._complaints

    def _connections(self) -> list[str]:
        acquired = len(self.connector._acquired)
        waiters = sum(map(len, self.connector._waiters.values()))
        active = self.observed.value("http_client_open_connections", http_connection_state="active")
        left = {"acquired": acquired, "waiters": waiters, "active connections": active}
        return [f"I1: {count} {what}" for what, count in left.items() if count]

    def _own_tasks(self) -> list[str]:
        left = asyncio.all_tasks() - self._tasks - {asyncio.current_task()}
        names = [getattr(task.get_coro(), "__qualname__", "?") for task in left]
        return [f"I2: task {name}" for name in names if not name.startswith(_STAGE)]

    def _middleware(self, kind: type):
        (path,) = self.session._middlewares
        return next((each for each in path.middlewares if isinstance(each, kind)), None)

    def _permits(self) -> list[str]:
        left = [
            f"I9: permits of the breaker of {origin}: {circuit.in_flight}"
            for circuits in self.factory.circuits.snapshot().values()
            for origin, circuit in circuits.items()
            if circuit.in_flight
        ]
        attempt = self._middleware(AttemptMiddleware)
        concurrency = None if attempt is None else attempt._concurrency
        if concurrency is not None:
            left += [
                f"I9: concurrency of {origin}: {limit.in_use} in use, {limit.waiting} waiting"
                for origin, limit in concurrency._limits.items()
                if limit.in_use or limit.waiting
            ]
        for gauge in ("platform_http_concurrency_in_use", "http_client_active_requests"):
            if self.observed.value(gauge):
                left.append(f"I9: {gauge} is {self.observed.value(gauge)}")
        return left

    def _check_counts(self) -> None:
        value, seen = self.observed.value, sum(len(server.requests) for server in self.servers)
        counted = {
            "requests": seen,
            "attempts": value("http_client_request_duration_seconds_count"),
            "CLIENT spans": len(self.observed.attempts),
            "calls": value("platform_http_calls_total"),
            "call durations": value("platform_http_call_duration_seconds_count"),
        }
        assert counted == {
            "requests": self._requests,
            "attempts": self._attempts,
            "CLIENT spans": self._attempts,
            "calls": self.started,
            "call durations": self.started,
        }, f"I4: {counted}"
        assert value("platform_http_telemetry_errors_total") == self.hook_errors

    def _check_budget(self) -> None:
        retry = self._middleware(RetryMiddleware)
        if retry is None:
            return
        budget = self.factory.settings.client().retry.budget
        spent = budget.cost * self.observed.value("platform_http_hedges_total") + sum(
            sample.value * _cost(budget, sample.labels["reason"])
            for metric in self.observed.registry.collect()
            for sample in metric.samples
            if sample.name == "platform_http_retries_total"
        )
        tokens = [account.tokens for _, account in retry._budgets.items()]
        missing = sum(budget.capacity - each for each in tokens)
        # Successes give back; nothing else changes it, for its clock stands still.
        assert 0 <= missing <= spent, f"I9: {missing} tokens are missing, {spent} were spent"

    def _texts(self):
        for result in self.results:
            if result.error is not None:
                yield from canaries.of_exception(result.error)
        yield from canaries.of_spans(self.observed.spans)
        yield from canaries.of_metrics(self.observed.registry)
        yield from canaries.of_log(self.log)


def _cost(budget, reason: str) -> float:
    return budget.cost_timeout if reason in _TIMEOUTS else budget.cost


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextlib.asynccontextmanager
async def scene(**settings: object) -> AsyncIterator[Scene]:
    """Run a client whose policies' clock stands still; check it at the end.

    Args:
        **settings: As for ``HttpSettings``, on top of short timeouts and the canaries.
    """
    observed = Observed()
    loop = asyncio.get_running_loop()
    collector = _Collector()
    root = logging.getLogger()
    root.addHandler(collector)
    levels = {
        logger: logger.level
        for logger in map(logging.getLogger, ("platform_http", "aiohttp", "asyncio"))
    }
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        factory = SessionFactory(
            HttpSettings(**merged(merged(SETTINGS, canaries.SETTINGS), settings)),
            registry=observed.registry,
            tracer_provider=observed.provider,
            clock=FakeClock(),
            rng=random.Random(1),
        )
        async with factory:
            session = factory.session()
            connector = session.connector
            made = Scene(
                observed, factory, collector.records, session, connector, _complaints=complaints
            )
            made._tasks = asyncio.all_tasks()
            yield made
            await made.check()
    finally:
        loop.set_exception_handler(None)
        root.removeHandler(collector)
        for logger, level in levels.items():
            logger.setLevel(level)


Case = Callable[..., Awaitable[None]]


class Family:
    """The cases of one family by name, each an async function."""

    def __init__(self) -> None:
        self.cases: dict[str, SimpleNamespace] = {}

    def case(self, name: str, **settings: object) -> Callable[[Case], Case]:
        """Add a case; *settings* are those of its client."""

        def add(function: Case) -> Case:
            assert name not in self.cases
            self.cases[name] = SimpleNamespace(run=function, settings=settings)
            return function

        return add

    async def run(self, name: str, *arguments: object) -> None:
        """Run a case and check all that holds after it."""
        case = self.cases[name]
        async with scene(**case.settings) as made:
            await case.run(made, *arguments)

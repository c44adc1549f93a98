"""Plays scenarios with two clients side by side."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import math
from typing import TYPE_CHECKING, cast

import aiohttp

from platform_http.testing.fault_server import FaultServer
from platform_http.testing.parity.adapters import from_aiohttp
from platform_http.testing.parity.answer import Answer
from platform_http.testing.parity.families import family
from platform_http.testing.parity.report import Report, Result
from platform_http.testing.parity.scenario import Seen
from platform_http.testing.parity.scenarios import SCENARIOS
from platform_http.testing.parity.wire_text import WireText

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

    from platform_http.testing.parity.answer import Client
    from platform_http.testing.parity.scenario import Request, Scenario

# What no time is measured of gets this long, and a bit more before it is given up.
_PATIENCE = 5.0
_LEEWAY = 1.0

# A call that has taken so many times as long as it was allowed to never ends.
_GIVEN_UP = 4

_NEVER = "never ended"


async def check(
    old: Client | aiohttp.ClientSession,
    new: Client | aiohttp.ClientSession,
    scenarios: Iterable[Scenario] = SCENARIOS,
    *,
    accept: Mapping[str, str] | None = None,
    timeout: float = 0.5,
) -> Report:
    """Play *scenarios* with both clients and report in what they differ.

    Both keep their pools, cookies and budgets over all scenarios, as they do in a service; every
    scenario has servers on ports of its own.

    Args:
        old: The client to be replaced: a callable, synchronous or not, see :class:`Client`, or
            what an adapter makes of a session.
        new: What replaces it, most often a factory's session.
        scenarios: What to play, by default all of :data:`SCENARIOS`. Those that cancel a call are
            left out where a client is synchronous, and the report says so.
        accept: Differences that are wanted, with the reason for each, by the name of a scenario or
            by ``scenario:aspect``, where an aspect is a field of :class:`Seen`.
        timeout: Seconds that a call gets in scenarios about time, > 0 and finite; all others get
            five.

    Raises:
        TypeError: If a client cannot be called as :class:`Client`, or returns no
            :class:`Answer`.
        ValueError: If two scenarios have the same name, *accept* names something that is not
            played or gives no reason, or *timeout* is not positive or infinite.
    """
    if not 0 < timeout < math.inf:
        raise ValueError(f"parity.check() takes a timeout > 0 seconds, got {timeout}")
    played = tuple(scenarios)
    report = Report(played, accept or {})
    clients = [_as_client("old", old), _as_client("new", new)]
    cancellable = all(_is_asynchronous(each) for each in clients)
    for scenario in played:
        if scenario.cancels and not cancellable:
            report.skip(scenario, "a synchronous client cannot be cancelled")
            continue
        old_seen, new_seen = await _both(_play(each, scenario, timeout) for each in clients)
        report.add(Result(scenario, old_seen, new_seen))
    return report


async def _both(plays: Iterable[Coroutine[None, None, Seen]]) -> list[Seen]:
    """Return what comes of two plays; when one fails, the other one comes to its end too."""
    results = await asyncio.gather(*plays, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if isinstance(result, Seen)]


async def _play(client: Client, scenario: Scenario, timeout: float) -> Seen:
    loop = asyncio.get_running_loop()
    allowed = timeout if scenario.timed else _PATIENCE
    calls: list[_Call] = []
    try:
        async with FaultServer(scenario.script(timeout)) as server:
            started = loop.time()
            for request in scenario.requests:
                calls.append(_Call(client, request, allowed))
                await calls[-1].run(server, scenario.host)
            elapsed = loop.time() - started
    finally:
        # A thread ends when its server is gone.
        await asyncio.gather(*(call.end() for call in calls))
    answers = [call.answer for call in calls if call.answer is not None]
    in_time = elapsed <= len(calls) * (1.5 * timeout + _LEEWAY / 2)
    shown = WireText(server.port, scenario.requests, answers)
    return Seen(
        outcome=tuple(call.outcome for call in calls),
        body=tuple(_digest(answer.body) for answer in answers),
        text=tuple(answer.text for answer in answers if scenario.text and answer.text is not None),
        answer_headers=_chosen(
            [answer.headers for answer in answers],
            scenario.answer_headers,
            lambda _, value: shown.received(value),
        ),
        requests=tuple(
            f"{each.method} {shown.target(each.target)}"
            + (f" ({_digest(each.body)})" if each.body else "")
            for each in server.requests
        ),
        request_headers=_chosen(
            [tuple(each.headers.items()) for each in server.requests],
            scenario.request_headers,
            shown.sent,
        ),
        connections=(str(server.connections),) if scenario.connections else (),
        elapsed=("in time" if in_time else "late",) if scenario.timed else (),
    )


class _Call:
    """One call, and what came of it."""

    def __init__(self, client: Client, request: Request, allowed: float) -> None:
        self.outcome = _NEVER
        self.answer: Answer | None = None
        self._client = client
        self._request = request
        self._allowed = allowed
        self._asynchronous = _is_asynchronous(client)
        self._given_up = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, server: FaultServer, host: str) -> None:
        """Come back when the call has ended, or took far longer than allowed.

        Raises:
            TypeError: If the client returned no answer.
        """
        arrived = len(server.requests)
        url = str(server.url.with_host(host)) + self._request.path.removeprefix("/")
        task = self._task = asyncio.create_task(self._make(url))
        if self._request.cancelled and await _comes_first(
            server.wait_until(lambda: len(server.requests) > arrived, within=_PATIENCE), task
        ):
            task.cancel()
        done, _ = await asyncio.wait((task,), timeout=_GIVEN_UP * self._allowed + _LEEWAY)
        self._given_up = not done
        if done:
            # It raises what is no outcome: a mistake in the test, or pytest.fail() of the client.
            task.result()

    async def end(self) -> None:
        """Leave nothing that runs. What sleeps in a thread does so to its end."""
        task = self._task
        if task is None or task.done():
            return
        if not self._asynchronous:
            await asyncio.wait((task,), timeout=_LEEWAY)
        task.cancel()
        await asyncio.wait((task,), timeout=_LEEWAY)

    async def _make(self, url: str) -> None:
        asked = self._request

        def call() -> Answer | Awaitable[Answer]:
            return self._client(
                asked.method, url, headers=asked.headers, body=asked.body, timeout=self._allowed
            )

        outcome = _NEVER
        try:
            answer = call() if self._asynchronous else await asyncio.to_thread(call)
            if inspect.isawaitable(answer):
                answer = await answer
            _check_answer(answer)
            outcome = str(answer.status)
        except _NoAnswerError:
            raise
        except asyncio.CancelledError:
            answer, outcome = None, "cancelled"
        except Exception as error:  # noqa: BLE001 - whatever an old client raises is its outcome
            answer, outcome = None, family(error)
        if not self._given_up:
            self.answer, self.outcome = answer, outcome


async def _comes_first(event: Coroutine[None, None, None], task: asyncio.Task[None]) -> bool:
    """Wait for both no longer than for the first; tell whether that was *event*."""
    waiting = asyncio.create_task(event)
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
        return not task.done()
    finally:
        waiting.cancel()
        # Its TimeoutError is no news: the call is cancelled then, too.
        await asyncio.gather(waiting, return_exceptions=True)


class _NoAnswerError(TypeError):
    """The client returned something else, which is no outcome of a call."""


def _check_answer(answer: object) -> None:
    if not isinstance(answer, Answer):
        raise _NoAnswerError(
            f"a client of parity returns a parity.Answer, and not what this one returned, which "
            f"is of type {type(answer).__name__}"
        )


def _is_asynchronous(client: Client) -> bool:
    called = getattr(client, "__call__", None)  # noqa: B004 - that of an object is a method
    return inspect.iscoroutinefunction(client) or inspect.iscoroutinefunction(called)


def _digest(body: bytes) -> str:
    return f"{len(body)} bytes {hashlib.sha256(body).hexdigest()[:8]}" if body else "no body"


def _chosen(
    messages: Sequence[tuple[tuple[str, str], ...]],
    names: tuple[str, ...],
    show: Callable[[str, str], str],
) -> tuple[str, ...]:
    """Return the headers that a scenario looks at, message by message."""
    wanted = {name.lower(): name for name in names}
    return tuple(
        f"{number}: {wanted[name.lower()]}: {show(name, value)}"
        for number, headers in enumerate(messages, 1)
        for name, value in sorted(headers, key=lambda each: each[0].lower())
        if name.lower() in wanted
    )


def _as_client(side: str, given: object) -> Client:
    """Return the client that *given* is.

    Raises:
        TypeError: If it cannot be called as one.
    """
    if isinstance(given, aiohttp.ClientSession):
        return from_aiohttp(given)
    if not callable(given):
        raise TypeError(
            f"parity.check() cannot call {side}=, which is of type {type(given).__name__}; wrap it "
            "with parity.from_httpx(), from_requests() or from_urllib(), or give it a function"
        )
    try:
        inspect.signature(given).bind("GET", "", headers={}, body=None, timeout=1.0)
    except TypeError as error:
        raise TypeError(
            f"parity.check() calls {side}= as "
            f"(method, url, *, headers, body, timeout), which it does not take: {error}"
        ) from None
    except ValueError:
        # What is written in C may tell no signature.
        pass
    return cast("Client", given)

"""What an application does wrong with its sessions is told once, with its line, and counted."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from platform_http import CallOptions, SessionFactory, open_session, pitfalls
from platform_http.call import client_of
from platform_http.testing import FaultServer
from platform_http.testing.actions import close, partial_body, respond
from tests.functional.conftest import Observed

TOTAL = {"timeout": {"total": 30}}
UNFINISHED = partial_body(b"x", content_length=100, then="hang")


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list]:
    """What was logged of pitfalls, as if the process had told of none before."""
    monkeypatch.setattr(pitfalls, "_told", pitfalls._Told())
    caplog.set_level(logging.WARNING, "platform_http")
    return lambda: [record for record in caplog.records if hasattr(record, "remedy")]


def _line() -> int:
    return inspect.currentframe().f_back.f_lineno


def _count(observed: Observed, kind: str, client: str = "default") -> float:
    return observed.value("platform_http_pitfalls_total", kind=kind, client=client)


async def _until_the_deadline() -> None:
    """Let the loop's clock jump: real seconds would be too few for a busy machine or too many."""
    loop = asyncio.get_running_loop()
    real = loop.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: real() + 60)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_response_that_nobody_reads_is_told_with_its_line(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
        url = f"{server.url}?token=s3cret"
        response = await session.get(url, trace_request_ctx=CallOptions(operation="invoices.get"))
        line = _line() - 1
        await _until_the_deadline()
        assert response.closed
    assert _count(observed, "unread_response") == 1
    (record,) = told()
    place = f"{__file__}:{line} in test_a_response_that_nobody_reads_is_told_with_its_line"
    assert record.place == place
    assert record.client == "default"
    assert record.kind == "unread_response"
    assert record.docs == "pitfalls#unread-response"
    assert record.getMessage() == (
        "a response was neither read nor released until its deadline and kept its connection "
        f"(client 'default', GET invoices.get at {str(server.url).rstrip('/')}, {place}); use "
        "`async with session.get(...) as response:`, or call response.release(); "
        "docs: pitfalls#unread-response"
    )
    assert "s3cret" not in record.getMessage() + str(vars(record))


async def test_an_unread_response_is_closed_though_the_log_fails(observed: Observed) -> None:
    def fails(_: logging.LogRecord) -> bool:
        raise OSError("disk full")

    logger, failures = logging.getLogger("platform_http"), []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failures.append(str(context["exception"]))
    )
    logger.addFilter(fails)
    try:
        async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
            kept = [await session.get(server.url) for _ in range(2)]
            await _until_the_deadline()
            assert [response.closed for response in kept] == [True, True]
            observed.assert_quiet()
    finally:
        logger.removeFilter(fails)
    assert set(failures) == {"disk full"}


async def test_each_time_is_counted_and_each_place_told_once(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
        kept = [await session.get(server.url) for _ in range(3)]
        kept.append(await session.get(server.url))
        await _until_the_deadline()
    assert _count(observed, "unread_response") == 4
    assert len(told()) == 2


async def test_without_a_line_it_is_told_by_its_operation_and_the_next_one_by_its_line(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
        client = client_of(session)
        client.places_to_note = 0
        kept = [await session.get(server.url)]
        await _until_the_deadline()
        kept.append(await session.get(server.url))
        line = _line() - 1
        await _until_the_deadline()
    first, second = told()
    assert first.place == ""
    assert f"GET at {str(server.url).rstrip('/')})" in first.getMessage()
    assert f":{line} in" in second.place


async def test_looking_for_lines_comes_to_an_end(observed: Observed) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session() as session:
        client = client_of(session)
        client.places_to_note = 1
        noted = []
        for _ in range(3):
            async with session.get(server.url) as response:
                noted.append(response.attempt.call.place is not None)
                assert client.places_to_note == 0
    assert noted == [True, False, False]


async def _read(response: aiohttp.ClientResponse) -> None:
    await response.read()


async def _stream(response: aiohttp.ClientResponse) -> None:
    async for _ in response.content.iter_any():
        pass


async def _release(response: aiohttp.ClientResponse) -> None:
    response.release()


@pytest.mark.parametrize("use", [_read, _stream, _release])
async def test_a_response_that_somebody_has_taken_is_none(
    observed: Observed,
    told: Callable[[], list],
    use: Callable[[aiohttp.ClientResponse], Awaitable[None]],
) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
        response = await session.get(server.url)
        using = asyncio.create_task(use(response))
        await asyncio.sleep(0)
        await _until_the_deadline()
        try:
            await using
        except aiohttp.ServerTimeoutError:
            # The body stalls: whoever reads it hears of the deadline.
            assert use is not _release
        response.close()
    assert told() == []
    assert _count(observed, "unread_response") == 0


async def test_the_line_is_the_callers_and_not_that_of_a_middleware(
    observed: Observed, told: Callable[[], list]
) -> None:
    async def application_middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        return await handler(request)

    async with FaultServer([UNFINISHED]) as server:
        async with observed.factory(middlewares=(application_middleware,), **TOTAL) as factory:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(factory.session().get(server.url))
                line = _line() - 1
                await _until_the_deadline()
    (record,) = told()
    assert f":{line} in test_the_line_is_the_callers" in record.place


async def test_a_request_that_is_a_task_of_its_own_has_no_line(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([UNFINISHED]) as server, observed.session(**TOTAL) as session:
        await asyncio.gather(session.get(server.url))
        await _until_the_deadline()
    (record,) = told()
    assert record.place == ""


@pytest.mark.parametrize("answer", [respond(503), partial_body(b"", content_length=5)])
async def test_a_bypass_is_told_with_its_line(
    observed: Observed, told: Callable[[], list], answer: object
) -> None:
    async with FaultServer([answer]) as server, observed.session() as session:
        for _ in range(2):
            async with session.get(server.url, middlewares=()):
                line = _line() - 1
    (record,) = told()
    assert record.kind == "policy_bypass"
    assert f"{__file__}:{line} in test_a_bypass" in record.place
    assert _count(observed, "policy_bypass") == 2
    assert observed.value("platform_http_policy_bypass_total") == 2


async def test_a_bypass_that_fails_is_told_too(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([close()]) as server, observed.session() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            async with session.get(server.url, middlewares=()):
                pass
    (record,) = told()
    assert "in test_a_bypass_that_fails_is_told_too" in record.place


def _in_another_loop(work: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Run *work* in a thread with an event loop of its own, and return what it raised."""
    raised: list[BaseException | None] = []

    async def run() -> None:
        await work()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            raised.append(error)
        else:
            raised.append(None)

    other = threading.Thread(target=thread)
    other.start()
    other.join(10)
    return raised[0]


@pytest.mark.parametrize("foreign_hooks", [(), (aiohttp.TraceConfig(),)])
async def test_a_session_refuses_another_loop_at_once(
    observed: Observed, told: Callable[[], list], foreign_hooks: tuple[aiohttp.TraceConfig, ...]
) -> None:
    async with FaultServer([respond()]) as server:
        async with observed.factory(trace_configs=foreign_hooks) as factory:
            session = factory.session()

            async def request() -> None:
                async with session.get(server.url):
                    pass

            async def connect() -> None:
                async with session.ws_connect(server.url):
                    pass

            for work in (request, connect):
                error = await asyncio.to_thread(_in_another_loop, work)
                assert type(error) is RuntimeError
                assert "enter one SessionFactory in each loop" in str(error)
            async with session.get(server.url) as response:
                assert response.status == 200
    assert len(server.requests) == 1
    assert _count(observed, "loop_mismatch") == 2
    assert [record.place.rpartition(".")[2] for record in told()] == ["request", "connect"]
    # A request that never began is no call.
    assert observed.value("platform_http_calls_total") == 1
    observed.assert_quiet()


async def test_a_factory_makes_no_session_for_another_loop_and_is_not_closed_by_it(
    observed: Observed, told: Callable[[], list]
) -> None:
    async with FaultServer([respond()]) as server, observed.factory() as factory:

        async def make() -> None:
            factory.session("late")

        for work in (make, factory.aclose):
            error = await asyncio.to_thread(_in_another_loop, work)
            assert type(error) is RuntimeError
            assert "another event loop" in str(error)
        async with factory.session("late").get(server.url) as response:
            assert response.status == 200
    assert told()


async def test_many_open_factories_are_told(observed: Observed, told: Callable[[], list]) -> None:
    async with AsyncExitStack() as stack:
        for count in range(1, 7):
            await stack.enter_async_context(SessionFactory(registry=observed.registry))
            assert len(told()) == (count > 4)
    (record,) = told()
    assert record.kind == "many_factories"
    assert "in test_many_open_factories_are_told" in record.place
    assert _count(observed, "many_factories") == 2


async def test_factories_that_are_closed_again_are_not_many(
    observed: Observed, told: Callable[[], list]
) -> None:
    kept = [SessionFactory(registry=observed.registry) for _ in range(6)]
    for factory in kept:
        async with factory:
            pass
    assert told() == []


async def test_a_session_for_each_request_is_told_at_the_tenth(told: Callable[[], list]) -> None:
    for count in range(1, 13):
        async with open_session():
            line = _line() - 1
        assert len(told()) == (count >= 10)
    (record,) = told()
    assert record.kind == "session_per_request"
    assert f"{__file__}:{line} in test_a_session_for_each_request" in record.place


async def test_without_metrics_it_is_told_and_not_counted(
    observed: Observed, told: Callable[[], list]
) -> None:
    for _ in range(10):
        async with observed.factory(telemetry={"metrics": False}):
            pass
    assert [record.kind for record in told()] == ["session_per_request"]
    assert _count(observed, "session_per_request") == 0


class Factory:
    pass


PLACE = pitfalls.Place("service.py", 1, "handler")


def _come_and_go(use: pitfalls.FactoryUse, start: float, *, brief: float = 0.1) -> bool:
    factory = Factory()
    use.entered(factory)
    return use.left(factory, PLACE, since=start, now=start + brief)


def test_ten_brief_factories_within_a_minute_are_too_many() -> None:
    use = pitfalls.FactoryUse()
    assert [_come_and_go(use, 6.5 * n) for n in range(11)] == [False] * 9 + [True, True]


def test_a_factory_now_and_then_is_not_too_many() -> None:
    use = pitfalls.FactoryUse()
    assert not any(_come_and_go(use, 7.0 * n) for n in range(30))


def test_factories_that_stay_open_for_a_while_are_not_made_for_requests() -> None:
    use = pitfalls.FactoryUse()
    assert not any(_come_and_go(use, n, brief=5.0) for n in range(30))


def test_each_place_is_judged_for_itself_and_few_are_remembered() -> None:
    use = pitfalls.FactoryUse()
    for line in range(1000):
        place = pitfalls.Place("service.py", line, "handler")
        for n in range(9):
            factory = Factory()
            use.entered(factory)
            assert not use.left(factory, place, since=n, now=n)
    assert len(use._brief) == 64


def test_a_factory_that_is_forgotten_without_being_closed_is_not_open() -> None:
    use = pitfalls.FactoryUse()
    for _ in range(20):
        assert not use.entered(Factory())


def test_what_was_told_is_remembered_within_bounds() -> None:
    told = pitfalls._Told()
    assert told.first_time("kind", 0)
    for n in range(1, 256):
        assert told.first_time("kind", n)
    assert not told.first_time("kind", 0)
    assert told.first_time("kind", 256)
    # The one that was met least recently has gone.
    assert not told.first_time("kind", 0)
    assert told.first_time("kind", 1)
    assert len(told._seen) == 256

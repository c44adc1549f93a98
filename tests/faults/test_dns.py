"""What a resolver does. Names are answered in this process; what guards them is the real thing."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

import platform_http.factory
from platform_http.errors import AttemptTimeoutError, DeadlineExceededError
from tests.faults.scene import Family, Scene
from tests.servers import free_port

FAMILY = Family()


class Answers(AbstractResolver):
    """Gives everybody the same answer, or raises it, or never gives one."""

    def __init__(self) -> None:
        self.answer: list[str] | OSError | None = None
        self.questions = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.questions += 1
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.answer, OSError):
            raise self.answer
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.answer or []
        ]

    async def close(self) -> None:
        pass


@FAMILY.case("NXDOMAIN")
async def _(made: Scene, answers: Answers) -> None:
    answers.answer = socket.gaierror(socket.EAI_NONAME, "no such name")
    async with made.server() as server:
        result = await made.call(server.url.with_host("service.test"))
        made.expect(attempts=2, requests=0)
        assert isinstance(result.error, aiohttp.ClientConnectorDNSError)
        assert answers.questions == 2
        await made.assert_clean_again(server)


@FAMILY.case("hang")
async def _(made: Scene, answers: Answers) -> None:
    async with made.server() as server:
        result = await made.call(server.url.with_host("service.test"))
        # The second attempt may meet the end of the first one's question.
        made.expect(attempts=len(made.observed.attempts), requests=0)
        assert len(made.observed.attempts) in (2, 3)
        assert isinstance(result.error, DeadlineExceededError)
        await made.assert_clean_again(server)


@FAMILY.case("hang for several callers")
async def _(made: Scene, answers: Answers) -> None:
    async with made.server() as server:
        url = server.url.with_host("service.test")
        results = await asyncio.gather(*(made.call(url) for _ in range(4)))
        # Who is woken first, by the unanswered question or by the attempt's timer, may differ, and
        # so may the last error, which the caller gets when the deadline leaves no time for more.
        made.expect(attempts=len(made.observed.attempts), requests=0)
        # One question for all of them, and another one when it had gone unanswered.
        assert 2 <= answers.questions <= 3
        errors = {type(result.error) for result in results}
        assert errors <= {DeadlineExceededError, AttemptTimeoutError}
        await made.assert_clean_again(server)


@FAMILY.case("empty answer")
async def _(made: Scene, answers: Answers) -> None:
    answers.answer = []
    async with made.server() as server:
        result = await made.call(server.url.with_host("service.test"))
        made.expect(attempts=3, requests=0)
        assert isinstance(result.error, aiohttp.ClientConnectionError)
        await made.assert_clean_again(server)


@FAMILY.case("first address dead", dns={"happy_eyeballs_delay": 0.02})
async def _(made: Scene, answers: Answers) -> None:
    async with made.server() as server:
        with platform_http.testing.black_hole("127.0.0.2", server.port):
            answers.answer = ["127.0.0.2", "127.0.0.1"]
            result = await made.call(server.url.with_host("service.test") / "clean")
        made.expect(attempts=1, requests=1)
        assert result.body == b"clean"


@FAMILY.case("first address refuses")
async def _(made: Scene, answers: Answers) -> None:
    async with made.server() as server:
        answers.answer = ["127.0.0.3", "127.0.0.1"]
        result = await made.call(server.url.with_host("service.test") / "clean")
        made.expect(attempts=1, requests=1)
        assert result.body == b"clean"


@FAMILY.case("every address refuses")
async def _(made: Scene, answers: Answers) -> None:
    answers.answer = ["127.0.0.3", "127.0.0.4"]
    async with made.server() as server:
        url = server.url.with_host("service.test").with_port(free_port())
        result = await made.call(url)
        made.expect(attempts=3, requests=0)
        assert isinstance(result.error, aiohttp.ClientConnectorError)


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_of_name_resolution(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers()
    monkeypatch.setattr(platform_http.factory, "make_resolver", lambda _: answers)
    await FAMILY.run(name, answers)

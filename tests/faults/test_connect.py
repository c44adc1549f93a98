"""What happens between the address and the connection."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import aiohttp
import pytest
from yarl import URL

import platform_http.factory
import platform_http.testing
from tests.faults.scene import Family, Scene
from tests.faults.test_dns import Answers
from tests.servers import free_port

FAMILY = Family()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Let the process have not one descriptor more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket().close()
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@FAMILY.case("refused")
async def _(made: Scene, answers: Answers) -> None:
    result = await made.call(URL(f"http://127.0.0.1:{free_port()}/"))
    made.expect(attempts=3, requests=0)
    assert isinstance(result.error, aiohttp.ClientConnectorError)


@FAMILY.case("SYN blackhole over several addresses", dns={"happy_eyeballs_delay": 0.02})
async def _(made: Scene, answers: Answers) -> None:
    answers.answer = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(platform_http.testing.black_hole("127.0.0.2"))
        for address in ("127.0.0.3", "127.0.0.4"):
            stack.enter_context(platform_http.testing.black_hole(address, port))
        result = await made.call(URL(f"http://service.test:{port}/"))
    attempts = len(made.observed.attempts)
    assert 2 <= attempts <= 3
    made.expect(attempts=attempts, requests=0)
    assert isinstance(result.error, TimeoutError)


@FAMILY.case("EMFILE")
async def _(made: Scene, answers: Answers) -> None:
    async with made.server() as server:
        with no_descriptors():
            result = await made.call(server.url)
        # Our own shortage: a resend at once would only add to it, and the server is not to blame.
        made.expect(attempts=1, requests=0)
        assert isinstance(result.error, aiohttp.ClientConnectorError)
        assert made.observed.value("platform_http_retries_total") == 0
        ((_, circuit),) = made.factory.circuits.snapshot()["default"].items()
        assert circuit.failed == 0
        await made.assert_clean_again(server)


@FAMILY.case("reset as soon as it is accepted")
async def _(made: Scene, answers: Answers) -> None:
    async with made.server(aborted_accepts=2) as server:
        result = await made.call(server.url / "clean")
        made.expect(attempts=3, requests=1)
        assert result.body == b"clean"


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_of_connecting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers()
    monkeypatch.setattr(platform_http.factory, "make_resolver", lambda _: answers)
    await FAMILY.run(name, answers)

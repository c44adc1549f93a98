"""A candidate that leaves out what it promises is found out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import modes, upstream
from benchmarks.evidence import CALL, CLIENT, NotDoneError
from platform_http import HttpSettings


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with upstream.running() as url:
        yield url


async def _check(opener: modes.Opener, url: str, calls: int = 5) -> None:
    async with opener() as candidate:
        for _ in range(calls):
            await candidate.get(f"{url}/invoices/42")
        await candidate.check(url)


@pytest.mark.parametrize("mode", modes.MODES)
async def test_every_mode_leaves_what_it_promises(mode: str, url: str) -> None:
    await _check(modes.MODES[mode], url)


@pytest.mark.parametrize("mode", modes.WHOLE)
async def test_streams_leave_it_too(mode: str, url: str) -> None:
    async with modes.MODES[mode]() as candidate:
        await candidate.stream(f"{url}/stream/100000")
        await candidate.check(url)
        assert candidate.calls == 1


@pytest.mark.parametrize(
    ("settings", "left_out"),
    [
        ({"telemetry": {"traces": False}}, "trace sent"),
        ({"telemetry": {"call_span": "never"}}, "spans"),
        ({"telemetry": {"metrics": False}}, "calls counted"),
        ({"circuit_breaker": {"mode": "off"}}, "a circuit or a limit"),
        ({"circuit_breaker": {"mode": "observe"}}, "an open circuit refused nothing"),
        ({"concurrency": {"limit": 0}}, "a circuit or a limit"),
        ({"retry": {"enabled": False}, "telemetry": {"call_span": "always"}}, "attempts"),
    ],
)
async def test_what_is_switched_off_is_missed(
    settings: dict[str, object], left_out: str, url: str
) -> None:
    with pytest.raises(NotDoneError, match=rf"^{left_out}"):
        await _check(modes.ours(HttpSettings(**settings), 1), url)


async def test_other_spans_than_promised_are_missed(
    url: str,
) -> None:
    settings = HttpSettings(telemetry={"call_span": "never"})
    with pytest.raises(NotDoneError, match=r"^kinds of spans"):
        await _check(modes.ours(settings, 1, (CALL,)), url)
    with pytest.raises(NotDoneError, match=r"^few spans"):
        await _check(modes.ours(settings, 0.999, (CLIENT,)), url, calls=20)

"""The model of calls and attempts, without a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from platform_http import call as call_module
from platform_http.call import Attempt, BodyEnd, CallOptions, Origin, deadline
from tests.telemetry.stand_ins import Scene


@pytest.fixture
async def attempt() -> AsyncIterator[Attempt]:
    scene = Scene()
    attempt, _ = scene.attempt(scene.call())
    yield attempt
    scene.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout must be > 0"),
        ({"timeout": float("nan")}, "timeout must be > 0"),
        ({"attempt_timeout": -1}, "attempt_timeout must be > 0"),
        ({"max_attempts": 0}, "max_attempts must be 1 to 5"),
        ({"max_attempts": 6}, "max_attempts must be 1 to 5"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CallOptions(**options)


def test_an_idempotency_key_is_text_or_true() -> None:
    with pytest.raises(TypeError, match="got int"):
        CallOptions(idempotency_key=7)
    assert CallOptions(idempotency_key=False).idempotency_key is False


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://api.test/x", "https://api.test:443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://user:pw@api.test/?q=1", "http://api.test:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, text: str) -> None:
    assert str(Origin.of(URL(url))) == text


async def test_a_deadline_ends_with_its_block() -> None:
    with deadline(0.5):
        pass
    assert await asyncio.sleep(0, "nothing raised")


class TestAnAttempt:
    async def test_is_judged_once_and_tells_whoever_asks_later(self, attempt) -> None:
        told: list[str] = []
        attempt.when_judged(lambda _: told.append("early"))
        attempt.judge()
        attempt.judge()
        attempt.when_judged(lambda _: told.append("late"))
        assert told == ["early", "late"]

    async def test_ends_once_and_is_judged_by_then(self, attempt) -> None:
        told: list[str] = []
        attempt.when_judged(lambda _: told.append("judged"))
        attempt.when_ended(lambda _: told.append("ended"))
        attempt.end(BodyEnd.FAILED, "payload_error")
        attempt.end(BodyEnd.COMPLETE)
        attempt.when_ended(lambda _: told.append("late"))
        assert told == ["judged", "ended", "late"]
        assert (attempt.body, attempt.body_error_type) == (BodyEnd.FAILED, "payload_error")


def test_an_origin_is_made_once_and_never_too_many_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(call_module, "_MAX_ORIGINS", 4)
    monkeypatch.setattr(call_module, "_ORIGINS", {})
    urls = [URL(f"http://{number}.test/") for number in range(9)]
    for url in urls:
        origin = Origin.of(url)
        assert origin is Origin.of(url.with_path("/other"))
        assert origin == ("http", url.host, 80)
        assert len(call_module._ORIGINS) <= 4

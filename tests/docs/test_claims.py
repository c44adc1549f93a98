"""What pages say of behaviour, where no block of theirs shows it."""

from __future__ import annotations

import time

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from platform_http import (
    CallOptions,
    ConcurrencyLimitError,
    DeadlineExceededError,
    HttpSettings,
    PoolTimeoutError,
    SessionFactory,
    deadline,
)
from platform_http.testing import FaultServer
from platform_http.testing.actions import hang, partial_body, respond

UNFINISHED = partial_body(b"the beginning", content_length=100, then="hang")


class _Asks:
    """Makes a request of its own in front of every other one, as migration/pitfalls.md has it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await request.session.get("/inner", middlewares=())
        self.seconds = time.monotonic() - started
        return await handler(request)


def _factory(settings: HttpSettings, *middlewares: aiohttp.ClientMiddlewareType) -> SessionFactory:
    return SessionFactory(settings, middlewares=middlewares, registry=CollectorRegistry())


@pytest.mark.parametrize(
    ("around", "total", "least", "most"), [(10, 0.6, 0.5, 5), (0.2, 5, 0.1, 4)]
)
async def test_a_bare_inner_request_has_a_deadline_of_its_own_and_no_trace(
    around, total, least, most
) -> None:
    asks = _Asks()
    async with FaultServer([hang(), respond(200)]) as server:
        settings = HttpSettings(base_url=str(server.url), timeout={"total": total})
        async with _factory(settings, asks) as factory:
            with deadline(around), pytest.raises(DeadlineExceededError):
                await factory.session().get("outer", trace_request_ctx=CallOptions(timeout=0.3))
    [inner] = server.requests
    assert {"traceparent", "X-Request-Timeout-Ms", "X-Request-Attempt"} & {*inner.headers} == set()
    # Not by the 0.3 s of the call around it, but by TIMEOUT__TOTAL and by deadline().
    assert least < asks.seconds < most


@pytest.mark.parametrize(
    ("concurrency", "error"),
    [({"queue_timeout": 0.1}, ConcurrencyLimitError), ({"limit": 0}, PoolTimeoutError)],
)
async def test_unread_responses_are_what_the_pages_say_that_they_are(concurrency, error) -> None:
    async with FaultServer([UNFINISHED]) as server:
        settings = HttpSettings(
            base_url=str(server.url),
            pool={"limit": 1},
            timeout={"pool": 0.1},
            concurrency=concurrency,
        )
        async with _factory(settings) as factory:
            async with factory.session().get("kept"):
                with pytest.raises(error):
                    await factory.session().get("refused")

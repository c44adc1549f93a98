"""What probes and scrapes read."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import Counter

from platform_http import HttpSettings
from platform_http.telemetry import exposition
from platform_http.web import factory, session, setup
from platform_http.web.service import SERVICE
from tests.web.conftest import running

NOBODY = "http://127.0.0.1:9/"


async def _get(url: object, **headers: str) -> tuple[int, aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as client, client.get(str(url), headers=headers) as response:
        return response.status, response, await response.text()


async def _readiness(url) -> tuple[int, object]:
    status, response, _ = await _get(url / "readyz")
    return status, await response.json()


def _app(registry, **billing: object) -> web.Application:
    app = web.Application()
    breaker = {"minimum_calls": 1, "open_duration": 30} | billing.pop("circuit_breaker", {})
    profile = {"base_url": NOBODY, "retry": {"enabled": False}, "circuit_breaker": breaker}
    setup(app, HttpSettings(clients={"billing": profile | billing}), registry=registry)
    return app


async def _fail(app: web.Application) -> None:
    with pytest.raises(aiohttp.ClientError):
        await session(app, "billing").get("x")


async def test_a_running_application_is_alive_and_ready(registry) -> None:
    async with running(_app(registry)) as url:
        assert (await _get(url / "healthz"))[0] == 200
        assert await _readiness(url) == (200, {"status": "ready"})


async def test_it_is_not_ready_while_it_drains_and_its_connections_close(registry) -> None:
    app = _app(registry)
    async with running(app) as url:
        app[SERVICE].draining = True
        assert await _readiness(url) == (503, {"status": "not ready", "reason": "draining"})
        for path in ("healthz", "nowhere"):
            _, response, _ = await _get(url / path)
            assert response.headers["Connection"] == "close"
        assert (await _get(url / "healthz"))[0] == 200


async def test_the_server_closes_a_connection_while_it_drains_whatever_its_client_does(
    registry,
) -> None:
    app = _app(registry)
    async with running(app) as url:
        app[SERVICE].draining = True
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        assert b"Connection: close" in answer
        writer.close()
        await writer.wait_closed()


async def test_an_upgraded_connection_stays_upgraded_while_it_drains(registry) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = _app(registry)
    app.router.add_get("/echo", echo)
    async with running(app) as url, aiohttp.ClientSession() as client:
        app[SERVICE].draining = True
        async with client.ws_connect(url / "echo") as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "hello"


async def test_it_stays_ready_while_a_circuit_is_open(registry) -> None:
    app = _app(registry)
    async with running(app) as url:
        await _fail(app)
        assert await _readiness(url) == (200, {"status": "ready"})


async def test_it_can_be_unready_while_a_circuit_is_open(registry) -> None:
    app = _app(registry, web={"ready_when_open": False})
    async with running(app) as url:
        assert (await _readiness(url))[0] == 200
        await _fail(app)
        circuit = {"client": "billing", "origin": "http://127.0.0.1:9"}
        assert await _readiness(url) == (
            503,
            {"status": "not ready", "reason": "open circuits", "circuits": [circuit]},
        )
        factory(app).circuits.force_closed("billing", NOBODY)
        assert (await _readiness(url))[0] == 200


async def test_it_is_ready_again_when_a_probe_could_be_sent(registry) -> None:
    # Without traffic nothing would ever close the circuit.
    app = _app(registry, web={"ready_when_open": False}, circuit_breaker={"open_duration": 0.2})
    async with running(app) as url:
        await _fail(app)
        assert (await _readiness(url))[0] == 503
        async with asyncio.timeout(10):
            while (await _readiness(url))[0] == 503:  # noqa: ASYNC110 - a probe polls
                await asyncio.sleep(0.05)


async def test_a_circuit_that_only_observes_does_not_make_it_unready(registry) -> None:
    app = _app(registry, web={"ready_when_open": False}, circuit_breaker={"mode": "observe"})
    async with running(app) as url:
        await _fail(app)
        assert (await _readiness(url))[0] == 200


async def test_the_metrics_page_speaks_the_format_that_is_asked_for(registry) -> None:
    Counter("orders", "-", registry=registry).inc(7)
    async with running(_app(registry)) as url:
        _, response, text = await _get(url / "metrics", Accept="application/openmetrics-text")
        assert response.content_type == "application/openmetrics-text"
        assert text.endswith("# EOF\n")
        _, response, text = await _get(url / "metrics", Accept="text/plain")
        assert response.content_type == "text/plain"
        assert "orders_total 7.0" in text
        assert "platform_http_build_info" in text


async def test_the_metrics_page_is_not_made_on_the_loop(registry, monkeypatch) -> None:
    threads = []
    render = exposition.render

    def watched(*arguments):
        threads.append(threading.current_thread())
        return render(*arguments)

    monkeypatch.setattr(exposition, "render", watched)
    async with running(_app(registry)) as url:
        await _get(url / "metrics")
    assert threads
    assert threading.main_thread() not in threads

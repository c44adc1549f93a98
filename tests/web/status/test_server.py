"""The status page as it is asked for."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from platform_http import HttpSettings, SessionFactory
from platform_http.telemetry.observer import ClientTelemetry
from platform_http.web import factory, setup
from platform_http.web.service import SERVICE
from platform_http.web.status import server
from platform_http.web.status.page import as_html
from platform_http.web.status.report import SHOWN_CLIENTS, Reporter
from tests.servers import free_port
from tests.web.conftest import running
from tests.web.status.stage import in_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_http.inspection import ClientInspection
    from platform_http.web.status.report import Report

PAGE = "debug/platform-http"
DOCUMENT = "debug/platform-http.json"


async def _get(url: object, **query: str) -> tuple[int, aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as client, client.get(str(url), params=query) as response:
        return response.status, response, await response.text()


@pytest.mark.parametrize("path", [PAGE, DOCUMENT])
async def test_there_is_none_by_default(registry, path) -> None:
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    async with running(app) as url:
        assert (await _get(url / path))[0] == 404


async def test_without_it_no_call_is_recorded_and_nothing_of_it_is_loaded(
    registry, monkeypatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("platform_http.web.status")]:
        monkeypatch.delitem(sys.modules, name)
    app = web.Application()
    setup(app, HttpSettings(), registry=registry)
    async with running(app):
        client = factory(app)
        client.session()
        (inspected,) = client.inspect()
        observer = client._clients["default"].observer
    assert not [name for name in sys.modules if name.startswith("platform_http.web.status")]
    assert (inspected.slowest, inspected.failed) == ((), ())
    assert type(observer) is ClientTelemetry


async def test_it_says_it_all_as_a_page_and_as_json() -> None:
    async with in_trouble() as (_, url):
        status, response, page = await _get(url / PAGE)
        assert (status, response.content_type) == (200, "text/html")
        status, response, text = await _get(url / DOCUMENT)
        assert (status, response.content_type) == (200, "application/json")
    document = json.loads(text)
    assert set(document["versions"]) == {"platform_http", "aiohttp", "Python"}
    assert document["draining"] is False
    default, billing, inventory = document["clients"]
    assert (default["name"], default["activity"]) == ("default", None)
    settings = {each["path"]: each["value"] for each in billing["settings"]}
    assert settings["rate_limit.rate"] == 500
    assert settings["timeout.total"] == 10
    (origin,) = billing["activity"]["origins"]
    assert origin["circuit"]["state"] == "closed"
    assert origin["circuit"]["failed"] == 3
    assert origin["budget"] < billing["activity"]["budget_capacity"]
    assert origin["in_use"] == 0
    assert origin["next_token"] is not None
    assert billing["activity"]["pool"] == {
        "active": 0, "idle": 1, "waiting": 0, "limit": 100, "limit_per_host": 20
    }  # fmt: skip
    slowest, *_ = billing["activity"]["slowest"]
    assert (slowest["operation"], slowest["url_template"]) == ("invoices.list", "/invoices/{id}")
    (failed,) = billing["activity"]["failed"]
    assert (failed["status"], failed["error_type"], failed["attempts"]) == (503, "503", 3)
    assert len(failed["trace_id"]) == 32
    (origin,) = inventory["activity"]["origins"]
    assert (origin["origin"], origin["circuit"]["state"]) == ("http://127.0.0.1:9", "open")
    for told in ("invoices.list", failed["trace_id"], "1 circuit open", "circuit_open", "serving"):
        assert told in page


async def test_however_many_ask_one_page_is_drawn_at_a_time(monkeypatch) -> None:
    def draw(report: Report) -> str:
        drawing.append(report)
        most.append(len(drawing))
        time.sleep(0.05)
        drawing.remove(report)
        return "{}"

    drawing: list[Report] = []
    most: list[int] = []
    monkeypatch.setattr(server, "as_json", draw)
    async with in_trouble() as (_, url):
        answers = await asyncio.gather(*(_get(url / DOCUMENT) for _ in range(4)))
    assert [status for status, *_ in answers] == [200] * 4
    assert most == [1] * 4


async def test_calls_go_on_between_one_client_and_the_next() -> None:
    clients = {f"c{number}": {} for number in range(5)}
    seen: list[int] = []

    class Watched(SessionFactory):
        def inspect(self) -> Iterator[ClientInspection]:
            for each in super().inspect():
                seen.append(turns)
                yield each

    def turn() -> None:
        nonlocal turns, handle
        turns += 1
        handle = loop.call_soon(turn)

    loop, turns = asyncio.get_running_loop(), 0
    settings = HttpSettings(clients=clients | {"c0": {"timeout": {"total": 5}}})
    async with Watched(settings, registry=CollectorRegistry()) as factory:
        for name in clients:
            factory.session(name)
        handle = loop.call_soon(turn)
        report = await Reporter(factory).report(draining=False)
        handle.cancel()
    assert len(report.clients) == 6
    assert len(set(seen)) == len(clients)


async def test_clients_that_are_left_out_are_counted() -> None:
    settings = HttpSettings(clients={"own": {"timeout": {"total": 5}}})
    async with SessionFactory(settings, registry=CollectorRegistry()) as factory:
        for number in range(SHOWN_CLIENTS):
            factory.session(f"a{number}")
        report = await Reporter(factory).report(draining=False)
    assert len(report.clients) == SHOWN_CLIENTS
    assert [each.name for each in report.clients[:2]] == ["default", "own"]
    assert report.clients_left_out == 2
    assert "and 2 more clients" in as_html(report)


async def test_no_secret_is_on_it() -> None:
    async with in_trouble() as (_, url):
        for path in (PAGE, DOCUMENT):
            _, _, text = await _get(url / path)
            assert "canary" not in text
            assert "set (hidden)" in text


async def test_nothing_may_keep_it_run_it_or_frame_it() -> None:
    async with in_trouble() as (_, url):
        for path in (PAGE, DOCUMENT):
            _, response, _ = await _get(url / path)
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_it_says_that_the_service_drains() -> None:
    async with in_trouble() as (app, url):
        app[SERVICE].draining = True
        assert "draining" in (await _get(url / PAGE))[2]
        assert json.loads((await _get(url / DOCUMENT))[2])["draining"] is True


async def test_it_can_load_itself_again() -> None:
    async with in_trouble() as (_, url):
        assert "http-equiv" not in (await _get(url / PAGE))[2]
        _, _, page = await _get(url / PAGE, refresh="5")
        assert '<meta http-equiv="refresh" content="5">' in page


@pytest.mark.parametrize("seconds", ["0", "-1", "3601", "often", "", "\u0661", "9" * 5000])
async def test_a_refresh_that_is_no_number_of_seconds_is_an_error_that_says_so(seconds) -> None:
    async with in_trouble() as (_, url):
        status, _, text = await _get(url / PAGE, refresh=seconds)
        assert (status, text) == (400, "refresh is a number of seconds from 1 to 3600\n")


async def test_with_a_port_of_its_own_it_is_there_alone_until_the_sessions_are_closed() -> None:
    port = free_port()
    async with in_trouble(status_port=port) as (_, url):
        own = f"http://127.0.0.1:{port}"
        assert (await _get(f"{own}/{PAGE}"))[0] == 200
        assert (await _get(f"{own}/{DOCUMENT}"))[0] == 200
        assert (await _get(f"{own}/healthz"))[0] == 404
        assert (await _get(url / PAGE))[0] == 404
    with pytest.raises(aiohttp.ClientConnectorError):
        await _get(f"{own}/{PAGE}")


async def test_a_port_that_is_taken_is_an_error_that_names_the_setting() -> None:
    port = free_port()
    async with in_trouble(status_port=port):
        with pytest.raises(OSError, match="address already in use") as raised:
            async with in_trouble(status_port=port):
                pass
    assert raised.value.__notes__ == ["the status page listens there: see WEB__STATUS_PORT"]


async def test_every_peer_is_answered_where_that_is_configured_and_it_is_announced(caplog) -> None:
    async with in_trouble(status_host="0.0.0.0") as (_, url), aiohttp.ClientSession() as client:
        announced = [record.message for record in caplog.records if "insecure" in record.message]
        assert announced == ["client default runs with the insecure setting WEB__STATUS_HOST"]
        # What a peer elsewhere would send; its own address cannot be had on one machine.
        headers = {"X-Forwarded-For": "10.0.0.7"}
        async with client.get(url / PAGE, headers=headers) as response:
            assert response.status == 200


async def test_it_is_not_there_before_the_start_and_after_the_end() -> None:
    async with in_trouble() as (app, _):
        assert app[SERVICE].status_page is not None
    assert app[SERVICE].status_page is None

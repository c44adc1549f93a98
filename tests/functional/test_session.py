"""What a factory hands out, seen by the service that uses it."""

from __future__ import annotations

import aiohttp
import pytest

from platform_http.errors import ConfigurationError, FactoryClosedError
from platform_http.factory import SessionFactory, open_session
from platform_http.settings import HttpSettings
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.functional.conftest import Observed


async def test_a_session_is_a_plain_client_session(observed: Observed) -> None:
    async with observed.factory() as factory:
        assert type(factory.session("x")) is aiohttp.ClientSession


async def test_one_name_is_one_session_however_it_is_spelled(observed: Observed) -> None:
    async with observed.factory() as factory:
        assert factory.session("order-history") is factory.session("order_history")
        assert factory.session("order-history") is not factory.session("billing")
        assert factory.session() is factory.session("default")


async def test_a_name_that_cannot_be_a_client_is_refused(observed: Observed) -> None:
    async with observed.factory() as factory:
        with pytest.raises(ConfigurationError):
            factory.session("No Such Name!")


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer() as server:
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__BASE_URL", f"{server.url}api/")
        monkeypatch.setenv("PLATFORM_HTTP_CLIENTS__BILLING__HEADERS", '{"X-Team": "payments"}')
        async with SessionFactory() as factory, factory.session("billing").get("invoices/42"):
            pass
    assert server.requests[0].target == "/api/invoices/42"
    assert server.requests[0].headers["X-Team"] == "payments"


async def test_a_script_opens_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer() as server:
        monkeypatch.setenv("PLATFORM_HTTP_BASE_URL", str(server.url))
        async with open_session() as session, session.get("/x") as response:
            assert response.status == 200
        assert session.closed


async def test_relative_urls_join_the_base_url_by_rfc_3986(observed: Observed) -> None:
    async with FaultServer() as server:
        async with observed.session(base_url=f"{server.url}v1/") as session:
            for url in ("items", "/items", "../items?q=1"):
                async with session.get(url):
                    pass
    assert [request.target for request in server.requests] == ["/v1/items", "/items", "/items?q=1"]


async def test_cookies_are_not_kept_unless_asked_for(observed: Observed) -> None:
    sets_a_cookie = respond(headers={"Set-Cookie": "id=1; Path=/"})
    async with FaultServer([sets_a_cookie]) as server:
        async with observed.session() as session:
            for _ in range(2):
                async with session.get(server.url):
                    pass
        unsafe = {"enabled": True, "unsafe": True}
        async with observed.session(cookies=unsafe) as session:
            for _ in range(2):
                async with session.get(server.url):
                    pass
    assert ["Cookie" in request.headers for request in server.requests] == [
        False,
        False,
        False,
        True,
    ]


async def test_a_base_url_can_name_a_unix_socket(observed: Observed, tmp_path) -> None:
    async with FaultServer(path=str(tmp_path / "api.sock")) as server:
        async with (
            observed.session(base_url=f"{server.url}v1/") as session,
            session.get("things") as response,
        ):
            assert response.status == 200
    assert server.requests[0].target == "/v1/things"
    assert observed.value("http_client_open_connections") == 0


async def test_a_session_is_only_had_inside_the_context() -> None:
    factory = SessionFactory(HttpSettings())
    with pytest.raises(RuntimeError, match="async with"):
        factory.session()
    async with factory:
        factory.session()
    with pytest.raises(FactoryClosedError):
        factory.session()


async def test_the_application_adds_middlewares_and_trace_configs(observed: Observed) -> None:
    seen: list[str] = []

    async def tag(request, handler):
        seen.append("middleware")
        request.headers["X-App"] = "1"
        return await handler(request)

    async def ended(session, context, params) -> None:
        seen.append(f"end {params.response.status}")

    config = aiohttp.TraceConfig()
    config.on_request_end.append(ended)
    async with FaultServer([respond(503), respond(200)]) as server:
        async with (
            observed.factory(middlewares=(tag,), trace_configs=(config,)) as factory,
            factory.session().get(server.url),
        ):
            pass
    assert seen == ["middleware", "end 200"]
    assert [request.headers["X-App"] for request in server.requests] == ["1", "1"]

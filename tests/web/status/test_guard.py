"""Who may read the status page."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import make_mocked_request

from platform_http.web.status.guard import is_loopback, refusal
from tests.web.status.stage import in_trouble

PATHS = ("/debug/platform-http", "/debug/platform-http.json")


class _Transport(asyncio.Transport):
    def __init__(self, peer: object) -> None:
        super().__init__()
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._peer if name == "peername" else default


def _request(peer: object = ("127.0.0.1", 40_000), /, **headers: str) -> web.Request:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request(
        "GET", PATHS[0], {"Host": "localhost:8080"} | names, transport=_Transport(peer)
    )


@pytest.mark.parametrize(
    "peer",
    [("127.0.0.1", 1), ("127.8.8.8", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)],
)
def test_a_local_peer_may_read_it(peer) -> None:
    assert refusal(_request(peer), local_only=True) is None


@pytest.mark.parametrize(
    "peer",
    [
        ("10.0.0.7", 1),
        ("::ffff:10.0.0.7", 1, 0, 0),
        ("2001:db8::1", 1, 0, 0),
        # A Unix socket, and a connection that is lost.
        "",
        None,
    ],
)
def test_another_peer_may_not_unless_that_is_configured(peer) -> None:
    assert "local peers only; see WEB__STATUS_HOST" in refusal(_request(peer), local_only=True)
    assert refusal(_request(peer), local_only=False) is None


def test_a_peer_does_not_become_local_by_what_it_says() -> None:
    for name in ("X_Forwarded_For", "X_Real_IP", "Forwarded"):
        request = _request(("10.0.0.7", 1), **{name: "127.0.0.1"})
        assert refusal(request, local_only=True) is not None


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "Via",
        "X_Forwarded_For",
        "X_Forwarded_Host",
        "X_Forwarded_Client_Cert",
        "x_envoy_attempt_count",
        "X_Real_IP",
        "True_Client_IP",
    ],
)
def test_a_proxy_on_the_same_machine_does_not_lend_its_address(name) -> None:
    request = _request(**{name: "anything"})
    assert "does not answer through a proxy" in refusal(request, local_only=True)


def test_a_proxy_that_is_told_nothing_does_not_either() -> None:
    # As nginx passes a request on: under the name that it knows us by, with no header of its own.
    request = make_mocked_request(
        "GET",
        PATHS[0],
        {"Host": "127.0.0.1:8080", "Connection": "close"},
        version=HttpVersion10,
        transport=_Transport(("127.0.0.1", 1)),
    )
    assert "does not answer through a proxy" in refusal(request, local_only=True)
    assert refusal(request, local_only=False) is None


@pytest.mark.parametrize("local_only", [True, False])
@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://localhost:3000"])
def test_the_script_of_another_site_is_refused_even_where_the_application_lets_it_read(
    origin, local_only
) -> None:
    assert "does not answer scripts" in refusal(_request(Origin=origin), local_only=local_only)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "10.1.2.3", "[::1]", "[::1]:8080"]
)
def test_it_is_asked_for_by_address_or_as_localhost(host) -> None:
    assert refusal(_request(Host=host), local_only=True) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost.evil.test",
        "127.0.0.1.evil.test:80",
        "localhost:80@evil.test",
        "[::1].evil.test",
        "[::1",
        "::1",
        "",
    ],
)
@pytest.mark.parametrize("local_only", [True, False])
def test_a_name_that_was_rebound_to_the_address_is_refused(host, local_only) -> None:
    assert "not by another name" in refusal(_request(Host=host), local_only=local_only)


def test_a_request_that_names_no_host_is_refused() -> None:
    request = make_mocked_request("GET", PATHS[0], transport=_Transport(("127.0.0.1", 1)))
    assert refusal(request, local_only=True) is not None


def test_what_is_no_address_is_not_loopback() -> None:
    assert not is_loopback("localhost")


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_is_an_answer_that_says_what_to_do(path) -> None:
    async with in_trouble() as (_, url), aiohttp.ClientSession() as client:
        for headers in ({"Host": "evil.test"}, {"X-Forwarded-For": "127.0.0.1"}):
            async with client.get(url.with_path(path), headers=headers) as response:
                text = await response.text()
                assert response.status == 403
                assert text.startswith(("ask for the status page", "the status page does not"))
                assert "billing" not in text

"""What a proxy does to those who need it."""

from __future__ import annotations

import aiohttp
import pytest

from platform_http.errors import DeadlineExceededError
from platform_http.testing import FaultServer
from platform_http.testing.actions import Action, close, hang, raw, reset, respond
from tests.certificates import Certificates
from tests.faults.scene import Result, Scene, scene
from tests.security.canaries import CANARIES
from tests.servers import free_port

LOGIN = f"{CANARIES['proxy-user']}:{CANARIES['proxy-password']}"
DENIED = respond(407, headers={"Proxy-Authenticate": f'Basic realm="{CANARIES["answer-body"]}"'})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def _through(port: int, certificates: Certificates, scheme: str, check) -> None:
    tls = {"trust": "file", "ca_file": certificates.ca_file}
    proxy = {"url": f"http://{LOGIN}@127.0.0.1:{port}", "no_proxy": ["localhost"]}
    async with scene(tls=tls, proxy=proxy) as made:
        async with made.server() as bystander:
            url = bystander.url.with_host("127.0.0.1").with_scheme(scheme)
            await check(made, await made.call(url))
            # Nobody goes around a proxy that fails, and what needs none goes on.
            assert bystander.connections == 0
            result = await made.call(bystander.url.with_host("localhost") / "clean")
            assert result.body == b"clean"
            made.expect(attempts=1, requests=1)


async def _behind(
    action: Action,
    certificates: Certificates,
    scheme: str,
    *,
    ends: type[Exception] | int,
    attempts: int,
    error_type: str,
) -> FaultServer:
    async with FaultServer([action]) as proxy:

        async def check(made: Scene, result: Result) -> None:
            made.expect(attempts=attempts, requests=0)
            if isinstance(ends, int):
                assert result.status == ends
            else:
                assert isinstance(result.error, ends), repr(result)
                counted = made.observed.value("platform_http_calls_total", error_type=error_type)
                assert counted == 1
            assert len(proxy.requests) == attempts

        await _through(proxy.port, certificates, scheme, check)
    return proxy


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses(certificates: Certificates, scheme: str) -> None:
    async def check(made: Scene, result: Result) -> None:
        made.expect(attempts=3, requests=0)
        assert isinstance(result.error, aiohttp.ClientProxyConnectionError)

    await _through(free_port(), certificates, scheme, check)


async def test_a_407_on_http(certificates: Certificates) -> None:
    await _behind(DENIED, certificates, "http", ends=407, attempts=1, error_type="")


async def test_a_407_on_connect(certificates: Certificates) -> None:
    proxy = await _behind(
        DENIED,
        certificates,
        "https",
        ends=aiohttp.ClientHttpProxyError,
        attempts=1,
        error_type="proxy_error",
    )
    assert proxy.requests[0].method == "CONNECT"
    # What is meant for the server is not for the proxy.
    head = proxy.requests[0].head.decode()
    assert "Private-Token" not in head
    assert "X-Api-Key" not in head


@pytest.mark.parametrize(
    ("action", "error_type"), [(close(), "response_ended"), (reset(), "connection_error")]
)
async def test_a_proxy_that_closes_in_connect(
    certificates: Certificates, action: Action, error_type: str
) -> None:
    await _behind(
        action,
        certificates,
        "https",
        ends=aiohttp.ClientConnectionError,
        attempts=3,
        error_type=error_type,
    )


async def test_a_proxy_that_closes_after_connect(certificates: Certificates) -> None:
    await _behind(
        respond(200, then="close"),
        certificates,
        "https",
        ends=aiohttp.ClientConnectionError,
        attempts=3,
        error_type="connection_error",
    )


async def test_a_proxy_that_answers_connect_with_garbage(certificates: Certificates) -> None:
    await _behind(
        raw(b"what " + CANARIES["answer-body"].encode() + b"\r\n\r\n", then="close"),
        certificates,
        "https",
        ends=aiohttp.ClientError,
        attempts=1,
        error_type="invalid_response",
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_stalls(certificates: Certificates, scheme: str) -> None:
    await _behind(
        hang(),
        certificates,
        scheme,
        ends=DeadlineExceededError,
        attempts=2,
        error_type="deadline_exceeded",
    )

"""What a server does by sending a caller elsewhere."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from platform_http.errors import EgressDeniedError
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from tests.certificates import Certificates
from tests.faults import canaries
from tests.faults.scene import Family, Scene, scene
from tests.security.canaries import found_in

FAMILY = Family()


def to(url: object, status: int = 302):
    return respond(status, headers={"Location": str(url)})


def shown_to(server: FaultServer) -> list[str]:
    """Return which secrets of the caller *server* has seen."""
    return found_in(
        ("request", f"{request.head.decode('latin-1')}{request.body.decode('latin-1')}")
        for request in server.requests
    )


@FAMILY.case("loop")
async def _(made: Scene) -> None:
    async with made.server(to("/again")) as server:
        result = await made.call(server.url)
        # The first request and as many hops as REDIRECTS__MAX allows.
        made.expect(attempts=6, requests=6)
        assert isinstance(result.error, aiohttp.TooManyRedirects)
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("cross-origin with credentials")
async def _(made: Scene) -> None:
    async with made.server() as elsewhere, made.server(to(elsewhere.url / "clean")) as server:
        result = await made.call(server.url)
        made.expect(attempts=2, requests=2)
        assert result.body == b"clean"
        assert shown_to(server)
        assert not shown_to(elsewhere)


@FAMILY.case("cross-origin and back")
async def _(made: Scene) -> None:
    async with made.server() as home, made.server(to(home.url / "clean")) as elsewhere:
        home._script._actions = (to(elsewhere.url),)
        result = await made.call(home.url)
        made.expect(attempts=3, requests=3)
        assert result.body == b"clean"
        assert not shown_to(elsewhere)
        assert "Private-Token" not in home.requests[-1].headers


@FAMILY.case("cross-origin with a body")
async def _(made: Scene) -> None:
    async with made.server() as elsewhere, made.server(to(elsewhere.url, 307)) as server:
        result = await made.call(server.url, method="POST", data=canaries.BODY)
        made.expect(attempts=1, requests=1)
        assert isinstance(result.error, EgressDeniedError)
        assert result.error.reason.startswith("redirect_")
        assert elsewhere.connections == 0
        await made.assert_clean_again(server, reuses=True)


@FAMILY.case("userinfo in the Location")
async def _(made: Scene) -> None:
    async with made.server() as server:
        target = server.url.with_user("evil").with_password("evil") / "clean"
        server._script._actions = (to(target),)
        result = await made.call(server.url)
        made.expect(attempts=2, requests=2)
        assert result.body == b"clean"
        assert "evil" not in server.requests[-1].head.decode()


@FAMILY.case("into the metadata service")
async def _(made: Scene) -> None:
    async with made.server(to("http://169.254.169.254/latest/meta-data")) as server:
        result = await made.call(server.url)
        made.expect(attempts=1, requests=1)
        assert isinstance(result.error, EgressDeniedError)
        await made.assert_clean_again(server, reuses=True)


@pytest.mark.parametrize("name", FAMILY.cases)
async def test_a_fault_of_redirects(name: str) -> None:
    await FAMILY.run(name)


async def test_a_downgrade(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with scene(tls={"trust": "file", "ca_file": certificates.ca_file}) as made:
        context = certificates.server("localhost")
        async with (
            made.server() as plain,
            made.server(to(plain.url), ssl_context=context) as server,
        ):
            result = await made.call(server.url.with_host("localhost"))
            made.expect(attempts=1, requests=1)
            assert isinstance(result.error, EgressDeniedError)
            assert result.error.reason == "redirect_downgrade"
            assert plain.connections == 0

"""What leaves aiohttp and is no ClientError, and what its messages give away."""

import aiohttp
import pytest

from platform_http.testing import FaultServer, black_hole
from platform_http.testing.actions import close, hang, raw, respond
from tests.contract.fixed_resolver import FixedResolver


async def test_an_empty_dns_answer_is_a_runtime_error() -> None:
    connector = aiohttp.TCPConnector(resolver=FixedResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(RuntimeError) as caught:
            await session.get("http://name.test/")
    assert not isinstance(caught.value, aiohttp.ClientError)


async def test_an_answer_of_the_wrong_family_is_an_assertion_error() -> None:
    connector = aiohttp.TCPConnector(resolver=FixedResolver("::1"), family=2)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(AssertionError):
            await session.get("http://name.test/")


@pytest.mark.parametrize("url", ["//host/", "//host/path?q=1"])
async def test_a_url_without_a_scheme_is_an_assertion_error(
    session: aiohttp.ClientSession, url: str
) -> None:
    with pytest.raises(AssertionError):
        await session.get(url)


@pytest.mark.parametrize("url", ["/path", "path", ""])
async def test_a_relative_url_without_a_base_is_an_invalid_url(
    session: aiohttp.ClientSession, url: str
) -> None:
    with pytest.raises(aiohttp.InvalidURL):
        await session.get(url)


async def test_a_bad_method_is_a_value_error(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ValueError, match="Method cannot contain") as caught:
        await session.request("GE T", "http://127.0.0.1/")
    assert not isinstance(caught.value, aiohttp.ClientError)


async def test_a_header_with_a_line_break_is_a_value_error(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer() as server:
        with pytest.raises(ValueError, match="Forbidden control character") as caught:
            await session.get(server.url, headers={"X": "a\r\nb: c"})
    assert not isinstance(caught.value, aiohttp.ClientError)


async def test_both_kinds_of_framing_are_a_value_error(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as server:
        with pytest.raises(ValueError, match="Transfer-Encoding"):
            await session.put(
                server.url,
                data=b"x",
                headers={"Transfer-Encoding": "chunked", "Content-Length": "1"},
                chunked=True,
            )


async def test_total_is_a_bare_timeout_error(session: aiohttp.ClientSession) -> None:
    async with FaultServer([hang()]) as server:
        with pytest.raises(TimeoutError) as caught:
            await session.get(server.url, timeout=aiohttp.ClientTimeout(total=0.03))
    assert not isinstance(caught.value, aiohttp.ClientError)


async def test_a_closed_session_is_a_runtime_error() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(RuntimeError, match="Session is closed"):
        await session.get("http://127.0.0.1:1/")


async def test_messages_carry_the_query(session: aiohttp.ClientSession) -> None:
    async with FaultServer([respond(404)]) as server:
        with pytest.raises(aiohttp.ClientResponseError, match="secret"):
            await session.get(server.url % {"token": "secret"}, raise_for_status=True)
    with pytest.raises(aiohttp.InvalidURL, match="secret"):
        await session.get("http://127.0.0.1:99999/?token=secret")
    with black_hole() as port:
        timeout = aiohttp.ClientTimeout(connect=0.02)
        with pytest.raises(aiohttp.ConnectionTimeoutError, match="secret"):
            await session.get(f"http://127.0.0.1:{port}/?token=secret", timeout=timeout)


async def test_the_representation_of_a_response_error_carries_request_headers(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([respond(404)]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.get(
                server.url, headers={"Authorization": "secret"}, raise_for_status=True
            )
    assert "secret" in repr(caught.value)


async def test_the_message_of_a_malformed_response_carries_its_bytes(
    session: aiohttp.ClientSession,
) -> None:
    async with FaultServer([raw(b"secret of the upstream\r\n\r\n", then="close")]) as server:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.post(server.url)
    assert "secret of the upstream" in str(caught.value)


async def test_a_disconnect_has_a_message_without_a_url(session: aiohttp.ClientSession) -> None:
    async with FaultServer([close()]) as server:
        with pytest.raises(aiohttp.ServerDisconnectedError) as caught:
            await session.post(server.url % {"token": "secret"})
    assert str(caught.value) == "Server disconnected"

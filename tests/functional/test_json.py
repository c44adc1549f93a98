"""One setting decides what writes and reads the JSON of a session."""

from __future__ import annotations

import json

import aiohttp
import pytest

from platform_http import plain_settings
from platform_http.factory import SessionFactory
from platform_http.testing import FaultServer
from platform_http.testing.actions import respond
from platform_http.transport.serializers import Serializer
from tests.functional.conftest import Observed

SERIALIZERS = ("json", "orjson", "msgspec")
JSON = {"Content-Type": "application/json"}
each = pytest.mark.parametrize("serializer", SERIALIZERS)


@each
async def test_the_request_carries_what_the_serializer_writes(
    observed: Observed, serializer: str
) -> None:
    async with FaultServer([respond(body=b"{}")]) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            async with session.post(server.url, json={"é": [1, 2]}) as response:
                await response.read()
    (request,) = server.requests
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == (
        b'{"\\u00e9": [1, 2]}' if serializer == "json" else '{"é":[1,2]}'.encode()
    )


@each
async def test_the_session_tells_its_serializer_to_who_asks(
    observed: Observed, serializer: str
) -> None:
    async with observed.session(json={"serializer": serializer}) as session:
        written = session.json_serialize({"a": 1})
    assert written == ('{"a": 1}' if serializer == "json" else '{"a":1}')


async def test_a_request_is_written_as_bytes_at_once(
    observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Serializer, "dumps_text", None)
    async with FaultServer([respond(body=b"{}")]) as server:
        async with observed.session(json={"serializer": "orjson"}) as session:
            async with session.post(server.url, json=[1]) as response:
                await response.read()
    assert server.requests[0].body == b"[1]"


async def test_the_response_is_read_by_the_same_library(observed: Observed) -> None:
    huge = b"123456789012345678901234567890"
    read = {}
    for serializer in SERIALIZERS:
        async with FaultServer([respond(headers=JSON, body=huge)]) as server:
            async with observed.session(json={"serializer": serializer}) as session:
                async with session.get(server.url) as response:
                    read[serializer] = type(await response.json())
    # The one document that tells them apart.
    assert read == {"json": int, "orjson": float, "msgspec": int}


@each
async def test_what_the_caller_decodes_with_comes_first(
    observed: Observed, serializer: str
) -> None:
    async with FaultServer([respond(headers=JSON, body=b"[1]")]) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            async with session.get(server.url) as response:
                assert await response.json(loads=str.upper) == "[1]"


@each
async def test_malformed_json_is_the_same_error(observed: Observed, serializer: str) -> None:
    async with FaultServer([respond(headers=JSON, body=b'{"a":')]) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            async with session.get(server.url) as response:
                with pytest.raises(json.JSONDecodeError, match="Expecting value: line 1 column 6"):
                    await response.json()


@each
async def test_another_content_type_is_the_same_error(observed: Observed, serializer: str) -> None:
    headers = {"Content-Type": "text/html"}
    async with FaultServer([respond(headers=headers, body=b"{}")]) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            async with session.get(server.url) as response:
                with pytest.raises(aiohttp.ContentTypeError):
                    await response.json()
                assert await response.json(content_type=None) == {}


@each
async def test_an_empty_body_is_none_and_a_charset_is_heeded(
    observed: Observed, serializer: str
) -> None:
    latin = {"Content-Type": "application/json; charset=latin-1"}
    answers = [respond(headers=JSON, body=b" "), respond(headers=latin, body=b'"\xe9"')]
    async with FaultServer(answers) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            async with session.get(server.url) as response:
                assert await response.json() is None
            async with session.get(server.url) as response:
                assert await response.json() == "é"


@each
async def test_a_value_that_is_no_json_is_a_type_error_and_sends_nothing(
    observed: Observed, serializer: str
) -> None:
    async with FaultServer([respond()]) as server:
        async with observed.session(json={"serializer": serializer}) as session:
            with pytest.raises(TypeError):
                await session.post(server.url, json={"a": object()})
    assert server.requests == []
    observed.assert_quiet()


async def test_the_plain_profile_takes_a_serializer_too() -> None:
    settings = plain_settings(json={"serializer": "orjson"})
    async with FaultServer([respond(headers=JSON, body=b"1")]) as server:
        async with SessionFactory(settings) as factory:
            async with factory.session().post(server.url, json={"é": 1}) as response:
                assert await response.json() == 1
    assert server.requests[0].body == '{"é":1}'.encode()

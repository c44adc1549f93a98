"""Responses become instances of the application's types, or an error without their values."""

from __future__ import annotations

import dataclasses
import gc
import json
import traceback
from typing import Annotated, Literal

import aiohttp
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from platform_http import CallOptions, DecodingError, PlatformHttpError, ResponseTooLargeError
from platform_http.decoding import _cached_adapter, decode
from platform_http.testing import FaultServer
from platform_http.testing.actions import partial_body, respond
from tests.functional.conftest import Observed

SECRET = "s3cret-of-the-body"
OPTIONS = CallOptions(operation="invoices.get", url_template="/invoices/{id}")


class Line(BaseModel):
    amount: int
    tax: int = Field(default=0, validation_alias=AliasChoices("vat", "gst"))


class Invoice(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: str
    lines: list[Line] = []


@dataclasses.dataclass
class Point:
    x: int


class Row(TypedDict):
    z: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: int


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]


async def _decode(
    observed: Observed,
    model: object,
    body: bytes,
    *,
    status: int = 200,
    media: str | None = "application/json",
    client: dict[str, object] | None = None,
    **options: object,
) -> object:
    headers = {} if media is None else {"Content-Type": media}
    async with FaultServer([respond(status, headers=headers, body=body)]) as server:
        async with observed.factory(retry={"enabled": False}, **(client or {})) as factory:
            session = factory.session("billing")
            async with session.get(f"{server.url}?q={SECRET}", trace_request_ctx=OPTIONS) as got:
                return await decode(got, model, **options)


async def _refusal(observed: Observed, model: object, body: bytes, **more: object) -> DecodingError:
    with pytest.raises(DecodingError) as caught:
        await _decode(observed, model, body, **more)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown
    # Neither is there anything behind it that a tool could show.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("model", "document", "expected"),
    [
        (Invoice, {"number": "42", "lines": [{"amount": 1, "vat": 2}]}, None),
        (list[Line], [{"amount": 1}], [Line(amount=1)]),
        (Point, {"x": 1}, Point(1)),
        (Row, {"z": 1}, {"z": 1}),
        (Animal, {"kind": "dog", "tricks": 3}, Dog(kind="dog", tricks=3)),
        (dict[str, Animal], {"a": {"kind": "cat", "lives": 9}}, {"a": Cat(kind="cat", lives=9)}),
        (TypeAdapter(int | None), None, None),
        (int, 7, 7),
    ],
)
async def test_a_body_becomes_an_instance(
    observed: Observed, model: object, document: object, expected: object
) -> None:
    if expected is None and document is not None:
        expected = Invoice(number="42", lines=[Line(amount=1, vat=2)])
    assert await _decode(observed, model, json.dumps(document).encode()) == expected


async def test_a_mismatch_tells_places_and_kinds_but_no_values(observed: Observed) -> None:
    document = {"number": 5, "lines": [{"amount": SECRET}, {"amount": 1, "gst": SECRET}]}
    error = await _refusal(observed, Invoice, json.dumps(document).encode())
    assert error.reason == "mismatch"
    assert error.status == 200
    assert error.count == 3
    assert error.problems == (
        "number: string_type",
        "lines.0.amount: int_parsing",
        "lines.1.gst: int_parsing",
    )
    assert str(error) == (
        "the response to GET /invoices/{id} (client 'billing', operation 'invoices.get', "
        "status 200) is no Invoice: number: string_type; lines.0.amount: int_parsing; "
        "lines.1.gst: int_parsing"
    )


async def test_names_that_came_with_the_body_are_not_told(observed: Observed) -> None:
    keys = json.dumps({SECRET: {"kind": "cat", "lives": SECRET}}).encode()
    error = await _refusal(observed, dict[str, Animal], keys)
    assert error.problems == ("*.cat.lives: int_parsing",)
    extra = json.dumps({"number": "1", SECRET: 1}).encode()
    error = await _refusal(observed, Invoice, extra)
    assert error.problems == ("*: extra_forbidden",)
    tag = json.dumps({"kind": SECRET}).encode()
    error = await _refusal(observed, Animal, tag)
    assert error.problems == ("the whole: union_tag_invalid",)


async def test_the_message_of_a_validator_is_not_told(observed: Observed) -> None:
    def refuse(value: str) -> str:
        raise PydanticCustomError("not_a_plate", "no plate: {value}", {"value": value})

    error = await _refusal(
        observed, Annotated[str, AfterValidator(refuse)], json.dumps(SECRET).encode()
    )
    assert error.problems == ("the whole: not_a_plate",)


async def test_many_problems_are_counted_and_few_are_told(observed: Observed) -> None:
    error = await _refusal(observed, list[int], json.dumps([SECRET] * 20).encode())
    assert len(error.problems) == 8
    assert error.count == 20
    assert str(error).endswith("7: int_parsing; 12 more")


async def test_too_many_problems_to_look_at_are_only_counted(observed: Observed) -> None:
    error = await _refusal(observed, list[int], json.dumps(["x"] * 10_001).encode())
    assert error.problems == ()
    assert error.count == 10_001
    assert str(error).endswith("is no list[int] in 10001 places")


async def test_a_deep_place_is_cut_short(observed: Observed) -> None:
    model: object = int
    document: object = "x"
    for _ in range(30):
        model, document = list[model], [document]
    error = await _refusal(observed, model, json.dumps(document).encode())
    assert error.problems == (f"{'.'.join('0' * 12)}.…: int_parsing",)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"number": "' + SECRET.encode(), "is no JSON at line 1 column 30"),
        (b"\xff", "is no JSON at line 1 column 1"),
        (b"[" * 1000, "is no JSON at line 1 column 202"),
    ],
)
async def test_malformed_json_tells_the_position(
    observed: Observed, body: bytes, where: str
) -> None:
    error = await _refusal(observed, Invoice, body)
    assert error.reason == "malformed"
    assert str(error).endswith(where)


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-7"])
async def test_a_charset_is_heeded(observed: Observed, charset: str) -> None:
    body = json.dumps("é", ensure_ascii=False).encode(charset)
    media = f"application/json; charset={charset}"
    assert await _decode(observed, str, body, media=media) == "é"


@pytest.mark.parametrize("charset", ["ascii", "base64"])
async def test_a_body_that_is_not_in_its_charset_is_malformed(
    observed: Observed, charset: str
) -> None:
    body = f'"{SECRET}é"'.encode()
    media = f"application/json; charset={charset}"
    error = await _refusal(observed, str, body, media=media)
    assert error.reason == "malformed"


@pytest.mark.parametrize("body", [b"", b" \r\n"])
async def test_an_empty_body_is_said_to_be_one(observed: Observed, body: bytes) -> None:
    error = await _refusal(observed, Invoice, body)
    assert error.reason == "empty"
    error = await _refusal(observed, Invoice, b"", status=204, media=None)
    assert error.reason == "empty"


@pytest.mark.parametrize(
    ("media", "shown"),
    [
        ("text/html; charset=utf-8", "is text/html instead of application/json"),
        (f"application/{SECRET}", "is of another type instead of application/json"),
        (None, "is without a content type instead of application/json"),
    ],
)
async def test_another_content_type_is_refused(
    observed: Observed, media: str | None, shown: str
) -> None:
    error = await _refusal(observed, int, b"1", media=media)
    assert error.reason == "content_type"
    assert shown in str(error)
    assert await _decode(observed, int, b"1", media=media, content_type=None) == 1


async def test_every_json_type_is_json_and_another_may_be_asked_for(observed: Observed) -> None:
    assert await _decode(observed, int, b"1", media="application/vnd.x+json; v=1") == 1
    assert await _decode(observed, int, b"1", media="Text/Plain", content_type="text/plain") == 1
    error = await _refusal(observed, int, b"1", content_type="text/plain")
    assert "is application/json instead of text/plain" in str(error)


@pytest.mark.parametrize("status", [404, 503])
async def test_a_status_that_is_no_success_is_refused_unless_it_is_asked_for(
    observed: Observed, status: int
) -> None:
    error = await _refusal(observed, dict, b"{}", status=status)
    assert error.reason == "status"
    assert error.status == status
    assert "any_status=True" in str(error)
    assert await _decode(observed, dict, b"{}", status=status, any_status=True) == {}


async def test_the_error_is_what_callers_catch_already(observed: Observed) -> None:
    error = await _refusal(observed, int, b'"x"')
    for kind in (PlatformHttpError, aiohttp.ClientError, aiohttp.ClientPayloadError, ValueError):
        assert isinstance(error, kind)
    assert error.error_type == "invalid_response"


async def test_a_mismatch_leaves_the_call_a_success(observed: Observed) -> None:
    await _refusal(observed, int, b'"x"')
    assert observed.value("platform_http_calls_total", outcome="success") == 1
    assert observed.value("platform_http_calls_total") == 1
    observed.assert_quiet()


async def test_the_limit_of_a_buffered_body_holds(observed: Observed) -> None:
    with pytest.raises(ResponseTooLargeError):
        await _decode(observed, str, b'"xxxxx"', client={"response": {"max_body": 5}})


async def test_a_body_that_breaks_off_is_aiohttps_error(observed: Observed) -> None:
    broken = partial_body(b"1", content_length=9, then="close")
    async with FaultServer([broken]) as server, observed.session() as session:
        async with session.get(server.url) as response:
            with pytest.raises(aiohttp.ClientPayloadError) as caught:
                await decode(response, int, content_type=None)
    assert not isinstance(caught.value, DecodingError)


async def test_a_response_of_any_session_is_decoded() -> None:
    answer = respond(headers={"Content-Type": "application/json"}, body=b'"x"')
    async with FaultServer([answer]) as server, aiohttp.ClientSession() as session:
        async with session.get(server.url) as response:
            assert await decode(response, str) == "x"
            with pytest.raises(DecodingError, match=r"response to GET \(status 200\) is no int"):
                await decode(response, int)


async def test_a_type_that_pydantic_does_not_know_is_the_applications_mistake(
    observed: Observed,
) -> None:
    with pytest.raises(PydanticUserError):
        await _decode(observed, object.__new__, b"1")


async def test_what_is_made_of_a_type_is_kept_within_bounds(observed: Observed) -> None:
    _cached_adapter.cache_clear()
    for _ in range(3):
        await _decode(observed, list[Line], b"[]")
    assert _cached_adapter.cache_info().misses == 1
    assert _cached_adapter.cache_info().maxsize == 256


async def test_the_order_of_a_union_is_kept(observed: Observed) -> None:
    class A(BaseModel):
        x: int

    class B(BaseModel):
        x: int

    assert type(await _decode(observed, A | B, b'{"x":1}')) is A
    assert type(await _decode(observed, B | A, b'{"x":1}')) is B
    _cached_adapter.cache_clear()
    gc.collect()


async def test_a_type_that_cannot_be_a_key_is_decoded(observed: Observed) -> None:
    model = Annotated[int, Field(json_schema_extra={"a": []}), []]
    assert await _decode(observed, model, b"1") == 1


async def test_a_mistake_of_a_validator_is_the_applications_own(observed: Observed) -> None:
    def look_up(value: int) -> int:
        return {1: 2}[value]

    model = Annotated[int, AfterValidator(look_up)]
    with pytest.raises(KeyError):
        await _decode(observed, model, b"7")
    with pytest.raises(KeyError):
        await _decode(observed, model, b"7", media="application/json; charset=latin-1")


async def test_a_model_whose_notes_hold_themselves_is_told_of(observed: Observed) -> None:
    notes: dict[str, object] = {}
    notes["self"] = notes

    class Noted(BaseModel):
        amount: Annotated[int, Field(json_schema_extra=notes)]

    error = await _refusal(observed, Noted, b'{"amount": "x"}')
    assert error.problems == ("amount: int_parsing",)

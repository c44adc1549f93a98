"""Responses as instances of the application's own types.

::

    from platform_http.decoding import decode

    async with session.get("/invoices/42") as response:
        invoice = await decode(response, Invoice)

pydantic reads the bytes itself, by the rules for JSON: a date is text, and ``JSON__SERIALIZER``
has no part in it. The types of the application decide what is lax and what is strict.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from aiohttp import hdrs
from pydantic import TypeAdapter, ValidationError

from platform_http.errors import DecodingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

    from platform_http.call import Attempt

_Type = TypeVar("_Type")

_MAX_ADAPTERS: Final = 256
_MAX_PROBLEMS: Final = 8
_MAX_LOCATION: Final = 12
_MAX_TITLE: Final = 80

# Each problem costs pydantic an object; of a list that is wrong throughout they are only counted.
_MAX_LISTED: Final = 10_000

# A content type is a header's value, so that only these are shown.
_SHOWN_TYPES: Final = frozenset(
    {
        "application/json",
        "application/octet-stream",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "application/xml",
        "text/csv",
        "text/html",
        "text/plain",
        "text/xml",
    }
)


@overload
async def decode(
    response: aiohttp.ClientResponse,
    model: type[_Type] | TypeAdapter[_Type],
    *,
    content_type: str | None = ...,
    any_status: bool = ...,
) -> _Type: ...


@overload
async def decode(
    response: aiohttp.ClientResponse,
    model: object,
    *,
    content_type: str | None = ...,
    any_status: bool = ...,
) -> Any: ...


async def decode(
    response: aiohttp.ClientResponse,
    model: object,
    *,
    content_type: str | None = "application/json",
    any_status: bool = False,
) -> Any:
    """Read the whole body of *response* and return it as *model*.

    Args:
        response: Of any aiohttp session; of a factory's, ``RESPONSE__MAX_BODY`` and the call's
            deadline hold as for ``read()``.
        model: A pydantic model, a dataclass, a TypedDict, ``list[Invoice]``, an annotated union or
            a ``TypeAdapter``. What is made of it is kept for the last 256 types.
        content_type: Media type that the response must have, without parameters; for JSON any
            ``…+json`` does as well. ``None`` takes every one.
        any_status: Whether to decode the body of a status outside of 200 to 299 too.

    Returns:
        An instance of *model*.

    Raises:
        DecodingError: If the status or the content type is another one, or the body is empty, no
            JSON, or not of the model. It holds no value of the body.
        aiohttp.ClientError: If the body cannot be read.
        pydantic.PydanticUserError: If pydantic cannot make anything of *model*.
        Exception: Whatever else a validator of *model* raises.
    """
    adapter = _adapter(model)
    if not (any_status or 200 <= response.status < 300):
        remedy = "call raise_for_status() first, or decode it with any_status=True"
        raise _error(response, "status", f"is no success; {remedy}")
    body = await response.read()
    if not body.strip():
        raise _error(response, "empty", "has an empty body")
    if content_type is not None and not _is_of_type(response, content_type):
        other = f"is {_shown_type(response)} instead of {content_type}"
        raise _error(response, "content_type", f"{other}; content_type=None takes every type")
    encoding = response.get_encoding()
    try:
        text = body if encoding == "utf-8" else body.decode(encoding)
    except (UnicodeError, LookupError):
        text = None
    if text is None:
        raise _error(response, "malformed", "is no text in the charset that it names")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        failure = _explained(response, adapter, error)
    # Outside of the handler, as above: what it caught shows the body, as a mere context too.
    raise failure


def _adapter(model: Any) -> TypeAdapter[Any]:
    if isinstance(model, TypeAdapter):
        return model
    try:
        hash(model)
    except TypeError:
        return TypeAdapter(model)
    return _cached_adapter(model, "" if isinstance(model, type) else repr(model))


# Equal unions may differ in the order of their members, which decides where several of them fit.
@functools.lru_cache(_MAX_ADAPTERS)
def _cached_adapter(model: Any, _order: str) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _is_of_type(response: aiohttp.ClientResponse, expected: str) -> bool:
    received = response.content_type.lower()
    if expected.lower() == "application/json" and received.endswith("+json"):
        return True
    return hdrs.CONTENT_TYPE in response.headers and received == expected.lower()


def _shown_type(response: aiohttp.ClientResponse) -> str:
    if hdrs.CONTENT_TYPE not in response.headers:
        return "without a content type"
    received = response.content_type.lower()
    return received if received in _SHOWN_TYPES else "of another type"


def _explained(
    response: aiohttp.ClientResponse, adapter: TypeAdapter[Any], error: ValidationError
) -> DecodingError:
    """Return what may be told of *error*: places and kinds, without values."""
    count = error.error_count()
    if count > _MAX_LISTED:
        return _error(response, "mismatch", f"{_misfit(error)} in {count} places", count=count)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid" and not found[0]["loc"]:
        position = re.search(r"line \d+ column \d+$", found[0]["msg"])
        where = f" at {position[0]}" if position else ""
        return _error(response, "malformed", f"is no JSON{where}")
    names = frozenset(_texts(adapter.core_schema))
    problems = [
        f"{_location(problem['loc'], names)}: {problem['type']}"
        for problem in found[:_MAX_PROBLEMS]
    ]
    more = f"; {count - len(problems)} more" if count > len(problems) else ""
    text = f"{_misfit(error)}: {'; '.join(problems)}{more}"
    return _error(response, "mismatch", text, problems=problems, count=count)


def _misfit(error: ValidationError) -> str:
    title = error.title
    shown = title if len(title) <= _MAX_TITLE else f"{title[:_MAX_TITLE]}…"
    return f"is no {shown}"


def _location(steps: tuple[int | str, ...], names: frozenset[str]) -> str:
    shown = [
        str(step) if isinstance(step, int) or step in names else "*"
        for step in steps[:_MAX_LOCATION]
    ]
    if len(steps) > _MAX_LOCATION:
        shown.append("…")
    return ".".join(shown) or "the whole"


def _texts(schema: object) -> Iterator[str]:
    """Yield every text in *schema*: names of fields and tags, which the application chose."""
    # What the application gave its fields may hold itself.
    seen: set[int] = set()
    left = [schema]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            left.extend(item)
            if isinstance(item, dict):
                left.extend(item.values())


def _error(
    response: aiohttp.ClientResponse,
    reason: str,
    text: str,
    *,
    problems: list[str] | None = None,
    count: int = 0,
) -> DecodingError:
    # A response of a session that no factory made has neither.
    attempt: Attempt | None = getattr(response, "attempt", None)
    client: str = getattr(response, "client_name", "")
    said = [f"status {response.status}"]
    target = ""
    if attempt is not None:
        options = attempt.call.options
        target = f" {options.url_template}" if options.url_template else ""
        if options.operation:
            said.insert(0, f"operation {options.operation!r}")
    if client:
        said.insert(0, f"client {client!r}")
    return DecodingError(
        f"the response to {response.method}{target} ({', '.join(said)}) {text}",
        reason=reason,
        status=response.status,
        problems=problems or (),
        count=count,
    )

"""JSON by a quicker library than the standard one, which still decides whatever that one refuses.

A value or a document that the library does not take goes to :mod:`json`: what worked before works
still, and what fails, fails with the standard library's error. Four differences stay:

- Text is written as UTF-8 instead of ASCII escapes, and without spaces after ``,`` and ``:``.
- NaN and the infinities are written as ``null``; :mod:`json` writes words that are no JSON.
- More types are written: dates and times, UUIDs, enums and dataclasses by both; Decimal, sets and
  bytes by msgspec.
- orjson reads an integer of more than 64 bits as a float.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, assert_never

if TYPE_CHECKING:
    from collections.abc import Callable


class Serializer(NamedTuple):
    """How values become JSON and text becomes values."""

    dumps: Callable[[Any], bytes]
    loads: Callable[[str], Any]

    def dumps_text(self, value: Any) -> str:
        """Write *value* as text, for those who ask the session for its ``json_serialize``."""
        return self.dumps(value).decode()


def make_serializer(name: Literal["orjson", "msgspec"]) -> Serializer:
    """Return the serializer *name*.

    Raises:
        ImportError: If the library is missing; settings that ask for it are refused before.
    """
    if name == "orjson":
        return _orjson()
    if name == "msgspec":
        return _msgspec()
    assert_never(name)


def _orjson() -> Serializer:
    import orjson  # noqa: PLC0415 - the extra "speedups" brings it

    return Serializer(
        _or_standard_dumps(orjson.dumps, TypeError),
        _or_standard_loads(orjson.loads, orjson.JSONDecodeError),
    )


def _msgspec() -> Serializer:
    import msgspec  # noqa: PLC0415 - the extra "speedups" brings it

    return Serializer(
        _or_standard_dumps(msgspec.json.encode, TypeError, ValueError, RecursionError),
        # The second is about lone surrogates, of which the error would show the whole text.
        _or_standard_loads(msgspec.json.decode, msgspec.DecodeError, UnicodeEncodeError),
    )


def _or_standard_dumps(
    quick: Callable[[Any], bytes], *refusals: type[Exception]
) -> Callable[[Any], bytes]:
    def dumps(value: Any) -> bytes:
        try:
            return quick(value)
        except refusals:
            pass
        # Outside of the handler: the first error would be shown as the context of a second one.
        return json.dumps(value).encode()

    return dumps


def _or_standard_loads(
    quick: Callable[[str], Any], *refusals: type[Exception]
) -> Callable[[str], Any]:
    def loads(text: str) -> Any:
        try:
            return quick(text)
        except refusals:
            pass
        return json.loads(text)

    return loads

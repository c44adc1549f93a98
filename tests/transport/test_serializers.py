"""What each serializer writes and reads, and where the three differ."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections import Counter, OrderedDict
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_http.transport.serializers import make_serializer

LIBRARIES = ("orjson", "msgspec")
library = pytest.mark.parametrize("name", LIBRARIES)


class Text(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


class Pair(NamedTuple):
    a: int
    b: int


EQUAL = {
    "text": "é \U0001f600 \x7f \x00 </script>",
    "nested": {"a": [1, 2.5, True, None, {"b": []}], "é": {}},
    "integer keys": {1: "a", 2: {"3": 4}},
    "boolean keys": {True: 1, False: 0},
    "a null key": {None: 1},
    "float keys": {1.5: 1},
    "64-bit integers": [2**63, 2**64 - 1, -(2**63)],
    "huge integers": [2**70, -(2**70)],
    "floats": [1e16, 1e-7, 1e300, -0.0, 0.1],
    "a lone surrogate": "\ud800",
    "a lone surrogate in a key": {"\ud800": 1},
    "tuples": (1, (2,)),
    "a named tuple": Pair(1, 2),
    "a subclass of str": Text("x"),
    "subclasses of dict": [OrderedDict(b=1, a=2), Counter("aab")],
    "deep": json.loads("[" * 500 + "]" * 500),
}


@library
@pytest.mark.parametrize("case", EQUAL)
def test_what_the_standard_library_writes_is_the_same_document(name, case):
    written = make_serializer(name).dumps(EQUAL[case])
    assert json.loads(written) == json.loads(json.dumps(EQUAL[case]))


DIFFERENT = {
    "nan": (math.nan, b"NaN", b"null", b"null"),
    "infinity": (math.inf, b"Infinity", b"null", b"null"),
    "umlauts": ("é", b'"\\u00e9"', '"é"'.encode(), '"é"'.encode()),
    "spaces": ([1, {"a": 2}], b'[1, {"a": 2}]', b'[1,{"a":2}]', b'[1,{"a":2}]'),
    "instants": (
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        TypeError,
        b'"2026-01-02T03:04:05+00:00"',
        b'"2026-01-02T03:04:05Z"',
    ),
    "dates": (dt.date(2026, 1, 2), TypeError, b'"2026-01-02"', b'"2026-01-02"'),
    "decimals": (decimal.Decimal("1.10"), TypeError, TypeError, b'"1.10"'),
    "sets": ({1}, TypeError, TypeError, b"[1]"),
    "bytes": (b"ab", TypeError, TypeError, b'"YWI="'),
    "identifiers": (
        uuid.UUID(int=1),
        TypeError,
        b'"00000000-0000-0000-0000-000000000001"',
        b'"00000000-0000-0000-0000-000000000001"',
    ),
    "enums": (Colour.RED, TypeError, b'"red"', b'"red"'),
    "dataclasses": (Point(1), TypeError, b'{"x":1}', b'{"x":1}'),
    "objects": (object(), TypeError, TypeError, TypeError),
    "tuple keys": ({(1, 2): 3}, TypeError, TypeError, TypeError),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_the_differences_in_writing_are_these(case):
    value, *expected = DIFFERENT[case]
    writers = [lambda it: json.dumps(it).encode(), *(make_serializer(n).dumps for n in LIBRARIES)]
    for write, result in zip(writers, expected, strict=True):
        if isinstance(result, bytes):
            assert write(value) == result
        else:
            with pytest.raises(result) as caught:
                write(value)
            # Nothing of the first try is shown beside it.
            assert caught.value.__context__ is None


@library
def test_a_value_that_holds_itself_is_the_standard_librarys_error(name):
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular reference"):
        make_serializer(name).dumps(value)


READ = (
    '{"a":1,"a":2}', "-0", "9007199254740993", "18446744073709551615", "1.0000000000000000001",
    "1e400", "NaN", "[Infinity, -Infinity]", '"\\ud800"', '"\\ud83d\\ude00"', '"\x7f"', " [1] ",
    "null", '"x"', '"\ud800"',
)  # fmt: skip


@library
@pytest.mark.parametrize("text", READ)
def test_what_the_standard_library_reads_is_the_same_value(name, text):
    assert repr(make_serializer(name).loads(text)) == repr(json.loads(text))


MALFORMED = ('{"a":1', "", "nope", "[1,]", '"\t"', "01", "\ufeff{}", "[1] x", "{'a':1}", '"\\x"')


@library
@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_the_standard_librarys_error(name, text):
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as caught:
        make_serializer(name).loads(text)
    assert type(caught.value) is json.JSONDecodeError
    assert str(caught.value) == str(expected.value)
    # Nothing of the first try is shown beside it.
    assert type(caught.value.__context__) is type(expected.value.__context__)


@library
def test_what_is_nested_too_deeply_is_the_standard_librarys_error(name):
    with pytest.raises(RecursionError):
        make_serializer(name).loads("[" * 100_000 + "]" * 100_000)


def test_only_orjson_reads_huge_integers_as_floats():
    text = "123456789012345678901234567890"
    assert make_serializer("msgspec").loads(text) == int(text)
    read = make_serializer("orjson").loads(text)
    assert type(read) is float
    assert read == pytest.approx(float(text))


@library
def test_as_text_it_is_the_same(name):
    serializer = make_serializer(name)
    assert serializer.dumps_text({"é": 1}) == '{"é":1}'


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(
    allow_nan=False, allow_infinity=False
)  # fmt: skip
_DOCUMENTS = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@library
@given(document=_DOCUMENTS)
def test_any_document_comes_back_as_it_went(name, document):
    serializer = make_serializer(name)
    assert serializer.loads(serializer.dumps(document).decode()) == document
    assert serializer.loads(json.dumps(document)) == document
    assert json.loads(serializer.dumps(document)) == document

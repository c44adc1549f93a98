"""What is wrong with a value, in words that never hold the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_KINDS = {
    "literal_error": "is none of the accepted words",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number of reasonable size",
    "int_from_float": "is not a whole number",
    "int_type": "is not a whole number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "string_sub_type": "is not text",
    "string_unicode": "is not text",
    "path_type": "is not a path",
    "tuple_type": "is not a list",
    "frozen_set_type": "is not a list",
    "model_type": "is not a set of fields",
    "missing": "is missing",
    "extra_forbidden": "is unknown",
}
_OUT_OF_RANGE = {
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
}


def kinds(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    """Return where each value of *error* was found, and what kind of value it is.

    The error itself must not be kept or chained: ``errors()`` and ``input`` hold the values.
    """
    return [(details["loc"], _kind(details)) for details in error.errors(include_url=False)]


def _kind(details: ErrorDetails) -> str:
    word = details["type"]
    if word == "kind":
        return details["msg"]
    if word in _OUT_OF_RANGE:
        return _out_of_range(details["input"], _OUT_OF_RANGE[word])
    return _KINDS.get(word, "is of the wrong type")


def _out_of_range(value: object, otherwise: str) -> str:
    # The input may be the text that the number was read from.
    number = float(value) if isinstance(value, str | int | float) else 0.0
    if number != number:  # noqa: PLR0124 - the one test that tells NaN from any other number
        return "is not a number"
    if number < 0:
        return "is a negative number"
    return "is zero" if number == 0 else otherwise

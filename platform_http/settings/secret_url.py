"""A URL that may hold credentials and must not show them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

_MASK = "***"


class SecretUrl:
    """A URL whose ``str`` and ``repr`` mask the userinfo and drop query and fragment.

    Two of them are equal when their secret values are equal. In JSON it is the masked text.

    Args:
        value: The URL; its form is not checked here.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the URL as it was given, credentials included."""
        return self._value

    def __str__(self) -> str:
        try:
            parts = urlsplit(self._value)
            _ = parts.port
        except ValueError:
            return _MASK
        if not (parts.scheme and parts.netloc):
            return self._value if self._value == f"{parts.scheme}://" else _MASK
        userinfo, at, host = parts.netloc.rpartition("@")
        # A "/", "?" or "#" that should have been percent-encoded in a password ends the host too
        # early: then the "@" is found behind it, and what looks like a host is half a secret.
        if "@" in f"{parts.path}{parts.query}{parts.fragment}{userinfo}":
            return f"{parts.scheme}://{_MASK}"
        masked = f"{_MASK}@{host}" if at else host
        return f"{parts.scheme}://{masked}{parts.path}"

    def __repr__(self) -> str:
        return f"SecretUrl('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and self._value == other._value

    def __hash__(self) -> int:
        return hash((SecretUrl, self._value))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[SecretUrl], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            python_schema=core_schema.union_schema(
                [
                    core_schema.is_instance_schema(cls),
                    core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
                ]
            ),
            serialization=core_schema.to_string_ser_schema(when_used="json"),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "format": "uri", "writeOnly": True}

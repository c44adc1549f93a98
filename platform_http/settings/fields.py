"""The types that settings have: how text becomes a value, and what is accepted.

Environment variables, ``.env`` lines and secret files are text; the constructor takes text and
values alike. A refusal says what kind of thing was found, never the thing itself.
"""

import ipaddress
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, LiteralString

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError


@dataclass(frozen=True, slots=True)
class Expects:
    """What a setting accepts, in words that follow "set it to".

    Args:
        text: For example ``seconds > 0``.
    """

    text: str


def refusal(kind: LiteralString) -> PydanticCustomError:
    """Return the error that says what *kind* of value was found, for example ``is empty``."""
    return PydanticCustomError("kind", kind)


_OFF = frozenset({"none", "off"})


def stripped(value: object) -> object:
    """Return *value* without white space around it; empty text is refused."""
    if isinstance(value, str):
        value = value.strip()
        if not value:
            raise refusal("is empty")
    return value


def _is_off(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _OFF)


def _number(value: object) -> object:
    # To pydantic True is 1.
    if isinstance(value, bool):
        raise refusal("is not a number")
    return stripped(value)


def _number_or_inf(value: object) -> object:
    return math.inf if _is_off(value) else _number(value)


def _number_or_none(value: object) -> object:
    return None if _is_off(value) else _number(value)


def word(value: object) -> object:
    """Return *value* as one of the words that a setting accepts is written."""
    value = stripped(value)
    return value.lower() if isinstance(value, str) else value


def _p95_or_number(value: object) -> object:
    return "p95" if word(value) == "p95" else _number(value)


def _text(value: object) -> object:
    if value == "":
        raise refusal("is empty")
    return value


def text_or_none(value: object) -> object:
    """Return *value* as text, or ``None`` for the word ``none``."""
    return None if _is_off(value) else stripped(value)


_BRACKETED_ADDRESS = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.%]*\]")


def _items(value: object) -> object:
    if not isinstance(value, str):
        if isinstance(value, Mapping):
            raise refusal("is not a list")
        return value
    text = value.strip()
    # "[::1]:8080" is an item, not JSON.
    if text.startswith("[") and not _BRACKETED_ADDRESS.match(text):
        items = _from_json(text)
        if not isinstance(items, list):
            raise refusal("is not a JSON list")
        return items
    return [item for item in map(str.strip, text.split(",")) if item]


def _from_json(text: str) -> object:
    # The caller refuses None. Raising in the except block would chain an error that holds the text.
    try:
        value: object = json.loads(text)
    except ValueError:
        return None
    return value


Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(_number),
    Expects("seconds > 0"),
]
SecondsOrZero = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_number),
    Expects("seconds >= 0"),
]
Timeout = Annotated[
    float,
    Field(gt=0),
    BeforeValidator(_number_or_inf),
    # JSON has no infinity, so the word is its only way to say that a timeout is off.
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "const": "none"},
            ]
        }
    ),
    Expects("seconds > 0, or none to switch it off"),
]
ReloadInterval = Annotated[
    float,
    Field(ge=0.1),
    BeforeValidator(_number_or_inf),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0.1}, {"type": "string", "const": "none"}]}
    ),
    Expects("seconds >= 0.1, or none to switch it off"),
]
OptionalSeconds = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
    BeforeValidator(_number_or_none),
    Expects("seconds > 0, or none"),
]
Positive = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(_number),
    Expects("a number > 0"),
]
OptionalPositive = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
    BeforeValidator(_number_or_none),
    Expects("a number > 0, or none"),
]
NotNegative = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_number),
    Expects("a number >= 0"),
]
AtLeastOne = Annotated[
    float,
    Field(ge=1, allow_inf_nan=False),
    BeforeValidator(_number),
    Expects("a number >= 1"),
]
Ratio = Annotated[
    float,
    Field(gt=0, le=1),
    BeforeValidator(_number),
    Expects("a ratio > 0 and <= 1"),
]
OptionalRatio = Annotated[
    Annotated[float, Field(gt=0, le=1)] | None,
    BeforeValidator(_number_or_none),
    Expects("a ratio > 0 and <= 1, or none"),
]
Count = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_number),
    Expects("a whole number >= 1"),
]
CountOrZero = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(_number),
    Expects("a whole number >= 0"),
]
OptionalCount = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(_number_or_none),
    Expects("a whole number >= 1, or none"),
]
Attempts = Annotated[
    int,
    Field(ge=1, le=5),
    BeforeValidator(_number),
    Expects("a whole number from 1 to 5"),
]
OptionalPort = Annotated[
    Annotated[int, Field(ge=1, le=65535)] | None,
    BeforeValidator(_number_or_none),
    Expects("a port from 1 to 65535, or none"),
]


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise refusal("is not an IP address") from None


IpAddress = Annotated[
    str, BeforeValidator(_text), AfterValidator(_address), Expects("an IP address")
]
HedgeDelay = Annotated[
    Literal["p95"] | Annotated[float, Field(gt=0, allow_inf_nan=False)],
    BeforeValidator(_p95_or_number),
    Expects("p95, or seconds > 0"),
]
Switch = Annotated[bool, BeforeValidator(word), Expects("true or false")]
Text = Annotated[str, BeforeValidator(_text), Expects("text")]
OptionalText = Annotated[str | None, BeforeValidator(_text), Expects("text")]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_text), Expects("a secret")]
OptionalPath = Annotated[
    Path | None, BeforeValidator(text_or_none), Expects("the path of a file, or none")
]


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise refusal("holds something that is not an HTTP token")
    return text


def _method(text: str) -> str:
    return _token(text).upper()


def _nameserver(text: str) -> str:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if colon and (bracketed or ":" not in host):
        text_of_address = host.strip("[]")
        valid_port = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
    else:
        text_of_address, valid_port = text.strip("[]"), True
    if not valid_port or not _is_address(text_of_address):
        raise refusal("holds something that is not an IP address")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> str:
    if not _is_network(text):
        raise refusal("holds something that is not an IP network")
    return text


_HOST = r"(?:\*\.)?[^\s/@:*?#\[\]\"',]+"
_HOST_PATTERN = re.compile(_HOST)
_PROPAGATION_TARGET = re.compile(
    rf"\*|{_HOST}|https?://(?:[^\s/@:*?#\[\]\"',]+|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?"
)
_PIN = re.compile(r"(?:sha256/)?[A-Za-z0-9+/]{43}=")


def _host_pattern(text: str) -> str:
    if not _HOST_PATTERN.fullmatch(text):
        raise refusal("holds something that is neither a host nor *.suffix")
    return text.lower()


def _propagation_target(text: str) -> str:
    if not _PROPAGATION_TARGET.fullmatch(text):
        raise refusal("holds something that is no host, *.suffix, origin or *")
    return text.lower()


def _pin(text: str) -> str:
    if not _PIN.fullmatch(text):
        raise refusal("holds something that is not a SHA-256 digest in base64")
    return text


def _distinct_headers(value: object) -> object:
    if isinstance(value, str):
        value = _from_json(value.strip() or "{}")
    if not isinstance(value, Mapping):
        raise refusal("is not a JSON object")
    names = [name.lower() if isinstance(name, str) else name for name in value]
    if len(set(names)) != len(names):
        raise refusal("names a header twice")
    if not _FRAMING_HEADERS.isdisjoint(names):
        raise refusal("names a header that frames a single message")
    return value


def _header_value(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[^\x00-\x08\x0a-\x1f\x7f]*", secret.get_secret_value()):
        raise refusal("holds a header value with control characters")
    return secret


def _read_only(headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    return MappingProxyType(dict(headers))


def _plain_dict(headers: Mapping[str, SecretStr]) -> dict[str, SecretStr]:
    return dict(headers)


Headers = Annotated[
    Mapping[
        Annotated[str, AfterValidator(_token)], Annotated[SecretStr, AfterValidator(_header_value)]
    ],
    BeforeValidator(_distinct_headers),
    AfterValidator(_read_only),
    PlainSerializer(_plain_dict, return_type=dict[str, SecretStr]),
    Expects("a JSON object of header names and values, without framing headers"),
]
HeaderName = Annotated[Text, AfterValidator(_token), Expects("the name of a header")]
HeaderNames = Annotated[
    tuple[Annotated[str, AfterValidator(_token)], ...],
    BeforeValidator(_items),
    Expects("a list of header names"),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(_items), Expects("a list")]
Statuses = Annotated[
    frozenset[Annotated[int, Field(ge=400, le=599), BeforeValidator(_number)]],
    BeforeValidator(_items),
    Expects("a list of status codes from 400 to 599"),
]
Methods = Annotated[
    frozenset[Annotated[str, AfterValidator(_method)]],
    BeforeValidator(_items),
    Expects("a list of HTTP methods"),
]
Ports = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535), BeforeValidator(_number)], ...],
    BeforeValidator(_items),
    Expects("a list of ports from 1 to 65535"),
]
Nameservers = Annotated[
    tuple[Annotated[str, AfterValidator(_nameserver)], ...],
    BeforeValidator(_items),
    Expects("a list of IP addresses, each with or without a port"),
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...],
    BeforeValidator(_items),
    Expects("a list of IP networks such as 10.0.0.0/8"),
]
HostPatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_host_pattern)], ...],
    BeforeValidator(_items),
    Expects("a list of hosts and *.suffix patterns"),
]
PropagationTargets = Annotated[
    tuple[Annotated[str, AfterValidator(_propagation_target)], ...],
    BeforeValidator(_items),
    Expects("a list of hosts, *.suffix patterns, origins, or *"),
]
Pins = Annotated[
    tuple[Annotated[str, AfterValidator(_pin)], ...],
    BeforeValidator(_items),
    Expects("a list of SHA-256 digests in base64"),
]

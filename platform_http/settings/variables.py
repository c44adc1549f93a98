"""The variables that exist, their names, and what a wrong name may have meant."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import SecretStr

from platform_http.settings.fields import Expects
from platform_http.settings.model import Profile, Section
from platform_http.settings.secret_url import SecretUrl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo

PREFIX = "PLATFORM_HTTP_"
CLIENTS = "CLIENTS__"
ENV_FILE = f"{PREFIX}ENV_FILE"
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"

CLIENT_NAME = re.compile(r"[a-z][a-z0-9_-]*")

# What Kubernetes puts into every pod for a service whose name starts with platform-http. A
# double underscore is ours: with one, a typo in WEB__STATUS_PORT would look like a service.
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(?!.*__)(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)"
)


@dataclass(frozen=True, slots=True)
class Variable:
    """One thing that can be set.

    Args:
        path: Dotted, for example ``timeout.attempt``.
        attributes: The same as attribute names of :class:`Profile`.
        expects: What it accepts.
        description: What it means.
        default: Its value when nothing is set and nothing adapts it.
    """

    path: str
    attributes: tuple[str, ...]
    expects: str
    description: str
    default: object

    @property
    def suffix(self) -> str:
        """The variable's name behind the prefix, for example ``TIMEOUT__ATTEMPT``."""
        return self.path.upper().replace(".", "__")

    def of(self, profile: Profile) -> object:
        """Return the value in *profile*."""
        value: object = profile
        for attribute in self.attributes:
            value = getattr(value, attribute)
        return value


def without_secrets(value: object) -> object:
    """Return *value* with ``set (hidden)`` for a secret; a URL keeps its scheme, host and path."""
    match value:
        case SecretStr():
            return "set (hidden)"
        case SecretUrl():
            return str(value)
        case MappingProxyType():
            return {name: without_secrets(each) for name, each in value.items()}
        case _:
            return value


@functools.cache
def variables() -> Mapping[str, Variable]:
    """Return every variable by its path, in the order of the documentation."""
    return MappingProxyType({variable.path: variable for variable in _walk(Profile, (), ())})


def _walk(
    section: type[Section], path: tuple[str, ...], attributes: tuple[str, ...]
) -> Iterator[Variable]:
    for attribute, field in section.model_fields.items():
        here = (*path, field.alias or attribute)
        names = (*attributes, attribute)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, here, names)
        else:
            yield Variable(
                ".".join(here),
                names,
                _expects(field),
                field.description or "",
                field.get_default(call_default_factory=True),
            )


def _expects(field: FieldInfo) -> str:
    # The last one belongs to the outermost type.
    return [each.text for each in field.metadata if isinstance(each, Expects)][-1]


@functools.cache
def sections() -> frozenset[str]:
    """Return the dotted paths of all sections, nested ones included."""
    return frozenset(
        path.rsplit(".", depth)[0]
        for path in variables()
        for depth in range(1, path.count(".") + 1)
    )


@functools.cache
def _paths_by_suffix() -> Mapping[str, str]:
    return {variable.suffix: path for path, variable in variables().items()}


def variable_name(path: str, client: str | None = None) -> str:
    """Return the environment variable that sets *path*, for every client or for one."""
    scope = f"{CLIENTS}{client.upper()}__" if client else ""
    return f"{PREFIX}{scope}{path.upper().replace('.', '__')}"


def split_name(suffix: str) -> tuple[str | None, str | None]:
    """Return the client (as spelled, lower case) and the path that a variable sets.

    Args:
        suffix: The variable's name behind the prefix, upper case.

    Returns:
        ``None`` for the client when it sets the default of all; ``None`` for the path when there
        is no such variable.
    """
    client = None
    if suffix.startswith(CLIENTS):
        client, _, suffix = suffix.removeprefix(CLIENTS).partition("__")
    return (client.lower() if client is not None else None), _paths_by_suffix().get(suffix)


def normalised(client: str) -> str | None:
    """Return the name that *client* goes by, or ``None`` if it cannot be a name."""
    lower = client.lower()
    return lower.replace("-", "_") if CLIENT_NAME.fullmatch(lower) else None


def is_service_link(name: str) -> bool:
    """Tell whether Kubernetes makes a variable of that *name* for a service."""
    return _SERVICE_LINK.fullmatch(name) is not None


def unknown(suffix: str) -> str:
    """Return what is wrong with a variable that does not exist, in words that follow its name.

    Args:
        suffix: The variable's name behind the prefix, upper case.
    """
    scope, rest = _split_scope(suffix)
    section = rest.lower().replace("__", ".")
    if section not in sections():
        return f"is unknown{did_you_mean(suffix)}"
    fields = [
        f"{PREFIX}{scope}{variable.suffix}"
        for path, variable in variables().items()
        if path.startswith(f"{section}.")
    ]
    return f"is a section, not a setting; set what is in it: {', '.join(fields)}"


def did_you_mean(suffix: str) -> str:
    """Return a hint at the variable that *suffix* is close to, or ``""``."""
    scope, suffix = _split_scope(suffix)
    candidates = [*_paths_by_suffix()]
    if not scope:
        candidates += [ENV_FILE.removeprefix(PREFIX), SECRETS_DIR.removeprefix(PREFIX)]
    close = _closest(suffix, candidates)
    return f"; did you mean {PREFIX}{scope}{close}?" if close else ""


def _split_scope(suffix: str) -> tuple[str, str]:
    """Return what names the client, ``""`` for the default of all, and what is behind it."""
    if not suffix.startswith(CLIENTS):
        return "", suffix
    client, _, rest = suffix.removeprefix(CLIENTS).partition("__")
    return f"{CLIENTS}{client}__", rest


def did_you_mean_path(path: str) -> str:
    """Return a hint at the constructor argument that *path* is close to, or ``""``."""
    close = _closest(path, [*variables(), "clients"])
    return f"; did you mean {close}?" if close else ""


def _closest(word: str, candidates: Iterable[str]) -> str | None:
    # A missing underscore is the usual slip, and it must find its variable before a longer name.
    close = difflib.get_close_matches(word, [*candidates], n=1, cutoff=0.6)
    return close[0] if close else None

"""The settings of all clients, resolved from their sources."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from platform_http.errors import ConfigurationError
from platform_http.settings.adaptation import adapt
from platform_http.settings.model import ClientSettings, Profile
from platform_http.settings.plain import PLAIN
from platform_http.settings.rules import Statement, violations
from platform_http.settings.sources import Key, Setting, from_constructor, from_variables
from platform_http.settings.variables import normalised, variables
from platform_http.settings.violations import kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from platform_http.settings.sources import Source

_logger = logging.getLogger("platform_http")


class _Resolved(NamedTuple):
    settings: ClientSettings
    said: Mapping[str, Setting]


class HttpSettings:
    """The settings of every client, from the constructor, the environment and what it names.

    Sources, strongest first: *values*, the variables ``PLATFORM_HTTP_*``, the ``.env`` file that
    ``PLATFORM_HTTP_ENV_FILE`` names, the directory of secret files that
    ``PLATFORM_HTTP_SECRETS_DIR`` names. A client's own value beats a default from any source.
    They are read once, here, with blocking I/O.

    Args:
        **values: Sections by name as mappings or models, for example ``timeout={"total": 2}``;
            ``base_url`` and ``headers``; and ``clients``, the same by client name.

    Raises:
        ConfigurationError: With everything that is wrong, one line each, without any value.
    """

    __slots__ = ("_clients", "_defaults", "_own")

    def __init__(self, **values: object) -> None:
        sources = self._sources(values)
        said: dict[Key, Setting] = {}
        for source in sources:
            for key, setting in source.settings.items():
                said.setdefault(key, setting)
        found = [line for source in sources for line in source.violations]

        defaults = {key.path: value for key, value in said.items() if key.client is None}
        self._defaults, lines = _client(None, defaults, {})
        found += lines
        self._own: dict[str, _Resolved] = {}
        for name in sorted({name for source in sources for name in source.clients}):
            own = {key.path: value for key, value in said.items() if key.client == name}
            self._own[name], lines = _client(name, defaults, own)
            found += lines
        if found:
            # Every client repeats what is wrong with the defaults.
            raise ConfigurationError(list(dict.fromkeys(found)))
        self._clients = {name: resolved.settings for name, resolved in self._own.items()}

    def _sources(self, values: Mapping[str, object]) -> list[Source]:
        return [from_constructor(values), *from_variables(os.environ)]

    @property
    def client_names(self) -> tuple[str, ...]:
        """Names of the clients that have settings of their own, sorted."""
        return tuple(self._own)

    def client(self, name: str = "default") -> ClientSettings:
        """Return the resolved settings of one client, the same object each time.

        Args:
            name: In any case, with ``-`` or ``_``. A name without settings of its own gets the
                defaults, which is logged once.

        Raises:
            ConfigurationError: If *name* cannot be a client's name.
        """
        known = self._clients.get(name)
        if known is not None:
            return known
        canonical = _canonical(name)
        if canonical not in self._clients:
            self._clients[canonical] = self._defaults.settings.model_copy(
                update={"name": canonical}
            )
            if canonical != "default":
                _logger.info(
                    "client %s has no settings of its own and uses the defaults", canonical
                )
        return self._clients[canonical]

    def origin_of(self, name: str, path: str) -> str:
        """Return where a client's value comes from.

        Args:
            name: The client.
            path: For example ``timeout.attempt``.

        Returns:
            ``default``, ``adapted default``, ``profile``, ``constructor``, ``environment`` or
            ``.env`` with the variable, or ``secrets directory`` with the file.

        Raises:
            ConfigurationError: If *name* cannot be a client's name.
            KeyError: If there is no such *path*.
        """
        variable = variables()[path]
        settings, said = self._own.get(_canonical(name), self._defaults)
        if path in said:
            return said[path].origin
        return "default" if variable.of(settings) == variable.default else "adapted default"

    def __repr__(self) -> str:
        return f"HttpSettings(client_names={self.client_names!r})"


def load_settings(**overrides: object) -> HttpSettings:
    """Read the settings of every client; the same as :class:`HttpSettings`.

    Args:
        **overrides: Stronger than every variable.

    Raises:
        ConfigurationError: With everything that is wrong.
    """
    return HttpSettings(**overrides)


def plain_settings(**overrides: object) -> HttpSettings:
    """Return the profile ``plain``: a session that behaves like a bare ``aiohttp.ClientSession``.

    Every policy is off, cookies are on, up to ten redirects are followed and timeouts are
    aiohttp's own: 300 seconds in total, 30 per connect. Spans and metrics are off as well. It
    does not read the environment. Only aiohttp's hidden resend stays away.

    Args:
        **overrides: As for :class:`HttpSettings`.

    Raises:
        ConfigurationError: If the overrides are invalid or contradict the profile.
    """
    return isolated_settings(PLAIN, **overrides)


def isolated_settings(profile: Mapping[str, object], **overrides: object) -> HttpSettings:
    """Return settings that nothing outside of the program can change.

    Neither variables nor files are read.

    Args:
        profile: What applies in place of the defaults, as the arguments of :class:`HttpSettings`.
        **overrides: Stronger than *profile*.

    Raises:
        ConfigurationError: If the overrides are invalid or contradict the profile.
    """
    return _IsolatedSettings(profile, overrides)


class _IsolatedSettings(HttpSettings):
    __slots__ = ("_profile",)

    def __init__(self, profile: Mapping[str, object], overrides: Mapping[str, object]) -> None:
        self._profile = profile
        super().__init__(**overrides)

    def _sources(self, values: Mapping[str, object]) -> list[Source]:
        return [from_constructor(values), from_constructor(self._profile, origin="profile")]


def _canonical(name: str) -> str:
    canonical = normalised(name)
    if canonical is None:
        raise ConfigurationError(
            ["a client name is not a letter followed by letters, digits, _ and -; correct it"]
        )
    return canonical


def _client(
    name: str | None, defaults: Mapping[str, Setting], own: Mapping[str, Setting]
) -> tuple[_Resolved, list[str]]:
    """Resolve one client, or the defaults of all; return with it what is wrong."""
    said = {**defaults, **own}
    profile, invalid = _validated(said)
    valid = {path: setting for path, setting in said.items() if path not in invalid}
    profile = adapt(profile, valid)
    statement = Statement(
        values=profile,
        labels={path: setting.label for path, setting in valid.items()},
        client=name,
        own=frozenset(own),
    )
    found = [*invalid.values(), *violations(statement)]
    fields = {field: getattr(profile, field) for field in Profile.model_fields}
    return _Resolved(ClientSettings.model_construct(name=name or "default", **fields), said), found


def _validated(said: Mapping[str, Setting]) -> tuple[Profile, dict[str, str]]:
    """Return the profile made of all valid values, and a line for each other path."""
    try:
        return Profile.model_validate(_nested(said)), {}
    except ValidationError as error:
        found = kinds(error)
    known = variables()
    invalid: dict[str, str] = {}
    for where, kind in found:
        # What follows the path is the place inside of a list or an object.
        path = ".".join(map(str, where))
        while path not in known:
            path = path.rpartition(".")[0]
        invalid.setdefault(path, f"{said[path].label} {kind}; set it to {known[path].expects}")
    valid = {path: setting for path, setting in said.items() if path not in invalid}
    return Profile.model_validate(_nested(valid)), invalid


def _nested(said: Mapping[str, Setting]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for path, setting in said.items():
        *sections, name = path.split(".")
        group = nested
        for section in sections:
            inner = group.setdefault(section, {})
            assert isinstance(inner, dict)
            group = inner
        group[name] = setting.value
    return nested

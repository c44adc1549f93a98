"""Where settings come from: the constructor, the environment, a ``.env`` file, mounted secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel
from pydantic_settings import DotEnvSettingsSource

from platform_http.settings.environment import Environment
from platform_http.settings.variables import (
    ENV_FILE,
    PREFIX,
    SECRETS_DIR,
    did_you_mean_path,
    is_service_link,
    normalised,
    sections,
    split_name,
    unknown,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger = logging.getLogger("platform_http")

_NAME_RULE = "a client name is a letter followed by letters, digits, _ and -"


class Setting(NamedTuple):
    """A value that somebody set.

    Args:
        value: Text, or what the constructor was given; not checked yet.
        origin: Where it was set, for the operator who wonders why it applies.
        label: What an error calls it: the variable or the argument.
    """

    value: object
    origin: str
    label: str


class Key(NamedTuple):
    """What a value is set for.

    Args:
        client: The normalised name, or ``None`` for the default of all clients.
        path: For example ``timeout.attempt``.
    """

    client: str | None
    path: str


@dataclass(slots=True)
class Source:
    """What one source said.

    Args:
        settings: The values that it sets.
        violations: What is wrong with the source itself.
        clients: Each client that it names, by normalised name, as it was spelled.
    """

    settings: dict[Key, Setting] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    clients: dict[str, str] = field(default_factory=dict)

    def add_client(self, spelled: str, label: str) -> str | None:
        """Note that the source names a client; return its normalised name if it can be one."""
        spelled = spelled.lower()
        name = normalised(spelled)
        if name is None:
            self.violations.append(f"{label} names an impossible client; {_NAME_RULE}")
        elif self.clients.setdefault(name, spelled) != spelled:
            self.violations.append(
                f"{label} names a client that is also there with - for _; both are the same name, "
                "keep one spelling"
            )
        return name

    def add(self, key: Key, setting: Setting) -> None:
        """Keep *setting*; a second one for the same key is a violation."""
        if key in self.settings:
            other = self.settings[key].label
            self.violations.append(f"{setting.label} sets the same as {other}; remove one of them")
        else:
            self.settings[key] = setting


def from_constructor(values: Mapping[str, object], *, origin: str = "constructor") -> Source:
    """Read keyword arguments: sections as mappings or models, and ``clients`` by name."""
    source = Source()
    _add_fields(source, None, {k: v for k, v in values.items() if k != "clients"}, "", origin)
    clients = values.get("clients", {})
    if not isinstance(clients, Mapping):
        source.violations.append("clients is not a mapping; set it to settings by client name")
        return source
    for spelled, profile in clients.items():
        client = source.add_client(str(spelled), "a key of clients")
        if client is None:
            continue
        if isinstance(profile, Mapping | BaseModel):
            _add_fields(source, client, profile, "", origin)
        else:
            source.violations.append(f"clients.{client} is not a mapping; set it to settings")
    return source


def _add_fields(
    source: Source,
    client: str | None,
    group: Mapping[str, object] | BaseModel,
    section: str,
    origin: str,
) -> None:
    for name, value in _fields(group):
        path = f"{section}{name}"
        label = f"clients.{client}.{path}" if client else path
        if path in variables():
            source.add(Key(client, path), Setting(value, origin, label))
        elif path not in sections():
            source.violations.append(f"{label} is unknown{did_you_mean_path(path)}")
        elif isinstance(value, Mapping | BaseModel):
            _add_fields(source, client, value, f"{path}.", origin)
        else:
            source.violations.append(f"{label} is not a mapping; set it to the section's fields")


def _fields(group: Mapping[str, object] | BaseModel) -> Iterator[tuple[str, object]]:
    """Return the fields of a mapping, or of a model those that were set, sections apart."""
    if isinstance(group, BaseModel):
        for name, model_field in type(group).model_fields.items():
            if name in group.model_fields_set:
                yield model_field.alias or name, getattr(group, name)
    else:
        for key, value in group.items():
            yield str(key).removesuffix("_"), value


def from_variables(environ: Mapping[str, str]) -> list[Source]:
    """Read the environment and what it names, strongest first.

    Args:
        environ: The process environment.

    Returns:
        The environment itself, the ``.env`` file and the secrets directory.
    """
    sources = [_from_environment(environ)]
    if path := environ.get(ENV_FILE):
        sources.append(_from_env_file(Path(path)))
    if path := environ.get(SECRETS_DIR):
        sources.append(_from_secrets_dir(Path(path)))
    return sources


def _from_environment(environ: Mapping[str, str]) -> Source:
    source = Source()
    service_links = []
    # Without the values: each is decoded when it is asked for, and most belong to somebody else.
    for name in environ:
        suffix = _suffix(name)
        if suffix is None or f"{PREFIX}{suffix}" in {ENV_FILE, SECRETS_DIR}:
            continue
        if _add_variable(source, suffix, environ[name], f"environment {PREFIX}{suffix}", name):
            continue
        if is_service_link(name):
            service_links.append(name)
        else:
            source.violations.append(f"{name} {unknown(suffix)}")
    if service_links:
        _logger.info(
            "ignored variables that Kubernetes makes for services: %s",
            ", ".join(sorted(service_links)),
        )
    return source


def _from_env_file(path: Path) -> Source:
    source = Source()
    try:
        # Opened here because the reader takes a missing file for an empty one.
        path.read_text(encoding="utf-8")
        lines = DotEnvSettingsSource(
            Environment, env_file=path, env_file_encoding="utf-8", case_sensitive=True
        ).env_vars
    except (OSError, ValueError):
        source.violations.append(f"{ENV_FILE} names no readable UTF-8 file; correct or remove it")
        return source
    for name, value in lines.items():
        suffix = _suffix(name)
        if suffix is None:
            continue
        label = f"{name} in the .env file"
        if f"{PREFIX}{suffix}" in {ENV_FILE, SECRETS_DIR}:
            source.violations.append(f"{label} has no effect; set it in the environment")
        elif value is None:
            source.violations.append(f"{label} has no value; write {name}=... or remove it")
        elif not _add_variable(source, suffix, value, f".env {PREFIX}{suffix}", label):
            source.violations.append(f"{label} {unknown(suffix)}")
    return source


def _from_secrets_dir(directory: Path) -> Source:
    source = Source()
    try:
        # Not the directory "..data", which the files of a mounted secret are links into.
        files = sorted(file for file in directory.iterdir() if file.is_file())
    except OSError:
        source.violations.append(f"{SECRETS_DIR} names no readable directory; correct or remove it")
        return source
    for file in files:
        prefixed = _suffix(file.name)
        suffix = file.name.upper() if prefixed is None else prefixed
        _, path = split_name(suffix)
        if path is None:
            # Without the prefix a file may belong to somebody else.
            if prefixed is not None:
                source.violations.append(f"{file.name} in the secrets directory {unknown(suffix)}")
            continue
        label = f"{PREFIX}{suffix} (secrets file {file.name})"
        try:
            text = file.read_bytes().decode()
        except (OSError, ValueError):
            source.violations.append(f"{label} is not readable UTF-8 text; correct or remove it")
            continue
        value = text.removesuffix("\n").removesuffix("\r")
        _add_variable(source, suffix, value, f"secrets directory {file.name}", label)
    return source


def _suffix(name: str) -> str | None:
    """Return what follows the prefix, upper case, or ``None`` for somebody else's variable."""
    upper = name.upper()
    return upper.removeprefix(PREFIX) if upper.startswith(PREFIX) else None


def _add_variable(source: Source, suffix: str, value: str, origin: str, label: str) -> bool:
    """Add what the variable sets; return whether there is such a variable."""
    spelled, path = split_name(suffix)
    if path is None:
        return False
    client = None
    if spelled is not None:
        client = source.add_client(spelled, label)
        if client is None:
            return True
    source.add(Key(client, path), Setting(value, origin, label))
    return True

"""All that can be said from outside, as one model: its JSON schema documents the configuration."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from platform_http.settings.model import Profile
from platform_http.settings.variables import PREFIX


class Environment(Profile, BaseSettings):
    """Settings of an application's HTTP clients.

    The top level holds the defaults of every client, ``clients`` what differs for one. It is
    the shape of the configuration; :class:`HttpSettings` reads it, because values of several
    sources are merged per client before any of them is checked.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", title="platform_http"
    )

    clients: dict[str, Profile] = Field(
        default_factory=dict, description="settings of one client, by its name"
    )

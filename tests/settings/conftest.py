"""Settings from an environment that a test makes up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from platform_http.errors import ConfigurationError
from platform_http.settings import HttpSettings

if TYPE_CHECKING:
    from collections.abc import Callable


class Loader(Protocol):
    def __call__(self, **variables: str) -> HttpSettings: ...


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Load settings from environment variables, given without the prefix."""

    def load(**variables: str) -> HttpSettings:
        for name, value in variables.items():
            monkeypatch.setenv(f"PLATFORM_HTTP_{name}", value)
        return HttpSettings()

    return load


@pytest.fixture
def violations(load: Loader) -> Callable[..., tuple[str, ...]]:
    """Load settings that are wrong; return what is wrong with them."""

    def violations(**variables: str) -> tuple[str, ...]:
        with pytest.raises(ConfigurationError) as caught:
            load(**variables)
        return caught.value.violations

    return violations

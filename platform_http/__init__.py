"""Settings-driven aiohttp sessions with deadlines, retries, circuit breakers, spans and metrics."""

import importlib
from typing import TYPE_CHECKING

from platform_http.call import CallOptions, deadline
from platform_http.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    CircuitOpenError,
    ConcurrencyLimitError,
    ConfigurationError,
    DeadlineExceededError,
    DecodingError,
    EgressDeniedError,
    FactoryClosedError,
    PlatformHttpError,
    PoolTimeoutError,
    RateLimitedError,
    RequestRejectedError,
    ResponseTooLargeError,
    ThrottledError,
)
from platform_http.factory import SessionFactory, open_session

if TYPE_CHECKING:
    from platform_http.settings import (
        ClientSettings,
        HttpSettings,
        load_settings,
        plain_settings,
    )
    from platform_http.telemetry.setup import Telemetry, configure_telemetry

__all__ = [
    "AttemptTimeoutError",
    "AuthenticationError",
    "CallOptions",
    "CircuitOpenError",
    "ClientSettings",
    "ConcurrencyLimitError",
    "ConfigurationError",
    "DeadlineExceededError",
    "DecodingError",
    "EgressDeniedError",
    "FactoryClosedError",
    "HttpSettings",
    "PlatformHttpError",
    "PoolTimeoutError",
    "RateLimitedError",
    "RequestRejectedError",
    "ResponseTooLargeError",
    "SessionFactory",
    "Telemetry",
    "ThrottledError",
    "configure_telemetry",
    "deadline",
    "load_settings",
    "open_session",
    "plain_settings",
]

# Building the settings models takes as long as importing all the rest, and a service that only
# reads its environment never names them: a factory imports them off the loop.
_LATE = {
    "ClientSettings": "platform_http.settings",
    "HttpSettings": "platform_http.settings",
    "Telemetry": "platform_http.telemetry.setup",
    "configure_telemetry": "platform_http.telemetry.setup",
    "load_settings": "platform_http.settings",
    "plain_settings": "platform_http.settings",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        value: object = getattr(importlib.import_module(_LATE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

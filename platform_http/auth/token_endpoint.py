"""Asks an OAuth2 token endpoint for a token, and judges its answer strictly."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote_plus

import aiohttp

from platform_http.auth.fixed import is_token
from platform_http.call import CallOptions
from platform_http.errors import AuthenticationError, EgressDeniedError
from platform_http.outcomes import error_type
from platform_http.settings.model import (
    AuthSettings,
    CircuitBreakerSettings,
    ConcurrencySettings,
    CookieSettings,
    HedgingSettings,
    PropagationSettings,
    RateLimitSettings,
    ThrottleSettings,
    TimeoutSettings,
)

if TYPE_CHECKING:
    from yarl import URL

    from platform_http.settings import ClientSettings

CLIENT: Final = "auth"
"""The client label of what is sent to token endpoints."""

DEADLINE: Final = 10.0
"""Seconds that a refresh may take, whatever the deadlines of those who wait for it."""

_MAX_BYTES = 65536

# Asking twice does no harm: the endpoint merely issues two tokens.
_OPTIONS = CallOptions(operation="token", idempotent=True)


class Grant(NamedTuple):
    """What a token endpoint granted.

    Args:
        token: To be presented as a bearer token.
        lifetime: Seconds from now, >= 0; ``None`` if it did not say.
    """

    token: str
    lifetime: float | None

    def __repr__(self) -> str:
        # asyncio's debug log shows what tasks return.
        return f"<grant for {self.lifetime} s>"


def endpoint_settings(settings: ClientSettings) -> ClientSettings:
    """Return the settings of the session that asks for tokens on behalf of a client.

    It goes the client's way (TLS, proxy, egress policy, DNS, retries) and takes nothing of the
    client's along: neither headers nor credentials, and no base URL to mistake for its own.
    """
    return settings.model_copy(
        update={
            "name": CLIENT,
            "base_url": None,
            "headers": {},
            "auth": AuthSettings(),
            "timeout": TimeoutSettings(total=DEADLINE, attempt=DEADLINE),
            "circuit_breaker": CircuitBreakerSettings(mode="off"),
            "concurrency": ConcurrencySettings(limit=0),
            "rate_limit": RateLimitSettings(),
            "hedging": HedgingSettings(),
            "throttle": ThrottleSettings(),
            "propagation": PropagationSettings(enabled=False),
            "cookies": CookieSettings(),
        }
    )


class TokenEndpoint:
    """The client-credentials grant, with ``client_secret_basic``.

    Args:
        session: Made from :func:`endpoint_settings`.
        url: The token endpoint.
        settings: The client's AUTH section.

    Source: RFC 6749, sections 2.3.1, 4.4 and 5.1.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, settings: AuthSettings) -> None:
        assert settings.client_id is not None
        assert settings.client_secret is not None
        self._session = session
        self._url = url
        # Both are encoded before they are joined: either may hold a colon.
        login = ":".join(
            quote_plus(part)
            for part in (settings.client_id, settings.client_secret.get_secret_value())
        )
        self._headers = {
            "Accept": "application/json",
            "Authorization": f"Basic {base64.b64encode(login.encode()).decode('ascii')}",
        }
        form = {
            "grant_type": "client_credentials",
            "scope": settings.scope,
            "audience": settings.audience,
        }
        self._form = {name: value for name, value in form.items() if value is not None}

    async def ask(self) -> Grant:
        """Return a new grant.

        Raises:
            AuthenticationError: If there is none. It says what went wrong in our own words: the
                endpoint's answer may hold a token.
        """
        try:
            async with self._session.post(
                self._url,
                data=self._form,
                headers=self._headers,
                # The client's secret is for this endpoint, not for where it may point.
                allow_redirects=False,
                trace_request_ctx=_OPTIONS,
            ) as response:
                if response.status != 200:
                    raise self._failed(f"answered {response.status}")
                body = await _read(response)
        except EgressDeniedError as error:
            raise self._failed(f"is refused by the egress policy ({error.reason})") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, AuthenticationError):
                raise
            raise self._failed(f"gave no answer: {error_type(error)}") from None
        try:
            return judge(body)
        except ValueError as error:
            raise self._failed(f"gave an answer that cannot be used: {error}") from None

    def _failed(self, what: str) -> AuthenticationError:
        return AuthenticationError(f"the token endpoint at {self._url.origin()} {what}")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_BYTES:
            break
    return b"".join(pieces)


def judge(body: bytes) -> Grant:
    """Return what a token endpoint granted.

    Args:
        body: Of its answer, cut off where it is larger than any answer.

    Raises:
        ValueError: If the answer is none; the message quotes nothing of it.

    Source: RFC 6749, section 5.1.
    """
    if len(body) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    answer = _object(body)
    if answer is None:
        raise ValueError("it is no JSON object")
    token, kind, lifetime = map(answer.get, ("access_token", "token_type", "expires_in"))
    if not isinstance(token, str) or not is_token(token):
        raise ValueError("access_token is no token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ValueError("token_type is not bearer")
    if "expires_in" not in answer:
        return Grant(token, None)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
        raise ValueError("expires_in is no number")  # noqa: TRY004 - the server's mistake
    if not 0 <= lifetime < math.inf:
        raise ValueError("expires_in is not a number of seconds")
    # A whole number may be larger than any float.
    return Grant(token, float(min(lifetime, 1e9)))


def _object(body: bytes) -> dict[str, object] | None:
    # Raising in the except block would chain an error that holds the text.
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None

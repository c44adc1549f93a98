"""Credentials from the application's own code."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from platform_http.errors import AuthenticationError, PlatformHttpError

if TYPE_CHECKING:
    import aiohttp


class CredentialProvider(Protocol):
    """What an application gives a factory as ``auth={"billing": provider}``."""

    async def credentials(
        self, request: aiohttp.ClientRequest, rejected: Mapping[str, str] | None
    ) -> Mapping[str, str]:
        """Return the headers that authenticate *request*.

        It is asked before every attempt, before the attempt takes a permit and outside of its
        timeout, and has until the deadline of the call. What it returns is put on this attempt
        alone, and only on requests to the client's own origin.

        Args:
            request: With its final method, URL, headers and body; a signature may cover them all.
                Only the headers that propagate trace and deadline follow later.
            rejected: What this provider returned and a server has since answered with a 401, for
                it to forget; ``None`` if there is nothing to forget.

        Returns:
            Headers by name. Names that the caller has set are left as they are.

        Raises:
            AuthenticationError: If there are no credentials. Any other exception becomes the
                cause of one; whoever logs that sees its text.
        """


class CustomCredentials:
    """Asks the provider of one client.

    Args:
        provider: The application's.
        client: The client's name, for errors.
    """

    def __init__(self, provider: CredentialProvider, client: str) -> None:
        self._provider = provider
        self._client = client
        self._rejected: Mapping[str, str] | None = None

    def ready(self) -> Mapping[str, str] | None:
        """Return ``None``: only the provider knows."""
        return None

    def reject(self, headers: Mapping[str, str]) -> None:
        """Tell the provider when it is asked next."""
        self._rejected = headers

    async def obtain(self, request: aiohttp.ClientRequest) -> Mapping[str, str]:
        """Return what the provider has for *request*.

        Raises:
            AuthenticationError: If it has nothing.
        """
        if _ASKED.get() is self:
            raise AuthenticationError(
                f"the credential provider of client {self._client!r} waits for itself: it sends "
                "with that client's session; use another client or pass middlewares=()"
            )
        rejected = self._rejected
        token = _ASKED.set(self)
        try:
            headers: object = await self._provider.credentials(request, rejected)
        except PlatformHttpError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"the credential provider of client {self._client!r} failed: {type(error).__name__}"
            ) from error
        finally:
            _ASKED.reset(token)
        if not isinstance(headers, Mapping):
            raise AuthenticationError(
                f"the credential provider of client {self._client!r} returned "
                f"{type(headers).__name__}; it has to return a mapping of headers"
            )
        if self._rejected is rejected:
            self._rejected = None
        return headers


# Set while a provider is asked, for all that it calls.
_ASKED: ContextVar[CustomCredentials | None] = ContextVar("platform_http_asked", default=None)

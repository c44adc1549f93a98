"""OAuth2 client credentials: one token for all, one refresh in flight."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING

from platform_http.auth.fixed import bearer
from platform_http.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from platform_http.auth.token_endpoint import TokenEndpoint
    from platform_http.call import Client
    from platform_http.policies.token import TokenSchedule

_LOGGER = logging.getLogger("platform_http")


class ClientCredentials:
    """Presents a token and refreshes it ahead of its end.

    Whoever needs a token that is not there waits for the one refresh in flight, up to its own
    deadline. The refresh belongs to nobody: a caller that is cancelled leaves it to the others.

    Args:
        endpoint: Grants tokens.
        schedule: Decides when to ask for one.
        client: Whose token it is.
    """

    def __init__(self, endpoint: TokenEndpoint, schedule: TokenSchedule, client: Client) -> None:
        self._endpoint = endpoint
        self._schedule = schedule
        self._client = client
        self._headers: Mapping[str, str] | None = None
        self._failure = ""
        self._refresh: asyncio.Task[Mapping[str, str] | None] | None = None

    def ready(self) -> Mapping[str, str] | None:
        """Return the token if it may still be used; start a refresh if it is time."""
        if not self._schedule.usable:
            return None
        if self._schedule.due:
            self._start()
        return self._headers

    def reject(self, headers: Mapping[str, str]) -> None:
        """Revoke the token, unless another one has taken its place meanwhile."""
        if headers == self._headers:
            self._schedule.revoked()

    async def obtain(self, request: aiohttp.ClientRequest) -> Mapping[str, str]:  # noqa: ARG002 - signature of Credentials
        """Return a token that may be used.

        Raises:
            AuthenticationError: If the refresh fails, or failed a moment ago.
        """
        headers = self.ready()
        if headers is not None:
            return headers
        if self._refresh is None and not self._schedule.due:
            raise AuthenticationError(
                f"no token for client {self._client.name!r}: {self._failure}; "
                f"the next refresh is due in {self._schedule.pause:.1f} s"
            )
        refresh = self._start()
        await asyncio.wait([refresh])
        headers = None if refresh.cancelled() else refresh.result()
        if headers is None:
            raise AuthenticationError(f"no token for client {self._client.name!r}: {self._failure}")
        return headers

    async def aclose(self) -> None:
        """End the refresh in flight."""
        if self._refresh is not None:
            self._failure = "the session factory is closing"
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    def _start(self) -> asyncio.Task[Mapping[str, str] | None]:
        """Return the refresh in flight, with nothing of the context of whoever asked first."""
        if self._refresh is None:
            self._refresh = self._client.loop.create_task(
                self._renew(), name="platform_http-token", context=contextvars.Context()
            )
            self._refresh.add_done_callback(self._landed)
        return self._refresh

    def _landed(self, _: asyncio.Task[Mapping[str, str] | None]) -> None:
        self._refresh = None

    async def _renew(self) -> Mapping[str, str] | None:
        try:
            grant = await self._endpoint.ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait must hear of it
            is_ours = isinstance(error, AuthenticationError)
            self._failure = str(error) if is_ours else type(error).__name__
            self._schedule.failed()
            self._client.observer.token_refreshed("failure")
            _LOGGER.warning(
                "client %s got no token: %s",
                self._client.name,
                self._failure,
                extra={"client": self._client.name},
            )
            return None
        self._schedule.obtained(grant.lifetime)
        self._headers = bearer(grant.token)
        self._client.observer.token_refreshed("success")
        return self._headers

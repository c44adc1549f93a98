"""Makes one connection after the other to one place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yarl import URL

from platform_http.call import UPGRADE_OPTIONS, WebSocketLife, ambient_deadline, client_of
from platform_http.concealment import conceal
from platform_http.outcomes import error_type
from platform_http.policies.reconnect import GiveUp
from platform_http.websocket.reconnection import verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from platform_http.call import CallOptions, Observer
    from platform_http.policies.reconnect import ReconnectPolicy


class Handshake:
    """What all connections of one WebSocket have in common.

    Args:
        session: Any session; one that a factory made has its policies applied.
        url: Where to; relative to the base URL of *session*.
        protocols: Subprotocols to offer, best first.
        headers: For the request, besides those of *session*.
        compress: Window bits of permessage-deflate, 9 to 15; 0 does not offer it.
        max_message: Bytes of a message, decompressed, that are accepted.
        options: Of the calls that the handshakes are.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str | URL,
        *,
        protocols: Sequence[str],
        headers: dict[str, str],
        compress: int,
        max_message: int,
        options: CallOptions,
    ) -> None:
        self._session = session
        self._url = URL(url)
        self._protocols = tuple(protocols)
        self._headers = headers
        self._compress = compress
        self._max_message = max_message
        self._options = options
        self.client = client_of(session)
        self.json_serialize = session.json_serialize

    @property
    def observer(self) -> Observer | None:
        """Who is told; nobody for a session that no factory made."""
        return None if self.client is None else self.client.observer

    @property
    def name(self) -> str:
        """Whose WebSocket it is, for messages."""
        return "" if self.client is None else f" of client {self.client.name!r}"

    async def make(
        self, policy: ReconnectPolicy | None, *, reconnects: int = 0
    ) -> tuple[aiohttp.ClientWebSocketResponse, WebSocketLife]:
        """Connect, as often as *policy* allows for what passes.

        Args:
            policy: Decides over handshakes that failed; ``None`` makes one.
            reconnects: How often the WebSocket is connected anew, this time included.

        Raises:
            aiohttp.ClientError: What the last handshake failed with.
            TimeoutError: If that took too long.
        """
        loop = asyncio.get_running_loop()
        failed = 0
        while True:
            try:
                made = await self._once(reconnects)
            except Exception as error:
                failed += 1
                judged = verdict(error)
                if policy is None or not judged.passes:
                    raise
                decision = policy.decide(
                    asked=judged.asked,
                    refused=judged.refused,
                    remaining=ambient_deadline() - loop.time(),
                )
                if isinstance(decision, GiveUp):
                    error.add_note(f"{failed} handshakes failed; stopped: {decision.reason}")
                    raise
            else:
                if policy is not None:
                    policy.connected()
                return made
            await asyncio.sleep(decision.delay)

    async def _once(self, reconnects: int) -> tuple[aiohttp.ClientWebSocketResponse, WebSocketLife]:
        observer = self.observer
        loop = asyncio.get_running_loop()
        life = WebSocketLife(self._options, self._url, reconnects)
        if observer is not None:
            observer.websocket_connecting(life)
        token = UPGRADE_OPTIONS.set(self._options)
        try:
            # A factory's session bounds it itself, and tells whose bound it was.
            async with asyncio.timeout(None if self.client else self._options.timeout):
                socket = await self._connect()
        except BaseException as error:
            life.closed = loop.time()
            if isinstance(error, asyncio.CancelledError):
                life.cancelled = True
            else:
                life.error_type = error_type(error)
            if isinstance(error, Exception):
                conceal(error)
            if observer is not None:
                observer.websocket_closed(life)
            raise
        finally:
            UPGRADE_OPTIONS.reset(token)
        life.opened = loop.time()
        if observer is not None:
            observer.websocket_opened(life)
        return socket, life

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        # The heartbeat, the answers to pings and the close handshake are the link's: aiohttp's
        # would go on writing where a peer does not read, without a bound.
        return await self._session.ws_connect(
            self._url,
            protocols=self._protocols,
            headers=self._headers,
            compress=self._compress,
            # aiohttp refuses what is as long as this, not what is longer.
            max_msg_size=self._max_message + 1,
            heartbeat=None,
            autoclose=False,
            autoping=False,
        )

"""WebSocket client: one task owns the socket, queues are bounded, lost connections are replaced.

::

    from platform_http.websocket import Reconnect, connect

    async def subscribe(feed: WebSocket) -> None:
        await feed.send_json({"subscribe": "prices"})

    async with connect(session, "/feed", reconnect=Reconnect(on_reconnect=subscribe)) as feed:
        await subscribe(feed)
        async for message in feed:
            handle(message.json())

It works with every ``aiohttp.ClientSession``; one that a factory made adds its policies to each
handshake, metrics, a span per connection, and an end with 1001 when the factory is closed.

Which end is followed by another connection, where ``reconnect`` asks for that:

==========  ====================================================  ==============
close code  meaning                                               connects again
==========  ====================================================  ==============
1000        the peer is done                                      no
1001        the peer goes away: a deployment                      yes
1002, 1003  protocol error, kind of data not supported            no
1005        the peer is done and gave no code                     no
1006        lost: reset, end of stream, silence                   yes
1007, 1008  invalid UTF-8, policy violation                       no
1009, 1010  message too big, extension missing                    no
1011        the peer failed                                       yes
1012, 1013  the peer restarts, or is overloaded                   yes
1014        a gateway of the peer failed                          yes
3000-4999   the application's own                                 no
==========  ====================================================  ==============

:attr:`Reconnect.codes` chooses others. What this side finds wrong with what it receives ends with
1002, 1007 or 1009 and is not followed by another connection: the same would come again. A handshake
is repeated after a network failure, 429 and 5xx; not after any other status, a refusal by the
egress policy or credentials that cannot be had.

Iterating ends after 1000, 1001 and 1005, and after this side's own ``close``; every other end
raises :class:`platform_http.errors.WebSocketClosedError`.
"""

from platform_http.errors import WebSocketClosedError
from platform_http.websocket.closing import RECONNECT_CODES
from platform_http.websocket.connection import WebSocket, connect
from platform_http.websocket.reconnection import Reconnect

__all__ = ["RECONNECT_CODES", "Reconnect", "WebSocket", "WebSocketClosedError", "connect"]

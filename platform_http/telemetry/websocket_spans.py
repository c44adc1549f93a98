"""Spans of WebSockets: an INTERNAL span per connection, around the CLIENT span of its handshake.

The semantic conventions have none for WebSockets. The span has no ``http.*`` attributes, so that
service maps draw one edge, that of the handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from opentelemetry import context
from opentelemetry.trace import Status, StatusCode, set_span_in_context

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from platform_http.call import WebSocketLife

_FAILED: Final = Status(StatusCode.ERROR)


class WebSocketSpans:
    """Starts and ends the spans of one client's WebSockets.

    Args:
        client: Name of the client.
        tracer: Where the spans come from.
    """

    def __init__(self, client: str, tracer: Tracer) -> None:
        self._client = client
        self._tracer = tracer

    def connecting(self, life: WebSocketLife) -> None:
        """Start the span and make it the current one, for the handshake."""
        attributes: dict[str, str | int] = {"platform_http.client": self._client}
        # A relative URL leads to the client's base URL, which its handshake's span names.
        if life.url.raw_host:
            attributes["server.address"] = life.url.raw_host
            attributes["server.port"] = life.url.port or 0
        if life.options.operation:
            attributes["platform_http.operation"] = life.options.operation
        if life.reconnects:
            attributes["platform_http.websocket.reconnects"] = life.reconnects
        name = life.options.operation or f"{self._client} websocket"
        span = self._tracer.start_span(name, attributes=attributes)
        life.span = span
        life.token = context.attach(set_span_in_context(span))

    def opened(self, life: WebSocketLife) -> None:
        """Stop being the current span: control goes back to the application."""
        if life.token is not None:
            token, life.token = life.token, None
            context.detach(cast("Token[Context]", token))

    def closed(self, life: WebSocketLife) -> None:
        """End the span."""
        self.opened(life)
        span = cast("Span | None", life.span)
        if span is None:
            return
        try:
            if span.is_recording():
                span.set_attributes(_attributes(life))
                if life.error_type:
                    span.set_status(_FAILED)
        finally:
            span.end()


def _attributes(life: WebSocketLife) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {}
    if life.opened:
        attributes |= {
            "platform_http.websocket.close_code": life.close_code,
            "platform_http.websocket.messages_sent": life.messages_sent,
            "platform_http.websocket.messages_received": life.messages_received,
            "platform_http.websocket.bytes_sent": life.bytes_sent,
            "platform_http.websocket.bytes_received": life.bytes_received,
        }
    if life.cancelled:
        attributes["platform_http.cancelled"] = True
    elif life.error_type:
        attributes["error.type"] = life.error_type
    return attributes

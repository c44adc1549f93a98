"""A SERVER span for each inbound request, as any instrumentation of a server makes it.

The library makes spans of calls alone; what they are children of is the application's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from opentelemetry import propagate, trace

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware
    from opentelemetry.trace import TracerProvider


def server_spans(tracer_provider: TracerProvider | None) -> Middleware:
    """Return a middleware that continues the caller's trace.

    Args:
        tracer_provider: Makes the spans; ``None`` is the global one.
    """
    tracer = trace.get_tracer("platform_http.demo", tracer_provider=tracer_provider)

    @web.middleware
    async def with_span(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        with tracer.start_as_current_span(
            f"{request.method} {route}".strip(),
            propagate.extract(request.headers),
            trace.SpanKind.SERVER,
            {"http.request.method": request.method, "http.route": route},
        ) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            return response

    return with_span

"""What an application calls: set up once, then sessions in its handlers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from prometheus_client import REGISTRY

from platform_http.factory import DEFAULT, SessionFactory
from platform_http.web.goodbye import begin_goodbye, counted, remember_socket
from platform_http.web.inbound import bound_by_caller
from platform_http.web.routes import add_routes
from platform_http.web.service import SERVICE, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aiohttp
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from platform_http.settings import HttpSettings


def setup(
    app: web.Application,
    settings: HttpSettings | None = None,
    *,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
    trace_configs: Sequence[aiohttp.TraceConfig] = (),
    tracer_provider: TracerProvider | None = None,
    registry: CollectorRegistry | None = None,
) -> None:
    """Give *app* a session factory, ``/healthz``, ``/readyz``, ``/metrics`` and deadlines.

    The factory is entered when the application starts and closed when it ends. Call it before
    other entries of ``cleanup_ctx`` are added that use sessions: they are left in reverse order.
    A sub-application uses the set-up of the application that it is added to; where both are set
    up, the application does not start.

    Outbound calls of a handler get at most the time that its caller has left, by the inbound
    header that ``PROPAGATION__TIMEOUT_HEADER`` of the default client names.

    Args:
        app: Not started yet.
        settings: What to configure; ``None`` reads the environment at the start.
        middlewares: As for :class:`platform_http.SessionFactory`: of the clients, not of *app*.
        trace_configs: As for the factory.
        tracer_provider: As for the factory.
        registry: As for the factory; it is what ``/metrics`` shows.

    Raises:
        RuntimeError: If *app* was set up already, has started or is a sub-application.
        ValueError: If *app* has a path that this adds.
    """
    if SERVICE in app:
        raise RuntimeError("this application is set up already: call platform_http.web.setup once")
    if app.pre_frozen:
        raise RuntimeError(
            "this application has started, or is part of another, which is to be set up instead: "
            "call platform_http.web.setup before"
        )
    registry = REGISTRY if registry is None else registry

    def make_factory(settings: HttpSettings) -> SessionFactory:
        return SessionFactory(
            settings,
            middlewares=middlewares,
            trace_configs=trace_configs,
            tracer_provider=tracer_provider,
            registry=registry,
        )

    add_routes(app)
    app[SERVICE] = Service(registry, make_factory, settings)
    # Outermost, so that calls of the application's own middlewares are bounded too.
    app.middlewares[:0] = (counted, bound_by_caller)
    app.on_response_prepare.extend((_close_while_draining, remember_socket))
    app.on_shutdown.append(_begin_to_end)
    app.cleanup_ctx.append(_running_factory)


def session(place: web.Request | web.Application, name: str = DEFAULT) -> aiohttp.ClientSession:
    """Return the session of the client *name*: a plain ``aiohttp.ClientSession``.

    Args:
        place: The request that is being handled, or the application that was set up.
        name: A client name, as for :meth:`platform_http.SessionFactory.session`.

    Raises:
        RuntimeError: As :func:`factory`.
        FactoryClosedError: If the application is ending.
        ConfigurationError: If *name* is not a client name.
    """
    return factory(place).session(name)


def factory(place: web.Request | web.Application) -> SessionFactory:
    """Return the session factory of a running application.

    Args:
        place: The request that is being handled, or the application that was set up.

    Raises:
        RuntimeError: If the application was not set up or is not running.
    """
    # Only a request knows the applications around its own.
    known = place if isinstance(place, web.Application) else place.config_dict
    service = known.get(SERVICE)
    if service is None:
        raise RuntimeError(
            "this application is not set up: call platform_http.web.setup(app); "
            "in a sub-application pass the request"
        )
    if service.factory is None:
        raise RuntimeError(
            "there are sessions only while the application runs: "
            "ask in a handler, or in a cleanup_ctx that is added after platform_http.web.setup"
        )
    return service.factory


def _refuse_another_set_up(app: web.Application) -> None:
    """Refuse a second factory, whose handlers would be drained and bounded by the wrong one.

    Raises:
        RuntimeError: If a sub-application, at any depth, was set up too.
    """
    for resource in app.router.resources():
        below = resource.get_info().get("app")
        if below is None:
            continue
        if SERVICE in below:
            raise RuntimeError(
                f"the sub-application {resource.canonical!r} is set up, and so is the application "
                "that it is added to: call platform_http.web.setup for the outer one alone"
            )
        _refuse_another_set_up(below)


async def _running_factory(app: web.Application) -> AsyncIterator[None]:
    service = app[SERVICE]
    _refuse_another_set_up(app)
    # Of an earlier run.
    service.draining, service.ends_at = False, None
    settings = await asyncio.to_thread(service.load_settings)
    running = service.make_factory(settings)
    async with running, _status_page(service, running):
        service.factory = running
        try:
            yield
        finally:
            service.factory = None
            await _stop_goodbye(service)
            await running.aclose(service.remaining())


@contextlib.asynccontextmanager
async def _status_page(service: Service, factory: SessionFactory) -> AsyncIterator[None]:
    """Show the status page within the block, if the settings ask for it."""
    settings = service.load_settings().client().web
    if not settings.status_page:
        yield
        return
    from platform_http.web.status.server import StatusPage  # noqa: PLC0415 - off by default

    page = StatusPage(factory, settings, lambda: service.draining)
    async with page.served():
        service.status_page = page if settings.status_port is None else None
        try:
            yield
        finally:
            service.status_page = None


async def _begin_to_end(app: web.Application) -> None:
    # Whatever runs the application closes the port before this; `serve` has begun by then.
    service = app[SERVICE]
    service.end_within(service.load_settings().client().shutdown.grace)
    begin_goodbye(service)


async def _stop_goodbye(service: Service) -> None:
    goodbye, service.goodbye = service.goodbye, None
    if goodbye is not None:
        goodbye.cancel()
        await asyncio.wait([goodbye])


async def _close_while_draining(request: web.Request, response: web.StreamResponse) -> None:
    # Whoever keeps a connection alive would otherwise send its next request into the closing of it.
    # An upgraded connection (101) is no longer one for requests.
    if request.config_dict[SERVICE].draining and response.status != 101:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"

"""Runs an application until a signal ends it, in an order in which no accepted request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Final

from aiohttp import web
from yarl import URL

from platform_http.web.goodbye import GOODBYE, begin_goodbye
from platform_http.web.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOGGER = logging.getLogger("platform_http")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_DRAIN_DELAY: Final = 5.0
# For requests that were on their way when the port closed, on connections that are open.
_LAST_REQUESTS: Final = 0.5
# For cancelled handlers to end in.
_CANCELLED: Final = 0.2
_LOOK: Final = 0.02
_NO_GRACE: Final = 0.02


def run(
    app: web.Application,
    *,
    host: str,
    port: int,
    drain_delay: float = _DRAIN_DELAY,
    started: Callable[[URL], object] | None = None,
) -> None:
    """Run *app* in an event loop of its own until SIGTERM or SIGINT; see :func:`serve`."""
    asyncio.run(serve(app, host=host, port=port, drain_delay=drain_delay, started=started))


async def serve(
    app: web.Application,
    *,
    host: str,
    port: int,
    drain_delay: float = _DRAIN_DELAY,
    started: Callable[[URL], object] | None = None,
) -> None:
    """Serve *app* until SIGTERM or SIGINT, then drain it.

    The order of the end: ``/readyz`` answers 503 and every response closes its connection, for
    *drain_delay* seconds, while requests are still accepted; the port closes; handlers finish
    and then outbound calls, together within ``SHUTDOWN__GRACE`` of the default client; what is
    still running is cancelled. Hooks of ``on_shutdown`` have the grace but for its last second:
    one that takes longer is cancelled, and what one raises is raised here when all is drained.
    A second signal ends the process at once, and the first one cancels a start that is not
    done. Whoever connects at the very moment at which the port closes is reset by the kernel,
    which is what *drain_delay* avoids.

    ``aiohttp.web.run_app`` and ``AppRunner`` run such an application too, and it ends as above
    from the moment at which they close the port, but for this: it was not unready first; an idle
    connection is closed without waiting for a last request; the rest of a request's body is not
    read; a hook of ``on_shutdown`` has no bound, and one that raises ends all at once; and handlers
    have, in place of ``SHUTDOWN__GRACE``, twice the runner's ``shutdown_timeout`` of 60 seconds.
    Outbound calls that outlive both the handlers and the grace are ended.

    Call it in the main thread: signals arrive nowhere else.

    Args:
        app: Set up by :func:`platform_http.web.setup`.
        host: Address to listen on; ``0.0.0.0`` for every IPv4 one.
        port: Port to listen on; 0 takes a free one.
        drain_delay: Seconds, >= 0: longer than load balancers need to notice. 0 is right where
            something else waits before the signal, such as a preStop hook in Kubernetes.
        started: Called with the root URL as soon as requests are accepted.

    Raises:
        RuntimeError: If *app* was not set up.
        ValueError: If *drain_delay* is negative or not a number.
        ConfigurationError: If the settings are invalid.
        OSError: If the port cannot be bound.
    """
    if not drain_delay >= 0:
        raise ValueError(f"drain_delay takes seconds >= 0, got {drain_delay!r}")
    service = app.get(SERVICE)
    if service is None:
        raise RuntimeError("this application is not set up: call platform_http.web.setup(app)")
    settings = await asyncio.to_thread(service.load_settings)
    # To aiohttp a timeout of 0 is none at all.
    grace = max(settings.client().shutdown.grace, _NO_GRACE)
    last_requests = min(_LAST_REQUESTS, grace / 4)
    rest = min(_CANCELLED, grace / 10)
    # It waits this long twice: before and after it tells handlers to end.
    runner = _Runner(app, shutdown_timeout=rest / 2)
    with _first_signal() as stop:
        try:
            if not await _set_up(runner, stop):
                return
            site = web.TCPSite(runner, host, port)
            await site.start()
            if started is not None:
                started(URL.build(scheme="http", host=host, port=site.port, path="/"))
            await stop.wait()
            service.draining = True
            await asyncio.sleep(drain_delay)
            service.end_within(grace)
            await site.stop()
            # The next response closes each that is open.
            await _until_closed(runner, last_requests)
            failure = await _run_hooks(runner, (service.remaining() or 0) - rest)
            # The application's own hooks come first, and this even if they do not get to ours.
            begin_goodbye(service)
            await _finish_requests(runner, (service.remaining() or 0) - rest)
            if failure is not None:
                raise failure
        finally:
            await runner.cleanup()


async def _set_up(runner: web.AppRunner, stop: asyncio.Event) -> bool:
    """Start the application; return ``False`` if *stop* is set before it has started."""

    def give_up(_: object) -> None:
        # A RuntimeError says that it has started.
        with contextlib.suppress(RuntimeError):
            start.reschedule(0.0)

    told = asyncio.create_task(stop.wait())
    told.add_done_callback(give_up)
    try:
        # In this task, which cleans up too: some resources know the task that they are of.
        async with asyncio.timeout(None) as start:
            await runner.setup()
    except TimeoutError:
        if not start.expired():
            raise
    finally:
        told.cancel()
    return not stop.is_set()


class _Runner(web.AppRunner):
    """Runs the hooks of ``on_shutdown`` when it is told to, and not again in ``cleanup``."""

    __slots__ = ("_was_shut_down",)

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._was_shut_down = False

    async def shutdown(self) -> None:
        if not self._was_shut_down:
            self._was_shut_down = True
            await super().shutdown()


async def _run_hooks(runner: web.AppRunner, seconds: float) -> Exception | None:
    """Run the hooks of ``on_shutdown`` while handlers go on; return what one of them raised.

    Args:
        runner: Of the application.
        seconds: Until handlers are cancelled; hooks have as much, but for what WebSockets need.
    """
    bound = seconds - min(GOODBYE, seconds / 4)
    try:
        async with asyncio.timeout(bound) as limit:
            await runner.shutdown()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Whoever cancels a task of its own and awaits it lets this escape.
        failure = RuntimeError("a hook of on_shutdown let the CancelledError of a task escape")
        failure.__cause__ = error
        return failure
    except Exception as error:
        if not limit.expired():
            return error
        _LOGGER.exception("a hook of on_shutdown was cancelled, as it took the whole grace")
    return None


async def _finish_requests(runner: web.AppRunner, seconds: float) -> None:
    """Let requests in flight come to their end within *seconds*, and close other connections.

    ``cleanup`` would read no more of a request's body, and forget what is not sent yet.
    """
    server = runner.server
    assert server is not None

    def close_idle() -> None:
        for connection in server.connections:
            if connection._current_request is None:  # noqa: SLF001 - nothing public tells it
                connection.close()

    await _until_closed(runner, seconds, look=close_idle)


async def _until_closed(
    runner: web.AppRunner, seconds: float, *, look: Callable[[], None] = lambda: None
) -> None:
    """Return when all connections are closed, or after *seconds*; call *look* now and then."""
    server = runner.server
    assert server is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while server.connections:  # aiohttp tells nobody of the last one
                look()
                await asyncio.sleep(_LOOK)


@contextlib.contextmanager
def _first_signal() -> Iterator[asyncio.Event]:
    """Yield an event that the first signal sets; within the block a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def received() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            # Python's own handler for SIGINT would raise within the drain, and wait for it to end.
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, received)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            # None is a handler that was not set by Python, which cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

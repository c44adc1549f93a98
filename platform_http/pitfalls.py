"""What an application may do with its sessions that costs it connections, time or its policies.

Each finding is counted in ``platform_http_pitfalls_total`` and logged once for each place in the
application's code, with the remedy. Nothing is patched: what aiohttp's own sessions do, made
without a factory, is not seen.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import aiohttp

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from platform_http.call import Call, Client

_LOGGER: Final = logging.getLogger("platform_http")

_MAX_OPEN: Final = 4
_MAX_TOLD: Final = 256
_MAX_PLACES: Final = 64

# Stands in aiohttp.client; an application's middlewares are called below it, its call above.
_REQUEST: Final[CodeType] = aiohttp.ClientSession._request.__code__  # noqa: SLF001 - a canary holds it

_BETWEEN: Final = frozenset({"aiohttp", "contextlib", "opentelemetry", "platform_http", "wrapt"})
_LOOPS: Final = frozenset({"asyncio", "uvloop"})


class Pitfall(NamedTuple):
    """One kind of mistake, and what to do instead."""

    kind: str
    what: str
    remedy: str

    @property
    def docs(self) -> str:
        """Where the documentation explains it."""
        return f"pitfalls#{self.kind.replace('_', '-')}"


UNREAD_RESPONSE: Final = Pitfall(
    "unread_response",
    "a response was neither read nor released until its deadline and kept its connection",
    "use `async with session.get(...) as response:`, or call response.release()",
)
POLICY_BYPASS: Final = Pitfall(
    "policy_bypass",
    "a request ran without the client's policies, because middlewares= replaces all of them",
    "give your own middlewares to SessionFactory(middlewares=...)",
)
LOOP_MISMATCH: Final = Pitfall(
    "loop_mismatch",
    "a session factory is used in another event loop than the one that it was entered in",
    "enter one SessionFactory in each loop, and use its sessions there only",
)
MANY_FACTORIES: Final = Pitfall(
    "many_factories",
    f"more than {_MAX_OPEN} session factories are open in one event loop, and share no "
    "connections, budgets or circuits",
    "enter one SessionFactory when the service starts, and ask it for sessions by name",
)
SESSION_PER_REQUEST: Final = Pitfall(
    "session_per_request",
    "session factories come and go, so that every request connects anew and no policy learns",
    "enter one SessionFactory when the service starts, and hand its sessions to the handlers",
)


class Place(NamedTuple):
    """A line of the application's code."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def calling_place() -> Place | None:
    """Return where the application makes the request that is on its way now.

    Returns:
        ``None`` where the stack does not tell it: the request is a task of its own, or it was
        awaited without ``async with`` and has just failed.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller
    start = frame
    while frame is not None and frame.f_code is not _REQUEST:
        frame = frame.f_back
    return _first_of_application(frame or start)


def entering_place() -> Place | None:
    """Return where the application enters the block that is being entered now."""
    return _first_of_application(sys._getframe(1))  # noqa: SLF001 - the documented way to the caller


def _first_of_application(frame: FrameType | None) -> Place | None:
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _LOOPS:
            # What stands above started the loop, and not the request.
            return None
        if package not in _BETWEEN:
            code = frame.f_code
            return Place(code.co_filename, frame.f_lineno, code.co_qualname)
        frame = frame.f_back
    return None


class _Told:
    """What was logged already, in bounded memory: a place that is forgotten is told again."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, object], None] = OrderedDict()
        self._lock = threading.Lock()

    def first_time(self, kind: str, place: object) -> bool:
        with self._lock:
            if (kind, place) in self._seen:
                self._seen.move_to_end((kind, place))
                return False
            if len(self._seen) >= _MAX_TOLD:
                self._seen.popitem(last=False)
            self._seen[(kind, place)] = None
            return True


_told = _Told()


def warn(pitfall: Pitfall, place: Place | None, *, client: str, of: str = "") -> None:
    """Log *pitfall*, once for each place in the process.

    Args:
        pitfall: What was found.
        place: Where; where it is unknown, *client* and *of* stand for it.
        client: Name of the client, empty for all of a factory.
        of: What it was found on, for example ``GET /invoices/{id} at https://billing:443``.
    """
    if not _told.first_time(pitfall.kind, place or (client, of)):
        return
    where = str(place or "")
    on = "".join(f", {each}" for each in (of, where) if each)
    _LOGGER.warning(
        "%s (client %r%s); %s; docs: %s",
        pitfall.what,
        client,
        on,
        pitfall.remedy,
        pitfall.docs,
        extra={
            "client": client,
            "kind": pitfall.kind,
            "place": where,
            "remedy": pitfall.remedy,
            "docs": pitfall.docs,
        },
    )


def found(pitfall: Pitfall, place: Place | None, client: Client, *, of: str = "") -> None:
    """Count *pitfall* of *client*, and log it once for each place."""
    client.observer.pitfall_found(pitfall.kind)
    warn(pitfall, place, client=client.name, of=of)


def describe(call: Call) -> str:
    """Return what *call* asked for, as it may be shown."""
    target = call.options.operation or call.options.url_template or ""
    at = "" if call.origin is None else f" at {call.origin}"
    return f"{call.method}{target and ' '}{target}{at}"


def refuse_other_loop(loop: asyncio.AbstractEventLoop, client: Client | None = None) -> None:
    """Raise, unless the running event loop is *loop*.

    What a connection waits for happens in its own loop; from another one a request would fail
    somewhere inside of aiohttp, or wait until its deadline.

    Raises:
        RuntimeError: If it is another one, or none runs.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no event loop runs here, and a session is made in the running one of its factory; "
            "call factory.session() in a coroutine, in a test from an `async def` fixture"
        ) from None
    if running is loop:
        return
    place = calling_place()
    if client is None:
        warn(LOOP_MISMATCH, place, client="")
    else:
        found(LOOP_MISMATCH, place, client)
    raise RuntimeError(f"{LOOP_MISMATCH.what}; {LOOP_MISMATCH.remedy}; docs: {LOOP_MISMATCH.docs}")


class FactoryUse:
    """Tells how the factories of one event loop come and go.

    Per loop, because a factory belongs to one: that the tests of a suite, each in its own loop,
    have a factory each is as it should be.
    """

    BRIEF: Final = 5.0
    """A factory that is open for less, in seconds, was not made for a service."""
    MANY: Final = 10
    WITHIN: Final = 60.0
    """So many brief ones from one place within so many seconds are made for requests."""

    def __init__(self) -> None:
        self._open: WeakSet[object] = WeakSet()
        self._brief: OrderedDict[Place | None, deque[float]] = OrderedDict()

    def entered(self, factory: object) -> bool:
        """Note that *factory* was entered, and tell whether too many are open."""
        self._open.add(factory)
        return len(self._open) > _MAX_OPEN

    def left(self, factory: object, place: Place | None, *, since: float, now: float) -> bool:
        """Note that *factory* is left, and tell whether too many came and went at *place*.

        Args:
            factory: Which one.
            place: Where it was entered.
            since: When it was entered, seconds of any clock.
            now: The same clock now.
        """
        self._open.discard(factory)
        if now - since >= self.BRIEF:
            return False
        ends = self._brief.setdefault(place, deque(maxlen=self.MANY))
        self._brief.move_to_end(place)
        if len(self._brief) > _MAX_PLACES:
            self._brief.popitem(last=False)
        ends.append(now)
        return len(ends) == self.MANY and now - ends[0] <= self.WITHIN


_USES: WeakKeyDictionary[asyncio.AbstractEventLoop, FactoryUse] = WeakKeyDictionary()


def factory_use(loop: asyncio.AbstractEventLoop) -> FactoryUse:
    """Return how the factories of *loop* come and go."""
    use = _USES.get(loop)
    if use is None:
        use = _USES[loop] = FactoryUse()
    return use

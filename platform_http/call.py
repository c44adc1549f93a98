"""The model that everything hangs on: a client's calls, their attempts, and who watches them.

A *call* is what the user asked for with one ``session.get(...)``. It owns one deadline and one
attempt cap over all redirect hops, resends and waits. An *attempt* is one try that passed every
policy. Both are plain state: middlewares, transport and telemetry drive them through the verbs
below and never through each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import math
import time
import uuid
from contextvars import Context, ContextVar, Token, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from aiohttp import hdrs

from platform_http.errors import DeadlineExceededError
from platform_http.policies.registry import BOUND
from platform_http.timers import Bounded, Timers, clock_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

    import aiohttp
    from aiohttp import ClientHandlerType
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    from platform_http.policies.concurrency import ConcurrencyLimit
    from platform_http.policies.registry import LruRegistry
    from platform_http.policies.retry_budget import RetryBudget
    from platform_http.settings import ClientSettings

CallOutcome = Literal["success", "error", "rejected", "cancelled"]


class Origin(NamedTuple):
    """Scheme, host and port of a destination; hashes as a plain tuple."""

    scheme: str
    host: str
    port: int

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - values, of which there are few
    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def of(cls, url: URL) -> Origin:
        """Return the origin of an absolute *url*."""
        parts = (url.scheme, url.raw_host or "", url.port or 0)
        # To find it takes a third of what it takes to make it.
        origin = _ORIGINS.get(parts)
        if origin is None:
            if len(_ORIGINS) >= _MAX_ORIGINS:
                _ORIGINS.clear()
            origin = cls(*parts)
            _ORIGINS[origin] = origin
        return origin


_ORIGINS: dict[tuple[str, str, int], Origin] = {}
# Destinations come from redirects too, so their number is not the service's to choose. As many as
# the registries hold: their keys are found faster where they are the very objects.
_MAX_ORIGINS: Final = BOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Per-call choices, passed as ``trace_request_ctx``. ``None`` means "as configured".

    Args:
        operation: Low-cardinality name of what the call does, for spans and metrics.
        url_template: The path with placeholders, for example ``/invoices/{id}``.
        timeout: Seconds for the whole call, > 0. It can only shorten an ambient :func:`deadline`.
        attempt_timeout: Seconds until an attempt's response headers, > 0.
        max_attempts: Attempts on the wire, 1 to 5.
        idempotent: Whether a resend is safe although something may have been processed.
        idempotency_key: Value of ``Idempotency-Key``, the same on every attempt; ``True`` makes
            one per call.
        hedge: ``False`` keeps a client that hedges from hedging this call.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If *idempotency_key* is neither a string, a boolean nor ``None``.
    """

    operation: str | None = None
    url_template: str | None = None
    timeout: float | None = None
    attempt_timeout: float | None = None
    max_attempts: int | None = None
    idempotent: bool | None = None
    idempotency_key: str | bool | None = None
    hedge: bool | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "attempt_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"CallOptions.{name} must be > 0 seconds, got {seconds!r}")
        if self.max_attempts is not None and not 1 <= self.max_attempts <= 5:
            raise ValueError(f"CallOptions.max_attempts must be 1 to 5, got {self.max_attempts!r}")
        key: object = self.idempotency_key
        if key is not None and not isinstance(key, str | bool):
            kind = type(key).__name__
            raise TypeError(f"CallOptions.idempotency_key must be a string or True, got {kind}")


DEFAULT_OPTIONS = CallOptions()


class Tally:
    """A number that whoever counts moves, and whoever shows it looks at."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class ConnectionCount:
    """How many connections one client has to one server, by what they do."""

    __slots__ = ("active", "idle")

    def __init__(self, active: Tally, idle: Tally) -> None:
        self.active = active
        self.idle = idle


class Observer(Protocol):
    """Sees what happens to the calls of one client. No method may raise.

    Telemetry implements it; middlewares and transport call it and never import telemetry.
    """

    def call_started(self, call: Call) -> None:
        """A call was opened."""

    def call_ended(self, call: Call) -> None:
        """A call was closed; ``call.outcome`` is set."""

    def attempt_started(self, attempt: Attempt, request: aiohttp.ClientRequest) -> None:
        """An attempt begins; propagation headers go on *request* now."""

    def attempt_ended(self, attempt: Attempt) -> None:
        """Response headers arrived, or the attempt failed or was cancelled."""

    def resent(self, attempt: Attempt, reason: str, delay: float) -> None:
        """*attempt* is followed by another one that begins now.

        *delay* is the backoff between the two, seconds; waits for permits come on top of it.
        """

    def retry_stopped(self, call: Call, reason: str) -> None:
        """A call that failed will not be resent; *reason* is a stop reason."""

    def rejected(self, call: Call, origin: Origin, reason: str, *, enforced: bool = True) -> None:
        """A policy refused an attempt; *reason* is an ``error.type`` word.

        Not *enforced*, it would have, but only observes: the attempt was sent.
        """

    def circuit_changed(
        self, origin: Origin, previous: str, current: str, *, enforced: bool = True
    ) -> None:
        """A circuit breaker went from one state to another; not *enforced*, it only observes."""

    def budget_changed(self, origin: Origin, tokens: float) -> None:
        """The retry budget of *origin* holds *tokens* now."""

    def concurrency_watched(self, origin: Origin, limit: ConcurrencyLimit) -> None:
        """*limit* is in force for *origin* from now on."""

    def concurrency_waited(self, seconds: float) -> None:
        """An attempt waited in the queue of the concurrency limit, whatever came of it."""

    def rate_limit_waited(self, seconds: float) -> None:
        """An attempt got a token of the rate limit after waiting for *seconds*."""

    def rate_limit_store_failed(self) -> None:
        """The shared store of the rate limit did not answer; the fallback rate applies."""

    def hedge_ended(self, result: str) -> None:
        """A hedge ``won``, ``lost`` or was ``denied``."""

    def policy_bypassed(self, call: Call) -> None:
        """A request ran without this client's middlewares (``middlewares=``)."""

    def egress_denied(self, reason: str, *, enforced: bool = True) -> None:
        """The egress policy refused a destination, or would have if it were *enforced*."""

    def certificate_seen(self, address: str, side: str, expires: float) -> None:
        """A certificate is in use that ends at *expires*, seconds since the epoch.

        *side* is ``peer``, with the host in *address*, or ``client``, with an empty one.
        """

    def tls_reloaded(self, result: str) -> None:
        """Changed TLS files were taken over (``success``) or could not be (``failure``)."""

    def token_refreshed(self, result: str) -> None:
        """A token was fetched (``success``) or could not be (``failure``)."""

    def websocket_connecting(self, life: WebSocketLife) -> None:
        """The handshake of a WebSocket begins, in the current task."""

    def websocket_opened(self, life: WebSocketLife) -> None:
        """A WebSocket is connected, in the task that began it."""

    def websocket_closed(self, life: WebSocketLife) -> None:
        """A WebSocket ended, or in the task that began it, its handshake failed."""

    def websocket_reconnected(self, reason: str) -> None:
        """A WebSocket is connected anew; *reason*, an ``error.type`` word, ended the one before."""

    def pitfall_found(self, kind: str) -> None:
        """The application does with its sessions what it should not; *kind* is a fixed word."""

    def connections(self, origin: Origin) -> ConnectionCount:
        """Return what each connection that serves *origin* counts itself in and out of."""

    def connection_closed(self, origin: Origin, *, duration: float) -> None:
        """A connection ended after *duration* seconds."""

    def session_closed(self) -> None:
        """The session of the client was closed."""


class Credentials(Protocol):
    """What the requests of one client are authenticated with."""

    def ready(self) -> Mapping[str, str] | None:
        """Return the headers, or ``None`` where they have to be waited for."""

    async def obtain(self, request: aiohttp.ClientRequest) -> Mapping[str, str]:
        """Wait for the headers that authenticate *request*.

        Raises:
            AuthenticationError: If there are none.
        """

    def reject(self, headers: Mapping[str, str]) -> None:
        """Take note that a server answered *headers* with a 401."""


class LongLived(Protocol):
    """What outlives its call and has to be ended before the session is closed."""

    async def end(self, within: float) -> None:
        """Take leave of the peer, within so many seconds; it does not raise."""


class Client:
    """What all calls of one client share."""

    __slots__ = (
        "_drained",
        "_monotonic",
        "attempt_timeout",
        "budgets",
        "clock",
        "closing",
        "in_flight",
        "long_lived",
        "loop",
        "max_attempts",
        "name",
        "observer",
        "places_to_note",
        "settings",
        "timers",
        "total_timeout",
    )

    def __init__(self, settings: ClientSettings, observer: Observer, timers: Timers) -> None:
        self.name = settings.name
        self.settings = settings
        self.observer = observer
        self.timers = timers
        self.loop = timers.loop
        self.clock = clock_of(timers.loop)
        """Instants of ``loop.time()``."""
        self._monotonic: Callable[[], float] | None = time.monotonic
        # Asked for by every call.
        self.total_timeout = settings.timeout.total
        self.attempt_timeout = settings.timeout.attempt
        self.max_attempts = settings.retry.max_attempts if settings.retry.enabled else None
        """Attempts of a call that does not say how many; ``None`` where nothing is resent."""
        self.closing = False
        """New calls are refused, running ones may finish."""
        self.in_flight = 0
        self.places_to_note = 64
        """Responses whose line in the application is still noted when their body is under way."""
        self.budgets: LruRegistry[Origin, RetryBudget] | None = None
        """What pays for resends; ``None`` where the client has no retry policy."""
        self.long_lived: set[LongLived] = set()
        self._drained: asyncio.Event | None = None

    def call_opened(self, now: float) -> float:
        """Count a call in that begins *now*; return the instant on the present clock."""
        self.in_flight += 1
        if time.monotonic is self._monotonic:
            return now
        # A test holds the time, as freezegun does. A loop asks whatever goes by that name, so the
        # way around ``loop.time`` is none any more, also for those who have kept the clock.
        self._monotonic = None
        self.clock = self.loop.time
        return self.clock()

    def call_closed(self, now: float) -> float:
        """Count a call out that ends *now*, and wake :meth:`wait_drained` at the last one."""
        self.in_flight -= 1
        if self._drained is not None and self.in_flight == 0:
            self._drained.set()
        return now if time.monotonic is self._monotonic else self.clock()

    async def wait_drained(self) -> None:
        """Return when no call of this client is in flight."""
        if self.in_flight:
            self._drained = asyncio.Event()
            await self._drained.wait()

    async def end_long_lived(self, within: float) -> None:
        """Return when nothing is left of this client that outlives its call.

        Args:
            within: Seconds that each gets to take leave of its peer, >= 0.
        """
        await asyncio.gather(*(each.end(within) for each in tuple(self.long_lived)))


class BodyEnd(enum.Enum):
    """How the body of an attempt's response came to its end."""

    COMPLETE = enum.auto()
    ABANDONED = enum.auto()
    """Released or closed by the caller, or garbage collected, before its end."""
    CANCELLED = enum.auto()
    """The caller was cancelled while reading."""
    FAILED = enum.auto()


class Attempt(Bounded):
    """One try of a call on one hop.

    Times are instants of ``loop.time()``; 0.0 means "did not happen". Errors are kept by their
    type's word: the traceback of an error refers to frames that refer to the attempt.
    """

    __slots__ = (
        "_when_ended",
        "_when_judged",
        "body",
        "body_error_type",
        "call",
        "cancelled",
        "connect_ended",
        "connect_started",
        "dns_ended",
        "dns_started",
        "ended",
        "error_type",
        "judged",
        "method",
        "number",
        "origin",
        "peer",
        "queue_ended",
        "queue_started",
        "record",
        "response_headers",
        "reused",
        "sent",
        "sent_at",
        "span",
        "started",
        "status",
        "url",
        "version",
    )

    def __init__(self, call: Call, origin: Origin, method: str, url: URL, now: float) -> None:
        # Not by the base's constructor: that is a call for one line.
        self._task = None
        self.call = call
        self.origin = origin
        self.method = method
        self.url = url
        call.attempts += 1
        call.latest = self
        self.number = call.attempts
        self.started = now
        self.ended = 0.0
        self.queue_started = self.queue_ended = 0.0
        self.dns_started = self.dns_ended = 0.0
        self.connect_started = self.connect_ended = 0.0
        self.sent = False
        self.sent_at = 0.0
        self.reused = False
        self.peer: tuple[str, int] | None = None
        self.status = 0
        self.response_headers: CIMultiDictProxy[str] | None = None
        self.version: aiohttp.HttpVersion | None = None
        self.error_type = ""
        self.cancelled = False
        self.judged = False
        self.body: BodyEnd | None = None
        self.body_error_type = ""
        # Slots that telemetry fills for itself.
        self.span: object = None
        self.record: object = None
        # Made when somebody asks: a small response is whole before anybody can.
        self._when_judged: list[Callable[[Attempt], None]] | None = None
        self._when_ended: list[Callable[[Attempt], None]] | None = None

    def mark_sent(self, now: float) -> None:
        """From here on the server may have processed the request."""
        self.sent = True
        self.sent_at = now
        self.call.sent += 1

    @property
    def protocol_version(self) -> str:
        """The version of HTTP that it was answered in, or an empty string."""
        version = self.version
        return "" if version is None else f"{version.major}.{version.minor}"

    @property
    def waits_for_pool(self) -> bool:
        """Whether it has got no further than the queue for a connection."""
        return self.queue_started > self.queue_ended

    def when_judged(self, callback: Callable[[Attempt], None]) -> None:
        """Run *callback* once it is known whether the server did its part.

        That is the end of the body, or the moment the caller takes the stream into its own hands:
        a stream may last for hours, and a breaker must not wait for it.
        """
        if self.judged:
            callback(self)
        elif self._when_judged is None:
            self._when_judged = [callback]
        else:
            self._when_judged.append(callback)

    def when_ended(self, callback: Callable[[Attempt], None]) -> None:
        """Run *callback* at the end of the body, whatever the end."""
        if self.body is not None:
            callback(self)
        elif self._when_ended is None:
            self._when_ended = [callback]
        else:
            self._when_ended.append(callback)

    def judge(self) -> None:
        """Let the status decide: the body is complete, or no longer ours to watch."""
        if not self.judged:
            self.judged = True
            if self._when_judged is not None:
                callbacks, self._when_judged = self._when_judged, None
                for callback in callbacks:
                    callback(self)

    def end(self, body: BodyEnd, error_type: str = "") -> None:
        """Record how the body ended. Only the first call counts."""
        if self.body is None:
            self.body = body
            self.body_error_type = error_type
            self.judge()
            if self._when_ended is not None:
                callbacks, self._when_ended = self._when_ended, None
                for callback in callbacks:
                    callback(self)


class AttemptRequest(Protocol):
    """The part of our request class that middlewares rely on.

    With a hedge a call has two requests at a time, so what belongs to one of them stands here.
    """

    call: Call | None
    """The call that it is a hop of."""

    attempt: Attempt | None
    """The attempt that was made with it last."""

    on_resend: Callable[[], None] | None
    """Called once, when the next attempt begins with it: that one is a resend."""

    credentials: Mapping[str, str] | None
    """Headers of ours that authenticate it; the rest of its headers are the caller's."""

    handler: ClientHandlerType | None
    """What sends it, after all middlewares."""

    def origin_of(self, url: URL) -> Origin:
        """Return the origin of *url*, its own one at little cost."""


class AttemptResponse(Protocol):
    """The part of our response class that middlewares and telemetry rely on."""

    attempt: Attempt | None

    def watch(self, attempt: Attempt) -> None:
        """Bind the response to *attempt* and bound what is left of its body."""

    async def drain(self, limit: int, seconds: float) -> bool:
        """Read what is left of a body that is given up, or close the response.

        Returns:
            Whether the body is held: the response can still be returned.
        """


class Call:
    """State of one call, from ``on_request_start`` to the end of its body."""

    __slots__ = (
        "attempt_timeout",
        "attempts",
        "client",
        "context",
        "deadline",
        "ended",
        "error_type",
        "has_userinfo",
        "hops",
        "idempotency_key",
        "identity",
        "latest",
        "max_attempts",
        "method",
        "nested",
        "options",
        "origin",
        "outcome",
        "place",
        "reauthenticated",
        "redirects",
        "request_body_size",
        "resends",
        "response_body_size",
        "sent",
        "span",
        "started",
        "status",
        "stop_reason",
        "strayed",
        "token",
        "upgrade",
    )

    def __init__(self, client: Client, options: CallOptions) -> None:
        self.client = client
        self.options = options
        self.method = ""
        self.started = self.ended = 0.0
        self.deadline = math.inf
        self.attempt_timeout = options.attempt_timeout or client.attempt_timeout
        """Seconds until an attempt's response headers; infinite when switched off."""
        most = client.max_attempts
        self.max_attempts = 1 if most is None else options.max_attempts or most
        """Attempts that the retry policy may make of this call, hops not counted."""
        self.attempts = 0
        self.latest: Attempt | None = None
        self.origin: Origin | None = None
        self.sent = 0
        self.resends = 0
        self.hops = 0
        self.status = 0
        self.upgrade = False
        self.nested = False
        self.reauthenticated = False
        """Whether a 401 was answered with newer credentials; that is done once."""
        self.has_userinfo = False
        """Whether the caller's URL held credentials; looked at only where that is refused."""
        self.redirects: tuple[aiohttp.ClientResponse, ...] = ()
        """The responses that sent the call on, while it runs."""
        self.strayed = False
        """Whether a redirect led to another origin than the first; what came after stays so."""
        self.outcome: CallOutcome | None = None
        self.error_type = ""
        self.stop_reason = ""
        # A slot that whoever looks for pitfalls fills: where the application made the call.
        self.place: object = None
        self.request_body_size: int | None = None
        self.response_body_size: int | None = None
        key = options.idempotency_key
        self.idempotency_key = str(uuid.uuid4()) if key is True else key or None
        self.token: Token[Call | None] | None = None
        # Slots that telemetry fills for itself.
        self.span: object = None
        self.context: object = None
        self.identity: object = None

    def open(self, method: str, headers: CIMultiDict[str], now: float) -> None:
        """Start the clock and become the current call."""
        client = self.client
        self.method = method
        if hdrs.UPGRADE in headers:
            # Its 101 may take as long as the deadline, and what it opens is not to be opened twice.
            self.upgrade = True
            self.max_attempts = 1
            self.attempt_timeout = math.inf
        self.started = now = client.call_opened(now)
        deadline = now + (self.options.timeout or client.total_timeout)
        ambient = _AMBIENT_DEADLINE.get()
        # Not by min(), which takes as long as six function calls.
        self.deadline = ambient if ambient < deadline else deadline  # noqa: FURB136 - see above
        outer = CURRENT_CALL.get()
        self.nested = outer is not None and outer.outcome is None
        self.token = CURRENT_CALL.set(self)
        client.observer.call_started(self)

    def leave(self) -> None:
        """Stop being the current call: control goes back to the caller."""
        if self.token is not None:
            token, self.token = self.token, None
            CURRENT_CALL.reset(token)

    def close(self, outcome: CallOutcome, error_type: str, now: float) -> None:
        """End the call; the first end counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.error_type = error_type
            self.ended = self.client.call_closed(now)
            self.client.observer.call_ended(self)
            # Attempts and responses refer to their call: without the cycle all go at once.
            self.latest = None
            self.redirects = ()

    @contextlib.asynccontextmanager
    async def within_deadline(self) -> AsyncIterator[None]:
        """Bound what is awaited inside by the deadline.

        Raises:
            DeadlineExceededError: If the deadline passes; any other timeout passes unchanged.
        """
        try:
            async with asyncio.timeout_at(
                None if self.deadline == math.inf else self.deadline
            ) as timer:
                yield
        except TimeoutError as error:
            if type(error) is not TimeoutError or not timer.expired():
                raise
            raise self.deadline_exceeded() from None

    def deadline_exceeded(self) -> DeadlineExceededError:
        """Return the error that says that this call's deadline passed."""
        return DeadlineExceededError(
            f"the deadline of {self.deadline - self.started:.3g} s passed "
            f"(client {self.client.name!r}, attempts {self.attempts})"
        )


class WebSocketLife:
    """One connection of a WebSocket, from before its handshake to its end.

    Times are instants of ``loop.time()``; 0.0 means "did not happen".

    Args:
        options: Of the WebSocket.
        url: Where it goes.
        reconnects: How often the WebSocket has been connected anew, this time included.
    """

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "cancelled",
        "close_code",
        "closed",
        "error_type",
        "messages_received",
        "messages_sent",
        "opened",
        "options",
        "reconnects",
        "span",
        "token",
        "url",
    )

    def __init__(self, options: CallOptions, url: URL, reconnects: int) -> None:
        self.options = options
        self.url = url
        self.reconnects = reconnects
        self.opened = self.closed = 0.0
        self.messages_sent = self.messages_received = 0
        self.bytes_sent = self.bytes_received = 0
        self.close_code = 0
        """As RFC 6455 numbers them; 0 if there was no connection."""
        self.error_type = ""
        self.cancelled = False
        # Slots that telemetry fills for itself.
        self.span: object = None
        self.token: object = None


_CLIENTS: WeakKeyDictionary[aiohttp.ClientSession, Client] = WeakKeyDictionary()


def bind_client(session: aiohttp.ClientSession, client: Client) -> None:
    """Remember whose session *session* is."""
    _CLIENTS[session] = client


def client_of(session: aiohttp.ClientSession) -> Client | None:
    """Return the client whose session *session* is; ``None`` for one that no factory made."""
    return _CLIENTS.get(session)


class _Done:
    """What is awaited and has happened already; a coroutine would have to be made each time."""

    # Not a method of ours: it would be called for every await.
    __await__: Callable[[], Generator[None, None, None]] = ().__iter__  # type: ignore[assignment] # an iterator is enough


DONE: Final = _Done()

CURRENT_CALL: ContextVar[Call | None] = ContextVar("platform_http_call", default=None)
CURRENT_ATTEMPT: ContextVar[Attempt | None] = ContextVar("platform_http_attempt", default=None)
UPGRADE_OPTIONS: ContextVar[CallOptions] = ContextVar(
    "platform_http_upgrade_options", default=DEFAULT_OPTIONS
)
"""The options of the WebSocket that is being connected: ``ws_connect`` has no way to take them."""
_AMBIENT_DEADLINE: ContextVar[float] = ContextVar("platform_http_deadline", default=math.inf)


def ambient_deadline() -> float:
    """Return the instant at which the surrounding :func:`deadline` passes; infinite without."""
    return _AMBIENT_DEADLINE.get()


def context_without_deadline() -> Context:
    """Return a copy of the current context in which no :func:`deadline` is in force."""
    context = copy_context()
    context.run(_AMBIENT_DEADLINE.set, math.inf)
    return context


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give every call made inside at most *seconds* from now.

    It holds for calls of a factory's sessions but those of the ``plain`` profile, which are as
    aiohttp's own. The functions of ``platform_http.streaming`` keep to it with any session.

    Args:
        seconds: >= 0. A deadline that is already in force can only be shortened.

    Raises:
        ValueError: If *seconds* is negative or not a number.
        RuntimeError: If no event loop is running.
    """
    if not seconds >= 0:
        raise ValueError(f"deadline() takes seconds >= 0, got {seconds!r}")
    instant = asyncio.get_running_loop().time() + seconds
    token = _AMBIENT_DEADLINE.set(min(instant, _AMBIENT_DEADLINE.get()))
    try:
        yield
    finally:
        _AMBIENT_DEADLINE.reset(token)

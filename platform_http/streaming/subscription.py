"""Server-Sent Events: of one response, or of a subscription that outlives its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from platform_http.concealment import bare, conceal
from platform_http.errors import (
    AuthenticationError,
    DeadlineExceededError,
    EgressDeniedError,
    FactoryClosedError,
    RequestRejectedError,
)
from platform_http.outcomes import error_type, of_exception
from platform_http.policies import backoff, retry_after
from platform_http.policies.outcome import Kind
from platform_http.streaming.bounds import Bounds
from platform_http.streaming.errors import StreamFormatError
from platform_http.streaming.event_stream import CONTENT_TYPE, MAX_EVENT, EventParser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from platform_http.call import CallOptions
    from platform_http.streaming.event_stream import ServerSentEvent

_LOGGER = logging.getLogger("platform_http")

MAX_FAILURES = 60
"""Connections in a row that bring nothing, a quarter of an hour of them, until it is given up."""

# WHATWG leaves both to the client: "a few seconds", and "possibly an exponential backoff delay".
_WAIT = 1.0
_BACKOFF_INITIAL = 0.5
_BACKOFF_MAX = 30.0
_RETRY_AFTER_MAX = 60.0

# What aiohttp puts into no header.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_MAY_PASS = frozenset({429, 500, 502, 503, 504})
_WILL_NOT_PASS = (
    AuthenticationError,
    DeadlineExceededError,
    EgressDeniedError,
    FactoryClosedError,
    StreamFormatError,
)


async def iter_events(
    response: aiohttp.ClientResponse, *, max_event: int = MAX_EVENT
) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of a response as they arrive.

    An event that the end of the body cuts is dropped, as the standard says.

    Args:
        response: Still unread; released by its ``async with``.
        max_event: Bytes of an event at most, decompressed, >= 1.

    Raises:
        StreamFormatError: If the response is no ``text/event-stream``, or an event is larger.
        ValueError: If *max_event* is not positive.
        aiohttp.ClientError: As any reading of a body.
    """
    parser = EventParser(max_event=max_event)
    _check_type(response)
    async for piece in response.content.iter_any():
        for event in parser.feed(piece):
            yield event


async def events(
    session: aiohttp.ClientSession,
    url: str | URL,
    *,
    last_event_id: str = "",
    max_event: int = MAX_EVENT,
    max_failures: int = MAX_FAILURES,
    options: CallOptions | None = None,
    **request: Any,
) -> AsyncGenerator[ServerSentEvent, None]:
    """Subscribe to *url*, and connect again whenever the connection ends.

    Each connection after the first says with ``Last-Event-ID`` what was seen. It is made after the
    ``retry:`` of the server, else a second, plus a backoff with jitter that grows while connections
    bring nothing. A 204 ends the subscription, and so does ``break``; use
    ``contextlib.aclosing()`` to close the connection at that very moment.

    ``TIMEOUT__READ`` bounds the silence on a connection; set it above the server's heartbeat. What
    was missed meanwhile is sent again by servers that number their events.

    Args:
        session: Of a factory, or any other one.
        url: Where the events are.
        last_event_id: The ``id`` of the last event that an earlier subscription handled; without
            control characters.
        max_event: Bytes of an event at most, >= 1.
        max_failures: Connections in a row that may bring nothing, >= 0.
        options: As for any call; ``timeout`` is that of the whole subscription, none by default.
        **request: More arguments for ``session.get()``; its timeout is that of *options*.

    Raises:
        aiohttp.ClientResponseError: If the status is another one than 200, 204, 429 or 5xx, or
            does not pass.
        StreamFormatError: If the response is no ``text/event-stream``, an event is too large, or
            the last ``id`` is one that no header can tell the server when it is asked to go on.
        aiohttp.ClientError: The last failure, when there were too many.
        ValueError: If a number is out of its range, or an argument makes no sense.
    """
    if max_failures < 0:
        raise ValueError(f"max_failures must be >= 0, got {max_failures!r}")
    if _CONTROL.search(last_event_id):
        raise ValueError("last_event_id must have no control characters")
    for argument in ("trace_request_ctx", "raise_for_status", "timeout"):
        if argument in request:
            raise ValueError(f"events() takes options= and judges the status; not {argument}=")
    subscription = _Subscription(session, URL(url), Bounds(session, options), request)
    subscription.parser = EventParser(max_event=max_event, last_event_id=last_event_id)
    rng = random.Random()  # noqa: S311 - jitter, not cryptography
    failures = 0
    while True:
        try:
            # Nobody but the garbage collector closes what a loop that is left was made of.
            async with contextlib.aclosing(subscription.connection()) as connection:
                async for event in connection:
                    yield event
        except (aiohttp.ClientError, TimeoutError) as caught:
            if not _may_pass(caught):
                raise
            error: Exception = caught
        else:
            if subscription.ended:
                return
            error = aiohttp.ServerDisconnectedError("the stream of events ended")
        failures = 0 if subscription.fruitful else failures + 1
        if failures > max_failures:
            error.add_note(f"{failures} connections in a row brought no event")
            raise error
        delay = max(_WAIT if subscription.retry is None else subscription.retry, _asked(error))
        delay += backoff.delay(
            max(failures, 1), initial=_BACKOFF_INITIAL, maximum=_BACKOFF_MAX, rng=rng
        )
        if delay >= subscription.bounds.remaining:
            raise error
        subscription.announce(error, delay)
        # Its traceback refers to frames that refer to the response.
        del error
        await asyncio.sleep(delay)


class _Subscription:
    """The connections of one subscription."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        bounds: Bounds,
        request: dict[str, Any],
    ) -> None:
        self.bounds = bounds
        self.parser = EventParser()
        self.ended = False
        self.fruitful = False
        self.retry: float | None = None
        self._session = session
        self._url = url
        self._headers = CIMultiDict(request.pop("headers", None) or {})
        self._headers.setdefault(hdrs.ACCEPT, CONTENT_TYPE)
        self._headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        self._request = request

    async def connection(self) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield the events of one connection."""
        self.fruitful = False
        # What the last connection left unfinished is gone; where it stopped is not.
        parser = self.parser = self.parser.anew()
        headers = CIMultiDict(self._headers)
        if _CONTROL.search(parser.last_event_id):
            raise StreamFormatError("the id of the last event has characters that no header takes")
        if parser.last_event_id:
            headers["Last-Event-ID"] = parser.last_event_id
        arguments = {**self._request, "headers": headers, **self.bounds.of_request()}
        async with self._session.get(self._url, raise_for_status=False, **arguments) as response:
            if response.status == 204:
                self.ended = True
                return
            if response.status != 200:
                _refuse(response)
            _check_type(response)
            async for piece in response.content.iter_any():
                # Comments count: a server that sends them is well.
                self.fruitful = True
                for event in parser.feed(piece):
                    yield event
                self.retry = parser.retry if parser.retry is not None else self.retry

    def announce(self, error: Exception, delay: float) -> None:
        """Tell the log that the next connection follows."""
        client = self.bounds.client
        _LOGGER.debug(
            "events from %s go on in %.2f s: %s",
            bare(self._url),
            delay,
            error_type(error),
            extra={"client": client.name if client is not None else ""},
        )


def _check_type(response: aiohttp.ClientResponse) -> None:
    if response.content_type != CONTENT_TYPE:
        raise StreamFormatError(f"the response is no {CONTENT_TYPE}")


def _refuse(response: aiohttp.ClientResponse) -> None:
    response.raise_for_status()
    error = aiohttp.ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message="a stream of events needs a 200",
        headers=response.headers,
    )
    conceal(error)
    raise error


def _may_pass(error: Exception) -> bool:
    if isinstance(error, _WILL_NOT_PASS):
        return False
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in _MAY_PASS
    return (
        isinstance(error, RequestRejectedError | aiohttp.ClientPayloadError)
        or of_exception(error).kind is Kind.TRANSIENT
    )


def _asked(error: Exception) -> float:
    """Return the seconds for which the server asks to be left alone, as far as that is sensible."""
    if not isinstance(error, aiohttp.ClientResponseError) or error.headers is None:
        return 0.0
    value = error.headers.get(hdrs.RETRY_AFTER)
    seconds = None if value is None else retry_after.parse(value, now=time.time())
    return min(seconds or 0.0, _RETRY_AFTER_MAX)

"""The TraceConfig: opens and closes calls, and times the phases of connections.

There is one per session, because aiohttp pays for every configured one on every request. Where the
application adds its own, a second one of ours stands behind them.
"""

from __future__ import annotations

import functools
from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiosignal import Signal

from platform_http.call import (
    CURRENT_ATTEMPT,
    DONE,
    UPGRADE_OPTIONS,
    BodyEnd,
    Call,
    CallOptions,
)
from platform_http.errors import RequestRejectedError
from platform_http.outcomes import (
    error_type,
    is_public,
    is_raised_status,
    translate,
    was_raised_by_aiohttp,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from types import SimpleNamespace

    from yarl import URL

    from platform_http.call import Attempt, Client

# Python 3.11 finds a member of an enum by calling a function.
_COMPLETE, _FAILED, _CANCELLED = BodyEnd.COMPLETE, BodyEnd.FAILED, BodyEnd.CANCELLED


def trace_config(client: Client, *, alone: bool) -> aiohttp.TraceConfig:
    """Return the TraceConfig that opens and closes the calls of *client*.

    It must be the session's first: a foreign hook that raised before it would leave a call open.

    Args:
        client: Whose calls these are.
        alone: Whether the session has no other; then this one translates exceptions too.
    """
    config = _CallTraces(client, translates=alone)
    phases = _Phases(client.loop)
    config.on_connection_queued_start.append(phases.queue_started)
    config.on_connection_queued_end.append(phases.queue_ended)
    config.on_connection_create_start.append(phases.connect_started)
    config.on_connection_create_end.append(phases.connect_ended)
    config.on_dns_resolvehost_start.append(phases.dns_started)
    config.on_dns_resolvehost_end.append(phases.dns_ended)
    return config


def translation_config() -> aiohttp.TraceConfig:
    """Return the TraceConfig that gives escaped exceptions their public form.

    It must be the session's last, after the application's own: the exception that it raises keeps
    later hooks from running.
    """
    config = aiohttp.TraceConfig()
    config.on_request_exception.append(_raise_translated)
    return config


async def _raise_translated(
    session: aiohttp.ClientSession,  # noqa: ARG001 - signature of the hook
    context: object,  # noqa: ARG001 - signature of the hook
    params: aiohttp.TraceRequestExceptionParams,
) -> None:
    error: BaseException = params.exception
    public = _public(error, params.url)
    if public is not error:
        raise public from error


def _public(error: BaseException, url: URL) -> BaseException:
    """Return what callers get for *error*; often the same object."""
    if is_public(error) or not isinstance(error, Exception) or not was_raised_by_aiohttp(error):
        return error
    return translate(error, url)


def _is_status_of(call: Call, error: BaseException) -> bool:
    """Tell the status of this call's response from that of a request made on its way."""
    return call.status == getattr(error, "status", None)


def _refuse_other_loop(client: Client) -> None:
    from platform_http.pitfalls import refuse_other_loop  # noqa: PLC0415 - for whoever does it

    refuse_other_loop(client.loop, client)


class _Direct(Signal["aiohttp.ClientSession", Any, Any]):
    """A signal of one receiver, which is a plain function: to send is to call it.

    Every call passes two of them.
    """

    # In place of the method of that name.
    __slots__ = ("send",)

    def __init__(self, owner: object, receiver: Callable[..., Awaitable[None]]) -> None:
        super().__init__(owner)
        self.send = receiver  # type: ignore[method-assign,assignment] # see above


class _CallTraces(aiohttp.TraceConfig):
    """A TraceConfig that keeps the calls of *client* in their order: opened, then closed once.

    Args:
        client: Whose calls these are.
        translates: Whether it gives escaped exceptions their public form.
    """

    # In place of aiohttp's properties of these names, each of them one more call.
    __slots__ = (
        "_client",
        "_clock",
        "_looks_for_userinfo",
        "_translates",
        "on_request_end",
        "on_request_exception",
        "on_request_start",
    )

    def __init__(self, client: Client, *, translates: bool) -> None:
        super().__init__()
        self._client = client
        self._clock = client.clock
        self._looks_for_userinfo = client.settings.egress.mode == "public"
        self._translates = translates
        # Both names are asked for, and held by a canary.
        self.on_request_start = self._on_request_start = _Direct(self, self._started)  # type: ignore[misc] # see above
        self.on_request_end = self._on_request_end = _Direct(self, self._ended)  # type: ignore[misc] # see above
        self.on_request_exception = self._on_request_exception = _Direct(self, self._failed)  # type: ignore[misc] # see above

    def trace_config_ctx(self, trace_request_ctx: object = None) -> SimpleNamespace:
        """Return the call, which aiohttp only ever hands back to the hooks."""
        if isinstance(trace_request_ctx, CallOptions):
            call = Call(self._client, trace_request_ctx)
        else:
            call = Call(self._client, UPGRADE_OPTIONS.get())
        return call  # type: ignore[return-value] # aiohttp asks for a SimpleNamespace

    def _started(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002 - signature of the hook
        call: Call,
        params: aiohttp.TraceRequestStartParams,
    ) -> Awaitable[None]:
        if get_running_loop() is not self._client.loop:
            _refuse_other_loop(self._client)
        call.open(params.method, params.headers, self._clock())
        if self._looks_for_userinfo:
            # Nobody sees it later: aiohttp makes a header of it.
            call.has_userinfo = params.url.raw_user is not None or bool(params.url.raw_password)
        return DONE

    def _ended(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002 - signature of the hook
        call: Call,
        params: aiohttp.TraceRequestEndParams,
    ) -> Awaitable[None]:
        call.leave()
        response = params.response
        call.status = response.status
        # An application's middleware may have returned a response of another session.
        attempt: Attempt | None = getattr(response, "attempt", None)
        if attempt is None:
            self._bypassed(call)
        elif attempt.body is not _COMPLETE:
            attempt.when_ended(functools.partial(self._body_ended, call))
            return DONE
        self._close_by_status(call)
        return DONE

    def _failed(
        self,
        session: aiohttp.ClientSession,  # noqa: ARG002 - signature of the hook
        call: Call,
        params: aiohttp.TraceRequestExceptionParams,
    ) -> Awaitable[None]:
        call.leave()
        if call.sent and not call.attempts:
            self._bypassed(call)
        error: BaseException = params.exception
        if not isinstance(error, Exception):
            call.close("cancelled", "", self._clock())
            return DONE
        if is_raised_status(error) and _is_status_of(call, error):
            # ``raise_for_status`` changes how the caller hears of a status, not what it means.
            call.status = cast("aiohttp.ClientResponseError", error).status
            self._close_by_status(call)
            public = _public(error, params.url) if self._translates else error
        else:
            public = _public(error, params.url)
            refused = call.sent == 0 and isinstance(public, RequestRejectedError)
            call.close("rejected" if refused else "error", error_type(public), self._clock())
        if self._translates and public is not error:
            raise public from error
        return DONE

    def _bypassed(self, call: Call) -> None:
        from platform_http.pitfalls import (  # noqa: PLC0415 - for whoever does it
            POLICY_BYPASS,
            calling_place,
            describe,
            found,
        )

        self._client.observer.policy_bypassed(call)
        found(POLICY_BYPASS, calling_place(), self._client, of=describe(call))

    def _body_ended(self, call: Call, attempt: Attempt) -> None:
        if attempt.body is _FAILED:
            call.close("error", attempt.body_error_type, self._clock())
        elif attempt.body is _CANCELLED:
            call.close("cancelled", "", self._clock())
        else:
            self._close_by_status(call)

    def _close_by_status(self, call: Call) -> None:
        status = call.status
        if status >= 500 or status == 429:
            call.close("error", str(status), self._clock())
        else:
            call.close("success", "", self._clock())


class _Phases:
    """Hooks that run where a pooled connection is not at hand; who uses one asks for none of them.

    DNS hooks run in another task, which shares the attempt.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = loop.time

    async def queue_started(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None and not attempt.queue_started:
            attempt.queue_started = self._clock()

    async def queue_ended(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.queue_ended = self._clock()

    async def connect_started(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.connect_started = self._clock()

    async def connect_ended(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.connect_ended = self._clock()

    async def dns_started(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.dns_started = self._clock()

    async def dns_ended(self, *_: object) -> None:
        if (attempt := CURRENT_ATTEMPT.get()) is not None:
            attempt.dns_ended = self._clock()

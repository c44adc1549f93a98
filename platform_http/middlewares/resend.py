"""Prepares another attempt with the same request, or says why there is none."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import aiohttp

    from platform_http.call import AttemptRequest, AttemptResponse, Call

# A discarded response of at most this size is read to its end: its connection stays usable, and the
# response can still be returned when the resend is refused.
_DRAIN_BYTES = 65536


async def make_way(
    request: aiohttp.ClientRequest, response: aiohttp.ClientResponse | None, seconds: float
) -> bool:
    """Free what the previous attempt holds, and rewind *request*.

    Args:
        request: What is to be sent again; its body must not be consumed.
        response: What the previous attempt was answered with.
        seconds: What reading its rest may take, >= 0.

    Returns:
        Whether *response* can still be returned with its body.
    """
    is_whole = True
    if response is not None and response.connection is not None:
        # With one connection in the pool the next attempt would wait for this one.
        is_whole = await cast("AttemptResponse", response).drain(_DRAIN_BYTES, seconds)
    # The body rewinds only when nobody is writing it any more.
    await request.close()
    # A second wait for "100 Continue" needs a new future.
    request.update_expect_continue()
    return is_whole


def announce(call: Call, request: aiohttp.ClientRequest, reason: str, delay: float) -> None:
    """Count a resend, and report it once its attempt begins: a policy may yet refuse it.

    Args:
        call: Whose latest attempt is to be followed by another one.
        request: What is to be sent again.
        reason: What that attempt ended in.
        delay: The backoff, seconds, >= 0.
    """
    call.resends += 1
    assert call.latest is not None
    cast("AttemptRequest", request).on_resend = functools.partial(
        call.client.observer.resent, call.latest, reason, delay
    )


def stopped(call: Call, reason: str, error: Exception | None) -> None:
    """Report that a failed call is not resent, and say so on its *error*.

    Args:
        call: Whose latest attempt failed, or was refused.
        reason: The stop reason.
        error: What its caller gets, where that is no response.
    """
    call.stop_reason = reason
    call.client.observer.retry_stopped(call, reason)
    if error is not None:
        elapsed = call.client.clock() - call.started
        noun = "attempt" if call.attempts == 1 else "attempts"
        error.add_note(f"{call.attempts} {noun} in {elapsed:.1f} s; stopped: {reason}")


def is_consumed(request: aiohttp.ClientRequest) -> bool:
    """Tell whether the body was sent and cannot be produced again."""
    return bool(getattr(request.body, "consumed", False))

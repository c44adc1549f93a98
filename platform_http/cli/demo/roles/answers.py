"""What a service makes of its upstreams' answers and failures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs, web

from platform_http.errors import (
    CircuitOpenError,
    EgressDeniedError,
    RateLimitedError,
    RequestRejectedError,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Args:
        body: The decoded JSON; ``None`` if the call failed.
        status: What to answer if nothing can be done without it: 422, 502, 503 or 504; 0 if there
            is a body.
        retry_after: Seconds until another try makes sense, where that is known.
    """

    body: object = None
    status: int = 0
    retry_after: float | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no body."""
        return self.status != 0


async def ask(call: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> Answer:
    """Make *call* and return what came of it; only a cancellation passes.

    Args:
        call: What ``session.get(…)`` and its like return.
    """
    try:
        async with call as response:
            if response.status in {429, 503}:
                return Answer(status=503)
            if response.status >= 400:
                return Answer(status=502)
            # The upstreams say nothing of what they send.
            return Answer(body=await response.json(content_type=None))
    except (CircuitOpenError, RateLimitedError) as error:
        return Answer(status=503, retry_after=error.retry_after)
    except EgressDeniedError:
        # Whoever named that address has to name another one.
        return Answer(status=422)
    except RequestRejectedError:
        # Before TimeoutError, which a full pool is too.
        return Answer(status=503)
    except TimeoutError:
        return Answer(status=504)
    except (aiohttp.ClientError, ValueError):
        return Answer(status=502)


def failure(answer: Answer, what: str) -> web.Response:
    """Return the response that says that *what* could not be had."""
    response = web.json_response({"error": f"{what} cannot be had"}, status=answer.status)
    if answer.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(math.ceil(answer.retry_after))
    return response

"""Everything that platform_http raises.

::

    PlatformHttpError(Exception)
    ├ ConfigurationError(ValueError)
    ├ RequestRejectedError(aiohttp.ClientConnectionError)    a policy refused; .attempts were sent
    │  ├ CircuitOpenError(retry_after)
    │  ├ ConcurrencyLimitError
    │  ├ RateLimitedError(retry_after)
    │  ├ ThrottledError
    │  ├ PoolTimeoutError(TimeoutError)
    │  ├ EgressDeniedError(reason)
    │  └ FactoryClosedError
    ├ AuthenticationError(aiohttp.ClientError)                no credentials could be had
    ├ DeadlineExceededError(aiohttp.ServerTimeoutError)       the call's deadline
    ├ AttemptTimeoutError(aiohttp.ServerTimeoutError)         one attempt's timeout
    ├ ResponseTooLargeError(aiohttp.ClientPayloadError)
    ├ DecodingError(aiohttp.ClientPayloadError, ValueError)   the body is not of the model
    └ WebSocketClosedError(aiohttp.ClientConnectionError)     there is no connection any more

Code that catches ``aiohttp.ClientError`` or ``TimeoutError`` keeps working. None derives from
``ClientOSError`` or ``ServerDisconnectedError``, the two types that aiohttp itself resends on.
No message holds userinfo, a query string, a header value or a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlatformHttpError(Exception):
    """Base of every error of this library.

    Attributes:
        error_type: The word that spans and metrics use for this error (``error.type``).
    """

    error_type: ClassVar[str] = "_OTHER"


class ConfigurationError(PlatformHttpError, ValueError):
    """The settings contradict each other, name something unknown or cannot be honoured.

    Attributes:
        violations: One line per problem, each naming the variable and the remedy, never a value
            that may be secret.
    """

    def __init__(self, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        count = len(self.violations)
        heading = "invalid configuration" if count == 1 else f"{count} configuration problems"
        super().__init__("\n".join([f"{heading}:", *(f"  - {line}" for line in self.violations)]))


class RequestRejectedError(PlatformHttpError, aiohttp.ClientConnectionError):
    """A policy refused to send.

    Attributes:
        attempts: Requests of this call that had already been sent, >= 0.
    """

    def __init__(self, message: str, *, attempts: int = 0) -> None:
        super().__init__(message)
        self.attempts = attempts


class CircuitOpenError(RequestRejectedError):
    """The circuit breaker of this origin is open.

    Attributes:
        retry_after: Seconds until the next probe may be sent, >= 0.
    """

    error_type = "circuit_open"

    def __init__(self, message: str, *, retry_after: float, attempts: int = 0) -> None:
        # What the bases would do, in a third of the time: while a circuit is open, to make this
        # error is most of what a call does.
        self.args = (message,)
        self.attempts = attempts
        self.retry_after = retry_after


class ConcurrencyLimitError(RequestRejectedError):
    """Too many calls to this origin are in flight or waiting."""

    error_type = "concurrency_limited"


class RateLimitedError(RequestRejectedError):
    """The client's own rate limit has no token left.

    Attributes:
        retry_after: Seconds until a token is due, >= 0.
    """

    error_type = "rate_limited"

    def __init__(self, message: str, *, retry_after: float, attempts: int = 0) -> None:
        super().__init__(message, attempts=attempts)
        self.retry_after = retry_after


class ThrottledError(RequestRejectedError):
    """The adaptive throttle refused because the upstream rejects most requests."""

    error_type = "throttled"


class PoolTimeoutError(RequestRejectedError, TimeoutError):
    """No pooled connection became free within ``TIMEOUT__POOL``."""

    error_type = "pool_timeout"


class EgressDeniedError(RequestRejectedError):
    """The egress policy does not allow this destination.

    Attributes:
        reason: Which rule refused, for example ``"link_local"`` or ``"redirect_downgrade"``.
    """

    error_type = "egress_denied"

    def __init__(self, message: str, *, reason: str, attempts: int = 0) -> None:
        super().__init__(message, attempts=attempts)
        self.reason = reason


class FactoryClosedError(RequestRejectedError):
    """The session factory is closing or closed and takes no new calls."""


class AuthenticationError(PlatformHttpError, aiohttp.ClientError):
    """No credentials could be had."""

    error_type = "auth_error"


class DeadlineExceededError(PlatformHttpError, aiohttp.ServerTimeoutError):
    """The call's deadline passed."""

    error_type = "deadline_exceeded"


class AttemptTimeoutError(PlatformHttpError, aiohttp.ServerTimeoutError):
    """One attempt got no response headers within ``TIMEOUT__ATTEMPT``."""

    error_type = "attempt_timeout"


class ResponseTooLargeError(PlatformHttpError, aiohttp.ClientPayloadError):
    """A buffered read would exceed ``RESPONSE__MAX_BODY``."""

    error_type = "response_too_large"


class WebSocketClosedError(PlatformHttpError, aiohttp.ClientConnectionError):
    """A WebSocket has ended, and will not be connected again.

    Attributes:
        code: The close code of RFC 6455: what the two sides agreed on, 1005 for an end without a
            code and 1006 for a connection that was lost.
        reason: What the peer said about it, up to 123 bytes that may hold anything; not part of
            the message.
    """

    error_type = "response_ended"

    def __init__(self, message: str, *, code: int, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class DecodingError(PlatformHttpError, aiohttp.ClientPayloadError, ValueError):
    """A response is not what :func:`platform_http.decoding.decode` was asked for.

    It is a ``ClientPayloadError``, for what came is no use, and a ``ValueError`` as what JSON
    libraries and pydantic raise. The call was a success all the same: its status says so.

    Attributes:
        reason: ``status``, ``content_type``, ``empty``, ``malformed`` or ``mismatch``.
        status: Status of the response.
        problems: For a mismatch, where in the document what is wrong: ``lines.0.amount:
            int_parsing``. No values; what is not a name of the model's own is ``*``.
        count: How many problems there are; *problems* holds the first few.
    """

    error_type = "invalid_response"

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int,
        problems: Sequence[str] = (),
        count: int = 0,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.problems = tuple(problems)
        self.count = count

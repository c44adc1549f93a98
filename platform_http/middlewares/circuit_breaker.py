"""Circuit breaker per origin: asks before an attempt, records after it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from platform_http.call import BodyEnd
from platform_http.errors import CircuitOpenError, ResponseTooLargeError
from platform_http.outcomes import of_exception
from platform_http.policies.circuit_breaker import Refusal
from platform_http.policies.outcome import Health, of_status

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientHandlerType

    from platform_http.call import Attempt, AttemptRequest, Call, Client, Origin
    from platform_http.policies.circuit_breaker import CircuitBreaker, Permit
    from platform_http.policies.registry import LruRegistry

# That a body is larger than we take is not the server's fault.
_OWN_LIMIT = ResponseTooLargeError.error_type


class CircuitBreakerMiddleware:
    """Refuses attempts to an origin whose circuit is open.

    A 5xx is judged at its headers. Otherwise the end of a buffered body decides, because a reset
    in the middle of it is a failure; for a stream the headers decide.
    """

    def __init__(self, client: Client, breakers: LruRegistry[Origin, CircuitBreaker]) -> None:
        self._client = client
        self._breakers = breakers
        self._statuses = client.settings.retry.statuses

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Make the attempt if the circuit allows it."""
        ours: AttemptRequest = request  # type: ignore[assignment] # made by our request class
        call = ours.call
        assert call is not None
        origin = ours.origin_of(request.url)
        admission = self._breakers.get(origin).admit()
        if isinstance(admission, Refusal):
            raise self._refused(call, origin, admission)
        if admission.would_refuse:
            self._client.observer.rejected(
                call, origin, CircuitOpenError.error_type, enforced=False
            )
        ours.attempt = None
        # How long an attempt takes is counted without its wait for a place among the others.
        ours.on_attempt = admission.begin
        try:
            response = await handler(request)
        except BaseException as error:
            made: Attempt | None = request.attempt  # type: ignore[attr-defined] # set meanwhile
            if made is None or made.waits_for_pool:
                # An inner layer refused, or the attempt ended in our own queue: nothing is known
                # of the server.
                admission.release()
            else:
                admission.record(of_exception(error).health)
            raise
        health = of_status(response.status, self._statuses).health
        attempt: Attempt | None = response.attempt  # type: ignore[attr-defined] # of our response class
        if health is not Health.OK or attempt is None or attempt.judged:
            admission.record(health)
        else:
            attempt.when_judged(functools.partial(_record, admission))
        return response

    def _refused(self, call: Call, origin: Origin, refusal: Refusal) -> CircuitOpenError:
        self._client.observer.rejected(call, origin, CircuitOpenError.error_type)
        return CircuitOpenError(
            f"the circuit of {origin} is open (client {self._client.name!r}), "
            f"next probe in {refusal.retry_after:.1f} s",
            retry_after=refusal.retry_after,
            attempts=call.sent,
        )


def _record(permit: Permit, attempt: Attempt) -> None:
    if attempt.body is BodyEnd.CANCELLED or attempt.body_error_type == _OWN_LIMIT:
        permit.release()
    elif attempt.body is BodyEnd.FAILED:
        permit.record(Health.FAILED)
    else:
        permit.record(Health.OK)

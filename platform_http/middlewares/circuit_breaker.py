"""Circuit breaker per origin: asked before an attempt, told after it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from platform_http.call import BodyEnd
from platform_http.errors import CircuitOpenError, ResponseTooLargeError
from platform_http.middlewares.resend import stopped
from platform_http.outcomes import of_exception
from platform_http.policies.circuit_breaker import Refusal
from platform_http.policies.outcome import Health, health_of

if TYPE_CHECKING:
    from typing import Final

    from platform_http.call import Attempt, Call, Client, Origin
    from platform_http.policies.circuit_breaker import CircuitBreaker, Permit
    from platform_http.policies.registry import LruRegistry

# That a body is larger than we take is not the server's fault.
_OWN_LIMIT = ResponseTooLargeError.error_type

# Destinations come from redirects too, so their number is not the service's to choose.
_MAX_REFUSING = 1024

# By a name of its own, as in the policy.
_OK: Final = Health.OK


class CircuitBreakerGate:
    """Refuses attempts to an origin whose circuit is open.

    A 5xx is judged at its headers. Otherwise the end of a buffered body decides, because a reset
    in the middle of it is a failure; for a stream the headers decide.
    """

    def __init__(self, client: Client, breakers: LruRegistry[Origin, CircuitBreaker]) -> None:
        self._client = client
        self._breakers = breakers
        self.refusing: dict[Origin, str] = {}
        """Where the last that was asked for was refused, and how a refusal begins: others may well
        be refused before they start."""

    def refusal(self, call: Call, origin: Origin) -> CircuitOpenError | None:
        """Return what refuses *call* before its first attempt at *origin*, reported as such.

        It admits nothing: ``None`` only says that the gate has to be asked.
        """
        wait = self._breakers.get(origin).refuses_for()
        if wait == 0.0:
            self.refusing.pop(origin, None)
            return None
        error = self._refused(call, origin, wait)
        if call.max_attempts > 1:
            # The retry policy would have been asked, and would have stopped.
            stopped(call, error.error_type, error)
        return error

    def admit(self, call: Call, origin: Origin) -> Permit:
        """Return the permit of an attempt; it is given back by one of the verbs below.

        Raises:
            CircuitOpenError: If the circuit does not allow the attempt.
        """
        admission = self._breakers.get(origin).admit()
        if isinstance(admission, Refusal):
            raise self._refused(call, origin, admission.retry_after)
        if admission.would_refuse:
            self._client.observer.rejected(
                call, origin, CircuitOpenError.error_type, enforced=False
            )
        return admission

    def answered(self, permit: Permit, attempt: Attempt) -> None:
        """Judge by the headers that *attempt* got, or leave it to the end of their body."""
        health = health_of(attempt.status)
        if health is not _OK or attempt.judged:
            permit.record(health)
        else:
            attempt.when_judged(functools.partial(_record, permit))

    def failed(self, permit: Permit, attempt: Attempt | None, error: BaseException) -> None:
        """Judge by the *error* that *attempt* ended in; ``None`` if there was no attempt."""
        if attempt is None or attempt.waits_for_pool:
            # Another gate refused, or the attempt ended in our own queue: nothing is known of the
            # server.
            permit.release()
        else:
            permit.record(of_exception(error).health)

    def _refused(self, call: Call, origin: Origin, wait: float) -> CircuitOpenError:
        self._client.observer.rejected(call, origin, CircuitOpenError.error_type)
        beginning = self.refusing.get(origin)
        if beginning is None:
            if len(self.refusing) >= _MAX_REFUSING:
                self.refusing.clear()
            beginning = (
                f"the circuit of {origin} is open (client {self._client.name!r}), next probe in"
            )
            self.refusing[origin] = beginning
        return CircuitOpenError(
            f"{beginning} {wait:.1f} s",
            retry_after=wait,
            attempts=call.sent,
        )


def _record(permit: Permit, attempt: Attempt) -> None:
    if attempt.body is BodyEnd.CANCELLED or attempt.body_error_type == _OWN_LIMIT:
        permit.release()
    elif attempt.body is BodyEnd.FAILED:
        permit.record(Health.FAILED)
    else:
        permit.record(_OK)

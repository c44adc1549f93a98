"""The figures that are shown, each defined in terms of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platform_http.cli.demo.readings import Reading


class Figures:
    """What a reading says about some clients.

    Args:
        reading: Of all clients: a total, or the increase over an interval.
        clients: Whose figures these are, taken together.
    """

    def __init__(self, reading: Reading, *clients: str) -> None:
        self._reading = reading
        self._clients = clients

    @property
    def calls(self) -> float:
        """Calls that have ended, however they did."""
        return self._total("platform_http_calls_total")

    @property
    def calls_per_second(self) -> float:
        """Rate of calls that end."""
        return self._reading.rate("platform_http_calls_total", client=self._clients)

    def ended(self, outcome: str) -> float:
        """Return the number of calls with *outcome*."""
        return self._total("platform_http_calls_total", outcome=outcome)

    def percentage(self, outcome: str) -> float | None:
        """Return how many percent had *outcome*, of the calls that their callers did not cancel."""
        judged = self.calls - self.ended("cancelled")
        return 100 * self.ended(outcome) / judged if judged > 0 else None

    @property
    def recovered(self) -> float:
        """Calls that succeeded because they were resent."""
        return self._total("demo_recovered_calls_total")

    @property
    def attempts(self) -> float:
        """Attempts that have ended."""
        return self._total("http_client_request_duration_seconds_count")

    @property
    def amplification(self) -> float | None:
        """Attempts per call."""
        return self.attempts / self.calls if self.calls > 0 else None

    @property
    def resends(self) -> dict[str, float]:
        """Resends by reason."""
        return self._by("reason", "platform_http_retries_total")

    @property
    def retry_stops(self) -> dict[str, float]:
        """Failed calls that were not resent any more, by the reason why not."""
        return self._by("reason", "platform_http_retry_stops_total")

    @property
    def rejections(self) -> dict[str, float]:
        """Attempts that a policy refused, by reason."""
        return self._by("reason", "platform_http_rejections_total")

    @property
    def circuit_transitions(self) -> dict[str, float]:
        """State changes of circuits, by the new state."""
        return self._by("to", "platform_http_circuit_transitions_total")

    @property
    def circuits(self) -> tuple[str, ...]:
        """State of the circuit of each origin; none before its first attempt."""
        name = "platform_http_circuit_state"
        ports = self._reading.by("server_port", name, client=self._clients)
        return tuple(
            state
            for port in ports
            for state in self._reading.by("state", name, client=self._clients, server_port=port)
        )

    @property
    def in_flight(self) -> float:
        """Attempts that wait for response headers."""
        return self._total("http_client_active_requests")

    @property
    def open_connections(self) -> float:
        """Connections, whether a call holds them or not."""
        return self._total("http_client_open_connections")

    def call_duration(self, share: float) -> float | None:
        """Return a quantile of how long calls took that were sent and not cancelled, in seconds."""
        return self._reading.quantile(
            share,
            "platform_http_call_duration_seconds",
            client=self._clients,
            outcome=("success", "error"),
        )

    def _total(self, name: str, **labels: str) -> float:
        return self._reading.total(name, client=self._clients, **labels)

    def _by(self, label: str, name: str) -> dict[str, float]:
        return self._reading.by(label, name, client=self._clients)

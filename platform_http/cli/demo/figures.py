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
        """Calls that succeeded by an attempt after the first: a resend, or a hedge that won."""
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
    def budget_tokens(self) -> float | None:
        """Tokens left for resends and hedges; ``None`` before the first change."""
        return self._level("platform_http_retry_budget_tokens")

    @property
    def hedges(self) -> dict[str, float]:
        """Hedges by result, those that were denied among them."""
        return self._by("result", "platform_http_hedges_total")

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
    def permits(self) -> float | None:
        """Attempts that hold a permit of the concurrency limit; ``None`` before the first one."""
        return self._level("platform_http_concurrency_in_use")

    @property
    def concurrency_limit(self) -> float | None:
        """Attempts that may hold a permit; ``None`` without a limit."""
        return self._level("platform_http_concurrency_limit")

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

    def permit_wait(self, share: float) -> float | None:
        """Return a quantile of the waits for a permit, in seconds; ``None`` if there were none."""
        return self._wait(share, "platform_http_concurrency_wait_seconds")

    def rate_limit_wait(self, share: float) -> float | None:
        """Return a quantile of the waits for the rate limit, in seconds; ``None`` without any."""
        return self._wait(share, "platform_http_rate_limit_wait_seconds")

    def _wait(self, share: float, name: str) -> float | None:
        # The rate limit's histogram also has those that did not have to wait, as zeros.
        if self._total(f"{name}_sum") <= 0:
            return None
        return self._reading.quantile(share, name, client=self._clients)

    def _level(self, name: str) -> float | None:
        return self._reading.level(name, client=self._clients)

    def _total(self, name: str, **labels: str) -> float:
        return self._reading.total(name, client=self._clients, **labels)

    def _by(self, label: str, name: str) -> dict[str, float]:
        return self._reading.by(label, name, client=self._clients)
